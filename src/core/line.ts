/**
 * The current line of a plan's history: which steps are done in it and in which order they were committed, which decisions
 * stand, when each step first started. A rewind starts a new line; what it supersedes stays in the history and leaves the
 * line. Pure: the events of one plan go in, oldest first.
 */
import type { DoneEvent, PlanEvent } from "./history.js";

export type DecidedEvent = Extract<PlanEvent, { readonly type: "decision.recorded" }>;

export class Line {
  /** By step, in the order of their commits. */
  readonly done = new Map<string, DoneEvent>();
  /** Places in the history at which steps first started, counted from when they were last superseded. */
  readonly firstStarts = new Map<string, number>();
  /** Steps whose condition was found to hold. */
  readonly admitted = new Set<string>();
  /** Those that stand, oldest first, by id. The root, the submission, is not among them. */
  readonly decisions = new Map<string, DecidedEvent>();
  /** Checkpoints and decisions that left the line, each with the epoch of the rewind that superseded it. */
  readonly superseded = new Map<string, number>();
  /** The decision that the rewind under way takes anew: what its step decided before it stays. */
  private takenAnew: DecidedEvent | null = null;

  static of(events: Iterable<PlanEvent>): Line {
    const line = new Line();
    for (const event of events) line.apply(event);
    return line;
  }

  apply(event: PlanEvent): void {
    switch (event.type) {
      case "step.started":
        if (!this.firstStarts.has(event.step)) this.firstStarts.set(event.step, event.seq);
        return;
      case "step.admitted":
        this.admitted.add(event.step);
        return;
      case "step.completed":
      case "step.skipped":
      case "step.continued":
        this.done.set(event.step, event);
        return;
      case "decision.recorded":
        this.decisions.set(event.decisionId, event);
        return;
      case "plan.resumed":
        this.takenAnew = this.decisions.get(event.from?.replace(/^decision /, "") ?? "") ?? null;
        return;
      case "steps.superseded":
        this.supersede(new Set(event.steps), event.epoch);
        return;
      default:
    }
  }

  private supersede(steps: ReadonlySet<string>, epoch: number): void {
    for (const step of steps) {
      const done = this.done.get(step);
      if (done) this.superseded.set(done.checkpointId, epoch);
      this.done.delete(step);
      this.firstStarts.delete(step);
      if (step !== this.takenAnew?.step) this.admitted.delete(step);
    }
    for (const decided of this.decisions.values()) {
      if (!steps.has(decided.step) || standsBefore(decided, this.takenAnew)) continue;
      this.superseded.set(decided.decisionId, epoch);
      this.decisions.delete(decided.decisionId);
    }
  }
}

/** Whether a rewind to the decision `taken` keeps `decided`, although both are of a step that runs again. */
export function standsBefore(decided: DecidedEvent, taken: DecidedEvent | null): boolean {
  return taken !== null && decided.step === taken.step && decided.seq < taken.seq;
}
