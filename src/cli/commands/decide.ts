/** `plan decide`: answers what a step asks. */
import { UsageError } from "../../core/errors.js";
import { planCommand } from "../../core/plan-command.js";
import type { CommandContext } from "../context.js";
import { printable } from "../render/printable.js";

interface DecideOptions {
  readonly rationale?: string;
}

export async function decide(
  context: CommandContext,
  [id, step, choice]: readonly [string, string, string?],
  options: DecideOptions,
): Promise<number> {
  const { client, terminal } = context;
  const planId = await context.planId(id);
  if (choice === undefined) {
    const asked = await client.asked(planId, step);
    throw new UsageError(`Step ${step} of plan ${planId} asks: ${asked.question} Choose ${listed(asked.options)}`, {
      details: { planId, step, question: asked.question, options: asked.options },
      try: planCommand("decide", planId, step, asked.options[0]!),
    });
  }
  await client.decide(planId, step, choice, options);
  if (terminal.human) {
    const { state } = await client.summary(planId);
    terminal.line(`Step ${printable(step)} of plan ${printable(planId)} has its answer; the plan is ${state}.`);
  } else terminal.document({ planId, step, choice, by: context.actor });
  return 0;
}

function listed(options: readonly string[]): string {
  const quoted = options.map((option) => JSON.stringify(option));
  return quoted.length === 1 ? quoted[0]! : `${quoted.slice(0, -1).join(", ")} or ${quoted.at(-1)}`;
}
