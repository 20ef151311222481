/**
 * A process that executes steps. Its life: start → accepting → draining → released → closed.
 *
 *   accepting  every queue's slots fetch, run, commit and fetch with the commit
 *   draining   from `drain()` on: nothing is fetched; active steps finish; at 80 % of the grace their signals are
 *              aborted; at 90 % they are handed back, without an attempt counted, to their queues or to whoever
 *              resumes their plans; at the end nobody is waited for
 *   closed     deregistered, connections gone
 *
 * What the store knows of a process is an incarnation: a random id, registered before its first fetch. When the store
 * answers UNREGISTERED (it was away for long, or took this process for dead), all running attempts are lost: they are
 * aborted, what they still write is refused, and a new incarnation goes on.
 */
import { performance } from "node:perf_hooks";
import type { Redis } from "ioredis";
import type { StepHandler } from "../core/handler.js";
import { newWorkerId } from "../core/ids.js";
import type { Outcome } from "../core/outcome.js";
import type { AttemptStore, StartedStep } from "../core/ports.js";
import type { AnyPlan } from "../define/typed-plan.js";
import { thisProcess } from "../machine/process-identity.js";
import { StepQueue } from "../queue/step-queue.js";
import type { Sandboxes } from "../sandbox/sandboxes.js";
import { attemptsIn } from "../store/attempt-store.js";
import { connect, serverOf } from "../store/connect.js";
import { bullQueueName, type Keys, privateQueueName } from "../store/keys.js";
import type { RedisPlanStore } from "../store/redis-plan-store.js";
import { runScript, runScriptInOrder } from "../store/scripts.js";
import type { ShardedPlanStore } from "../store/sharded-plan-store.js";
import { RedisStepLog } from "../store/step-log.js";
import { type AbortReason, Attempt } from "./attempt.js";
import type { InboxMessage } from "./beat.js";
import { ABORT_PATIENCE_MS, type ExecuteEnvironment, execute, type ShellTrust } from "./execute.js";
import { insist } from "./insist.js";
import { Keeper, type KeeperMessage, type StartKeeper, startKeeperThread } from "./keeper.js";
import type { WorkerObserver } from "./observer.js";
import { PlanCache } from "./plan-cache.js";
import { PlanFolders } from "./plan-folders.js";
import { Progress } from "./progress.js";
import { ProcessSlots } from "./slots.js";

/** What a step's log keeps. */
const LOG_BYTES = 64 * 1024;
const AUDIT_MS = 60_000;
const TIDY_MS = 60_000;
/** See takeover.lua. */
const ALONE_AFTER_CRASHES = 2;
/** Parts of the grace: when active steps are told to stop, and when they are handed back. */
const ABORT_AT = 0.8;
const RELEASE_AT = 0.9;
const GIVE_UP_AT = 0.97;
/** The process itself takes a moment to end. */
const CLOSED_AT = 0.99;
/** What closing connections may take. */
const CLOSE_MS = 500;

export interface WorkerLog {
  debug(facts: object, message: string): void;
  info(facts: object, message: string): void;
  warn(facts: object, message: string): void;
}

export interface StepWorkerOptions {
  /** For everything but steps: definitions and payloads. The worker opens connections of its own besides. */
  readonly store: ShardedPlanStore;
  /** The only plan that it is for: then it serves no other shard than that plan's. */
  readonly planId?: string | undefined;
  /** Queues of definitions to serve. With none it serves only a private queue of its own, for plans run here. */
  readonly queues: readonly string[];
  readonly plans: readonly AnyPlan[];
  readonly handlers: ReadonlyMap<string, StepHandler>;
  readonly services: unknown;
  readonly concurrency: number;
  /** What people call it: host:pid. */
  readonly label: string;
  readonly trust: ShellTrust;
  readonly secret: (name: string) => string | undefined;
  /** Where it keeps files of plans. Asked for at the first step that has some. */
  readonly sandboxes: () => Promise<Sandboxes>;
  readonly log: WorkerLog;
  readonly observer?: WorkerObserver | null;
  /** A thread of its own unless given. */
  readonly startKeeper?: StartKeeper;
}

/** What it does now, for those who look from outside. */
export interface WorkerStatus {
  readonly state: "starting" | "accepting" | "draining" | "closed";
  /** Null before it is registered. */
  readonly workerId: string | null;
  readonly active: number;
  readonly concurrency: number;
  readonly queues: readonly string[];
}

