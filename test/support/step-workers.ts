/** Workers of this process on real queues, with the handler `act` in the test's hands. */

import { createHash } from "node:crypto";
import { MessageChannel } from "node:worker_threads";
import type { HandlerCall, HandlerResult, StepHandler } from "../../src/core/handler.js";
import type { PayloadCodec } from "../../src/core/payload-codec.js";
import { builtinHandlers } from "../../src/handlers/index.js";
import { openStore } from "../../src/store/open-store.js";
import { scriptText } from "../../src/store/scripts.js";
import type { StartKeeper } from "../../src/worker/keeper.js";
import { KeeperLoop } from "../../src/worker/keeper-loop.js";
import { StepWorker, type StepWorkerOptions, type WorkerLog } from "../../src/worker/step-worker.js";
import type { TestStore } from "./plans.js";

export type Act = (call: HandlerCall) => unknown;

export interface LoggedLine {
  readonly level: keyof WorkerLog;
  readonly facts: Record<string, unknown>;
  readonly message: string;
}

export interface RunningWorker {
  readonly worker: StepWorker;
  readonly log: readonly LoggedLine[];
  /** Ends it and its connections. */
  close(): Promise<void>;
}

export interface RunOptions
  extends Partial<
    Pick<
      StepWorkerOptions,
      | "queues"
      | "concurrency"
      | "plans"
      | "label"
      | "startKeeper"
      | "observer"
      | "trust"
      | "sandboxes"
      | "handlers"
      | "planId"
    >
  > {
  /** Another way to the same Redis, such as through a proxy. */
  readonly url?: string;
  /** How many there are: one unless given. */
  readonly shards?: number;
  readonly onLog?: (line: LoggedLine) => void;
  /** What payloads go through; as they are unless given. */
  readonly payloads?: PayloadCodec;
}

/** Starts a worker. What `act` returns is the output; a value with a `kind` is a handler's own result. */
export async function runWorker(t: TestStore, act: Act, options: RunOptions = {}): Promise<RunningWorker> {
  const url = options.url ?? t.url;
  const store = await openStore({
    url,
    prefix: t.prefix,
    shards: options.shards,
    deadAfterMs: t.store.deadAfterMs,
    patient: true,
    payloads: options.payloads,
  });
  const log: LoggedLine[] = [];
  const line = (level: keyof WorkerLog) => (facts: object, message: string) => {
    const logged = { level, facts: facts as Record<string, unknown>, message };
    log.push(logged);
    options.onLog?.(logged);
  };
  const worker = new StepWorker({
    store,
    queues: options.queues ?? ["work"],
    plans: options.plans ?? [],
    handlers: new Map<string, StepHandler>([
      ...builtinHandlers(),
      ...(options.handlers ?? []),
      ["act", actHandler(act)],
    ]),
    services: {},
    concurrency: options.concurrency ?? 1,
    label: options.label ?? "test",
    trust: options.trust ?? { kind: "digests", digests: new Set() },
    secret: () => undefined,
    sandboxes: options.sandboxes ?? noSandboxes,
    observer: options.observer ?? null,
    planId: options.planId,
    log: { debug: line("debug"), info: line("info"), warn: line("warn") },
    startKeeper: options.startKeeper ?? startKeeperHere,
  });
  await worker.start();
  const close = async () => {
    await worker.close();
    await store.close();
  };
  return { worker, log, close };
}

/** The keeper's loop in this thread: most tests have many workers, and a thread of sources takes a second to start. */
export const startKeeperHere: StartKeeper = (settings, onMessage) => {
  const { port1, port2 } = new MessageChannel();
  port1.on("message", onMessage);
  const ended = new Promise<void>((resolve) => port1.once("close", resolve));
  new KeeperLoop(settings, port2, () => {
    throw new Error("A test's worker was stuck beyond a timeout");
  });
  return {
    post: (message) => port1.postMessage(message),
    async end() {
      port1.postMessage({ kind: "stop" });
      await ended;
    },
  };
};

/** Of a test in which no plan has files. */
export async function noSandboxes(): Promise<never> {
  throw new Error("This test keeps no files of plans");
}

export function actHandler(act: Act): StepHandler {
  return {
    name: "act",
    check: () => [],
    async run(call): Promise<HandlerResult> {
      const result = await act(call);
      if (typeof result === "object" && result !== null && "kind" in result) return result as HandlerResult;
      return { kind: "completed", output: result ?? null };
    },
  };
}

/** Whether a command runs one of our scripts, by digest or by text. */
export function runs(name: Parameters<typeof scriptText>[0]): (args: readonly string[]) => boolean {
  const text = scriptText(name);
  const sha = createHash("sha1").update(text).digest("hex");
  return (args) => (args[0] === "evalsha" && args[1] === sha) || (args[0] === "eval" && args[1] === text);
}

const handsOn = runs("hand-on");
const completes = runs("complete");

/** Whether a command records completed steps. */
export function commits(args: readonly string[]): boolean {
  return handsOn(args) || completes(args);
}

/** How many steps it records. A plain commit has eleven arguments, and its plan's key. */
export function stepsCommitted(args: readonly string[]): number {
  if (!handsOn(args)) return completes(args) ? 1 : 0;
  return Number(args[2]) - 1;
}

/** A promise that a test resolves. */
export function gate<T = void>(): { readonly passed: Promise<T>; open(value: T): void } {
  let open!: (value: T) => void;
  const passed = new Promise<T>((resolve) => {
    open = resolve;
  });
  return { passed, open };
}
