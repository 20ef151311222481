/** `plan cancel`: ends a plan for good. */
import type { CommandContext } from "../context.js";
import { printable } from "../render/printable.js";

export async function cancel(
  context: CommandContext,
  [id]: readonly [string],
  options: { readonly reason?: string },
): Promise<number> {
  const { client, terminal } = context;
  const plan = await client.cancel(await context.planId(id), options);
  if (terminal.human)
    terminal.line(`Plan ${printable(plan.planId)} is cancelled: ${plan.done} of ${plan.total} steps were done.`);
  else terminal.document(plan);
  return 0;
}