export interface DrainOptions {
  readonly graceMs: number;
  /** What becomes of steps that can't end in time: others take them, or their plan is interrupted until it is resumed. */
  readonly onDrain?: OnDrain;
}

export type OnDrain = "requeue" | "interrupt";

export interface DrainReport {
  /** What was handed back. What the store could not be told of is none of it: others take that over. */
  readonly released: readonly { readonly planId: string; readonly stepId: string }[];
}

export class StepWorker {
  private incarnation: Incarnation | null = null;
  /** While a new one is being registered. */
  private incarnating: Promise<void> | null = null;
  private redis: Redis | null = null;
  private keeper: Keeper | null = null;
  private state: "new" | "accepting" | "draining" | "closed" = "new";
  private gaveUp = false;
  /** Those that it serves. */
  private readonly shards: readonly RedisPlanStore[];
  private readonly cache: PlanCache;
  /** What a drain hands back, by token. */
  private readonly released = new Map<string, StartedStep>();
  private onDrain: OnDrain = "requeue";
  private readonly privatePlans = new Set<string>();
  private draining: Promise<DrainReport> | null = null;
  private releaseRequested: (() => void) | null = null;
  private closing: Promise<void> | null = null;
  private readonly plansByName: ReadonlyMap<string, AnyPlan>;
  private readonly environment: ExecuteEnvironment;
  private readonly folders: PlanFolders;
  private readonly attempts: AttemptStore;
  private readonly progress: Progress;
  private tidyTimer: NodeJS.Timeout | null = null;

  constructor(private readonly options: StepWorkerOptions) {
    const { sandboxes: open, store, planId } = options;
    this.shards = planId === undefined ? store.shards : [store.shardOf(planId)];
    this.cache = new PlanCache({
      openInput: (id, stored) => store.shardOf(id).openInput(id, stored),
      payloads: (id, stepIds) => store.shardOf(id).payloads(id, stepIds),
      failures: (id, stepIds) => store.shardOf(id).failures(id, stepIds),
    });
    this.folders = new PlanFolders({ open, ended: (planIds) => store.ended(planIds) });
    this.plansByName = new Map(options.plans.map((plan) => [plan.name, plan]));
    this.attempts = attemptsIn(store);
    this.progress = new Progress(
      (step, fraction, note) => this.attempts.progress(step, fraction, note),
      (error) => options.log.debug({ err: error }, "how far a step is could not be stored"),
    );
    this.environment = this.makeEnvironment();
  }

  /** This incarnation's id. */
  get workerId(): string {
    return this.requireIncarnation().workerId;
  }

  /** The queue that only this process serves, or null where it serves a fleet's queues. */
  get privateQueue(): string | null {
    return this.options.queues.length === 0 ? privateQueueName(this.workerId) : null;
  }

  get status(): WorkerStatus {
    const { concurrency, queues } = this.options;
    const state = this.state === "accepting" && this.incarnation === null ? "starting" : this.state;
    return {
      state: state === "new" ? "starting" : state,
      workerId: this.incarnation?.workerId ?? null,
      active: this.active,
      concurrency,
      queues,
    };
  }

  get active(): number {
    return this.incarnation?.running.size ?? 0;
  }

  async start(): Promise<void> {
    if (this.state !== "new") return;
    const { store, concurrency } = this.options;
    this.keeper = new Keeper({
      ...store.location,
      prefix: store.prefix,
      shards: this.shards.map(({ keys }) => keys.shard),
      deadAfterMs: store.deadAfterMs,
      // Those of an incarnation that was lost may go on for a while beside the next one's.
      attempts: 2 * concurrency,
      start: this.options.startKeeper ?? startKeeperThread,
      onMessage: (message) => this.hear(message),
    });
    await store.requireSuitable();
    this.redis = await connect({ ...store.location, patient: true });
    this.state = "accepting";
    this.incarnation = await this.incarnate();
    this.tidyTimer = setInterval(() => void this.tidy(), TIDY_MS);
    // A cluster tells of each server apart.
    for (const event of ["ready", "+node"]) this.redis.on(event, () => void this.incarnation?.audit());
    this.options.log.info({ worker: this.workerId, queues: this.incarnation.queueNames }, "accepting steps");
  }

