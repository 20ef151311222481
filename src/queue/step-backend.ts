/**
 * BullMQ's queue backend with the operations of a step replaced: `moveToActive`, `moveToCompleted` and `waitForJob`. BullMQ's
 * Worker runs the slots; every store operation of a step is one call of ours. A slot goes from step to step in one run of
 * the processor, since each commit brings the next step: to BullMQ's Worker that is one job, and what it does around a job
 * costs as much as all the rest of a step.
 *
 * What the Worker relies on, and why it never sees an error from here: whatever it takes for a failure it answers with
 * its own failure path, which would count an attempt and run the effect again. So refusals are data, a store error is
 * asked again with the same token until the store answers or this process gives up, and the processor never throws.
 */
import { performance } from "node:perf_hooks";
import { createRedisBackend, type RedisQueueBackend } from "bullmq";
import type { Redis } from "ioredis";
import type { Outcome } from "../core/outcome.js";
import type { FetchReply, StartedStep, StepLog } from "../core/ports.js";

export interface StepBackendOptions {
  readonly log: StepLog;
  /** The BullMQ queue. */
  readonly queue: string;
  /** One more step may run in this process. Taken before a fetch, given back when a slot has no step. */
  readonly slots: Slots;
  /** Runs a step. Never throws. */
  readonly run: (step: StartedStep) => Promise<Outcome>;
  /** True from the moment of a drain on: nothing is fetched any more. */
  readonly isDraining: () => boolean;
  /** True once waiting for the store is pointless: the drain's deadline is over. */
  readonly gaveUp: () => boolean;
  readonly onRefusal: (step: StartedStep, verdict: FetchReply["verdict"]) => void;
  /** The store doesn't know this worker any more: everything has to stop. */
  readonly onUnregistered: () => void;
  readonly onStoreError: (error: unknown) => void;
}

/** How many steps this process may still start, over all its queues. */
export interface Slots {
  tryAcquire(): boolean;
  release(): void;
  /** False while a step waits to run alone, or does. */
  readonly mayFetch: boolean;
  /** Resolves when a slot may be free. */
  whenFree(): Promise<void>;
}

/** What BullMQ's Worker makes a Job of. */
interface JobJson {
  readonly name: string;
  readonly data: string;
  readonly opts: object;
  readonly progress: number;
  readonly delay: number;
  readonly priority: number;
  readonly timestamp: number;
  readonly processedOn: number;
  readonly attemptsStarted: number;
  readonly attemptsMade: number;
  readonly stalledCounter: number;
}

/** What we need of BullMQ's connection for waiting. */
interface BlockingConnection {
  readonly _client: Redis;
  capabilities: object;
}

type NextJob = [JobJson | null, string | undefined, number, number];

const JOB_OPTIONS = { attempts: 1, removeOnComplete: true, removeOnFail: true };
const NO_JOB: NextJob = [null, undefined, 0, 0];
/** Waits between two tries of a store that answers with errors. */
const STORE_RETRY_MS = [20, 50, 100, 250, 500];
/**
 * The slots of a worker are answered at once, and where their steps cost nothing they end at once: these may be recorded
 * together. A result that took longer doesn't wait: the next handler of this turn may block the process for long.
 */
const INSTANT_MS = 1;

export type BackendFactory = typeof createRedisBackend;

export interface StepBackend {
  /** For the constructor of BullMQ's Worker. */
  readonly factory: BackendFactory;
  /** The step that a slot holds, by the slot's token. */
  readonly started: ReadonlyMap<string, StartedStep>;
  /** Tokens whose fetch has not been answered. */
  readonly fetching: ReadonlySet<string>;
  /** Runs the step that the slot holds, commits it, and goes on with what the commit fetched, until that is no step. */
  work(token: string): Promise<void>;
  /** Cuts the connection that waits for markers. BullMQ's own disconnect first waits until it is connected. */
  cutBlocking(): void;
}

