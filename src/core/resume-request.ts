/** What a resume is asked for, what is read to decide it, and what both together mean. */
import type { CompiledDefinition } from "./definition.js";
import type { Decision, PlanEvent } from "./history.js";
import { decisionId } from "./ids.js";
import type { Json } from "./json.js";
import { Line } from "./line.js";
import { type OpenStep, type PlanState, type PlanView, planState } from "./plan.js";
import { type ResumePoint, type Rewind, rewindTo } from "./rewind.js";
import type { SandboxSnapshot } from "./sandbox.js";
import type { SandboxFacts } from "./sandbox-facts.js";

/** What a person says of an irreversible step that started and has no record, or that a rewind would run again. */
export type Acknowledgement =
  /** It happened; this is its output, serialised. */
  { readonly said: "done"; readonly output: string } | { readonly said: "redo" };

export interface ResumeRequest {
  readonly from: ResumePoint;
  /** What a decision that is taken anew is set to, instead of being asked again. */
  readonly choose: { readonly value: Json } | null;
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
  /** The whole history, oldest first, where an earlier point is asked for. */
  readonly events: readonly PlanEvent[];
  /** Every decision of the plan, the root first, where an earlier point is asked for. */
  readonly decisions: readonly Decision[];
  /** Every snapshot of the plan's sandbox, the one it started from first, where an earlier point is asked for. */
  readonly snapshots: readonly SandboxSnapshot[];
  /** The snapshot in force; null where the plan has no sandbox. */
  readonly inForce: SandboxSnapshot | null;
  /** Null where nobody has looked, or nothing can be said from here. */
  readonly files: SandboxFacts | null;
  /** Whether the document's folder is needed and missing on this machine. */
  readonly missingWorkdir: string | null;
}

export interface Situation extends ResumeFacts {
  readonly request: ResumeRequest;
  readonly state: PlanState;
  readonly done: ReadonlySet<string>;
  readonly line: Line;
  /** Null for a plain resume, and where the line has no such point. */
  readonly rewind: Rewind | null;
  /** Steps that the rewind runs again or for the first time. */
  readonly below: ReadonlySet<string>;
  readonly rootDecisionId: string;
}

export function situate(facts: ResumeFacts, request: ResumeRequest): Situation {
  const { view, compiled } = facts;
  const line = Line.of(facts.events);
  const rootDecisionId = decisionId(view.meta.tag, view.meta.createdAt, 0);
  const rewind =
    request.from.kind === "frontier" || compiled === null
      ? null
      : rewindTo(compiled, line, request.from, rootDecisionId);
  return {
    ...facts,
    request,
    state: planState(view),
    done: new Set(facts.doneSteps),
    line,
    rewind,
    below: new Set(rewind?.below),
    rootDecisionId,
  };
}

export function isReached({ done, view }: Situation, stepId: string): boolean {
  return done.has(stepId) || view.open.some((step) => step.stepId === stepId);
}

/** Irreversible steps that started and have no record: a person says whether they happened, or that they shall run again. */
export function uncertainSteps({ view, below }: Situation): string[] {
  return view.open.filter((step) => mayHaveHappened(step) && !below.has(step.stepId)).map((step) => step.stepId);
}

/** Irreversible steps that happened, or may have, and that the rewind would run again: a person says that they shall. */
export function repeatedSteps({ view, compiled, done, rewind }: Situation): string[] {
  if (rewind === null) return [];
  const started = new Set(view.open.filter(mayHaveHappened).map((step) => step.stepId));
  return rewind.below.filter(
    (id) => started.has(id) || (done.has(id) && compiled!.steps.get(id)!.effect === "irreversible"),
  );
}

function mayHaveHappened(step: OpenStep): boolean {
  return step.effect === "irreversible" && step.attempts > 0 && step.kind !== "waiting";
}

/** Whether resume gives the step a new job. What waits for a person or a signal goes on waiting. */
export function restarts(step: OpenStep): boolean {
  return step.kind !== "waiting" || step.wait === "timer";
}