  /** Starts an incarnation with its queues and its beat. */
  private async incarnate(): Promise<Incarnation> {
    const workerId = newWorkerId();
    const { options } = this;
    const queueNames =
      options.queues.length === 0 ? [privateQueueName(workerId)] : [...new Set(options.queues.map(bullQueueName))];
    const incarnation = new Incarnation(workerId, queueNames, {
      ...options,
      shards: this.shards,
      redis: this.redis!,
      keeper: this.keeper!,
      isDraining: () => this.state !== "accepting",
      gaveUp: () => this.gaveUp,
      run: (attempt) => this.run(attempt),
      onLost: (step) => {
        this.cache.drop(step.planId);
        this.released.delete(step.token);
      },
      // What a pause or a cancel ended before is not handed back by a drain.
      onReleased: (step) => {
        if (this.state !== "accepting") this.released.set(step.token, step);
      },
      onUnregistered: () => void this.reincarnate(incarnation),
    });
    await incarnation.start();
    return incarnation;
  }

  private hear(message: KeeperMessage): void {
    const { log } = this.options;
    switch (message.kind) {
      case "message":
        this.incarnation?.onMessage(message.message);
        break;
      case "unregistered":
        if (this.incarnation?.workerId === message.workerId) void this.reincarnate(this.incarnation);
        break;
      case "takeover": {
        const { workers, steps } = message.takeover;
        log.info({ worker: message.workerId, workers, steps }, "took over from dead workers");
        this.options.observer?.tookOver?.(message.takeover);
        break;
      }
      case "mended":
        log.warn({ worker: message.workerId, ...message.what, steps: message.steps }, "put right what had got stuck");
        break;
      case "error":
        log.warn({ worker: message.workerId, reason: message.message }, "a beat failed");
        break;
      default:
        message satisfies never;
    }
  }

  private async reincarnate(old: Incarnation): Promise<void> {
    if (this.incarnation !== old || this.state !== "accepting") return;
    this.options.log.warn(
      { worker: old.workerId },
      "the store does not know this worker any more; starting a new incarnation",
    );
    this.incarnation = null;
    old.retire();
    this.incarnating = this.replace(old);
    await this.incarnating;
    this.incarnating = null;
  }

  private async replace(old: Incarnation): Promise<void> {
    try {
      this.incarnation = await this.incarnate();
    } catch (error) {
      this.options.log.warn({ err: error }, "a new incarnation could not be registered; trying again");
      this.incarnation = old;
      setTimeout(() => void this.reincarnate(old), 1_000).unref();
    }
  }

  private async run(attempt: Attempt): Promise<Outcome> {
    const { step } = attempt;
    if (step.privateQueue !== null) this.privatePlans.add(step.planId);
    const { log, observer } = this.options;
    const facts = factsOf(step);
    log.debug(facts, "step started");
    const { planId, definitionDigest, grown } = step;
    const { definitions } = this.options.store.shardOf(planId);
    let compiled = definitions.cachedOfPlan(planId, definitionDigest, grown);
    try {
      compiled ??= await definitions.ofPlan(planId, definitionDigest, grown);
    } catch (error) {
      return { kind: "defer", delayMs: 1_000, reason: (error as Error).message };
    }
    const timeoutMs = compiled.steps.get(step.stepId)?.timeoutMs ?? 0;
    const { signs } = this.keeper!;
    const watched = signs.show(performance.now() + timeoutMs + ABORT_PATIENCE_MS);
    const { environment } = this;
    // It may have been handed back while its definition was read; then its handler doesn't begin.
    const execution = () =>
      attempt.endedWith === null
        ? attempt.outcomeOf(execute(attempt, compiled, environment))
        : Promise.resolve(attempt.endedWith);
    const ended = await (observer ? observer.attempt(step, execution) : execution());
    signs.withdraw(watched);
    const outcome = this.state === "draining" ? this.drained(ended) : ended;
    // On the connection of the commit, which so comes after it: nobody sees a step's end before its last line.
    attempt.flush();
    if (outcome.kind === "complete") {
      // Nothing below looks at the plan any more; if another branch does, it reads what it needs.
      if (compiled.steps.get(step.stepId)?.next.length === 0 && !outcome.appended) this.cache.drop(step.planId);
      else this.cache.keep(step, outcome.output);
    } else if (outcome.kind === "skip") {
      this.cache.keep(step, "null");
    }
    log.debug(facts, `step ended: ${outcome.kind}`);
    return outcome;
  }

