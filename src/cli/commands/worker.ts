/** `plan worker`: executes steps of a fleet's plans until SIGTERM drains it. */
import { relative } from "node:path";
import { pino } from "pino";
import { DOCUMENT_QUEUE } from "../../core/definition.js";
import { UsageError } from "../../core/errors.js";
import { isId } from "../../core/ids.js";
import { planCommand } from "../../core/plan-command.js";
import type { HealthOptions } from "../../observe/health-server.js";
import { watchWorker } from "../../observe/watch-worker.js";
import { type DrainReport, type OnDrain, stepsByPlan } from "../../worker/step-worker.js";
import type { CommandContext } from "../context.js";
import { expandGlobs } from "../expand-globs.js";
import { type LoadedDefinition, loadFile, loadModule, type PlanModule } from "../load-definition.js";
import { makeWorker } from "../make-worker.js";
import { wholeNumber } from "../option-values.js";
import { printable } from "../render/printable.js";
import { trustIn } from "../trust.js";

interface WorkerOptions {
  readonly plans?: readonly string[];
  readonly queues?: readonly string[];
  readonly concurrency?: string;
  readonly grace?: string;
  readonly onDrain?: OnDrain;
  readonly allowShell?: boolean;
  readonly healthPort?: string;
  readonly healthHost?: string;
  readonly healthName?: readonly string[];
}

export async function worker(
  context: CommandContext,
  _args: readonly string[],
  options: WorkerOptions,
): Promise<number> {
  const { io, terminal, debug } = context;
  const config = await context.config({ concurrency: options.concurrency, grace: options.grace });
  const log = pino({ level: debug ? "debug" : config.logLevel }, { write: (line: string) => io.stderr.write(line) });
  const { modules, documents } = await loadPlans(context, options.plans ?? []);
  const trust = await trustIn(context, {
    allowShell: options.allowShell === true,
    local: documents.map((document) => document.compiled),
  });
  const queues = options.queues?.flatMap((names) => names.split(",")).filter(Boolean) ?? queuesOf(modules, documents);
  if (queues.length === 0) throw new UsageError("--queues names no queue");
  const misnamed = queues.find((queue) => !isId(queue));
  if (misnamed !== undefined) {
    throw new UsageError(`--queues names "${printable(misnamed)}", which no queue can be called`, {
      details: { queue: misnamed },
    });
  }
  const watch = await watchWorker(healthOptions(options));
  const { concurrency, graceMs } = config;
  const running = await makeWorker(context, { queues, modules, trust, concurrency, log, observer: watch.observer });
  const server = watch.server(running, await context.store());
  let drain!: () => void;
  const asked = new Promise<void>((resolve) => {
    drain = resolve;
  });
  let signals = 0;
  const unsubscribe = io.onSignal(() => {
    signals += 1;
    if (signals === 1) drain();
    else running.releaseNow();
  });
  try {
    await server?.start();
    if (server) log.info({ port: server.port }, "answering /livez, /readyz and /metrics");
    await running.start();
    await asked;
    const { onDrain = "requeue" } = options;
    const drained = running.drain({ graceMs, onDrain });
    // The second signal may have come before the drain began.
    if (signals > 1) running.releaseNow();
    for (const line of handedBack(await drained, onDrain)) terminal.talk(line);
  } finally {
    unsubscribe();
    await running.close();
    await server?.stop();
  }
  return 0;
}

/** For whoever stopped it: what it leaves, a line for each plan. */
function handedBack({ released }: DrainReport, onDrain: OnDrain): string[] {
  return [...stepsByPlan(released)].map(([planId, steps]) => {
    const next =
      onDrain === "requeue" ? "Another worker may take it." : `Resume with: ${planCommand("resume", planId)}`;
    return `Handed back ${steps.map(printable).join(", ")} of plan ${printable(planId)}. ${next}`;
  });
}

/** Null where nobody asked for it. */
function healthOptions({ healthPort, healthHost, healthName }: WorkerOptions): HealthOptions | null {
  if (healthPort === undefined) {
    if (healthHost === undefined && healthName === undefined) return null;
    throw new UsageError("--health-host and --health-name go with --health-port", { try: "plan worker --help" });
  }
  const port = wholeNumber("--health-port", healthPort, 0);
  if (port > 65_535) throw new UsageError(`--health-port takes a port up to 65535, not "${healthPort}"`);
  return { port, ...(healthHost !== undefined && { host: healthHost }), ...(healthName && { names: healthName }) };
}

async function loadPlans(
  { io }: CommandContext,
  globs: readonly string[],
): Promise<{ modules: PlanModule[]; documents: LoadedDefinition[] }> {
  const modules: PlanModule[] = [];
  const documents: LoadedDefinition[] = [];
  for (const path of await expandGlobs(globs, io.cwd)) {
    const shown = relative(io.cwd, path) || path;
    if (/\.ya?ml$|\.json$/.test(path)) documents.push(await loadFile(path, shown));
    else modules.push(await loadModule(path, shown));
  }
  return { modules, documents };
}

/** Documents without a queue of their own go to one that every worker serves. */
function queuesOf(modules: readonly PlanModule[], documents: readonly LoadedDefinition[]): string[] {
  const compiled = [
    ...modules.flatMap((module) => module.plans.map((plan) => plan.compiled)),
    ...documents.map((document) => document.compiled),
  ];
  return [
    ...new Set([DOCUMENT_QUEUE, ...compiled.flatMap(({ definition }) => definition.steps.map((step) => step.queue))]),
  ];
}
