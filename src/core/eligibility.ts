/**
 * The one function that says whether a plan can be resumed and what that would do. `--dry-run` prints its answer and
 * a real resume carries it out, so they cannot differ. Pure: the view and the time are arguments.
 */
import { type CompiledDefinition, descendants } from "./definition.js";
import { formatDurationMs } from "./duration.js";
import type { ErrorDocument } from "./errors.js";
import { digestOf } from "./json.js";
import {
  canProgress,
  isTerminal,
  type OpenStep,
  type PlanState,
  type PlanStop,
  type PlanView,
  planState,
} from "./plan.js";

/** Names are listed in full up to this many steps; beyond, the nearest `LISTED_STEPS` and exact counts. */
export const FULL_LIST_LIMIT = 500;
export const LISTED_STEPS = 20;

export type ResumePoint =
  | { readonly kind: "frontier" }
  | { readonly kind: "step"; readonly stepId: string }
  /** Keeps the checkpoint's step. `stepId` is null where the current line has no such checkpoint. */
  | { readonly kind: "checkpoint"; readonly checkpointId: string; readonly stepId: string | null }
  /** Takes the decision anew: runs the step that made it. The root decision, the submission, has `root` for a step. */
  | {
      readonly kind: "decision";
      readonly decisionId: string;
      readonly stepId: string | { readonly root: true } | null;
    };

/** What a person says of an irreversible step that started and has no record. */
export type Acknowledgement =
  /** It happened; this is its output, serialised. */
  { readonly said: "done"; readonly output: string } | { readonly said: "redo" };

export interface ResumeRequest {
  readonly from: ResumePoint;
  /** By step id. */
  readonly acks: ReadonlyMap<string, Acknowledgement>;
  readonly reason: string | null;
}

/** What the caller read for the decision, in one consistent moment. */
export interface ResumeFacts {
  readonly view: PlanView;
  /** Null where the plan is too large to list in full. */
  readonly compiled: CompiledDefinition | null;
  /** Ids of done steps: all of them where `compiled` is there, else the newest. */
  readonly doneSteps: readonly string[];
  /** Whether the document's folder is needed and missing on this machine. */
  readonly missingWorkdir: string | null;
}

/** What resume would do, or did. The CLI prints it in snake_case. */
export interface ResumeSummary {
  readonly planId: string;
  readonly name: string;
  readonly version: number;
  readonly state: PlanState;
  readonly why: string;
  readonly eligible: boolean;
  readonly phase: string;
  /** The first step that would run, or null. */
  readonly step: string | null;
  /** Its place among all steps, from 1, and how many there are. */
  readonly stepNumber: number | null;
  readonly total: number;
  readonly decisionId: string;
  readonly lastCompletedStep: string | null;
  readonly lastCheckpointId: string | null;
  readonly sandbox: null;
  readonly epoch: number;
  readonly nextEpoch: number;
  readonly reuse: readonly string[];
  readonly reuseCount: number;
  readonly run: readonly string[];
  readonly runCount: number;
  readonly ackRequired: readonly string[];
  readonly newKey: readonly string[];
  readonly drift: readonly string[];
  readonly from: string | null;
  readonly reason: string | null;
  /** Live workers that can take a step of the frontier. */
  readonly workers: number;
  readonly resumeToken: string;
  readonly dryRun: boolean;
  readonly error: ErrorDocument | null;
}

/** What the write has to do. Steps by id; `superseded` lose their records, `restart` get a new job. `acknowledged` are recorded first. */
export interface ResumeActions {
  readonly superseded: readonly string[];
  readonly restart: readonly string[];
  /** Done needs of superseded steps that aren't free to run: what their counters become. */
  readonly recount: ReadonlyMap<string, number>;
  readonly acknowledged: readonly {
    readonly stepId: string;
    readonly said: "done" | "redo";
    readonly output: string;
  }[];
}

export interface ResumeDecision {
  readonly summary: ResumeSummary;
  /** Null where the plan is not eligible. */
  readonly actions: ResumeActions | null;
}

interface KnownFacts extends ResumeFacts {
  readonly done: ReadonlySet<string>;
}