export function stepBackend(options: StepBackendOptions): StepBackend {
  const started = new Map<string, StartedStep>();
  /** What the last commit of a slot fetched, where that was no step. */
  const left = new Map<string, NextJob>();
  const fetching = new Set<string>();
  /** How far this machine's clock is ahead of the store's. BullMQ's Worker reckons in this machine's time. */
  let clockAheadMs = 0;
  /** A marker was popped and nothing was fetched for it yet: without it, nobody else would be woken. */
  let markerTaken = false;
  let returnMarker = async () => {};
  let cutBlocking = () => {};

  function take(token: string, reply: FetchReply): NextJob {
    clockAheadMs = Date.now() - reply.now;
    const { next } = reply;
    switch (next.kind) {
      case "none":
        started.delete(token);
        options.slots.release();
        return [null, undefined, next.limitMs, next.dueAt === 0 ? 0 : next.dueAt + clockAheadMs];
      case "foreign":
        started.delete(token);
        return [foreignJob(next.hash), next.jobId, 0, 0];
      case "step":
        started.set(token, next.step);
        return [jobOf(next.step), next.jobId, 0, 0];
      default:
        return next satisfies never;
    }
  }

  async function fetch(token: string): Promise<NextJob> {
    if (options.isDraining() || !options.slots.tryAcquire()) {
      await returnMarker();
      return NO_JOB;
    }
    markerTaken = false;
    fetching.add(token);
    const reply = await insist(() => options.log.fetch(options.queue, token));
    fetching.delete(token);
    if (reply === null) {
      options.slots.release();
      return NO_JOB;
    }
    if (reply.verdict === "UNREGISTERED") options.onUnregistered();
    return take(token, reply);
  }

  async function work(token: string): Promise<void> {
    for (let step = started.get(token); step !== undefined; step = started.get(token)) {
      const startedAt = performance.now();
      const outcome = await options.run(step);
      left.set(token, await settle(token, step, outcome, performance.now() - startedAt < INSTANT_MS));
    }
  }

  async function settle(token: string, step: StartedStep, outcome: Outcome, instant: boolean): Promise<NextJob> {
    const reply = await insist(() =>
      options.log.settle(step, outcome, !options.isDraining() && options.slots.mayFetch, instant),
    );
    if (reply === null) {
      started.delete(token);
      options.slots.release();
      return NO_JOB;
    }
    if (reply.verdict === "LOST" || reply.verdict === "FENCED") options.onRefusal(step, reply.verdict);
    return take(token, reply);
  }

  /** Null once this process gives up. */
  async function insist(call: () => Promise<FetchReply>): Promise<FetchReply | null> {
    for (let attempt = 0; ; attempt++) {
      try {
        return await call();
      } catch (error) {
        options.onStoreError(error);
        if (options.gaveUp()) return null;
        await delay(STORE_RETRY_MS[Math.min(attempt, STORE_RETRY_MS.length - 1)]!);
      }
    }
  }

  const factory: BackendFactory = (name, opts, extra) => {
    const backend = createRedisBackend(name, opts, extra);
    const waitForJob = backend.waitForJob.bind(backend);
    const moveToFailed = backend.moveToFailed.bind(backend);
    const { blockingConnection } = backend as unknown as { readonly blockingConnection: BlockingConnection };
    cutBlocking = () => blockingConnection._client.disconnect();
    returnMarker = async () => {
      if (!markerTaken) return;
      markerTaken = false;
      const client = await backend.client;
      await (client as unknown as Redis).zadd(backend.keys.marker!, "0", "0").catch(options.onStoreError);
    };
    const overrides: Pick<RedisQueueBackend, "moveToActive" | "moveToCompleted" | "moveToFailed" | "waitForJob"> = {
      moveToActive: (token: string) => fetch(token) as ReturnType<RedisQueueBackend["moveToActive"]>,

      // The steps are committed already: see `work`.
      async moveToCompleted(_job, _value, _keep, token) {
        const result = left.get(token) ?? NO_JOB;
        left.delete(token);
        return { result: result as never, finishedOn: Date.now() };
      },

      // Only jobs that are no steps come here. BullMQ must not fetch with them: it would take a step without its start.
      async moveToFailed(job, reason, keep, token, _fetchNext, fields) {
        options.slots.release();
        return moveToFailed(job, reason, keep, token, false, fields);
      },

      async waitForJob(timeout) {
        await options.slots.whenFree();
        if (options.isDraining()) return null;
        // Its version isn't asked, so BullMQ takes it for one that waits for whole seconds only. A store has Redis 7 or newer.
        blockingConnection.capabilities = { ...blockingConnection.capabilities, canDoubleTimeout: true };
        try {
          const marker = await waitForJob(timeout);
          markerTaken = marker !== null && marker.score === 0;
          if (options.isDraining()) await returnMarker();
          // A marker's score is when a delayed job is due, by the store's clock; 0 means that there is work now.
          return marker && marker.score > 0 ? { ...marker, score: marker.score + clockAheadMs } : marker;
        } catch (error) {
          // A drain cuts the blocking connection: that is how a waiting slot is woken.
          if (options.isDraining()) return null;
          options.onStoreError(error);
          await backend.reconnectBlocking().catch(options.onStoreError);
          await delay(STORE_RETRY_MS[2]!);
          return null;
        }
      },
    };
    return Object.assign(backend, overrides);
  };

  return { factory, started, fetching, work, cutBlocking: () => cutBlocking() };
}

function jobOf(step: StartedStep): JobJson {
  return {
    name: "step",
    data: "{}",
    opts: JOB_OPTIONS,
    progress: 0,
    delay: 0,
    priority: 0,
    timestamp: step.startedAt,
    processedOn: step.startedAt,
    attemptsStarted: step.attempt,
    attemptsMade: 0,
    stalledCounter: 0,
  };
}

/** Somebody else put it into a queue of ours. BullMQ's own code finishes it: see the processor. */
function foreignJob(hash: readonly string[]): JobJson {
  const fields = new Map<string, string>();
  for (let i = 0; i + 1 < hash.length; i += 2) fields.set(hash[i]!, hash[i + 1]!);
  const at = Number(fields.get("timestamp") ?? 0);
  return {
    name: fields.get("name") ?? "",
    data: fields.get("data") ?? "{}",
    // It is kept among the failed ones, where its owner can find it.
    opts: { attempts: 1 },
    progress: 0,
    delay: 0,
    priority: 0,
    timestamp: at,
    processedOn: at,
    attemptsStarted: 1,
    attemptsMade: 0,
    stalledCounter: 0,
  };
}

function delay(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
