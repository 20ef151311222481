/** `plan fork`: a new plan that starts from what another one has done. */
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import type { ForkPlacement } from "../../client/fork.js";
import { EXIT_CODES, NotForkableError, UsageError } from "../../core/errors.js";
import type { ForkSummary } from "../../core/fork.js";
import type { CommandContext } from "../context.js";
import { chosenValue, planInput } from "../input-values.js";
import { isModule, type LoadedDefinition, loadFile } from "../load-definition.js";
import { nextCommandHere } from "../next-command.js";
import { renderForkSummary } from "../render/fork-summary.js";
import { printable } from "../render/printable.js";

interface ForkFlags {
  readonly fromStep?: string;
  readonly fromCheckpoint?: string;
  readonly fromDecision?: string;
  readonly choose?: string;
  readonly id?: string;
  readonly input?: readonly string[];
  readonly plans?: string;
  readonly dryRun?: boolean;
}

export async function fork(context: CommandContext, [id]: readonly [string], flags: ForkFlags): Promise<number> {
  const { client, terminal } = context;
  const source = await context.planId(id);
  const input = flags.input === undefined ? null : await newInput(context, source, flags.input, flags.plans);
  const options = await forkOptions(context, flags);
  try {
    const summary = await client.forkChecked(source, options, input);
    if (!terminal.human) terminal.document(summary);
    else await printFork(context, summary);
    return summary.error === null ? 0 : EXIT_CODES[summary.error.code];
  } catch (error) {
    if (!(error instanceof NotForkableError)) throw error;
    if (terminal.human) terminal.line(renderForkSummary(error.summary, terminal.colors));
    if (terminal.human) terminal.error(error.toDocument());
    else terminal.document(error.summary);
    return error.exitCode;
  }
}

async function printFork(context: CommandContext, summary: ForkSummary): Promise<void> {
  const { client, terminal } = context;
  terminal.line(renderForkSummary(summary, terminal.colors));
  if (summary.dryRun) {
    terminal.line("(dry run) nothing was written");
    if (summary.error !== null) terminal.error(summary.error);
    return;
  }
  const planId = printable(summary.planId);
  const standing = await client.standing(summary.planId!);
  terminal.line(
    summary.existing ? `Plan ${planId} exists already; it is ${standing.plan.state}.` : `Plan ${planId} is forked.`,
  );
  if (standing.plan.state !== "queued" || standing.try === null) return;
  terminal.talk(`Plan ${planId} waits: ${printable(standing.plan.why)}.`);
  terminal.talk(`Try: ${printable(await nextCommandHere(context, standing.plan, standing.try))}`);
}

async function forkOptions(context: CommandContext, flags: ForkFlags): Promise<ForkPlacement> {
  return {
    ...(flags.fromStep !== undefined && { fromStep: flags.fromStep }),
    ...(flags.fromCheckpoint !== undefined && { fromCheckpoint: flags.fromCheckpoint }),
    ...(flags.fromDecision !== undefined && { fromDecision: flags.fromDecision }),
    ...(flags.choose !== undefined && { choose: await chosenValue(flags.choose, context.io) }),
    ...(flags.id !== undefined && { planId: flags.id }),
    ...(flags.dryRun === true && { dryRun: true }),
  };
}

/** Checked as that of a submit. @throws UsageError, InvalidInputError */
async function newInput(
  context: CommandContext,
  source: string,
  values: readonly string[],
  plans: string | undefined,
): Promise<string> {
  const { compiled, workdir } = await context.client.definition(source);
  if (compiled.definition.source === "document") {
    return planInput(values, { kind: "stored", compiled, workdir }, context.io);
  }
  return planInput(values, await codeOf(context, compiled.definition.name, workdir, plans), context.io);
}

/** The module whose schema checks the input. One that only Redis names is imported only where Redis is our own. */
async function codeOf(
  context: CommandContext,
  name: string,
  workdir: string | null,
  plans: string | undefined,
): Promise<LoadedDefinition> {
  const known = workdir !== null && isModule(workdir) && existsSync(workdir) && (await context.usesEmbeddedStore());
  const path = plans !== undefined ? resolve(context.io.cwd, plans) : known ? workdir : null;
  const loaded = path === null ? null : await loadFile(path, plans ?? path);
  if (loaded?.compiled.definition.name === name) return loaded;
  throw new UsageError(`The input of ${name} is checked by its code: name its module with --plans FILE`, {
    details: { name },
    try: "plan fork --help",
  });
}