export function assess(read: ResumeFacts, request: ResumeRequest): ResumeDecision {
  const facts: KnownFacts = { ...read, done: new Set(read.doneSteps) };
  const { view } = facts;
  const state = planState(view);
  const refusal = refuse(facts, request, state);
  const actions = refusal ? null : plannedActions(facts, request);
  const { meta } = view;
  const superseded = new Set(actions?.superseded);
  const reuse = facts.doneSteps.filter((id) => !superseded.has(id));
  const reuseCount = meta.done - [...superseded].filter((id) => facts.done.has(id)).length;
  const settled = (actions?.acknowledged ?? []).filter((ack) => ack.said === "done").map((ack) => ack.stepId);
  const kept = new Set([...reuse, ...settled]);
  const run = actions ? stepsToRun(facts, actions, kept) : [];
  const first = actions ? firstToRun(facts, actions, run, kept) : firstOpen(facts);
  // What was done and what was begun. Not the revision: the process that resumes may itself be the first to see that a
  // worker is dead, and give its steps back before it decides.
  const shape = {
    planId: meta.planId,
    epoch: meta.epoch,
    fence: meta.fence,
    done: meta.done,
    checkpoint: meta.lastCheckpointId,
    decision: meta.lastDecisionId,
    definition: meta.definitionDigest,
    from: describePoint(request.from),
    acks: [...request.acks].sort(([a], [b]) => (a < b ? -1 : 1)),
  };
  return {
    actions,
    summary: {
      planId: meta.planId,
      name: meta.name,
      version: meta.version,
      state,
      why: explainState(view, state),
      eligible: refusal === null,
      phase: (first === null ? undefined : phaseOf(facts, first)) ?? meta.phase,
      step: first,
      stepNumber: first === null ? null : stepNumber(facts, first),
      total: meta.total,
      decisionId: meta.lastDecisionId,
      lastCompletedStep: meta.lastCompletedStep,
      lastCheckpointId: meta.lastCheckpointId,
      sandbox: null,
      epoch: meta.epoch,
      nextEpoch: refusal ? meta.epoch : meta.epoch + 1,
      reuse: facts.compiled ? reuse : reuse.slice(-LISTED_STEPS),
      reuseCount,
      run: facts.compiled ? run : run.slice(0, LISTED_STEPS),
      runCount: actions ? meta.total - reuseCount - settled.length : 0,
      ackRequired: uncertainSteps(facts, request),
      newKey: actions ? actions.superseded : [],
      drift: [],
      from: describePoint(request.from),
      reason: request.reason,
      workers: view.liveWorkers,
      resumeToken: `wmk1.${digestOf(shape).slice(0, 24)}`,
      dryRun: true,
      error: refusal,
    },
  };
}

/** Why the plan is in the state it is in, in one sentence with the facts. */
export function explainState(view: PlanView, state: PlanState): string {
  const { meta } = view;
  switch (state) {
    case "completed":
      return meta.total === 1 ? "its step is done" : `all ${meta.total} steps are done`;
    case "cancelled":
      return `it was cancelled${byWhom(meta.stop)}`;
    case "paused":
      return `it was paused${byWhom(meta.stop)}`;
    case "queued": {
      const queue = view.open[0]?.queue;
      if (queue === undefined) return "no step is released yet";
      return view.servers.get(queue)
        ? `waiting for a worker on queue ${queue}`
        : `no live worker serves queue ${queue}`;
    }
    case "running": {
      const active = view.open.filter((step) => canProgress(step, view));
      const running = active.filter((step) => step.kind === "running");
      if (running.length > 0) {
        const then = meta.stop === null ? "" : `; then the plan pauses, as asked${byWhom(meta.stop)}`;
        return `${names(running)} ${running.length === 1 ? "is" : "are"} executing${then}`;
      }
      const delayed = active.find((step) => step.kind === "delayed");
      if (delayed?.kind === "delayed") {
        const inMs = Math.max(0, delayed.dueAt - view.now);
        return `${delayed.stepId} runs again in ${formatDurationMs(inMs)} (attempt ${delayed.attempts + 1})`;
      }
      return `${names(active)} ${active.length === 1 ? "is" : "are"} queued`;
    }
    case "failed":
      return explainFailure(view.open.filter((step) => step.kind === "failed"));
    case "waiting":
      return `waits for ${view.open
        .filter((step) => step.kind === "waiting")
        .map(describeWait)
        .join(", ")}`;
    case "interrupted": {
      const uncertain = view.open.find((step) => step.kind === "uncertain");
      if (uncertain) return `${uncertain.stepId} cannot be undone, was cut off, and left no record`;
      const lost = view.open.find((step) => step.kind === "running");
      if (lost?.kind === "running") {
        const owner = view.owners.get(lost.workerId);
        return `worker ${owner?.label ?? lost.workerId} was lost in ${lost.stepId}`;
      }
      const waiting = view.open.find(
        (step) => step.kind === "queued" || step.kind === "delayed" || step.kind === "backlog",
      );
      if (waiting) return `${waiting.stepId} was handed back and ${nobodyServes(view, waiting.queue)}`;
      const timed = view.open.find((step) => step.kind === "waiting" && step.dueAt !== null);
      if (timed?.kind === "waiting") {
        const what = timed.wait === "timer" ? "its timer" : "an answer that has a time limit";
        return `${timed.stepId} waits for ${what} and ${nobodyServes(view, timed.queue)}`;
      }
      return "nothing is left that could run it";
    }
    default:
      return state satisfies never;
  }
}

