/** `plan signal`: gives a step the data that it waits for. */
import { UsageError } from "../../core/errors.js";
import type { CommandContext } from "../context.js";
import { jsonValue } from "../input-values.js";
import { printable } from "../render/printable.js";

interface SignalOptions {
  readonly data?: string;
  readonly signalId?: string;
}

export async function signal(
  context: CommandContext,
  [id, step]: readonly [string, string],
  options: SignalOptions,
): Promise<number> {
  const { client, terminal } = context;
  if (options.signalId === "") throw new UsageError("--signal-id is empty", { try: "plan signal --help" });
  const planId = await context.planId(id);
  const data = options.data === undefined ? null : await jsonValue("--data", options.data, context.io);
  const { kept } = await client.signal(planId, step, data, options);
  if (terminal.human) {
    const outcome = kept ? "doesn't wait yet: the signal is kept until it does" : "has its signal and is done";
    terminal.line(`Step ${printable(step)} of plan ${printable(planId)} ${outcome}.`);
  } else terminal.document({ planId, step, kept });
  return 0;
}
