/**
 * Resume, for library and command line alike: read, decide, and carry out exactly what was decided. A dry-run stops
 * before the write and is otherwise the same path.
 */
import { assess, type ResumeDecision, type ResumeFacts, type ResumeSummary } from "../core/eligibility.js";
import { type ErrorDocument, NotEligibleError, WaymarkError } from "../core/errors.js";
import type { PlanStore, Preview } from "../core/ports.js";

export interface ResumeOptions {
  readonly dryRun?: boolean;
  /** The `resumeToken` of a dry-run: resume only if nothing that matters changed since. */
  readonly expect?: string;
  /** A repeated request gets the first one's answer. */
  readonly requestId?: string;
  readonly reason?: string;
  /** Runs this step and everything that needs it again. */
  readonly fromStep?: string;
  /** The document's folder on the machine that will execute. */
  readonly workdir?: string;
  readonly actor?: string;
}

/** What a resume that executes in this process adds. */
export interface ExecutesHere {
  /** Null for a dry-run, which starts no worker. */
  readonly privateQueue: string | null;
  /** What a step needs on this machine and isn't there: a folder, or the module of a plan in code. */
  missingWorkdir(read: Preview): Promise<string | null>;
}

export interface ResumeOutcome {
  readonly summary: ResumeSummary;
  /** Whether it is the stored answer to an earlier request of the same id. */
  readonly repeated: boolean;
}

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
): Promise<ResumeOutcome> {
  for (let reads = 1; reads <= MOST_READS; reads++) {
    const found = await decide(store, planId, options, here);
    if (options.dryRun) return { summary: found.decision.summary, repeated: false };
    const answer = await carryOut(store, planId, found, options, here);
    if (answer !== "stale") return answer;
  }
  throw new WaymarkError("FENCED", `Plan ${planId} changed ${MOST_READS} times while it was being resumed`, {
    details: { plan_id: planId },
    try: `plan get ${planId}`,
  });
}

async function decide(
  store: PlanStore,
  planId: string,
  options: ResumeOptions,
  here: ExecutesHere | null,
): Promise<FoundDecision> {
  // A rewind must know every done step; a plain resume only the frontier.
  const read = await store.preview(planId, options.fromStep !== undefined);
  const facts: ResumeFacts = {
    view: read.view,
    compiled: read.compiled,
    doneSteps: read.doneSteps,
    missingWorkdir: here === null ? null : await here.missingWorkdir(read),
  };
  const decision = assess(facts, {
    from: options.fromStep === undefined ? { kind: "frontier" } : { kind: "step", stepId: options.fromStep },
    reason: options.reason ?? null,
    expect: options.expect ?? null,
  });
  return { read, decision: decision.summary.eligible ? expected(decision, options.expect) : decision };
}

/** Refuses what differs from the dry-run that was looked at. A dry-run with `expect` says so as well. */
function expected(decision: ResumeDecision, token: string | undefined): ResumeDecision {
  const { summary } = decision;
  if (token === undefined || token === summary.resumeToken) return decision;
  const error: ErrorDocument = {
    code: "PREVIEW_STALE",
    message: `Plan ${summary.planId} changed since that dry-run: its token is now ${summary.resumeToken}, not ${token}`,
    details: { plan_id: summary.planId, expected: token, current: summary.resumeToken },
    try: `plan resume ${summary.planId} --dry-run`,
  };
  return { actions: null, summary: { ...summary, eligible: false, error } };
}

async function carryOut(
  store: PlanStore,
  planId: string,
  { read, decision }: FoundDecision,
  options: ResumeOptions & { readonly actor: string },
  here: ExecutesHere | null,
): Promise<ResumeOutcome | "stale"> {
  if (decision.actions === null) {
    // A refused request may be the repetition of one that won: the plan is active because of it.
    const stored = options.requestId === undefined ? null : await store.storedAnswer(planId, options.requestId);
    if (stored !== null) return repetition(stored);
    throw notEligible(decision);
  }
  const summary: ResumeSummary = { ...decision.summary, dryRun: false };
  const answer = await store.resume({
    decision: { ...decision, summary },
    view: read.view,
    answer: JSON.stringify(summary),
    requestId: options.requestId ?? null,
    actor: options.actor,
    reason: options.reason ?? null,
    privateQueue: here?.privateQueue ?? null,
    workdir: options.workdir ?? null,
    records: read.records,
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
