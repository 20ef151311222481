/** `plan watch`: follows a plan live until it stops. */
import type { CommandContext } from "../context.js";
import { untilStopped } from "../interrupt.js";
import { reportEnd } from "../outcome.js";
import { showProgress } from "../progress.js";

export async function watch(
  context: CommandContext,
  [id]: readonly [string],
  options: { readonly exitStatus?: boolean },
): Promise<number> {
  const { client, terminal } = context;
  const planId = await context.planId(id);
  // Earlier epochs are history: `plan history` has them.
  const { epoch, state } = await client.summary(planId);
  let last: string = state;
  const code = await untilStopped(context.io, async (signal) => {
    if (terminal.format === "jsonl") {
      for await (const update of client.watch(planId, { signal })) {
        for (const event of update.events) terminal.item(event);
        last = update.plan.state;
      }
    } else {
      const update = await showProgress(context, planId, { signal, sinceEpoch: epoch, asks: false, to: "stdout" });
      last = update?.plan.state ?? last;
    }
  });
  if (code !== 0) return code;
  const outcome = terminal.format === "jsonl" ? (last === "completed" ? 0 : 1) : await reportEnd(context, planId);
  return options.exitStatus ? outcome : 0;
}
