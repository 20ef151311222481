/**
 * What a rewind to a point of a plan's current line runs again and what it keeps. Superseded are the steps at the point, all
 * that need them, every step that wrote the sandbox later than the point, because going back takes its files away, and all
 * that need those.
 */
import { type CompiledDefinition, descendants } from "./definition.js";
import type { DoneEvent } from "./history.js";
import { type DecidedEvent, type Line, standsBefore } from "./line.js";
import { listStepId, mapRole } from "./map.js";

export type ResumePoint =
  | { readonly kind: "frontier" }
  /** Runs the step again. */
  | { readonly kind: "step"; readonly stepId: string }
  /** Keeps the checkpoint's step, and runs what needs it. */
  | { readonly kind: "checkpoint"; readonly checkpointId: string }
  /** Takes the decision anew: runs the step that made it. The root decision, the submission, is everything's. */
  | { readonly kind: "decision"; readonly decisionId: string };

/** A point of a plan's history other than its end. */
export type EarlierPoint = Exclude<ResumePoint, { readonly kind: "frontier" }>;

export interface Rewind {
  /** Steps that run again or for the first time because of it, reached or not, in listed order. */
  readonly below: readonly string[];
  /** The decision that is taken anew, where that is the point. */
  readonly takenAnew: DecidedEvent | null;
}

export interface WhereTo {
  readonly point: ResumePoint;
  /** Done steps that are to be done anew although the point is not theirs: their definition has changed or dropped them. */
  readonly redone: readonly string[];
  readonly rootDecisionId: string;
}

/** @returns null where the current line has no such point. A step that was never reached is one: nothing is superseded. */
export function rewindTo(compiled: CompiledDefinition, line: Line, to: WhereTo): Rewind | null {
  const { point, redone, rootDecisionId } = to;
  const found = point.kind === "frontier" ? END : locate(compiled, line, point, rootDecisionId);
  if (found === null) return null;
  let { after } = found;
  for (const id of redone) after = Math.min(after, line.firstStarts.get(id) ?? after);
  const lost = [...line.done.values()].filter((done) => done.seq > after && writesSandbox(compiled, done.step));
  const from = [...found.steps, ...redone, ...lost.map((done) => done.step)];
  const below = descendants(
    compiled,
    from.filter((id) => compiled.steps.has(id)),
  );
  return { below, takenAnew: found.takenAnew };
}

export interface Kept {
  /** The newest commit, if any is kept. */
  readonly last: DoneEvent | null;
  /** The newest decision that stands, or null for the root. */
  readonly decisionId: string | null;
  /** Digest of the snapshot that the newest writer of the sandbox left; null where none wrote it. */
  readonly sandbox: string | null;
}

/** What is left of a line once some steps have left it. */
export function keptOf(
  compiled: CompiledDefinition,
  line: Line,
  leaving: ReadonlySet<string>,
  takenAnew: DecidedEvent | null,
): Kept {
  const kept = [...line.done.values()].filter((done) => !leaving.has(done.step));
  const standing = [...line.decisions.values()].filter(
    (decided) => !leaving.has(decided.step) || standsBefore(decided, takenAnew),
  );
  return {
    last: kept.at(-1) ?? null,
    decisionId: standing.at(-1)?.decisionId ?? null,
    sandbox: kept.findLast((done) => writesSandbox(compiled, done.step))?.sandbox ?? null,
  };
}

interface Location {
  /** The steps at the point: they and all that need them run again. */
  readonly steps: readonly string[];
  /** Its place in the history: what stood there is what is gone back to. */
  readonly after: number;
  readonly takenAnew: DecidedEvent | null;
}

const END: Location = { steps: [], after: Number.POSITIVE_INFINITY, takenAnew: null };

function locate(
  compiled: CompiledDefinition,
  line: Line,
  point: EarlierPoint,
  rootDecisionId: string,
): Location | null {
  switch (point.kind) {
    case "step": {
      const step = compiled.steps.get(point.stepId);
      // A map begins with its list.
      return step ? atStart(line, mapRole(step) === "join" ? listStepId(step.id) : step.id, null) : null;
    }
    case "checkpoint": {
      const kept = [...line.done.values()].find((done) => done.checkpointId === point.checkpointId);
      if (!kept) return null;
      return { steps: compiled.steps.get(kept.step)?.next ?? [], after: kept.seq, takenAnew: null };
    }
    case "decision": {
      if (point.decisionId === rootDecisionId) return { steps: compiled.roots, after: 0, takenAnew: null };
      const decided = line.decisions.get(point.decisionId);
      return decided && compiled.steps.has(decided.step) ? atStart(line, decided.step, decided) : null;
    }
    default:
      return point satisfies never;
  }
}

/** What stood before the step first started. One that has not started stands at the end of the history. */
function atStart(line: Line, stepId: string, takenAnew: DecidedEvent | null): Location {
  return { steps: [stepId], after: line.firstStarts.get(stepId) ?? Number.POSITIVE_INFINITY, takenAnew };
}

function writesSandbox(compiled: CompiledDefinition, stepId: string): boolean {
  return compiled.steps.get(stepId)?.sandbox === "write";
}

/** Such as `step build`; null for the frontier. */
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
