/**
 * A new plan that starts from what another one has done. One function says what it inherits and what it runs: `--dry-run`
 * prints its answer and a real fork carries it out. The source is only read, so its state doesn't matter. Pure.
 */
import type { CompiledDefinition } from "./definition.js";
import type { ErrorDocument } from "./errors.js";
import type { Decision, PlanEvent } from "./history.js";
import type { Json } from "./json.js";
import { type Line, standsBefore } from "./line.js";
import type { PlanState } from "./plan.js";
import { refuseFork } from "./refusals.js";
import { type TakenAnew, takenAnew } from "./resume-actions.js";
import { mayHaveHappened, type ResumeFacts, type Situation, situate } from "./resume-request.js";
import type { ResumeSummary } from "./resume-summary.js";
import { describePoint, type Kept, keptOf, type ResumePoint } from "./rewind.js";
import type { SandboxSnapshot } from "./sandbox.js";
import { summarizeSnapshot } from "./sandbox-facts.js";

export interface ForkRequest {
  readonly from: ResumePoint;
  /** What a decision that is taken anew is set to, instead of being asked again. */
  readonly choose: { readonly value: Json } | null;
  /** Whether the new plan has an input of its own. */
  readonly newInput: boolean;
}

export interface ForkDecision {
  readonly summary: ForkSummary;
  /** Null where the plan can't be forked so. */
  readonly actions: ForkActions | null;
}

/**
 * What a fork does, or did, in the words of a resume's summary; decision, step and checkpoint are those of the source that
 * the new plan starts from. The CLI prints it in snake_case.
 */
export interface ForkSummary
  extends Pick<
    ResumeSummary,
    | (
        | "name"
        | "version"
        | "eligible"
        | "phase"
        | "step"
        | "stepNumber"
        | "total"
        | "from"
        | "workers"
        | "dryRun"
        | "error"
      )
    | ("decisionId" | "lastCompletedStep" | "lastCheckpointId" | "sandbox" | "reuse" | "run")
  > {
  /** Of the new plan; null in a dry-run that names none. */
  readonly planId: string | null;
  readonly forkedFrom: { readonly planId: string; readonly state: PlanState; readonly epoch: number };
  /** Steps that can't be undone, happened in the source or may have, and would happen again. */
  readonly repeated: readonly string[];
  readonly newInput: boolean;
  /** Whether the new plan was there already: this is what was said when it was made. */
  readonly existing: boolean;
}

export interface ForkActions {
  /** Done steps that the new plan has from its beginning, in listed order. */
  readonly kept: readonly string[];
  /** Steps that others appended which it doesn't keep: they are none of its own until they are appended anew. */
  readonly removed: ReadonlySet<string>;
  /** Steps that it starts with. */
  readonly free: readonly string[];
  /** How many needs of steps that aren't free are done already, where any are. */
  readonly counts: ReadonlyMap<string, number>;
  /** The part of the source's history that it inherits, oldest first. */
  readonly events: readonly PlanEvent[];
  /** Decisions that it inherits, oldest first; the root is its own. */
  readonly decisions: readonly Decision[];
  readonly standing: Kept;
  /** The snapshot that its files start from; null where it has none. */
  readonly sandbox: SandboxSnapshot | null;
  readonly takenAnew: TakenAnew | null;
}

/** @param facts read with the whole history, decisions and definition of the source */
export function planFork(facts: ResumeFacts, { from, choose, newInput }: ForkRequest): ForkDecision {
  const situation = situate(facts, {
    from,
    choose,
    acks: new Map(),
    reason: null,
    onDrift: "report",
    excludesOthers: false,
  });
  const refusal = refuseFork(situation);
  const actions = refusal === null ? forkActions(situation) : null;
  return { summary: summarize(situation, actions, refusal, newInput), actions };
}

