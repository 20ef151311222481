/** `plan pause`: stops a plan until it is resumed. */
import type { CommandContext } from "../context.js";
import { printable } from "../render/printable.js";

interface PauseOptions {
  readonly afterStep?: boolean;
  readonly reason?: string;
}

export async function pause(context: CommandContext, [id]: readonly [string], options: PauseOptions): Promise<number> {
  const { client, terminal } = context;
  const plan = await client.pause(await context.planId(id), options);
  if (terminal.human) {
    const shown = printable(plan.planId);
    const state = plan.state === "paused" ? "is paused" : "pauses once its active steps are done";
    terminal.line(`Plan ${shown} ${state}. Resume with: plan resume ${shown}`);
  } else terminal.document(plan);
  return 0;
}
