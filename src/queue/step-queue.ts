/** One BullMQ Worker on one queue, with our backend. Locks are never renewed, nothing is checked for stalling: liveness is
 *  the worker's beat. */
import { UnrecoverableError, Worker } from "bullmq";
import type { Redis } from "ioredis";
import type { StartedStep } from "../core/ports.js";
import { type StepBackendOptions, stepBackend } from "./step-backend.js";

const LOCK_MS = 86_400_000;
/** How long an idle worker waits for a marker before it looks for itself, in seconds. */
const IDLE_WAIT_S = 5;

export interface StepQueueOptions extends StepBackendOptions {
  /** The connection that `log` uses. */
  readonly redis: Redis;
  /** BullMQ's prefix: the tag of the shard. */
  readonly tag: string;
  /** Distinct for each queue of a process: tokens start with it. Its part before the first dot is the worker. */
  readonly slotPrefix: string;
  readonly concurrency: number;
}

export class StepQueue {
  private readonly worker: Worker;
  private readonly startedSteps: ReadonlyMap<string, StartedStep>;
  private readonly fetching: ReadonlySet<string>;
  private readonly cutBlocking: () => void;

  constructor(private readonly options: StepQueueOptions) {
    const backend = stepBackend(options);
    this.startedSteps = backend.started;
    this.fetching = backend.fetching;
    this.cutBlocking = backend.cutBlocking;
    const processor = async (_job: unknown, token?: string) => {
      if (!backend.started.has(token!)) {
        throw new UnrecoverableError("Not a Waymark step: this queue belongs to Waymark");
      }
      await backend.work(token!);
    };
    this.worker = new Worker(
      options.queue,
      processor as never,
      {
        connection: options.redis as never,
        prefix: options.tag,
        concurrency: options.concurrency,
        autorun: false,
        lockDuration: LOCK_MS,
        drainDelay: IDLE_WAIT_S,
        skipLockRenewal: true,
        skipStalledCheck: true,
        skipVersionCheck: true,
        runRetryDelay: 500,
      },
      backend.factory as never,
    );
    // Set before it runs: BullMQ would make tokens from a random id that takeover could not trace to a worker.
    (this.worker as unknown as { id: string }).id = options.slotPrefix;
    this.worker.on("error", options.onStoreError);
  }

  /** Tokens of slots that hold a step. */
  heldTokens(): string[] {
    return [...this.startedSteps.keys()];
  }

  /** Those, and the ones whose fetch is under way: its reply may say that they hold one. */
  knownTokens(): string[] {
    return [...this.startedSteps.keys(), ...this.fetching];
  }

  async start(): Promise<void> {
    await this.worker.waitUntilReady();
    void this.worker.run().catch(this.options.onStoreError);
  }

  /** Slots take nothing new; those that run go on. */
  stopPulling(): void {
    void this.worker.pause(true);
  }

  /**
   * Gives the connections back. BullMQ's own close waits without a limit, for a store that may be gone, so it gets
   * `timeoutMs` and then its own connection is cut; the shared one is its owner's to end.
   */
  async close(timeoutMs: number): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const deadline = new Promise<"late">((resolve) => {
      timer = setTimeout(() => resolve("late"), timeoutMs);
    });
    const closed = this.worker.close().then(() => "closed" as const);
    closed.catch(this.options.onStoreError);
    const result = await Promise.race([closed, deadline]);
    clearTimeout(timer);
    if (result === "late") this.cutBlocking();
  }
}
