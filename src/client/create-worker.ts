/** `createWorker`: a worker inside an application, for plans whose functions and services live there. */
import { hostname } from "node:os";
import { pid } from "node:process";
import { DOCUMENT_QUEUE } from "../core/definition.js";
import { type Duration, parseDurationMs } from "../core/duration.js";
import { UsageError } from "../core/errors.js";
import type { PayloadCodec } from "../core/payload-codec.js";
import { type Handler, toStepHandler } from "../define/define-handler.js";
import type { AnyPlan, PlanServices } from "../define/typed-plan.js";
import { builtinHandlers } from "../handlers/index.js";
import type { HealthOptions, HealthServer } from "../observe/health-server.js";
import { watchWorker } from "../observe/watch-worker.js";
import type { ShardedPlanStore } from "../store/sharded-plan-store.js";
import { type DrainReport, type OnDrain, StepWorker, type WorkerLog } from "../worker/step-worker.js";
import { checkWorkerOptions } from "./check-options.js";
import { LOCAL_REDIS_URL, payloadLimitOf, type RedisSource, storeOf } from "./create-client.js";
import { type SandboxOptions, sandboxesOf } from "./sandboxes.js";

export interface WorkerOptions<D extends readonly AnyPlan[]> {
  readonly redis?: RedisSource | undefined;
  readonly prefix?: string | undefined;
  /** As for `createClient`. */
  readonly shards?: number | undefined;
  readonly plans: D;
  /** Everything that the plans declare. */
  readonly services: PlanServices<D[number]>;
  /** Queues to serve: those of the plans' steps unless given. `documents` is the one of plan documents. */
  readonly queues?: readonly string[];
  /** Handlers that documents may name besides the built-in ones. */
  readonly handlers?: readonly Handler[];
  /** Steps at once: 10 unless given. */
  readonly concurrency?: number;
  /** False to start it by hand. */
  readonly autorun?: boolean;
  /** What it logs to, such as a pino logger. It is quiet unless given. */
  readonly log?: WorkerLog;
  /** What one payload may weigh, as for `createClient`. */
  readonly payloadLimit?: number | string | undefined;
  /** What payloads go through, as for `createClient`. */
  readonly payloads?: PayloadCodec | undefined;
  /** Values of `secrets.NAME`. */
  readonly secrets?: Readonly<Record<string, string>>;
  /** Answers /livez, /readyz and /metrics on this port; on loopback unless a `host` is given. */
  readonly health?: HealthOptions;
  /** Whether shell steps of any definition in this Redis may run on this machine. */
  readonly allowShell?: boolean;
  /** Where files of plans with a sandbox are kept. */
  readonly sandboxes?: SandboxOptions;
}

const DEFAULT_CONCURRENCY = 10;
const DEFAULT_GRACE_MS = 25_000;

/** Starts at once unless `autorun` is false; a start that fails is thrown by `start()`, which may be awaited. @throws UsageError */
export function createWorker<const D extends readonly AnyPlan[]>(options: WorkerOptions<D>): FleetWorker {
  const worker = new FleetWorker(options as unknown as WorkerOptions<readonly AnyPlan[]>);
  // Whoever awaits start() or drain() hears of a failure; it must not end a process that does neither.
  if (options.autorun !== false)
    worker.start().catch((error: unknown) => options.log?.warn({ err: error }, "the worker could not start"));
  return worker;
}

export class FleetWorker {
  #starting: Promise<StartedWorker> | null = null;
  #closing: Promise<void> | null = null;

  /** @throws UsageError */
  constructor(private readonly options: WorkerOptions<readonly AnyPlan[]>) {
    checkWorkerOptions(options);
  }

  /** Resolves when it accepts steps. */
  async start(): Promise<void> {
    if (this.#closing !== null) return;
    this.#starting ??= this.#start();
    await this.#starting;
  }

  /**
   * Stops pulling, lets active steps end within the grace (25 s unless given), hands back the others: to their queues, or
   * with `onDrain: "interrupt"` to whoever resumes their plans.
   */
  async drain(options: { readonly grace?: Duration; readonly onDrain?: OnDrain } = {}): Promise<DrainReport> {
    const graceMs = options.grace === undefined ? DEFAULT_GRACE_MS : parseDurationMs(options.grace);
    if (graceMs === null)
      throw new UsageError(`The grace ${JSON.stringify(options.grace)} is not a duration such as "25s"`);
    if (this.#starting === null) return { released: [] };
    const { worker } = await this.#starting;
    const { onDrain = "requeue" } = options;
    if (onDrain !== "requeue" && onDrain !== "interrupt")
      throw new UsageError(`onDrain is "requeue" or "interrupt", not ${JSON.stringify(onDrain)}`);
    const report = await worker.drain({ graceMs, onDrain });
    await this.close();
    return report;
  }

  /** Ends at once: active steps are handed back. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  /** The port that `health` is answered on, once the worker has started; null without. */
  async healthPort(): Promise<number | null> {
    return (await this.#starting)?.health?.port ?? null;
  }

  async #start(): Promise<StartedWorker> {
    const { options } = this;
    const source = options.redis ?? LOCAL_REDIS_URL;
    const store = await storeOf(source, {
      prefix: options.prefix,
      shards: options.shards,
      payloadLimitBytes: payloadLimitOf(options.payloadLimit),
      payloads: options.payloads,
    });
    const { payloadLimitBytes } = store;
    const watch = await watchWorker(options.health ?? null);
    const worker = new StepWorker({
      store,
      queues: options.queues ?? queuesOf(options.plans),
      plans: options.plans,
      handlers: new Map([
        ...builtinHandlers({ payloadLimitBytes }),
        ...(options.handlers ?? []).map((handler) => [handler.name, toStepHandler(handler)] as const),
      ]),
      services: options.services,
      concurrency: options.concurrency ?? DEFAULT_CONCURRENCY,
      label: `${hostname()}:${pid}`,
      trust: options.allowShell ? { kind: "all" } : { kind: "digests", digests: new Set() },
      secret: (name) => (Object.hasOwn(options.secrets ?? {}, name) ? options.secrets?.[name] : undefined),
      sandboxes: sandboxesOf(options.sandboxes),
      log: options.log ?? QUIET,
      observer: watch.observer,
    });
    const health = watch.server(worker, store);
    try {
      await health?.start();
      await worker.start();
    } catch (error) {
      await worker.close();
      await health?.stop();
      await store.close();
      throw error;
    }
    return { worker, store, health };
  }

  async #close(): Promise<void> {
    const started = await this.#starting?.catch(() => null);
    await started?.worker.close();
    await started?.health?.stop();
    await started?.store.close();
  }
}

interface StartedWorker {
  readonly worker: StepWorker;
  readonly store: ShardedPlanStore;
  readonly health: HealthServer | null;
}

const QUIET: WorkerLog = { debug() {}, info() {}, warn() {} };

/** With no plans it serves documents: a worker without a queue would serve nobody. */
function queuesOf(plans: readonly AnyPlan[]): string[] {
  const queues = new Set(plans.flatMap((plan) => plan.compiled.definition.steps.map((step) => step.queue)));
  return queues.size === 0 ? [DOCUMENT_QUEUE] : [...queues];
}