function byWhom(stop: PlanStop | null): string {
  if (stop === null) return "";
  return ` by ${stop.by}${stop.reason === null ? "" : `: ${stop.reason}`}`;
}

function explainFailure(failed: readonly FailedStep[]): string {
  const killers = failed.filter((step) => step.quarantined);
  if (killers.length === 0) return `${names(failed)} failed`;
  const taken = `${names(killers)} ${killers.length === 1 ? "was" : "were"} taken out after killing workers`;
  return killers.length === failed.length ? taken : `${names(failed)} failed; ${taken}`;
}

/** A private queue's name says nothing to people. */
function nobodyServes(view: PlanView, queue: string): string {
  if (queue === view.meta.privateQueue) return "the process that executed the plan is gone";
  return `no live worker serves queue ${queue}`;
}

export function describePoint(point: ResumePoint): string | null {
  switch (point.kind) {
    case "frontier":
      return null;
    case "step":
      return `step ${point.stepId}`;
    case "checkpoint":
      return `checkpoint ${point.checkpointId}`;
    case "decision":
      return `decision ${point.decisionId}`;
    default:
      return point satisfies never;
  }
}

function refuse(facts: KnownFacts, request: ResumeRequest, state: PlanState): ErrorDocument | null {
  const { view } = facts;
  const { planId } = view.meta;
  if (isTerminal(state)) {
    return {
      code: "PLAN_TERMINAL",
      message: `Plan ${planId} is ${state} and never changes again`,
      details: { plan_id: planId, state },
      try: `plan get ${planId}`,
    };
  }
  const active = view.open.find((step) => canProgress(step, view));
  if (active) return refuseActive(view, active);
  const misplaced = refusePoint(facts, request.from);
  if (misplaced) return misplaced;
  if (state === "waiting" && !rewoundSteps(facts, request.from).some((id) => isReached(facts, id))) {
    const waiting = view.open.filter((step) => step.kind === "waiting");
    const step = waiting.find(({ wait }) => wait !== "timer") ?? waiting[0]!;
    return {
      code: "PLAN_WAITING",
      message: `Plan ${planId} waits for ${describeWait(step)}`,
      details: { plan_id: planId, step: step.stepId, wait: step.wait },
      try: waitCommand(planId, step),
    };
  }
  const unanswered = uncertainSteps(facts, request).filter((id) => !request.acks.has(id));
  if (unanswered.length > 0) {
    const [first] = unanswered;
    return {
      code: "ACK_REQUIRED",
      message: `${unanswered.join(", ")} of plan ${planId} cannot be undone, started, and left no record: say whether it happened`,
      details: { plan_id: planId, steps: unanswered },
      try: `plan resume ${planId} --ack ${first}=done`,
    };
  }
  if (facts.missingWorkdir !== null) {
    return {
      code: "WORKDIR_MISSING",
      message: `Plan ${planId} runs in ${facts.missingWorkdir}, which is not on this machine`,
      details: { plan_id: planId, workdir: facts.missingWorkdir },
      try: `plan resume ${planId} --workdir PATH`,
    };
  }
  return null;
}

