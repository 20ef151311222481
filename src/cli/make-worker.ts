/** A step worker for this process, made from settings and modules. */
import { hostname } from "node:os";
import { pid } from "node:process";
import { builtinHandlers } from "../handlers/index.js";
import type { ShellTrust } from "../worker/execute.js";
import type { WorkerObserver } from "../worker/observer.js";
import { StepWorker, type WorkerLog } from "../worker/step-worker.js";
import type { CommandContext } from "./context.js";
import type { PlanModule } from "./load-definition.js";

export interface WorkerParts {
  /** None for a private queue of its own. */
  readonly queues: readonly string[];
  readonly modules: readonly PlanModule[];
  readonly trust: ShellTrust;
  readonly concurrency: number;
  readonly log: WorkerLog;
  readonly observer: WorkerObserver | null;
  /** The only plan that it is for. */
  readonly planId?: string;
}

export async function makeWorker(context: CommandContext, parts: WorkerParts): Promise<StepWorker> {
  const { io } = context;
  const { modules } = parts;
  const store = await context.store();
  const { payloadLimitBytes } = store;
  return new StepWorker({
    store,
    queues: parts.queues,
    plans: modules.flatMap((module) => module.plans),
    handlers: new Map([
      ...builtinHandlers({ workerEnv: io.env, payloadLimitBytes }),
      ...modules.flatMap((module) => [...module.handlers]),
    ]),
    services: Object.assign({}, ...modules.map((module) => module.services)),
    concurrency: parts.concurrency,
    label: `${hostname()}:${pid}`,
    trust: parts.trust,
    secret: (name) => io.env[`WAYMARK_SECRET_${name}`],
    sandboxes: context.sandboxes,
    log: parts.log,
    observer: parts.observer,
    planId: parts.planId,
  });
}
