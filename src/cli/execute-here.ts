/**
 * Executes a plan in this process, on a queue that nobody else serves, until it stops or the user stops it. The first
 * SIGINT, SIGTERM or SIGHUP drains: what is active may end within the grace. The second one hands it back at once.
 */
import { performance } from "node:perf_hooks";
import { formatDurationMs } from "../core/duration.js";
import { planCommand } from "../core/plan-command.js";
import type { ShellTrust } from "../worker/execute.js";
import type { StepWorker, WorkerLog } from "../worker/step-worker.js";
import type { CommandContext } from "./context.js";
import type { PlanModule } from "./load-definition.js";
import { type EndDocument, printEnd } from "./outcome.js";
import { showProgress } from "./progress.js";
import { printable } from "./render/printable.js";

export interface Execution {
  /** What is executed. */
  readonly planId: string;
  /** What the plan's module gives, where the plan is code. */
  readonly module: PlanModule | null;
  readonly trust: ShellTrust;
  /** Submits or resumes on this queue. @returns the first epoch that this process executes; null where there is nothing to execute */
  begin(privateQueue: string): Promise<number | null>;
}

export type Ending =
  | { readonly kind: "nothing" }
  /** The plan stopped by itself, or somebody stopped it. */
  | { readonly kind: "stopped" }
  /** The user ended this process; what was active is handed back. */
  | { readonly kind: "interrupted" };

export async function executeHere(context: CommandContext, execution: Execution): Promise<Ending> {
  const { io, terminal } = context;
  const { planId } = execution;
  const { graceMs } = await context.config();
  const worker = await privateWorker(context, execution);
  const stop = new AbortController();
  let draining: Promise<void> | null = null;
  const unsubscribe = io.onSignal(() => {
    if (draining !== null) {
      worker.releaseNow();
      return;
    }
    terminal.talk(`Stopping: active steps have ${formatDurationMs(graceMs)} to end. Once more stops them now.`);
    const end = () => stop.abort();
    draining = worker.drain({ graceMs }).then(end, end);
  });
  try {
    await worker.start();
    const epoch = await execution.begin(worker.privateQueue!);
    if (epoch === null) return { kind: "nothing" };
    await showProgress(context, planId, { signal: stop.signal, sinceEpoch: epoch, asks: true, to: "stderr" });
    await draining;
    if (!stop.signal.aborted) return { kind: "stopped" };
    const { stopped, plan } = await context.client.standing(planId);
    return stopped && plan.state !== "interrupted" ? { kind: "stopped" } : { kind: "interrupted" };
  } finally {
    unsubscribe();
    await worker.close();
  }
}

/** The last words of an interrupted `plan run` or `plan resume`. @returns the exit code */
export async function reportInterruption(
  context: CommandContext,
  planId: string,
  end: EndDocument = {},
): Promise<number> {
  const { client, terminal } = context;
  const plan = await client.get(planId);
  if (!terminal.human) printEnd(context, plan, end);
  const last = plan.lastCompletedStep;
  const where = last === null ? "before its first step was done" : `after step "${printable(last)}"`;
  terminal.talk(`Interrupted ${where}. Resume with: ${planCommand("resume", planId)}`);
  return 130;
}

async function privateWorker(context: CommandContext, { planId, module, trust }: Execution): Promise<StepWorker> {
  const [{ makeWorker }, { traces }] = await Promise.all([import("./make-worker.js"), import("../observe/traces.js")]);
  const { concurrency } = await context.config();
  return makeWorker(context, {
    queues: [],
    modules: module === null ? [] : [module],
    trust,
    concurrency,
    log: talkingLog(context),
    observer: await traces(),
    planId,
  });
}

/** Warnings that go on are said again after this long. */
const REPEAT_WARNING_MS = 30_000;

/** What people should hear of a worker that runs beside a live view: warnings, and with --debug everything. */
function talkingLog({ terminal, debug }: CommandContext): WorkerLog {
  const said = new Map<string, number>();
  const say = (facts: object, message: string) => {
    const saidAt = said.get(message) ?? -REPEAT_WARNING_MS;
    if (!debug && performance.now() - saidAt < REPEAT_WARNING_MS) return;
    said.set(message, performance.now());
    terminal.talk(
      `${terminal.talkColors.yellow("Warning:")} ${printable(message)} ${terminal.talkColors.dim(printable(JSON.stringify(facts)))}`,
    );
  };
  const quiet = () => {};
  return { debug: debug ? say : quiet, info: debug ? say : quiet, warn: say };
}