function refusePoint(facts: KnownFacts, from: ResumePoint): ErrorDocument | null {
  const { planId } = facts.view.meta;
  switch (from.kind) {
    case "frontier":
      return null;
    case "checkpoint":
      if (from.stepId !== null) return null;
      return {
        code: "CHECKPOINT_NOT_FOUND",
        message: `The current line of plan ${planId} has no checkpoint ${from.checkpointId}`,
        details: { plan_id: planId, checkpoint_id: from.checkpointId },
        try: `plan checkpoints ${planId}`,
      };
    case "decision":
      if (from.stepId !== null) return null;
      return {
        code: "DECISION_NOT_FOUND",
        message: `Plan ${planId} has no decision ${from.decisionId}`,
        details: { plan_id: planId, decision_id: from.decisionId },
        try: `plan decisions ${planId}`,
      };
    case "step": {
      const { stepId } = from;
      const steps = facts.compiled?.steps;
      if (steps && !steps.has(stepId)) {
        const some = [...steps.keys()].slice(0, 20).join(", ");
        return {
          code: "STEP_NOT_FOUND",
          message: `Plan ${planId} has no step ${stepId}; it has ${some}${steps.size > 20 ? ` and ${steps.size - 20} more` : ""}`,
          details: { plan_id: planId, step: stepId },
          try: `plan get ${planId}`,
        };
      }
      if (isReached(facts, stepId)) return null;
      return {
        code: "STEP_NOT_FOUND",
        message: `Step ${stepId} of plan ${planId} has not been reached: there is nothing to run again`,
        details: { plan_id: planId, step: stepId },
        try: `plan resume ${planId} --dry-run`,
      };
    }
    default:
      return from satisfies never;
  }
}

function refuseActive(view: PlanView, step: OpenStep): ErrorDocument {
  const { planId } = view.meta;
  // A step can only make progress by a worker that was seen.
  const worker = (step.kind === "running" ? view.owners.get(step.workerId) : view.servers.get(step.queue))!;
  const seen = formatDurationMs(Math.max(0, view.now - worker.lastSeenAt));
  const doing = step.kind === "running" ? "executes" : "can take";
  return {
    code: "PLAN_ACTIVE",
    message: `Worker ${worker.label} ${doing} step ${step.stepId} of plan ${planId}, last seen ${seen} ago`,
    details: {
      plan_id: planId,
      step: step.stepId,
      worker: worker.workerId,
      label: worker.label,
      last_seen: new Date(worker.lastSeenAt).toISOString(),
    },
    try: `plan watch ${planId}`,
  };
}

function plannedActions(facts: KnownFacts, request: ResumeRequest): ResumeActions {
  const { view, compiled } = facts;
  const { done } = facts;
  const below = new Set(rewoundSteps(facts, request.from));
  const acknowledged = uncertainSteps(facts, request).map((stepId) => {
    const ack = request.acks.get(stepId)!;
    return { stepId, said: ack.said, output: ack.said === "done" ? ack.output : "null" };
  });
  const settled = new Set(acknowledged.filter((ack) => ack.said === "done").map((ack) => ack.stepId));
  const restart = view.open
    .filter((step) => restarts(step) && !below.has(step.stepId) && !settled.has(step.stepId))
    .map((step) => step.stepId);
  const recount = new Map<string, number>();
  for (const id of below) {
    const { needs } = compiled!.steps.get(id)!;
    const stillDone = needs.filter((need) => done.has(need) && !below.has(need)).length;
    if (stillDone === needs.length) restart.push(id);
    else recount.set(id, stillDone);
  }
  // Only what has been reached can be superseded; the rest runs anyway, when its turn comes.
  const superseded = [...below].filter((id) => isReached(facts, id));
  return { superseded, restart, recount, acknowledged };
}

/** The steps that a rewind runs again: those at its point, and all that need them. None where there is no such point. */
function rewoundSteps({ compiled }: KnownFacts, from: ResumePoint): string[] {
  if (from.kind === "frontier" || compiled === null || from.stepId === null) return [];
  if (typeof from.stepId !== "string") return descendants(compiled, compiled.roots);
  const step = compiled.steps.get(from.stepId);
  if (!step) return [];
  return descendants(compiled, from.kind === "checkpoint" ? step.next : [step.id]);
}

