/** What a worker counts, as OpenMetrics. */
import { performance } from "node:perf_hooks";
import type { Outcome } from "../core/outcome.js";
import type { StartedStep, Verdict } from "../core/ports.js";
import type { QueueDepth } from "../store/queue-depth.js";
import { VERSION } from "../version.js";
import type { Takeover, WorkerObserver } from "../worker/observer.js";
import type { WorkerStatus } from "../worker/step-worker.js";
import { Counter, exposition, type Family, Histogram } from "./open-metrics.js";

/** From steps that only compute to those that wait for other systems. */
const STEP_SECONDS = [0.005, 0.025, 0.1, 0.5, 1, 5, 15, 60, 300, 1_800, 3_600];
const RECOVERY_SECONDS = [0.25, 0.5, 1, 2, 3, 4, 5, 10, 30, 60];

const OUTCOME_WORDS: Readonly<Record<Outcome["kind"], string>> = {
  complete: "completed",
  skip: "skipped",
  retry: "retried",
  fail: "failed",
  release: "released",
  defer: "deferred",
  park: "parked",
};
const WORKER_STATES = ["starting", "accepting", "draining", "closed"] as const;

export class WorkerMetrics implements WorkerObserver {
  private readonly steps = new Counter("waymark_steps", "Attempts that ended here, by how; retried ones run again.");
  private readonly durations = new Histogram(
    "waymark_step_duration_seconds",
    "How long attempts took, the way to the store not included.",
    STEP_SECONDS,
  );
  private readonly refusals = new Counter(
    "waymark_refused_writes",
    "Results that the store refused: the plan went on (fenced), or another has the step (lost).",
  );
  private readonly takeovers = new Counter("waymark_takeovers", "Dead workers whose steps this one gave back.");
  private readonly takenOver = new Counter("waymark_steps_taken_over", "Steps of dead workers given back by this one.");
  private readonly recovery = new Histogram(
    "waymark_recovery_seconds",
    "From a dead worker's last beat until its steps were given back.",
    RECOVERY_SECONDS,
  );

  async attempt(step: StartedStep, run: () => Promise<Outcome>): Promise<Outcome> {
    const startedAt = performance.now();
    const outcome = await run();
    const plan = step.planName;
    this.steps.add({ plan, outcome: OUTCOME_WORDS[outcome.kind] });
    // Nothing was executed.
    if (outcome.kind === "defer" || outcome.kind === "park") return outcome;
    this.durations.observe((performance.now() - startedAt) / 1_000, { plan });
    return outcome;
  }

  refused(_step: StartedStep, verdict: Verdict): void {
    this.refusals.add({ verdict: verdict.toLowerCase() });
  }

  tookOver({ steps, silentMs }: Takeover): void {
    this.takeovers.add({}, silentMs.length);
    this.takenOver.add({}, steps);
    for (const ms of silentMs) this.recovery.observe(ms / 1_000);
  }

  /** @param depths of the queues that the worker serves; null where the store is away */
  text(status: WorkerStatus, depths: readonly QueueDepth[] | null): string {
    return exposition([
      {
        name: "waymark_build",
        type: "info",
        help: "The version of this worker.",
        samples: [{ suffix: "_info", labels: { version: VERSION }, value: 1 }],
      },
      {
        name: "waymark_worker_state",
        type: "stateset",
        help: "What this worker does.",
        samples: WORKER_STATES.map((state) => ({
          labels: { waymark_worker_state: state },
          value: state === status.state ? 1 : 0,
        })),
      },
      gauge("waymark_store_up", "Whether the store answered this scrape.", depths === null ? 0 : 1),
      gauge("waymark_active_steps", "Steps that run here.", status.active),
      gauge("waymark_concurrency", "How many may.", status.concurrency),
      this.steps.family,
      this.durations.family,
      this.refusals.family,
      this.takeovers.family,
      this.takenOver.family,
      this.recovery.family,
      ...queueFamilies(depths ?? []),
    ]);
  }
}

function gauge(name: string, help: string, value: number): Family {
  return { name, type: "gauge", help, samples: [{ value }] };
}

function queueFamilies(depths: readonly QueueDepth[]): Family[] {
  return [
    {
      name: "waymark_queue_steps",
      type: "gauge",
      help: "Steps in the queues that this worker serves; every worker of a queue reports the same.",
      samples: depths.flatMap(({ queue, waiting, delayed, active }) =>
        Object.entries({ waiting, delayed, active }).map(([state, value]) => ({ labels: { queue, state }, value })),
      ),
    },
    {
      name: "waymark_queue_oldest_seconds",
      type: "gauge",
      unit: "seconds",
      help: "How long the step that waits longest has been waiting.",
      samples: depths.map(({ queue, oldestMs }) => ({ labels: { queue }, value: oldestMs / 1_000 })),
    },
  ];
}
