/** Why a plan is in its state, for people: one sentence with the facts. */
import { formatDurationMs } from "./duration.js";
import { describeLimit } from "./limits.js";
import { canProgress, type OpenStep, type PlanState, type PlanStop, type PlanView } from "./plan.js";
import { planCommand } from "./plan-command.js";

export function explainState(view: PlanView, state: PlanState): string {
  const { meta } = view;
  switch (state) {
    case "completed":
      return meta.total === 1 ? "its step is done" : `all ${meta.total} steps are done`;
    case "cancelled":
      return `it was cancelled${byWhom(meta.stop)}`;
    case "paused":
      return `it was paused${byWhom(meta.stop)}`;
    case "queued": {
      const queue = view.open[0]?.queue;
      if (queue === undefined) return "no step is released yet";
      const served = view.open.filter((step) => canProgress(step, view));
      if (served.length > 0 && served.every((step) => step.kind === "limited")) return explainLimit(served, view);
      return view.servers.get(queue)
        ? `waiting for a worker on queue ${queue}`
        : `no live worker serves queue ${queue}`;
    }
    case "running": {
      const active = view.open.filter((step) => canProgress(step, view));
      const running = active.filter((step) => step.kind === "running");
      if (running.length > 0) {
        const then = meta.stop === null ? "" : `; then the plan pauses, as asked${byWhom(meta.stop)}`;
        return `${names(running)} ${running.length === 1 ? "is" : "are"} executing${then}`;
      }
      const delayed = active.find((step) => step.kind === "delayed");
      if (delayed?.kind === "delayed") {
        const inMs = Math.max(0, delayed.dueAt - view.now);
        if (delayed.rate !== null) return explainRate(delayed, inMs);
        return `${delayed.stepId} runs again in ${formatDurationMs(inMs)} (attempt ${delayed.attempts + 1})`;
      }
      const queued = active.filter((step) => step.kind !== "limited");
      if (queued.length === 0) return explainLimit(active, view);
      return `${names(queued)} ${queued.length === 1 ? "is" : "are"} queued`;
    }
    case "failed":
      return explainFailure(view.open.filter((step) => step.kind === "failed"));
    case "waiting":
      return `waits for ${view.open
        .filter((step) => step.kind === "waiting")
        .map(describeWait)
        .join(", ")}`;
    case "interrupted": {
      const uncertain = view.open.find((step) => step.kind === "uncertain");
      if (uncertain) return `${uncertain.stepId} cannot be undone, was cut off, and left no record`;
      const lost = view.open.find((step) => step.kind === "running");
      if (lost?.kind === "running") {
        const owner = view.owners.get(lost.workerId);
        return `worker ${owner?.label ?? lost.workerId} was lost in ${lost.stepId}`;
      }
      const held = view.open.filter((step) => step.kind === "held");
      if (held.length > 0)
        return `${names(held)} ${held.length === 1 ? "was" : "were"} handed back by a worker that drained, to be resumed`;
      const waiting = view.open.find(
        ({ kind }) => kind === "queued" || kind === "delayed" || kind === "backlog" || kind === "limited",
      );
      if (waiting) return `${waiting.stepId} was handed back and ${nobodyServes(view, waiting.queue)}`;
      const timed = view.open.find((step) => step.kind === "waiting" && step.dueAt !== null);
      if (timed?.kind === "waiting") {
        const what = timed.wait === "timer" ? "its timer" : "an answer that has a time limit";
        return `${timed.stepId} waits for ${what} and ${nobodyServes(view, timed.queue)}`;
      }
      return "nothing is left that could run it";
    }
    default:
      return state satisfies never;
  }
}

function explainRate({ stepId, rate }: DelayedStep, inMs: number): string {
  return `${stepId} starts in ${formatDurationMs(inMs)}: ${describeLimit({ kind: "rate", ...rate! }, 0)}`;
}

/** The first of them says which limit it is. */
function explainLimit(steps: readonly OpenStep[], { inUse }: PlanView): string {
  const first = steps.find((step) => step.kind === "limited")!.limit;
  return `${names(steps)} ${steps.length === 1 ? "waits" : "wait"} for ${describeLimit(first, inUse.get(first.key) ?? 0)}`;
}

function byWhom(stop: PlanStop | null): string {
  if (stop === null) return "";
  return ` by ${stop.by}${stop.reason === null ? "" : `: ${stop.reason}`}`;
}

function explainFailure(failed: readonly FailedStep[]): string {
  const killers = failed.filter((step) => step.quarantined);
  if (killers.length === 0) return `${names(failed)} failed`;
  const taken = `${names(killers)} ${killers.length === 1 ? "was" : "were"} taken out after killing workers`;
  return killers.length === failed.length ? taken : `${names(failed)} failed; ${taken}`;
}

/** A private queue's name says nothing to people. */
function nobodyServes(view: PlanView, queue: string): string {
  if (queue === view.meta.privateQueue) return "the process that executed the plan is gone";
  return `no live worker serves queue ${queue}`;
}

function names(steps: readonly OpenStep[]): string {
  const ids = steps.map((step) => step.stepId);
  return ids.length <= 5 ? ids.join(", ") : `${ids.slice(0, 5).join(", ")} and ${ids.length - 5} more`;
}

type DelayedStep = Extract<OpenStep, { readonly kind: "delayed" }>;
type FailedStep = Extract<OpenStep, { readonly kind: "failed" }>;
export type WaitingStep = Extract<OpenStep, { readonly kind: "waiting" }>;

export function describeWait(step: WaitingStep): string {
  switch (step.wait) {
    case "approval":
      return `an approval of ${step.stepId}`;
    case "choice":
      return `a choice of ${step.stepId}`;
    case "signal":
      return `a signal to ${step.stepId}${due(step, "until")}`;
    case "timer":
      return `the timer of ${step.stepId}${due(step, "due")}`;
    default:
      return step.wait satisfies never;
  }
}

function due({ dueAt }: WaitingStep, word: string): string {
  return dueAt === null ? "" : ` (${word} ${new Date(dueAt).toISOString()})`;
}

/** What gives a waiting step its answer. `plan decide` without a choice names the options. */
export function waitCommand(planId: string, step: Pick<WaitingStep, "stepId" | "wait">): string {
  switch (step.wait) {
    case "approval":
      return planCommand("approve", planId, step.stepId);
    case "choice":
      return planCommand("decide", planId, step.stepId);
    case "signal":
      return planCommand("signal", planId, step.stepId);
    case "timer":
      return planCommand("watch", planId);
    default:
      return step.wait satisfies never;
  }
}