  /** Of an attempt that ended while this process drains. */
  private drained(outcome: Outcome): Outcome {
    if (isStopSignal(outcome)) return this.handBack();
    return outcome.kind === "release" ? { ...outcome, hold: this.onDrain === "interrupt" } : outcome;
  }

  private handBack(): Outcome {
    return { kind: "release", reason: "drain", hold: this.onDrain === "interrupt" };
  }

  private async tidy(): Promise<void> {
    try {
      await this.folders.tidy();
    } catch (error) {
      this.options.log.warn({ err: error }, "directories of plans that have ended could not be removed");
    }
  }

  private makeEnvironment(): ExecuteEnvironment {
    const { options } = this;
    return {
      plans: this.plansByName,
      handlers: options.handlers,
      services: options.services,
      trust: options.trust,
      secret: options.secret,
      cache: this.cache,
      sandboxes: (planId) => this.folders.open(planId),
      attempts: this.attempts,
      payloadLimitBytes: options.store.payloadLimitBytes,
      syncStore: (planId) => this.syncStore(planId),
      random: Math.random,
      onProgress: (step, fraction, note) => this.progress.tell(step, fraction, note),
    };
  }

  /** Redis before 7.2 has no WAITAOF; there only `appendfsync always` closes the gap, as `plan doctor` says. */
  private async syncStore(planId: string): Promise<void> {
    try {
      const server = await serverOf(this.redis!, this.options.store.shardOf(planId).keys.workers);
      await server.call("WAITAOF", "1", "0", "1000");
    } catch (error) {
      this.options.log.debug({ err: error }, "the store cannot confirm that it is on disk");
    }
  }

  /**
   * Stops pulling, lets active steps finish, hands back what can't finish in time. Resolves within the grace, whether
   * the store answers or not. A second call joins the first.
   */
  drain({ graceMs, onDrain = "requeue" }: DrainOptions): Promise<DrainReport> {
    this.draining ??= this.drainOnce(graceMs, onDrain);
    return this.draining;
  }

  /** During a drain: hands back what is active now, as a second signal asks for. */
  releaseNow(): void {
    this.releaseRequested?.();
  }

  private async drainOnce(graceMs: number, onDrain: OnDrain): Promise<DrainReport> {
    if (this.state === "closed" || this.state === "new") return { released: [] };
    const startedAt = Date.now();
    const left = (part: number) => Math.max(0, startedAt + graceMs * part - Date.now());
    this.state = "draining";
    this.onDrain = onDrain;
    this.keeper!.signs.draining = true;
    // One that is being registered has to end as well; it takes nothing.
    if (this.incarnating) await firstOf(this.incarnating, never, left(ABORT_AT));
    const { incarnation } = this;
    if (!incarnation) {
      this.gaveUp = true;
      await this.closeWithin(Math.max(50, left(CLOSED_AT)));
      return { released: [] };
    }
    this.options.log.info({ worker: incarnation.workerId, active: this.active, grace_ms: graceMs }, "draining");
    incarnation.stopPulling();
    const asked = new Promise<void>((resolve) => {
      this.releaseRequested = resolve;
    });
    const idle = incarnation.whenIdle();
    if ((await firstOf(idle, asked, left(ABORT_AT))) !== "first") {
      incarnation.abortAll("drain");
      await firstOf(idle, asked, left(RELEASE_AT));
      incarnation.endAll(this.handBack());
      await firstOf(idle, never, left(GIVE_UP_AT));
    }
    const { unsettled } = incarnation;
    this.gaveUp = true;
    await this.closeWithin(Math.max(50, left(CLOSED_AT)));
    // What it still held when it deregistered has gone back to its queue with that.
    const isHeard = unsettled.size === 0 || (incarnation.hasLeft && onDrain === "requeue");
    return this.report(incarnation.workerId, isHeard ? new Set() : unsettled);
  }

  private report(worker: string, unheard: ReadonlySet<string>): DrainReport {
    const { log } = this.options;
    const released = [...this.released.values()].filter(({ token }) => !unheard.has(token));
    for (const [plan, steps] of stepsByPlan(released))
      log.info({ worker, plan, steps, on_drain: this.onDrain }, "handed back");
    if (unheard.size > 0)
      log.warn({ worker, steps: unheard.size }, "the store does not answer; others will take over what was active");
    log.info({ worker, released: released.length }, "drained");
    return { released: released.map(({ planId, stepId }) => ({ planId, stepId })) };
  }

