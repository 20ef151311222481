/**
 * What the keeper does, in a thread of its own so that a step that blocks the event loop neither looks dead nor stays
 * for ever: it beats for the process's worker, passes on what the store says, watches the main thread, and ends
 * the process groups of shell steps that are lost.
 */
import { writeSync } from "node:fs";
import type { MessagePort } from "node:worker_threads";
import type { Redis } from "ioredis";
import type { StoreLocation } from "../core/store-address.js";
import { KILL_AFTER_MS, signalGroup } from "../handlers/process-group.js";
import { connect } from "../store/connect.js";
import { Keys } from "../store/keys.js";
import { Beat, type InboxMessage } from "./beat.js";
import type { Takeover } from "./observer.js";
import { VitalSigns } from "./vital-signs.js";

/** What the thread is started with. */
export interface KeeperSettings extends StoreLocation {
  readonly prefix: string;
  /** Numbers of the shards that the process serves. */
  readonly shards: readonly number[];
  readonly deadAfterMs: number;
  readonly memory: SharedArrayBuffer;
}

export type ToKeeper =
  /** Beats for this incarnation from now on. */
  | { readonly kind: "keep"; readonly workerId: string; readonly queues: readonly string[] }
  /** Outside the rhythm: what the store knows of this worker has changed. */
  | { readonly kind: "beat" }
  | { readonly kind: "group"; readonly group: number; readonly lives: boolean }
  | { readonly kind: "stop" };

export type FromKeeper =
  /** It has its connection: from now on a beat is as late as the store is. */
  | { readonly kind: "ready" }
  | { readonly kind: "message"; readonly workerId: string; readonly message: InboxMessage }
  | { readonly kind: "unregistered"; readonly workerId: string }
  | { readonly kind: "takeover"; readonly workerId: string; readonly takeover: Takeover }
  | {
      readonly kind: "mended";
      readonly workerId: string;
      readonly what: { readonly plan: string } | { readonly queue: string };
      readonly steps: number;
    }
  | { readonly kind: "error"; readonly workerId: string; readonly message: string };

/** A store that is away must not hold up a beat for longer, once it is back. */
const SOCKET_TIMEOUT_MS = 5_000;
const RECONNECT_MS = 250;
const WATCH_MS = 200;
/** Counted in looks, not by a clock: after a stop of the whole process both threads start where they were. */
const STUCK_AFTER_LOOKS = 15;

export class KeeperLoop {
  private readonly keys: readonly Keys[];
  private readonly signs: VitalSigns;
  private readonly groups = new Set<number>();
  private readonly watchTimer: NodeJS.Timeout;
  private redis: Redis | null = null;
  /** One for each shard: liveness is each shard's own affair. */
  private beats: readonly Beat[] = [];
  private workerId: string | null = null;
  private queues: readonly string[] = [];
  private stopped = false;
  private seenPulse = 0;
  private looks = 0;

  /** @param endProcess never returns */
  constructor(
    private readonly settings: KeeperSettings,
    private readonly port: MessagePort,
    private readonly endProcess: () => void,
  ) {
    this.keys = settings.shards.map((shard) => new Keys(settings.prefix, shard));
    this.signs = new VitalSigns(settings.memory);
    port.on("message", (message: ToKeeper) => this.receive(message));
    this.watchTimer = setInterval(() => this.watch(), WATCH_MS);
    void this.connect();
  }

  private async connect(): Promise<void> {
    while (this.redis === null && !this.stopped) {
      try {
        const redis = await connect({
          ...this.settings,
          patient: true,
          socketTimeoutMs: SOCKET_TIMEOUT_MS,
          reconnectMs: RECONNECT_MS,
        });
        if (this.stopped) return redis.disconnect();
        this.redis = redis;
        this.tell({ kind: "ready" });
      } catch (error) {
        this.tell({ kind: "error", workerId: this.workerId ?? "", message: (error as Error).message });
        await new Promise((resolve) => setTimeout(resolve, RECONNECT_MS));
      }
    }
    this.startBeat();
  }

  private receive(message: ToKeeper): void {
    switch (message.kind) {
      case "keep":
        this.workerId = message.workerId;
        this.queues = message.queues;
        this.startBeat();
        break;
      case "beat":
        for (const beat of this.beats) beat.beat().catch((error: unknown) => this.onError(error));
        break;
      case "group":
        if (message.lives) this.groups.add(message.group);
        else this.groups.delete(message.group);
        break;
      case "stop":
        this.stop();
        break;
      default:
        message satisfies never;
    }
  }

  private startBeat(): void {
    const { redis, workerId } = this;
    if (redis === null || workerId === null || this.stopped) return;
    this.stopBeats();
    this.beats = this.keys.map((keys) => this.beatIn(keys, redis, workerId));
    for (const beat of this.beats) beat.start();
  }

  private beatIn(keys: Keys, redis: Redis, workerId: string): Beat {
    return new Beat({
      redis,
      keys,
      workerId,
      queues: this.queues,
      deadAfterMs: this.settings.deadAfterMs,
      facts: () => ({ state: this.signs.draining ? "draining" : "accepting", active: this.signs.active }),
      onMessage: (message) => this.tell({ kind: "message", workerId, message }),
      onUnregistered: () => this.onUnregistered(workerId),
      onTakeover: (takeover) => this.tell({ kind: "takeover", workerId, takeover }),
      onMended: (what, steps) => this.tell({ kind: "mended", workerId, what, steps }),
      onError: (error) => this.onError(error),
    });
  }

  private stopBeats(): void {
    for (const beat of this.beats) beat.stop();
    this.beats = [];
  }

  /** Its steps are others' now. The main thread tells their handlers, unless it is stuck: then only this ends their commands. */
  private onUnregistered(workerId: string): void {
    this.stopBeats();
    this.tell({ kind: "unregistered", workerId });
    for (const group of this.groups) signalGroup(group, "SIGTERM");
    const left = [...this.groups];
    setTimeout(() => {
      for (const group of left) if (this.groups.has(group)) signalGroup(group, "SIGKILL");
    }, KILL_AFTER_MS).unref();
  }

  private onError(error: unknown): void {
    this.tell({ kind: "error", workerId: this.workerId!, message: (error as Error).message });
  }

  /** A main thread that is stuck can't end a step at its timeout; then the process ends, and others take over. */
  private watch(): void {
    const { pulseAt } = this.signs;
    if (pulseAt !== this.seenPulse) {
      this.seenPulse = pulseAt;
      this.looks = 0;
      return;
    }
    this.looks++;
    const stuckMs = this.looks * WATCH_MS;
    if (this.looks < STUCK_AFTER_LOOKS || !this.signs.isOverdue(pulseAt + stuckMs)) return;
    writeSync(
      2,
      `waymark: a step has blocked this process beyond its timeout; the process ends so that others take over\n`,
    );
    this.endProcess();
  }

  private stop(): void {
    this.stopped = true;
    clearInterval(this.watchTimer);
    this.stopBeats();
    this.redis?.disconnect();
    this.port.close();
  }

  private tell(message: FromKeeper): void {
    if (!this.stopped) this.port.postMessage(message);
  }
}
