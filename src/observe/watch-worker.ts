/**
 * What watches a worker: traces, where an SDK is registered; and where `health` is asked for, the counts, and the server
 * that gives them out and says whether the worker is well.
 */
import type { QueueDepth } from "../store/queue-depth.js";
import type { ShardedPlanStore } from "../store/sharded-plan-store.js";
import { together, type WorkerObserver } from "../worker/observer.js";
import type { StepWorker } from "../worker/step-worker.js";
import { type HealthOptions, HealthServer, type HealthSource } from "./health-server.js";
import { traces } from "./traces.js";
import { WorkerMetrics } from "./worker-metrics.js";

export interface WorkerWatch {
  /** For the worker that is going to be watched. */
  readonly observer: WorkerObserver | null;
  /** Null where nobody asked for it. The server is the caller's to start and to stop. */
  server(worker: StepWorker, store: ShardedPlanStore): HealthServer | null;
}

/** A store that takes longer is away, for a probe. */
const STORE_MS = 1_000;

export async function watchWorker(health: HealthOptions | null): Promise<WorkerWatch> {
  const metrics = health === null ? null : new WorkerMetrics();
  return {
    observer: together([metrics, await traces()]),
    server: (worker, store) =>
      metrics === null ? null : new HealthServer(health!, healthSource(worker, store, metrics)),
  };
}

function healthSource(worker: StepWorker, store: ShardedPlanStore, metrics: WorkerMetrics): HealthSource {
  return {
    async unready() {
      const { state } = worker.status;
      if (state !== "accepting") return `the worker is ${state}`;
      return (await inTime(store.ping().then(() => "well"))) === null ? "the store does not answer" : null;
    },
    facts() {
      const { state, workerId, active } = worker.status;
      return { state, worker: workerId, active };
    },
    async metrics() {
      const { status } = worker;
      const depths: Promise<QueueDepth[]> = Promise.all(status.queues.map((queue) => store.queueDepth(queue)));
      return metrics.text(status, await inTime(depths));
    },
  };
}

/** Null where the store fails, or takes too long. */
async function inTime<T>(answer: Promise<T>): Promise<T | null> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<null>((resolve) => {
    timer = setTimeout(() => resolve(null), STORE_MS);
  });
  const found = await Promise.race([answer.catch(() => null), late]);
  clearTimeout(timer);
  return found;
}