  /** Ends at once: active steps are handed back. Safe before `start()` and twice. */
  async close(): Promise<void> {
    if (this.state === "accepting") await this.drain({ graceMs: CLOSE_MS * 4 });
    else await (this.draining ?? this.closeWithin(CLOSE_MS));
  }

  private closeWithin(ms: number): Promise<void> {
    this.closing ??= this.closeOnce(ms);
    return this.closing;
  }

  private async closeOnce(ms: number): Promise<void> {
    const { incarnation } = this;
    this.state = "closed";
    if (this.tidyTimer) clearInterval(this.tidyTimer);
    this.progress.stop();
    await this.keeper?.end();
    if (incarnation) {
      await firstOf(incarnation.deregister([...this.privatePlans]), never, ms / 2);
      await firstOf(this.tidy(), never, ms / 4);
      await incarnation.close(ms / 4);
    }
    this.redis?.disconnect();
  }

  private requireIncarnation(): Incarnation {
    if (!this.incarnation) throw new Error("This worker has not been started");
    return this.incarnation;
  }
}

/** A shell gives the signal's number plus 128 where it ends by itself. */
const STOP_SIGNAL_CODES = new Set(["EXIT_SIGTERM", "EXIT_SIGINT", "EXIT_143", "EXIT_130"]);

/** Service managers send the signal that drains this process to its commands as well: what that ends is no failure. */
function isStopSignal(outcome: Outcome): boolean {
  return (outcome.kind === "retry" || outcome.kind === "fail") && STOP_SIGNAL_CODES.has(outcome.error.code);
}

/** The ids of steps, by plan. */
export function stepsByPlan(
  steps: readonly { readonly planId: string; readonly stepId: string }[],
): ReadonlyMap<string, readonly string[]> {
  const plans = new Map<string, string[]>();
  for (const { planId, stepId } of steps) plans.set(planId, [...(plans.get(planId) ?? []), stepId]);
  return plans;
}

/** What every line about a step says of it. */
function factsOf(step: StartedStep): object {
  const { planId: plan, stepId, epoch, attempt, token } = step;
  return { plan, step: stepId, epoch, attempt, worker: token.slice(0, token.indexOf(".")) };
}

interface IncarnationOptions extends StepWorkerOptions {
  readonly shards: readonly RedisPlanStore[];
  readonly redis: Redis;
  readonly keeper: Keeper;
  readonly isDraining: () => boolean;
  readonly gaveUp: () => boolean;
  readonly run: (attempt: Attempt) => Promise<Outcome>;
  readonly onLost: (step: StartedStep) => void;
  readonly onReleased: (step: StartedStep) => void;
  readonly onUnregistered: () => void;
}

/** What the store knows as one worker: an id, its queues, its running attempts. */
class Incarnation {
  readonly running = new Map<string, Attempt>();
  /** What it serves of each shard. */
  private readonly served: readonly { readonly shard: RedisPlanStore; readonly queues: readonly StepQueue[] }[];
  private readonly queues: readonly StepQueue[];
  private readonly slots: ProcessSlots;
  private auditTimer: NodeJS.Timeout | null = null;
  /** Whether the store knows that it has gone. */
  hasLeft = false;
  private retired = false;
  private idleWaiters: (() => void)[] = [];

  constructor(
    readonly workerId: string,
    readonly queueNames: readonly string[],
    private readonly options: IncarnationOptions,
  ) {
    this.slots = new ProcessSlots(options.concurrency);
    let queues = 0;
    this.served = options.shards.map((shard) => {
      const { keys, definitions, sealed } = shard;
      const log = new RedisStepLog(options.redis, keys, workerId, definitions, sealed);
      return { shard, queues: queueNames.map((queue) => this.serve(queue, keys.tag, log, queues++)) };
    });
    this.queues = this.served.flatMap((served) => served.queues);
  }