function forkActions(situation: Situation): ForkActions {
  const { line, doneSteps, leaving, view, rewind, snapshots } = situation;
  const compiled = situation.compiled!;
  const kept = doneSteps.filter((id) => !leaving.has(id));
  const isKept = new Set(kept);
  // A step that isn't done runs anew, whatever its attempts have decided.
  const left = new Set([...leaving, ...view.open.map((step) => step.stepId)]);
  const taken = rewind?.takenAnew ?? null;
  const standing = keptOf(compiled, line, left, taken);
  const decisions = situation.decisions.filter(({ decisionId }) => {
    const decided = line.decisions.get(decisionId);
    return decided !== undefined && (!left.has(decided.step) || standsBefore(decided, taken));
  });
  return {
    kept,
    ...stepsToCome(compiled, isKept),
    events: inherited(situation, isKept, new Set(decisions.map((decision) => decision.decisionId))),
    decisions,
    standing,
    sandbox: snapshots.find(({ digest }) => digest === standing.sandbox) ?? snapshots[0] ?? null,
    takenAnew: takenAnew(situation),
  };
}

function stepsToCome({ steps }: CompiledDefinition, kept: ReadonlySet<string>) {
  const removed = new Set<string>();
  const free: string[] = [];
  const counts = new Map<string, number>();
  for (const { id, needs, appendedBy } of steps.values()) {
    if (kept.has(id)) continue;
    if (appendedBy !== undefined && !kept.has(appendedBy)) {
      removed.add(id);
      continue;
    }
    const done = needs.filter((need) => kept.has(need)).length;
    if (done === needs.length) free.push(id);
    else if (done > 0) counts.set(id, done);
  }
  return { removed, free, counts };
}

/** How the kept steps came to be done, in the current line. */
function inherited(
  { events, line }: Situation,
  kept: ReadonlySet<string>,
  decisions: ReadonlySet<string>,
): PlanEvent[] {
  return events.filter((event) => {
    switch (event.type) {
      case "plan.submitted":
      case "plan.forked":
        return true;
      case "decision.recorded":
        return decisions.has(event.decisionId);
      default:
        return "step" in event && kept.has(event.step) && event.seq >= beginning(line, event.step);
    }
  });
}

function beginning(line: Line, stepId: string): number {
  return line.firstStarts.get(stepId) ?? line.done.get(stepId)!.seq;
}

function summarize(
  situation: Situation,
  actions: ForkActions | null,
  refusal: ErrorDocument | null,
  newInput: boolean,
): ForkSummary {
  const { view, state, rootDecisionId, request } = situation;
  const { meta } = view;
  const steps = situation.compiled!.steps;
  const kept = new Set(actions?.kept);
  const run = actions === null ? [] : [...steps.keys()].filter((id) => !kept.has(id) && !actions.removed.has(id));
  const first = actions?.free[0] ?? null;
  const last = actions === null ? null : actions.standing.last;
  return {
    planId: null,
    forkedFrom: { planId: meta.planId, state, epoch: meta.epoch },
    name: meta.name,
    version: meta.version,
    eligible: refusal === null,
    phase: (first === null ? undefined : steps.get(first)!.phase) ?? meta.phase,
    step: first,
    stepNumber: first === null ? null : steps.get(first)!.index + 1,
    total: meta.total - (actions?.removed.size ?? 0),
    decisionId: actions?.standing.decisionId ?? rootDecisionId,
    lastCompletedStep: last?.step ?? null,
    lastCheckpointId: last?.checkpointId ?? null,
    sandbox: actions?.sandbox ? summarizeSnapshot(actions.sandbox, last?.checkpointId ?? null) : null,
    reuse: actions?.kept ?? [],
    run,
    repeated: run.filter((id) => happened(situation, id)),
    from: describePoint(request.from),
    newInput,
    workers: 0,
    existing: false,
    dryRun: true,
    error: refusal,
  };
}

function happened({ compiled, done, view }: Situation, stepId: string): boolean {
  if (done.has(stepId)) return compiled!.steps.get(stepId)!.effect === "irreversible";
  return view.open.some((step) => step.stepId === stepId && mayHaveHappened(step));
}
