/**
 * One beat a second: this worker lives. With it come the messages of its inbox, and the sweep that gives the jobs of
 * dead workers back to their queues. The keeper sends it, from its thread.
 */
import type { Redis } from "ioredis";
import { isProcessGone } from "../machine/process-identity.js";
import type { Keys } from "../store/keys.js";
import { runScript } from "../store/scripts.js";
import { LOCK_MS } from "../store/step-log.js";
import type { Takeover } from "./observer.js";

export const BEAT_MS = 1_000;
/** How often processes of the same machine are looked at: that costs no call, and one that is gone is dead at once. */
const LOOK_MS = 200;
/** After a takeover: long enough for the store to see that the dead process's connections are closed. */
const WAKE_AGAIN_MS = 50;
/** How often active jobs are compared with their holders. */
const STRAYS_MS = 60_000;

export interface BeatOptions {
  readonly redis: Redis;
  readonly keys: Keys;
  readonly workerId: string;
  /** The BullMQ queues that it serves. */
  readonly queues: readonly string[];
  readonly deadAfterMs: number;
  readonly facts: () => { state: "accepting" | "draining"; active: number };
  readonly onMessage: (message: InboxMessage) => void;
  readonly onUnregistered: () => void;
  readonly onTakeover: (takeover: Takeover) => void;
  /** Steps were put right that nothing else would have moved. */
  readonly onMended: (what: { readonly plan: string } | { readonly queue: string }, steps: number) => void;
  readonly onError: (error: unknown) => void;
}

/** A plan's attempts of an epoch have to stop. */
export interface InboxMessage {
  readonly reason: "cancel" | "pause" | "failed";
  readonly planId: string;
  readonly epoch: number;
}

export class Beat {
  private timer: NodeJS.Timeout | null = null;
  private lookTimer: NodeJS.Timeout | null = null;
  private straysTimer: NodeJS.Timeout | null = null;
  private mending = false;
  private stopped = false;
  /** Workers of this machine, whose processes can be looked at. */
  private readonly neighbours = new Map<string, { machine: string; pid: number; processStart: string }>();

  constructor(private readonly options: BeatOptions) {}

  start(): void {
    this.schedule(0);
    this.lookTimer = setInterval(() => void this.reportGone(), LOOK_MS);
    this.straysTimer = setInterval(() => void this.lookForStrays(), STRAYS_MS);
  }

  stop(): void {
    this.stopped = true;
    if (this.timer) clearTimeout(this.timer);
    if (this.lookTimer) clearInterval(this.lookTimer);
    if (this.straysTimer) clearInterval(this.straysTimer);
  }

  private schedule(ms: number): void {
    if (this.stopped) return;
    this.timer = setTimeout(() => void this.tick(), ms);
  }

  private async tick(): Promise<void> {
    const startedAt = Date.now();
    try {
      await this.beat();
      await this.reportGone();
    } catch (error) {
      this.options.onError(error);
    }
    this.schedule(Math.max(0, BEAT_MS - (Date.now() - startedAt)));
  }

  /** Each is reported once: the sweep that hears of it takes over and forgets it. */
  private async reportGone(): Promise<void> {
    const gone = [...this.neighbours].filter(([, identity]) => isProcessGone(identity)).map(([id]) => id);
    if (gone.length === 0 || this.stopped) return;
    for (const id of gone) this.neighbours.delete(id);
    try {
      await this.beat(gone);
    } catch (error) {
      this.options.onError(error);
    }
  }

  /** Also called outside the rhythm, where the store should know at once. */
  async beat(gone: readonly string[] = []): Promise<void> {
    const { redis, keys, workerId, deadAfterMs } = this.options;
    const { state, active } = this.options.facts();
    const reply = (await runScript(
      redis,
      "beat",
      [keys.workers, keys.worker(workerId), keys.inbox(workerId), keys.sweep],
      [keys.base, workerId, state, String(active), String(deadAfterMs), ...gone],
    )) as [string, string, string[], string[], number, string[], string[], string[]];
    const [verdict, , neighbours, messages, jobs, dead, silences, quiet] = reply;
    if (this.stopped) return;
    if (verdict === "UNREGISTERED") return this.options.onUnregistered();
    for (const message of messages) this.options.onMessage(decodeMessage(message));
    if (dead.length > 0) this.options.onTakeover({ workers: dead, steps: jobs, silentMs: silences.map(Number) });
    if (jobs > 0) this.beatAgainSoon();
    if (quiet.length > 0) void this.mend(quiet);
    await this.meet(neighbours);
  }

  /** One call a plan and page of it, so that no large plan holds up the store; no beat waits for it. */
  private async mend(plans: readonly string[]): Promise<void> {
    if (this.mending) return;
    this.mending = true;
    const { redis, keys, onMended, onError } = this.options;
    try {
      for (const plan of plans) {
        let cursor = "0";
        let steps = 0;
        do {
          if (this.stopped) return;
          const args = [keys.base, plan, cursor, LOCK_MS];
          const reply = await runScript(redis, "mend", [keys.plan(plan), keys.workers, ...keys.planKeys(plan)], args);
          const [next, mended] = reply as [string, number];
          cursor = next;
          steps += mended;
        } while (cursor !== "0");
        if (steps > 0) onMended({ plan }, steps);
      }
    } catch (error) {
      onError(error);
    } finally {
      this.mending = false;
    }
  }

  /** Public for tests, which don't wait for a minute. */
  async lookForStrays(): Promise<void> {
    const { redis, keys, queues, onMended, onError } = this.options;
    try {
      for (const queue of queues) {
        const found = await runScript(
          redis,
          "strays",
          [keys.sweep, keys.workers, ...keys.queueKeys(queue)],
          [keys.base, queue],
        );
        if (Number(found) > 0) onMended({ queue }, Number(found));
      }
    } catch (error) {
      onError(error);
    }
  }

  /** The dead worker's own connection may have been given the wake-up for what it lost: the next beat wakes again. */
  private beatAgainSoon(): void {
    setTimeout(() => {
      if (!this.stopped) void this.beat().catch(this.options.onError);
    }, WAKE_AGAIN_MS).unref();
  }

  private async meet(workers: readonly string[]): Promise<void> {
    const present = new Set(workers);
    for (const id of this.neighbours.keys()) if (!present.has(id)) this.neighbours.delete(id);
    for (const id of workers) {
      if (id === this.options.workerId || this.neighbours.has(id)) continue;
      const [machine, pid, start] = await this.options.redis.hmget(
        this.options.keys.worker(id),
        "machine",
        "pid",
        "process_start",
      );
      if (machine && pid && start) this.neighbours.set(id, { machine, pid: Number(pid), processStart: start });
    }
  }
}

function decodeMessage(text: string): InboxMessage {
  const [reason, planId, epoch] = text.split("|") as [InboxMessage["reason"], string, string];
  return { reason, planId, epoch: Number(epoch) };
}