  private serve(queue: string, tag: string, log: RedisStepLog, place: number): StepQueue {
    const { options, workerId } = this;
    return new StepQueue({
      queue,
      log,
      slots: this.slots,
      redis: options.redis,
      tag,
      slotPrefix: `${workerId}.${place}`,
      concurrency: options.concurrency,
      isDraining: () => this.retired || options.isDraining(),
      gaveUp: options.gaveUp,
      run: (step) => this.run(step),
      onRefusal: (step, verdict) => {
        options.log.warn({ ...factsOf(step), verdict }, "the store refused a result");
        options.observer?.refused?.(step, verdict);
        options.onLost(step);
      },
      onUnregistered: options.onUnregistered,
      onStoreError: (error) =>
        options.log.warn({ err: error, worker: workerId }, "the store answered with an error; trying again"),
    });
  }

  async start(): Promise<void> {
    const { machine, pid, processStart } = thisProcess();
    const facts = {
      label: this.options.label,
      pid: String(pid),
      process_start: processStart,
      state: "accepting",
      active: "0",
      concurrency: String(this.options.concurrency),
      plans: this.options.plans.map((plan) => plan.name).join(" "),
    };
    await this.options.keeper.ready;
    await Promise.all(
      this.served.map(({ shard: { keys } }) =>
        runScript(
          this.options.redis,
          "register",
          [
            keys.workers,
            keys.worker(this.workerId),
            keys.machine(machine),
            ...this.queueNames.map((queue) => keys.serving(queue)),
          ],
          [keys.base, this.workerId, machine, this.queueNames.join(" "), ...Object.entries(facts).flat()],
        ),
      ),
    );
    this.options.keeper.keep(this.workerId, this.queueNames);
    await Promise.all(this.queues.map((queue) => queue.start()));
    this.auditTimer = setInterval(() => void this.audit(), AUDIT_MS);
  }

  private async run(step: StartedStep): Promise<Outcome> {
    const attempt = new Attempt(
      step,
      (text, bytes) => void this.sendLog(step, text, bytes),
      this.options.keeper.groups,
    );
    this.running.set(step.token, attempt);
    this.showActive();
    try {
      const outcome = await this.inTurn(attempt);
      if (outcome.kind === "release") this.options.onReleased(step);
      return outcome;
    } catch (error) {
      // Nothing in a run may throw; if it does, the step is handed back rather than failed for our mistake.
      this.options.log.warn({ err: error, ...factsOf(step) }, "an attempt could not be carried out");
      return { kind: "defer", delayMs: 1_000, reason: (error as Error).message };
    } finally {
      this.running.delete(step.token);
      this.showActive();
      if (this.running.size === 0) setImmediate(() => this.notifyIdle());
    }
  }

  /** A step that has killed workers runs alone, so that the next crash is its own and takes nothing else with it. */
  private async inTurn(attempt: Attempt): Promise<Outcome> {
    const alone = attempt.step.crashes >= ALONE_AFTER_CRASHES;
    const turn = this.slots.enter(alone);
    if (turn !== null) {
      const over = await attempt.outcomeOf(turn);
      if (over !== undefined) {
        void turn.then(() => this.slots.leave(alone));
        return over;
      }
    }
    try {
      if (alone) await this.sayAlone(attempt);
      return await this.options.run(attempt);
    } finally {
      this.slots.leave(alone);
    }
  }

  private async sayAlone(attempt: Attempt): Promise<void> {
    const { step } = attempt;
    const job = `${step.planId}/${step.stepId}/${step.epoch}`;
    const keys = [this.options.store.shardOf(step.planId).keys.worker(this.workerId)];
    await insist(attempt, () => runScript(this.options.redis, "alone", keys, [job, String(step.attempt)]));
  }

  private showActive(): void {
    if (!this.retired) this.options.keeper.signs.active = this.running.size;
  }

  private async sendLog(step: StartedStep, text: string, bytes: number): Promise<void> {
    const { keys } = this.options.store.shardOf(step.planId);
    try {
      await runScriptInOrder(
        this.options.redis,
        "log",
        [keys.planPart(step.planId, "logs"), keys.plan(step.planId)],
        [`${step.stepId}/${step.attempt}`, text, String(LOG_BYTES), String(bytes)],
      );
    } catch (error) {
      this.options.log.warn({ err: error, ...factsOf(step) }, "a log could not be stored");
    }
  }

  /** Gives back what this worker owns without knowing it: a reply that told it so was lost. */
  async audit(): Promise<void> {
    await Promise.all(this.served.map(({ shard, queues }) => this.auditIn(shard.keys, queues)));
  }

