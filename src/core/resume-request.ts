/** What a resume is asked for, what is read to decide it, and what both together mean. */
import { type CompiledDefinition, descendants, ungrow } from "./definition.js";
import { carryOver, type Drift, type DriftPolicy, driftBetween } from "./drift.js";
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
  /** What becomes of a difference between the stored definition and the one that is offered. */
  readonly onDrift: DriftPolicy;
  /** Whether another one that comes at once can't be granted too: who executes the plan is its worker, and a token is good for one. */
  readonly excludesOthers: boolean;
}

/** What the caller read for the decision, in one consistent moment. */
export interface ResumeFacts {
  readonly view: PlanView;
  /** What the plan runs under. Null where the plan is too large to list in full. */
  readonly compiled: CompiledDefinition | null;
  /** The definition as it is now where the caller has it, and differs; then `compiled` is there. */
  readonly offered: CompiledDefinition | null;
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
  readonly drift: Drift | null;
  /** What is offered, where the plan goes on under it. */
  readonly adopts: CompiledDefinition | null;
  /** What the plan could go on with, if nothing left the line: `compiled`, or what is adopted, with all that was appended. */
  readonly graph: CompiledDefinition | null;
  /** What it goes on with: without what is appended anew, if it is, by steps that run again. */
  readonly next: CompiledDefinition | null;
  /** Null where nothing earlier is gone back to, and where the line has no such point. */
  readonly rewind: Rewind | null;
  /** Steps that the rewind runs again or for the first time. */
  readonly below: ReadonlySet<string>;
  /** Reached steps that leave the line: those of the rewind, and what has no place in the definition that is adopted. */
  readonly leaving: ReadonlySet<string>;
  readonly rootDecisionId: string;
}

export function situate(facts: ResumeFacts, request: ResumeRequest): Situation {
  const { view, compiled, offered, doneSteps } = facts;
  const line = Line.of(facts.events);
  const rootDecisionId = decisionId(view.meta.tag, view.meta.createdAt, 0);
  const drift = compiled === null || offered === null ? null : driftBetween(compiled, offered);
  const adopts = drift !== null && (request.onDrift === "keep" || request.onDrift === "rerun") ? offered : null;
  const graph = adopts === null ? compiled : carryOver(compiled!, adopts);
  const reached = new Set([...doneSteps, ...view.open.map((step) => step.stepId)]);
  const redone = adopts !== null && request.onDrift === "rerun" ? outdated(drift!, compiled!, doneSteps) : [];
  const rewind =
    graph === null || (request.from.kind === "frontier" && redone.length === 0)
      ? null
      : rewindTo(graph, line, { point: request.from, redone, rootDecisionId });
  const below = new Set(rewind?.below);
  const leaving = new Set([...below].filter((id) => reached.has(id)));
  if (adopts !== null) for (const id of misplaced(graph!, compiled!, reached, doneSteps, below)) leaving.add(id);
  return {
    ...facts,
    request,
    state: planState(view),
    done: new Set(doneSteps),
    line,
    drift,
    adopts,
    graph,
    next: graph === null || view.meta.grown === 0 ? graph : ungrow(graph, appendedBy(graph, leaving)),
    rewind,
    below,
    leaving,
    rootDecisionId,
  };
}

/** Done steps that would not be done the same way again: an item of a map does what the map declares. */
function outdated({ changed, removed }: Drift, { steps }: CompiledDefinition, done: readonly string[]): string[] {
  const differs = new Set([...changed, ...removed]);
  return done.filter((id) => differs.has(id) || differs.has(steps.get(id)!.itemOf ?? ""));
}

/** Reached steps that an adopted definition doesn't have, has as another step, or has behind a step that is not done. */
function misplaced(
  graph: CompiledDefinition,
  before: CompiledDefinition,
  reached: ReadonlySet<string>,
  done: readonly string[],
  below: ReadonlySet<string>,
): string[] {
  // A step that was appended isn't the one that the definition has under the same id.
  const isThere = (id: string) =>
    graph.steps.has(id) && graph.steps.get(id)!.appendedBy === before.steps.get(id)!.appendedBy;
  const kept = new Set(done.filter((id) => isThere(id) && !below.has(id)));
  const undone = [...graph.steps.keys()].filter((id) => !kept.has(id));
  const behind = new Set(
    descendants(
      graph,
      undone.flatMap((id) => graph.steps.get(id)!.next),
    ),
  );
  return [...reached].filter((id) => !isThere(id) || behind.has(id));
}

function appendedBy({ steps }: CompiledDefinition, appenders: ReadonlySet<string>): Set<string> {
  const found = [...steps.values()].filter((step) => appenders.has(step.appendedBy ?? ""));
  return new Set(found.map((step) => step.id));
}

export function isReached({ done, view }: Situation, stepId: string): boolean {
  return done.has(stepId) || view.open.some((step) => step.stepId === stepId);
}

/** Irreversible steps that started and have no record: a person says whether they happened, or that they shall run again. */
export function uncertainSteps({ view, leaving }: Situation): string[] {
  return view.open.filter((step) => mayHaveHappened(step) && !leaving.has(step.stepId)).map((step) => step.stepId);
}

/** Irreversible steps that happened, or may have, and that the rewind would run again: a person says that they shall. */
export function repeatedSteps({ view, graph, done, leaving }: Situation): string[] {
  if (leaving.size === 0) return [];
  const started = new Set(view.open.filter(mayHaveHappened).map((step) => step.stepId));
  return [...graph!.steps.values()]
    .filter(({ id, effect }) => leaving.has(id) && (started.has(id) || (done.has(id) && effect === "irreversible")))
    .map((step) => step.id);
}

export function mayHaveHappened(step: OpenStep): boolean {
  return step.effect === "irreversible" && step.attempts > 0 && step.kind !== "waiting";
}

/** Whether resume gives the step a new job. What waits for a person or a signal goes on waiting. */
export function restarts(step: OpenStep): boolean {
  return step.kind !== "waiting" || step.wait === "timer";
}
