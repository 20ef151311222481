/**
 * The main thread's end of its keeper: the thread that beats for this process, also while a step blocks the event loop.
 * A process whose keeper is dead would be taken for dead without knowing it, so it ends with it.
 */
import { writeSync } from "node:fs";
import { performance } from "node:perf_hooks";
import { exit } from "node:process";
import type { GroupRegister } from "../core/handler.js";
import { startThread } from "../machine/start-thread.js";
import { GroupGuard } from "./group-guard.js";
import type { FromKeeper, KeeperSettings, ToKeeper } from "./keeper-loop.js";
import { PULSE_MS, VitalSigns } from "./vital-signs.js";

export interface KeeperChannel {
  post(message: ToKeeper): void;
  /** Resolves when nothing of the keeper is left. */
  end(): Promise<void>;
}

export type StartKeeper = (settings: KeeperSettings, onMessage: (message: FromKeeper) => void) => KeeperChannel;

/** What the main thread has to hear of. */
export type KeeperMessage = Exclude<FromKeeper, { readonly kind: "ready" }>;

export interface KeeperOptions extends Omit<KeeperSettings, "memory"> {
  /** How many attempts are watched at once. */
  readonly attempts: number;
  readonly start: StartKeeper;
  readonly onMessage: (message: KeeperMessage) => void;
}

export class Keeper {
  /**
   * Resolves when it can beat, or has ended. On a busy machine its thread may take longer to begin than a silent worker
   * lives, so nothing is registered before.
   */
  readonly ready: Promise<void>;
  readonly signs: VitalSigns;
  readonly groups: GroupRegister;
  private readonly channel: KeeperChannel;
  private readonly guard = new GroupGuard();
  private readonly pulseTimer: NodeJS.Timeout;
  private ending: Promise<void> | null = null;
  private markReady = () => {};

  constructor(options: KeeperOptions) {
    this.ready = new Promise((resolve) => {
      this.markReady = resolve;
    });
    const { start, attempts, onMessage, ...settings } = options;
    this.signs = VitalSigns.forAttempts(attempts);
    this.signs.pulse(performance.now());
    this.pulseTimer = setInterval(() => this.signs.pulse(performance.now()), PULSE_MS).unref();
    this.groups = {
      prepare: () => this.guard.prepare(),
      add: (group) => {
        this.guard.add(group);
        this.post({ kind: "group", group, lives: true });
      },
      remove: (group) => {
        this.guard.remove(group);
        this.post({ kind: "group", group, lives: false });
      },
    };
    this.channel = start({ ...settings, memory: this.signs.memory }, (message) => {
      if (message.kind === "ready") this.markReady();
      else onMessage(message);
    });
  }

  /** Beats for this incarnation from now on. */
  keep(workerId: string, queues: readonly string[]): void {
    this.post({ kind: "keep", workerId, queues });
  }

  /** Tells the store at once what `signs` say. */
  beatNow(): void {
    this.post({ kind: "beat" });
  }

  /** No beat is sent after this has resolved. */
  end(): Promise<void> {
    clearInterval(this.pulseTimer);
    this.guard.end();
    this.markReady();
    this.ending ??= this.channel.end();
    return this.ending;
  }

  private post(message: ToKeeper): void {
    if (this.ending === null) this.channel.post(message);
  }
}

/** How long a thread gets to end what it knows of; then it is cut off. */
const END_MS = 100;

export const startKeeperThread: StartKeeper = (settings, onMessage) => {
  const thread = startThread(new URL("./keeper-thread", import.meta.url), settings);
  let ending = false;
  const die = (reason: string) => {
    if (ending) return;
    writeSync(2, `waymark: the thread that keeps this process known to the store has ended: ${reason}\n`);
    exit(1);
  };
  thread.on("message", onMessage);
  thread.on("error", (error: Error) => die(error.message));
  const ended = new Promise<void>((resolve) => {
    thread.on("exit", (code) => {
      die(`exit code ${code}`);
      resolve();
    });
  });
  // What keeps a worker's process alive are its connections.
  thread.unref();
  return {
    post: (message) => thread.postMessage(message),
    async end() {
      ending = true;
      thread.postMessage({ kind: "stop" } satisfies ToKeeper);
      const timer = setTimeout(() => void thread.terminate(), END_MS);
      await ended;
      clearTimeout(timer);
    },
  };
};
