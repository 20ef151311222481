/** `plan submit`: enqueues a plan for a fleet. */
import type { CommandContext } from "../context.js";
import { planInput } from "../input-values.js";
import { fileOf, folderOf, loadDefinition, workdirOf } from "../load-definition.js";
import { nextCommandHere } from "../next-command.js";
import { waitForEnd } from "../outcome.js";
import { planArguments } from "../plan-arguments.js";
import { printable } from "../render/printable.js";

interface SubmitOptions {
  readonly input?: readonly string[];
  readonly id?: string;
  readonly wait?: boolean;
}

export async function submit(
  context: CommandContext,
  args: readonly string[],
  options: SubmitOptions,
): Promise<number> {
  const { client, terminal } = context;
  const { target, input } = planArguments(args, options.input);
  const loaded = await loadDefinition(context, target);
  const workdir = workdirOf(loaded);
  const { planId, existing } = await client.submitCompiled(
    loaded.compiled,
    await planInput(input, loaded, context.io),
    {
      ...(options.id !== undefined && { planId: options.id }),
      ...(workdir !== null && { workdir }),
      ...fileOf(loaded),
      folder: folderOf(loaded, context.io.cwd),
    },
  );
  const standing = await client.standing(planId);
  const next = await nextCommandHere(context, standing.plan, standing.try);
  if (standing.plan.state === "queued" && next !== null) {
    terminal.talk(`Plan ${printable(planId)} waits: ${printable(standing.plan.why)}.`);
    terminal.talk(`Try: ${printable(next)}`);
  }
  if (options.wait) return waitForEnd(context, planId, { document: (plan) => ({ ...plan, existing }) });
  if (terminal.human)
    terminal.line(
      existing ? `Plan ${planId} exists already; it is ${standing.plan.state}.` : `Plan ${planId} is submitted.`,
    );
  else terminal.document({ planId, existing, state: standing.plan.state });
  return 0;
}
