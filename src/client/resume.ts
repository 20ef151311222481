/**
 * Resume, for library and command line alike: read, decide, and carry out exactly what was decided. A dry-run stops
 * before the write and is otherwise the same path.
 */

import type { CompiledDefinition } from "../core/definition.js";
import type { DriftPolicy } from "../core/drift.js";
import { assess, type ResumeDecision } from "../core/eligibility.js";
import { type ErrorDocument, NotEligibleError, UsageError, WaymarkError } from "../core/errors.js";
import { type Json, toStoredJson } from "../core/json.js";
import type { PlanStore, Preview } from "../core/ports.js";
import type { Acknowledgement } from "../core/resume-request.js";
import type { ResumeSummary } from "../core/resume-summary.js";
import type { ResumePoint } from "../core/rewind.js";
import { checkTexts, misfit } from "./check-options.js";
import { FilesHere } from "./files-here.js";
import { type OpenSandboxes, sandboxesByDefault } from "./sandboxes.js";

/** An earlier point of a plan. At most one of the three may be given. */
export interface PointOptions {
  /** Runs this step and everything that needs it again. */
  readonly fromStep?: string;
  /** Keeps this checkpoint's step and runs everything that needs it again. */
  readonly fromCheckpoint?: string;
  /** Takes this decision anew: runs the step that made it, and everything that needs it, again. */
  readonly fromDecision?: string;
  /** With `fromDecision`: what it is set to, instead of being asked again. */
  readonly choose?: unknown;
}

export interface ResumeOptions extends PointOptions {
  readonly dryRun?: boolean;
  /** The `resumeToken` of a dry-run: resume only if nothing that matters changed since. */
  readonly expect?: string;
  /** A repeated request gets the first one's answer. */
  readonly requestId?: string;
  readonly reason?: string;
  /** What a person says of irreversible steps that started and have no record, by step id. */
  readonly acks?: Readonly<Record<string, Ack>>;
  /** The definition as it is now, such as a plan made with `definePlan`: compared with the one that the plan runs under. */
  readonly definition?: { readonly compiled: CompiledDefinition };
  /**
   * What becomes of a difference: refuse, keep what is recorded and go on under the new definition, or rerun under it from
   * the first changed step. Unless given, code refuses and a document that changed is only reported.
   */
  readonly onDrift?: Exclude<DriftPolicy, "report">;
  /** The document's folder on the machine that will execute. */
  readonly workdir?: string;
  readonly actor?: string;
}

/** Whether it happened; where it did, its output. */
export type Ack = { readonly said: "done"; readonly output?: unknown } | { readonly said: "redo" };

/** What a resume that executes in this process adds. */
export interface ExecutesHere {
  /** Null for a dry-run, which starts no worker. */
  readonly privateQueue: string | null;
  /** What a step needs on this machine and isn't there: a folder, or the module of a plan in code. */
  missingWorkdir(read: Preview): Promise<string | null>;
}

/** Finds the definition as it is now, or null where there is none at hand. */
export type OfferDefinition = (read: Preview) => Promise<CompiledDefinition | null>;

export interface ResumeOutcome {
  readonly summary: ResumeSummary;
  /** Whether it is the stored answer to an earlier request of the same id. */
  readonly repeated: boolean;
}

const DRIFT_POLICIES: readonly DriftPolicy[] = ["refuse", "keep", "rerun"];

/** How often a plan may change under a resume before it gives up. */
const MOST_READS = 8;

/**
 * @returns what it did, or with `dryRun` what it would do, eligible or not
 * @throws NotEligibleError with the code of the refusal, such as PLAN_ACTIVE or PREVIEW_STALE
 */
export async function resumePlan(
  store: PlanStore,
  planId: string,
  options: ResumeOptions & { readonly actor: string },
  here: ExecutesHere | null = null,
  openSandboxes: OpenSandboxes = sandboxesByDefault,
  offer: OfferDefinition = async () => options.definition?.compiled ?? null,
): Promise<ResumeOutcome> {
  const files = new FilesHere(store, openSandboxes, here !== null);
  for (let reads = 1; reads <= MOST_READS; reads++) {
    const found = await decide(store, planId, options, here, files, offer);
    if (options.dryRun) return { summary: found.decision.summary, repeated: false };
    const answer = await carryOut(store, planId, found, options, here, files);
    if (answer !== "stale") return answer;
  }
  throw new WaymarkError("FENCED", `Plan ${planId} changed ${MOST_READS} times while it was being resumed`, {
    details: { planId },
    try: `plan get ${planId}`,
  });
}

