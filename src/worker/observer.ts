/**
 * What a worker tells whoever watches it: metrics, traces. It is told on the way of every step, so nothing here may wait
 * or throw; a worker that nobody watches pays nothing.
 */
import type { Outcome } from "../core/outcome.js";
import type { StartedStep, Verdict } from "../core/ports.js";

export interface WorkerObserver {
  /** Runs an attempt and sees how it ends. What it makes active is active in the handler. */
  attempt(step: StartedStep, run: () => Promise<Outcome>): Promise<Outcome>;
  /** The store refused what an attempt wrote: another has the step, or the plan went on. */
  refused?(step: StartedStep, verdict: Verdict): void;
  tookOver?(takeover: Takeover): void;
}

/** Steps of dead workers that were given back to their queues. */
export interface Takeover {
  readonly workers: readonly string[];
  readonly steps: number;
  /** How long those that no earlier takeover began with had been silent. */
  readonly silentMs: readonly number[];
}

/** All of them as one, each inside the one before it; null where there is none. */
export function together(all: readonly (WorkerObserver | null)[]): WorkerObserver | null {
  return all.reduceRight((inner, outer) => {
    if (inner === null || outer === null) return outer ?? inner;
    return {
      attempt: (step, run) => outer.attempt(step, () => inner.attempt(step, run)),
      refused(step, verdict) {
        outer.refused?.(step, verdict);
        inner.refused?.(step, verdict);
      },
      tookOver(takeover) {
        outer.tookOver?.(takeover);
        inner.tookOver?.(takeover);
      },
    };
  }, null);
}
