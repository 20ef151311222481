/** What resume would do, or did, for people and programs: shown by a dry-run, and given out by a real one. */
import { describeDrift } from "./drift.js";
import type { ErrorDocument } from "./errors.js";
import { digestOf } from "./json.js";
import type { OpenStep, PlanState } from "./plan.js";
import type { ResumeActions } from "./resume-actions.js";
import { repeatedSteps, restarts, type Situation, uncertainSteps } from "./resume-request.js";
import { describePoint } from "./rewind.js";
import { type SandboxSummary, summarizeFiles } from "./sandbox-facts.js";
import { explainState } from "./state-sentences.js";

/** Names are listed in full up to this many steps; beyond, the nearest `LISTED_STEPS` and exact counts. */
export const FULL_LIST_LIMIT = 500;
export const LISTED_STEPS = 20;

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
  readonly sandbox: SandboxSummary | null;
  readonly epoch: number;
  readonly nextEpoch: number;
  readonly reuse: readonly string[];
  readonly reuseCount: number;
  readonly run: readonly string[];
  readonly runCount: number;
  /** Irreversible steps of which a person has to say something. */
  readonly ackRequired: readonly string[];
  /** Those among them that happened, or may have, and that a rewind would run again. */
  readonly repeated: readonly string[];
  /** Irreversible steps that are done and stay so; null where the plan is too large to list. */
  readonly happened: readonly string[] | null;
  readonly newKey: readonly string[];
  /** How the definition that is offered now differs from the one that the plan runs under, such as `build changed`. */
  readonly drift: readonly string[];
  readonly from: string | null;
  readonly reason: string | null;
  /** Live workers that can take a step of the frontier. */
  readonly workers: number;
  readonly resumeToken: string;
  readonly dryRun: boolean;
  readonly error: ErrorDocument | null;
}

/** @param actions null where `refusal` says why nothing is done */
export function summarize(
  situation: Situation,
  actions: ResumeActions | null,
  refusal: ErrorDocument | null,
): ResumeSummary {
  const { view, state, request, next, drift } = situation;
  const { meta } = view;
  const superseded = new Set(actions?.superseded);
  const reuse = situation.doneSteps.filter((id) => !superseded.has(id));
  const reuseCount = meta.done - [...superseded].filter((id) => situation.done.has(id)).length;
  const settled = (actions?.acknowledged ?? []).filter((ack) => ack.said === "done").map((ack) => ack.stepId);
  const kept = new Set([...reuse, ...settled]);
  const total = actions?.next?.steps.size ?? meta.total;
  const run = actions ? stepsToRun(situation, actions, kept) : [];
  const first = actions ? firstToRun(situation, actions, run, kept) : firstOpen(situation);
  const standing = actions?.rewound ?? meta;
  return {
    planId: meta.planId,
    name: meta.name,
    version: actions?.adopts?.definition.version ?? meta.version,
    state,
    why: explainState(view, state),
    eligible: refusal === null,
    phase: (first === null ? undefined : phaseOf(situation, first)) ?? meta.phase,
    step: first,
    stepNumber: first === null ? null : stepNumber(situation, first),
    total,
    decisionId: standing.lastDecisionId,
    lastCompletedStep: standing.lastCompletedStep,
    lastCheckpointId: standing.lastCheckpointId,
    sandbox: summarizeFiles(situation, actions, standing.lastCheckpointId),
    epoch: meta.epoch,
    nextEpoch: refusal ? meta.epoch : meta.epoch + 1,
    reuse: next ? reuse : reuse.slice(-LISTED_STEPS),
    reuseCount,
    run: next ? run : run.slice(0, LISTED_STEPS),
    runCount: actions ? total - reuseCount - settled.length : 0,
    ackRequired: [...uncertainSteps(situation), ...repeatedSteps(situation)],
    repeated: repeatedSteps(situation),
    happened: next && reuse.filter((id) => next.steps.get(id)?.effect === "irreversible"),
    newKey: actions ? actions.superseded.filter((id) => next!.steps.has(id)) : [],
    drift: drift === null ? [] : describeDrift(drift),
    from: describePoint(request.from),
    reason: request.reason,
    workers: view.liveWorkers,
    resumeToken: tokenOf(situation, actions),
    dryRun: true,
    error: refusal,
  };
}

/**
 * Stands for what was done and begun, and for what resume makes of it. Not for the revision: the process that resumes may
 * itself be the first to see that a worker is dead, and give its steps back before it decides.
 */
function tokenOf({ view, request, files, drift }: Situation, actions: ResumeActions | null): string {
  const { meta } = view;
  const shape = {
    planId: meta.planId,
    epoch: meta.epoch,
    fence: meta.fence,
    done: meta.done,
    checkpoint: meta.lastCheckpointId,
    decision: meta.lastDecisionId,
    sandbox: meta.sandboxPlace,
    answers: meta.keptAnswers,
    definition: meta.definitionDigest,
    adopts: actions?.adopts?.digest ?? null,
    drift: drift === null ? [] : describeDrift(drift),
    from: describePoint(request.from),
    choose: request.choose,
    acks: [...request.acks].sort(([a], [b]) => (a < b ? -1 : 1)),
    superseded: actions?.superseded ?? [],
    rewound: { ...actions?.rewound },
    left: files?.left?.digest ?? null,
  };
  return `wmk1.${digestOf(shape).slice(0, 24)}`;
}

/** All that is not kept, in listed order; of a plan that is too large to list, only what can start. */
function stepsToRun(situation: Situation, actions: ResumeActions, kept: ReadonlySet<string>): string[] {
  if (situation.next) {
    return [...situation.next.steps.keys()].filter((id) => !kept.has(id));
  }
  return [...actions.restart, ...situation.view.open.filter((step) => !restarts(step)).map((step) => step.stepId)];
}

/** The first that can start at once; where nothing can, the first that goes on waiting. */
function firstToRun(
  { view, next: compiled }: Situation,
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

function firstOpen({ view, next: compiled }: Situation): string | null {
  const place = (step: OpenStep) => compiled?.steps.get(step.stepId)?.index ?? 0;
  return [...view.open].sort((a, b) => place(a) - place(b))[0]?.stepId ?? null;
}

function phaseOf({ view, next: compiled }: Situation, id: string): string | undefined {
  return (compiled?.steps.get(id) ?? view.open.find((step) => step.stepId === id))?.phase;
}

function stepNumber(situation: Situation, id: string): number | null {
  const index = situation.next?.steps.get(id)?.index;
  return index === undefined ? null : index + 1;
}