async function decide(
  store: PlanStore,
  planId: string,
  options: ResumeOptions,
  here: ExecutesHere | null,
  files: FilesHere,
  offer: OfferDefinition,
): Promise<FoundDecision> {
  // What was asked for is looked at before the plan is: a slip in it has nothing to do with the plan.
  checkTexts({ ...options }, ["requestId"]);
  const { onDrift: policy } = options;
  if (policy !== undefined && !DRIFT_POLICIES.includes(policy)) {
    throw misfit("onDrift", DRIFT_POLICIES.join(", "), policy);
  }
  const asked = {
    from: pointOf(options),
    choose: choiceOf(options, store.payloadLimitBytes),
    acks: acknowledgements(options.acks ?? {}, store.payloadLimitBytes),
    reason: options.reason ?? null,
  };
  const { read, offered, onDrift } = await readWith(store, planId, options, offer);
  const request = { ...asked, onDrift, excludesOthers: here !== null || options.expect !== undefined };
  const missingWorkdir = here === null ? null : await here.missingWorkdir(read);
  const facts = { ...read, offered, files: null, missingWorkdir };
  let decision = assess(facts, request);
  if (!decision.summary.eligible) return { read, decision };
  // Only now it is known which files it goes back to.
  const found = await files.find(read, decision);
  if (found !== null) decision = assess({ ...facts, files: found }, request);
  if (!decision.summary.eligible) return { read, decision };
  if (decision.actions!.adopts !== null) await checkInput(store, planId, decision.actions!.adopts);
  const workers = here === null ? await countWorkers(store, read, decision) : decision.summary.workers;
  return { read, decision: expected({ ...decision, summary: { ...decision.summary, workers } }, options.expect) };
}

/** The plan, and the definition that is offered where it is another than the plan's. */
async function readWith(store: PlanStore, planId: string, options: ResumeOptions, offer: OfferDefinition) {
  const depth = pointOf(options).kind === "frontier" ? "frontier" : "line";
  const read = await store.preview(planId, depth);
  const found = await offer(read);
  const offered = found?.digest === read.view.meta.definitionDigest ? null : found;
  const onDrift: DriftPolicy = options.onDrift ?? (offered?.definition.source === "code" ? "refuse" : "report");
  if (offered === null || depth === "line" || (onDrift === "report" && read.compiled !== null)) {
    return { read, offered, onDrift };
  }
  return { read: await store.preview(planId, onDrift === "report" ? "full" : "line"), offered, onDrift };
}

/** @throws InvalidInputError where the plan's input doesn't fit the definition that it is to go on under */
async function checkInput(store: PlanStore, planId: string, { definition }: CompiledDefinition): Promise<void> {
  if (definition.inputSchema === null) return;
  const { validateInput } = await import("../core/input.js");
  await validateInput(definition.inputSchema, JSON.parse(await store.input(planId)));
}

/**
 * Live workers that can take what is resumed. A plan that one process executed alone goes to the queues of its steps,
 * which its view says nothing about.
 */
async function countWorkers(store: PlanStore, { view }: Preview, decision: ResumeDecision): Promise<number> {
  if (view.meta.privateQueue === null) return decision.summary.workers;
  const compiled = decision.actions!.next ?? (await store.planDefinition(view.meta));
  return countLiveWorkers(store, compiled, decision.actions!.restart);
}

/** Live workers that serve a queue of these steps. */
export async function countLiveWorkers(
  store: PlanStore,
  { steps }: CompiledDefinition,
  stepIds: readonly string[],
): Promise<number> {
  const queues = new Set(stepIds.map((stepId) => steps.get(stepId)!.queue));
  const workers = await store.workers();
  return workers.filter((worker) => worker.alive && worker.queues.some((queue) => queues.has(queue))).length;
}