/** Irreversible steps that started and have no record, and that a rewind would not supersede anyway. */
function uncertainSteps(facts: KnownFacts, request: ResumeRequest): string[] {
  const suspects = facts.view.open.filter(
    (step) => step.effect === "irreversible" && step.attempts > 0 && step.kind !== "waiting",
  );
  if (suspects.length === 0) return [];
  const below = new Set(rewoundSteps(facts, request.from));
  return suspects.map((step) => step.stepId).filter((id) => !below.has(id));
}

function isReached(facts: KnownFacts, stepId: string): boolean {
  return facts.done.has(stepId) || facts.view.open.some((step) => step.stepId === stepId);
}

/** Whether resume gives the step a new job. What waits for a person or a signal goes on waiting. */
function restarts(step: OpenStep): boolean {
  return step.kind !== "waiting" || step.wait === "timer";
}

/** All that is not kept, in listed order; of a plan that is too large to list, only what can start. */
function stepsToRun(facts: KnownFacts, actions: ResumeActions, kept: ReadonlySet<string>): string[] {
  if (facts.compiled) return [...facts.compiled.steps.keys()].filter((id) => !kept.has(id));
  return [...actions.restart, ...facts.view.open.filter((step) => !restarts(step)).map((step) => step.stepId)];
}

/** The first that can start at once; where nothing can, the first that goes on waiting. */
function firstToRun(
  { view, compiled }: KnownFacts,
  actions: ResumeActions,
  run: readonly string[],
  kept: ReadonlySet<string>,
): string | null {
  const free = compiled ? run.filter((id) => compiled.steps.get(id)!.needs.every((need) => kept.has(need))) : run;
  const superseded = new Set(actions.superseded);
  const waiting = new Set(
    view.open.filter((step) => !restarts(step) && !superseded.has(step.stepId)).map((step) => step.stepId),
  );
  return free.find((id) => !waiting.has(id)) ?? free[0] ?? null;
}

function firstOpen({ view, compiled }: KnownFacts): string | null {
  const place = (step: OpenStep) => compiled?.steps.get(step.stepId)?.index ?? 0;
  return [...view.open].sort((a, b) => place(a) - place(b))[0]?.stepId ?? null;
}

function phaseOf({ view, compiled }: KnownFacts, id: string): string | undefined {
  return (compiled?.steps.get(id) ?? view.open.find((step) => step.stepId === id))?.phase;
}

function stepNumber(facts: KnownFacts, id: string): number | null {
  const index = facts.compiled?.steps.get(id)?.index;
  return index === undefined ? null : index + 1;
}

function names(steps: readonly OpenStep[]): string {
  const ids = steps.map((step) => step.stepId);
  return ids.length <= 5 ? ids.join(", ") : `${ids.slice(0, 5).join(", ")} and ${ids.length - 5} more`;
}

type FailedStep = Extract<OpenStep, { readonly kind: "failed" }>;
export type WaitingStep = Extract<OpenStep, { readonly kind: "waiting" }>;

function describeWait(step: WaitingStep): string {
  switch (step.wait) {
    case "approval":
      return `an approval of ${step.stepId}`;
    case "choice":
      return `a choice of ${step.stepId}`;
    case "signal":
      return `a signal to ${step.stepId}${due(step, "until")}`;
    case "timer":
      return `the timer of ${step.stepId}${due(step, "due")}`;
    default:
      return step.wait satisfies never;
  }
}

function due({ dueAt }: WaitingStep, word: string): string {
  return dueAt === null ? "" : ` (${word} ${new Date(dueAt).toISOString()})`;
}

/** What gives a waiting step its answer. `plan decide` without a choice names the options. */
export function waitCommand(planId: string, step: Pick<WaitingStep, "stepId" | "wait">): string {
  switch (step.wait) {
    case "approval":
      return `plan approve ${planId} ${step.stepId}`;
    case "choice":
      return `plan decide ${planId} ${step.stepId}`;
    case "signal":
      return `plan signal ${planId} ${step.stepId}`;
    case "timer":
      return `plan watch ${planId}`;
    default:
      return step.wait satisfies never;
  }
}