  private async auditIn(keys: Keys, queues: readonly StepQueue[]): Promise<void> {
    const known = queues.flatMap((queue) => queue.knownTokens());
    try {
      const given = await runScript(
        this.options.redis,
        "audit",
        [keys.own(this.workerId)],
        [keys.base, this.workerId, ...known],
      );
      if (Number(given) > 0)
        this.options.log.info({ worker: this.workerId, jobs: given }, "gave back steps that were never received");
    } catch (error) {
      this.options.log.warn({ err: error, worker: this.workerId }, "an audit failed");
    }
  }

  onMessage(message: InboxMessage): void {
    for (const attempt of this.running.values()) {
      if (attempt.step.planId === message.planId && attempt.step.epoch <= message.epoch) attempt.abort(message.reason);
    }
  }

  stopPulling(): void {
    for (const queue of this.queues) queue.stopPulling();
    this.slots.close();
    this.options.keeper.beatNow();
  }

  abortAll(reason: AbortReason): void {
    for (const attempt of this.running.values()) attempt.abort(reason);
  }

  endAll(outcome: Outcome): void {
    for (const attempt of this.running.values()) attempt.end(outcome);
  }

  /** A shard gave this incarnation's steps to others. It leaves the other shards in order, so that no crash is counted there. */
  retire(): void {
    this.retired = true;
    if (this.served.length > 1) void this.deregister([]);
    this.stopAudit();
    this.abortAll("lost");
    this.stopQueues();
    void this.whenIdle().then(() => this.close(CLOSE_MS));
  }

  /** Tokens of attempts that run, or whose result is on its way. */
  get unsettled(): ReadonlySet<string> {
    return new Set([...this.running.keys(), ...this.queues.flatMap((queue) => queue.heldTokens())]);
  }

  /** Resolves when no attempt runs and no result is on its way. */
  whenIdle(): Promise<void> {
    if (this.isIdle()) return Promise.resolve();
    const idle = new Promise<void>((resolve) => this.idleWaiters.push(resolve));
    if (this.running.size === 0) this.notifyIdle();
    return idle;
  }

  async deregister(privatePlans: readonly string[]): Promise<void> {
    const left = await Promise.all(this.served.map(({ shard }) => this.deregisterFrom(shard, privatePlans)));
    this.hasLeft = left.every(Boolean);
  }

  /** @returns whether the store has heard of it */
  private async deregisterFrom(shard: RedisPlanStore, privatePlans: readonly string[]): Promise<boolean> {
    const { keys } = shard;
    const { store, redis } = this.options;
    const plans = privatePlans.filter((planId) => store.shardOf(planId) === shard);
    try {
      await runScript(
        redis,
        "deregister",
        [keys.workers, keys.worker(this.workerId), keys.own(this.workerId), keys.inbox(this.workerId)],
        [keys.base, this.workerId, privateQueueName(this.workerId), ...plans],
      );
      return true;
    } catch (error) {
      this.options.log.warn(
        { err: error, worker: this.workerId },
        "could not deregister; others will notice by the missing beat",
      );
      return false;
    }
  }

  async close(timeoutMs: number): Promise<void> {
    this.stopAudit();
    await Promise.all(this.queues.map((queue) => queue.close(timeoutMs)));
  }

  private stopQueues(): void {
    for (const queue of this.queues) queue.stopPulling();
    this.slots.close();
  }

  private stopAudit(): void {
    if (this.auditTimer) clearInterval(this.auditTimer);
    this.auditTimer = null;
  }

  private isIdle(): boolean {
    return this.unsettled.size === 0;
  }

  private notifyIdle(): void {
    if (this.idleWaiters.length === 0) return;
    if (!this.isIdle()) {
      // A result is on its way to the store; its reply empties the slot.
      setTimeout(() => this.notifyIdle(), 5);
      return;
    }
    const waiters = this.idleWaiters;
    this.idleWaiters = [];
    for (const wake of waiters) wake();
  }
}

const never = new Promise<never>(() => {});

async function firstOf(
  first: Promise<unknown>,
  second: Promise<unknown>,
  ms: number,
): Promise<"first" | "second" | "time"> {
  let timer: NodeJS.Timeout | undefined;
  const time = new Promise<"time">((resolve) => {
    timer = setTimeout(() => resolve("time"), ms);
  });
  try {
    return await Promise.race([first.then(() => "first" as const), second.then(() => "second" as const), time]);
  } finally {
    clearTimeout(timer);
  }
}