/** @throws UsageError where more than one point is named */
export function pointOf({ fromStep, fromCheckpoint, fromDecision }: PointOptions): ResumePoint {
  if ([fromStep, fromCheckpoint, fromDecision].filter((point) => point !== undefined).length > 1) {
    throw new UsageError("There is one point to start from: a step, a checkpoint or a decision");
  }
  if (fromStep !== undefined) return { kind: "step", stepId: fromStep };
  if (fromCheckpoint !== undefined) return { kind: "checkpoint", checkpointId: fromCheckpoint };
  if (fromDecision !== undefined) return { kind: "decision", decisionId: fromDecision };
  return { kind: "frontier" };
}

/** @throws UsageError where there is no decision that it could be for */
export function choiceOf(
  { choose, fromDecision }: PointOptions,
  payloadLimitBytes: number,
): { readonly value: Json } | null {
  if (choose === undefined) return null;
  if (fromDecision === undefined) throw new UsageError("A choice is for a decision: name it with --from-decision");
  return { value: JSON.parse(toStoredJson(choose, "The choice", payloadLimitBytes)) as Json };
}

function acknowledgements(
  acks: Readonly<Record<string, Ack>>,
  payloadLimitBytes: number,
): ReadonlyMap<string, Acknowledgement> {
  return new Map(
    Object.entries(acks).map(([stepId, ack]): [string, Acknowledgement] => {
      if (ack?.said === "redo") return [stepId, ack];
      // Anything else that passed for it would record as done what nobody said was.
      if (ack?.said !== "done") throw misfit(`acks.${stepId}`, '{ said: "done" } or { said: "redo" }', ack);
      const output = toStoredJson(ack.output, `The output of ${stepId}`, payloadLimitBytes);
      return [stepId, { said: "done", output }];
    }),
  );
}

/** Refuses what differs from the dry-run that was looked at. A dry-run with `expect` says so as well. */
function expected(decision: ResumeDecision, token: string | undefined): ResumeDecision {
  const { summary } = decision;
  if (token === undefined || token === summary.resumeToken) return decision;
  const error: ErrorDocument = {
    code: "PREVIEW_STALE",
    message: `Plan ${summary.planId} changed since that dry-run: its token is now ${summary.resumeToken}, not ${token}`,
    details: { planId: summary.planId, expected: token, current: summary.resumeToken },
    try: `plan resume ${summary.planId} --dry-run`,
  };
  return refused(decision, error);
}

function refused({ summary }: ResumeDecision, error: ErrorDocument): ResumeDecision {
  return { actions: null, summary: { ...summary, eligible: false, error } };
}

async function carryOut(
  store: PlanStore,
  planId: string,
  { read, decision }: FoundDecision,
  options: ResumeOptions & { readonly actor: string },
  here: ExecutesHere | null,
  files: FilesHere,
): Promise<ResumeOutcome | "stale"> {
  if (decision.actions === null) {
    // A refused request may be the repetition of one that won: the plan is active because of it.
    const stored = options.requestId === undefined ? null : await store.storedAnswer(planId, options.requestId);
    if (stored !== null) return repetition(stored);
    throw notEligible(decision);
  }
  const summary: ResumeSummary = { ...decision.summary, dryRun: false };
  const discarded = summary.sandbox?.discardedSnapshot ?? null;
  const kept = discarded === null ? null : await files.keep(read);
  // The files changed since they were looked at.
  if (discarded !== null && kept?.digest !== discarded) return "stale";
  const answer = await store.resume({
    decision: { ...decision, summary },
    view: read.view,
    answer: JSON.stringify(summary),
    requestId: options.requestId ?? null,
    actor: options.actor,
    reason: options.reason ?? null,
    privateQueue: here?.privateQueue ?? null,
    workdir: options.workdir ?? null,
    kept,
  });
  switch (answer.kind) {
    case "resumed":
      return { summary, repeated: false };
    case "repeated":
      return repetition(answer.summary);
    case "stale":
      return "stale";
    default:
      return answer satisfies never;
  }
}

function repetition(answer: string): ResumeOutcome {
  return { summary: JSON.parse(answer) as ResumeSummary, repeated: true };
}

function notEligible({ summary }: ResumeDecision): NotEligibleError {
  return new NotEligibleError({ ...summary, dryRun: false, error: summary.error! });
}

interface FoundDecision {
  readonly read: Preview;
  readonly decision: ResumeDecision;
}
