/** `plan resume`: shows what resume would do, does it and, where this process executes, sees it through to the end. */
import { resolve } from "node:path";
import { text } from "node:stream/consumers";
import type { Ack, ResumeOptions } from "../../client/resume.js";
import type { DriftPolicy } from "../../core/drift.js";
import { EXIT_CODES, NotEligibleError, UsageError } from "../../core/errors.js";
import { planCommand } from "../../core/plan-command.js";
import type { ResumeSummary } from "../../core/resume-summary.js";
import { confirm } from "../confirm.js";
import type { CommandContext } from "../context.js";
import { chosenValue, jsonValue } from "../input-values.js";
import { listQuery, type Selection } from "../list-query.js";
import { offerFrom } from "../offered-definition.js";
import { waitForEnd } from "../outcome.js";
import { printable } from "../render/printable.js";
import { renderResumeSummary } from "../render/resume-summary.js";
import { errorDocument, exitCodeOf } from "../render/terminal.js";
import { hereFor, resumeHere } from "../resume-here.js";

export interface ResumeFlags extends Selection {
  readonly dryRun?: boolean;
  readonly fromStep?: string;
  readonly fromCheckpoint?: string;
  readonly fromDecision?: string;
  readonly choose?: string;
  readonly ack?: readonly string[];
  readonly onDrift?: string;
  readonly expect?: string;
  readonly requestId?: string;
  readonly reason?: string;
  readonly workdir?: string;
  readonly plans?: readonly string[];
  readonly here?: boolean;
  readonly allowShell?: boolean;
  readonly detach?: boolean;
  readonly wait?: boolean;
  readonly all?: boolean;
  readonly yes?: boolean;
}

/** Prints the one document of a resume, or keeps it for the list. */
type Emit = (document: object) => void;

const MOST_PLANS = 10_000;

export async function resume(context: CommandContext, args: readonly string[], flags: ResumeFlags): Promise<number> {
  const ids = flags.all ? [] : await named(context, args);
  checkFlags(args, ids, flags);
  const { terminal } = context;
  if (!flags.all && ids.length === 1) {
    const emit: Emit = (document) =>
      terminal.format === "jsonl" ? terminal.item(document) : terminal.document(document);
    return (await resumeOne(context, ids[0]!, flags, emit)).exitCode;
  }
  const plans = flags.all ? await selected(context, flags) : ids;
  if (flags.all && plans.length === 0) terminal.talk("No plan is in these states.");
  if (flags.all && plans.length > 0 && !flags.dryRun && !flags.yes) {
    await confirm(
      context,
      `Resume ${plans.length} ${plans.length === 1 ? "plan" : "plans"}?`,
      planCommand("resume", ...wordsOf(flags), "--yes"),
    );
  }
  return resumeMany(context, plans, flags);
}

