/** `plan approve`: answers what an approve step asks. */
import type { CommandContext } from "../context.js";
import { printable } from "../render/printable.js";

interface ApproveOptions {
  readonly reject?: boolean;
  readonly rationale?: string;
}

export async function approve(
  context: CommandContext,
  [id, step]: readonly [string, string],
  options: ApproveOptions,
): Promise<number> {
  const { client, terminal } = context;
  const planId = await context.planId(id);
  await client.approve(planId, step, options);
  const choice = options.reject ? "reject" : "approve";
  if (terminal.human) {
    const { state } = await client.summary(planId);
    const done = options.reject ? "rejected" : "approved";
    terminal.line(`Step ${printable(step)} of plan ${printable(planId)} is ${done}; the plan is ${state}.`);
  } else terminal.document({ planId, step, choice, by: context.actor });
  return 0;
}