/** Options as they are typed. */
function wordsOf(flags: ResumeFlags): string[] {
  return Object.entries(flags).flatMap(([name, given]: [string, unknown]) => {
    const option = `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
    return [given].flat().flatMap((value) => (value === true ? [option] : [option, String(value)]));
  });
}

/** One after the other; what can't be resumed doesn't keep the others. @returns the first exit code that isn't 0 */
async function resumeMany(context: CommandContext, ids: readonly string[], flags: ResumeFlags): Promise<number> {
  const { terminal } = context;
  const documents: object[] = [];
  const emit: Emit = (document) => {
    if (terminal.format === "json") documents.push(document);
    else terminal.item(document);
  };
  const groups = new Map<string, string[]>();
  let exitCode = 0;
  for (const id of ids) {
    let one: Outcome;
    try {
      one = await resumeOne(context, id, flags, emit);
    } catch (error) {
      const document = errorDocument(error);
      one = { exitCode: exitCodeOf(error), called: document.code };
      // A store that is gone is gone for all of them.
      if (one.exitCode === EXIT_CODES.STORE_UNAVAILABLE) throw error;
      if (terminal.human) terminal.error(document);
      else emit({ planId: id, error: document });
    }
    groups.set(one.called, [...(groups.get(one.called) ?? []), id]);
    exitCode ||= one.exitCode;
    if (one.exitCode === 130) break;
    if (terminal.human) terminal.line();
  }
  if (terminal.format === "json") terminal.document(documents);
  if (terminal.human) printGroups(context, groups);
  return exitCode;
}

/** Plans of a group that are named. */
const NAMED_PLANS = 20;

/** What became of how many plans, by code where they were refused. */
function printGroups({ terminal }: CommandContext, groups: ReadonlyMap<string, readonly string[]>): void {
  const width = Math.max(...[...groups.keys()].map((called) => called.length));
  for (const [called, ids] of groups) {
    const more = ids.length > NAMED_PLANS ? ` and ${ids.length - NAMED_PLANS} more` : "";
    const named = ids.slice(0, NAMED_PLANS).map(printable).join(", ");
    terminal.line(`${called.padEnd(width)}  ${String(ids.length).padStart(4)}  ${named}${more}`);
  }
}

/** How it went with one plan. */
interface Outcome {
  readonly exitCode: number;
  /** The code of the refusal, or what was done. */
  readonly called: string;
}

async function resumeOne(context: CommandContext, id: string, flags: ResumeFlags, emit: Emit): Promise<Outcome> {
  const planId = await context.planId(id);
  const options = await resumeOptions(context, flags);
  const executes = !flags.detach && (flags.here === true || (await context.usesEmbeddedStore()));
  try {
    const here = executes ? hereFor(null, flags) : null;
    const offer = offerFrom(context, flags, executes);
    const preview = await context.client.resumeOn(planId, { ...options, dryRun: true }, here, offer);
    if (flags.dryRun) {
      const exitCode = await reportDryRun(context, preview.summary, emit);
      return { exitCode, called: preview.summary.error?.code ?? "would resume" };
    }
    // A refused request may repeat one that was granted: only the real resume knows.
    if (executes && preview.summary.eligible) {
      return resumed(await resumeHere(context, planId, options, flags, emit));
    }
    const { summary, repeated } = await context.client.resumeOn(planId, options, here, offer);
    return resumed(await reportEnqueued(context, summary, repeated, flags, emit));
  } catch (error) {
    if (!(error instanceof NotEligibleError)) throw error;
    await printSummary(context, error.summary);
    if (context.terminal.human) context.terminal.error(error.toDocument());
    else emit(error.summary);
    return { exitCode: error.exitCode, called: error.code };
  }
}

/** By how it ended, where this process saw that. */
function resumed(exitCode: number): Outcome {
  const called =
    exitCode === 0 ? "resumed" : exitCode === 130 ? "resumed, and interrupted" : "resumed, and not completed";
  return { exitCode, called };
}

/** The summary for people; as JSON it goes out once, at the end. */
export async function printSummary({ client, terminal }: CommandContext, summary: ResumeSummary): Promise<void> {
  if (!terminal.human) return;
  const decisions = await client.decisions(summary.planId);
  const decision = decisions.find(({ decisionId }) => decisionId === summary.decisionId);
  const choice = decision === undefined || decision.step === null ? undefined : decision.choice;
  terminal.line(renderResumeSummary(summary, { choice }, terminal.colors));
}

async function reportDryRun(context: CommandContext, summary: ResumeSummary, emit: Emit): Promise<number> {
  const { terminal } = context;
  await printSummary(context, summary);
  if (!terminal.human) emit(summary);
  else {
    terminal.line("(dry run) nothing was written");
    if (summary.error !== null) terminal.error(summary.error);
  }
  return summary.error === null ? 0 : EXIT_CODES[summary.error.code];
}

async function reportEnqueued(
  context: CommandContext,
  summary: ResumeSummary,
  repeated: boolean,
  flags: ResumeFlags,
  emit: Emit,
): Promise<number> {
  const { client, terminal } = context;
  const { planId } = summary;
  await printSummary(context, summary);
  if (repeated)
    terminal.talk(`Plan ${printable(planId)} was resumed by an earlier request of this id; this is its answer.`);
  const standing = await client.standing(planId);
  if (summary.workers === 0 && !repeated) {
    terminal.talk(
      `No live worker can take ${printable(summary.step ?? "its steps")} of plan ${printable(planId)}: start one with plan worker`,
    );
  }
  if (flags.wait) return waitForEnd(context, planId, { document: (plan) => ({ ...summary, outcome: plan }), emit });
  if (!terminal.human) emit({ ...summary, outcome: standing.plan });
  else if (!repeated)
    terminal.line(`Plan ${printable(planId)} is resumed: epoch ${summary.nextEpoch}, ${standing.plan.state}.`);
  return 0;
}

async function resumeOptions(context: CommandContext, flags: ResumeFlags): Promise<ResumeOptions> {
  return {
    ...(flags.fromCheckpoint !== undefined && { fromCheckpoint: flags.fromCheckpoint }),
    ...(flags.fromDecision !== undefined && { fromDecision: flags.fromDecision }),
    ...(flags.choose !== undefined && { choose: await chosenValue(flags.choose, context.io) }),
    ...(flags.onDrift !== undefined && { onDrift: driftPolicy(flags.onDrift) }),
    ...(flags.ack !== undefined && { acks: await acknowledgements(context, flags.ack) }),
    ...(flags.fromStep !== undefined && { fromStep: flags.fromStep }),
    ...(flags.expect !== undefined && { expect: flags.expect }),
    ...(flags.requestId !== undefined && { requestId: flags.requestId }),
    ...(flags.reason !== undefined && { reason: flags.reason }),
    ...(flags.workdir !== undefined && { workdir: resolve(context.io.cwd, flags.workdir) }),
  };
}

function driftPolicy(given: string): Exclude<DriftPolicy, "report"> {
  if (given === "refuse" || given === "keep" || given === "rerun") return given;
  throw new UsageError(`--on-drift is refuse, keep or rerun, not ${printable(given)}`, { try: "plan resume --help" });
}

/** `STEP=done`, `STEP=redo`, `STEP=done:JSON` or `STEP=done:@file`. */
async function acknowledgements({ io }: CommandContext, given: readonly string[]): Promise<Record<string, Ack>> {
  const acks = new Map<string, Ack>();
  for (const text of given) {
    const match = /^([^=]+)=(done|redo)(?::(.+))?$/s.exec(text);
    if (!match || (match[2] === "redo" && match[3] !== undefined)) {
      throw new UsageError(
        `--ack takes STEP=done, STEP=done:JSON, STEP=done:@file or STEP=redo, not ${printable(text)}`,
        {
          try: "plan resume --help",
        },
      );
    }
    const [, step, said, output] = match;
    if (acks.has(step!)) throw new UsageError(`--ack says twice what happened to ${printable(step!)}`);
    if (said === "redo") acks.set(step!, { said });
    else acks.set(step!, { said: "done", output: output === undefined ? null : await jsonValue("--ack", output, io) });
  }
  return Object.fromEntries(acks);
}

async function named({ io }: CommandContext, args: readonly string[]): Promise<string[]> {
  const ids = await Promise.all(args.map(async (arg) => (arg === "-" ? (await text(io.stdin)).split(/\s+/) : [arg])));
  return [...new Set(ids.flat().filter((id) => id !== ""))];
}

/** Oldest first, so that what waited longest goes first. */
async function selected({ client }: CommandContext, flags: ResumeFlags): Promise<string[]> {
  const query = listQuery({ ...flags, state: flags.state ?? "interrupted,failed" });
  const plans = await client.list({ ...query, limit: MOST_PLANS });
  return plans.map((plan) => plan.planId).reverse();
}

function checkFlags(args: readonly string[], ids: readonly string[], flags: ResumeFlags): void {
  const usage = (message: string) => new UsageError(message, { try: "plan resume --help" });
  if (flags.all && args.length > 0) throw usage("plan resume takes ids or --all, not both");
  if (!flags.all && args.length === 0) throw usage("plan resume takes the id of a plan, - for ids on stdin, or --all");
  if (!flags.all && (flags.state ?? flags.name ?? flags.since) !== undefined) {
    throw usage("--state, --name and --since select plans for --all");
  }
  if (ids.length > 1 || flags.all) {
    const single = [
      flags.fromStep && "--from-step",
      flags.fromCheckpoint && "--from-checkpoint",
      flags.fromDecision && "--from-decision",
      flags.choose && "--choose",
      flags.ack && "--ack",
      flags.expect && "--expect",
    ].filter(Boolean);
    if (single.length > 0) throw usage(`${single.join(" and ")} ${single.length === 1 ? "is" : "are"} for one plan`);
  }
  if (flags.requestId === "") throw usage("--request-id is empty");
  if (flags.allowShell && !flags.here) throw usage("--allow-shell goes with --here");
}
