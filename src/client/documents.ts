/**
 * What the library returns and `-o json` prints: plans, steps, events and workers as plain JSON. Times are ISO 8601
 * in UTC; the command line renames the fields to snake_case and changes nothing else.
 */

import { type CompiledStep, WAITING_HANDLERS } from "../core/definition.js";
import { formatDurationMs } from "../core/duration.js";
import type { Checkpoint, Decision, PlanEvent } from "../core/history.js";
import { describeLimit } from "../core/limits.js";
import { Line } from "../core/line.js";
import { listStepId, mapRole } from "../core/map.js";
import type { Ask, AttemptError } from "../core/outcome.js";
import {
  canProgress,
  isTerminal,
  type OpenStep,
  type PlanState,
  type PlanStop,
  type PlanView,
  type StepRecord,
  type WaitKind,
  type WorkerView,
} from "../core/plan.js";
import type { ForkOrigin, ListedPlan, PlanDetail, StepProgress } from "../core/ports.js";
import type { SandboxSnapshot } from "../core/sandbox.js";
import { type WaitingStep, waitCommand } from "../core/state-sentences.js";

/** A plan in a list, and the head of `get`. */
export interface PlanSummary {
  readonly planId: string;
  readonly name: string;
  readonly version: number;
  readonly state: PlanState;
  readonly why: string;
  readonly phase: string;
  readonly epoch: number;
  readonly done: number;
  readonly total: number;
  readonly lastCompletedStep: string | null;
  readonly lastCheckpointId: string | null;
  readonly lastDecisionId: string;
  readonly resumeCount: number;
  /** Who submitted it. */
  readonly actor: string;
  /** Who paused or cancelled it; pending while active steps finish first. */
  readonly stop: PlanStop | null;
  readonly createdAt: string;
  readonly updatedAt: string;
  readonly finishedAt: string | null;
}

export interface PlanDocument extends PlanSummary {
  readonly definitionDigest: string;
  readonly workdir: string | null;
  /** The plan that it started from, where it was forked. */
  readonly forkedFrom: ForkOrigin | null;
  /** The plan's files as they are: the snapshot in force. */
  readonly sandbox: SandboxSnapshot | null;
  readonly steps: readonly StepDocument[];
  readonly decisions: readonly DecisionDocument[];
  /** The command that brings it forward, where a person can. */
  readonly try: string | null;
}

export type StepState =
  | "completed"
  /** Its condition did not hold. */
  | "skipped"
  /** It has failed, and the plan goes on without it. */
  | "continued"
  | "running"
  /** Its worker is gone. */
  | "lost"
  | "queued"
  | "delayed"
  | "waiting"
  | "failed"
  /** Free to run, and kept back because the plan is paused or has failed. */
  | "held"
  /** Free to run, and another step writes the sandbox, or as many items of its map run as may. */
  | "exclusive"
  | "limited"
  /** Irreversible, started, and without a record: nobody knows whether it happened. */
  | "uncertain"
  | "pending";

export interface StepDocument {
  readonly id: string;
  readonly phase: string;
  readonly uses: string;
  readonly needs: readonly string[];
  readonly effect: string;
  readonly state: StepState;
  readonly attempts: number;
  readonly failures: number;
  readonly crashes: number;
  /** Id of who executes it, or executed it. */
  readonly worker: string | null;
  /** What people call that worker, where it is known by now. */
  readonly workerLabel: string | null;
  /** When the last attempt began; of a step that waited, the first. */
  readonly startedAt: string | null;
  readonly durationMs: number | null;
  readonly wait: WaitKind | null;
  /** What it waits for, where that is a limit that it shares with others. */
  readonly limit: string | null;
  readonly dueAt: string | null;
  readonly ask: Ask | null;
  readonly error: AttemptError | null;
  /** Of a map, once it has its list: how many of its items are done. */
  readonly items: { readonly done: number; readonly total: number } | null;
  /** What every worker that was offered the step lacks, such as its version or the right to run commands. */
  readonly unserved: string | null;
  /** Of a running step: how far it says that it is, from 0 to 1, and in words. */
  readonly progress: StepProgress | null;
}

type Dated<T> = T extends unknown ? Omit<T, "at"> & { readonly at: string } : never;
export type EventDocument = Dated<PlanEvent>;
export type CheckpointDocument = Dated<Checkpoint>;
export type DecisionDocument = Dated<Decision>;

export interface WorkerDocument {
  readonly workerId: string;
  readonly label: string;
  readonly pid: number;
  readonly state: "accepting" | "draining" | "dead";
  readonly plans: readonly string[];
  readonly queues: readonly string[];
  readonly concurrency: number;
  readonly active: number;
  readonly startedAt: string;
  readonly lastSeenAt: string;
}

export function planSummary({ meta, state, why }: ListedPlan): PlanSummary {
  return {
    planId: meta.planId,
    name: meta.name,
    version: meta.version,
    state,
    why,
    phase: meta.phase,
    epoch: meta.epoch,
    done: meta.done,
    total: meta.total,
    lastCompletedStep: meta.lastCompletedStep,
    lastCheckpointId: meta.lastCheckpointId,
    lastDecisionId: meta.lastDecisionId,
    resumeCount: meta.resumeCount,
    actor: meta.actor,
    stop: meta.stop,
    createdAt: iso(meta.createdAt),
    updatedAt: iso(meta.updatedAt),
    finishedAt: isoOrNull(meta.finishedAt),
  };
}

/** Whether any of its steps was parked and has ended with a later attempt: only the history knows when it began. */
export function hasWaited(detail: PlanDetail): boolean {
  return [...detail.records.values()].some((record) => waitedBefore(record, detail));
}

function waitedBefore({ stepId, attempts }: StepRecord, { compiled }: PlanDetail): boolean {
  return attempts > 1 && WAITING_HANDLERS.has(compiled.steps.get(stepId)?.uses ?? "");
}

/** @param events the plan's history where a step of it has waited, else none */
export function planDocument(
  detail: PlanDetail,
  decisions: readonly Decision[],
  events: readonly PlanEvent[],
): PlanDocument {
  const { view, state, why, compiled } = detail;
  const open = new Map(view.open.map((step) => [step.stepId, step]));
  const { firstStarts } = Line.of(events);
  const beginningOf = (record: StepRecord) => {
    const seq = waitedBefore(record, detail) ? firstStarts.get(record.stepId) : undefined;
    return seq === undefined ? record.startedAt : events[seq - 1]!.at;
  };
  return {
    ...planSummary({ meta: view.meta, state, why: whyUnserved(detail) ?? why }),
    definitionDigest: view.meta.definitionDigest,
    workdir: view.meta.workdir,
    forkedFrom: detail.fork,
    sandbox: detail.sandbox,
    steps: inPlace([...compiled.steps.values()]).map((step) =>
      stepDocument(step, detail, open.get(step.id), beginningOf),
    ),
    decisions: decisions.map(dated),
    try: nextCommand(view, state),
  };
}

/** Items stand before the map that waits for them, not where they were appended. */
function inPlace(steps: readonly CompiledStep[]): readonly CompiledStep[] {
  const items = new Map<string, CompiledStep[]>();
  for (const step of steps) {
    if (step.itemOf !== undefined) items.set(step.itemOf, [...(items.get(step.itemOf) ?? []), step]);
  }
  if (items.size === 0) return steps;
  return steps.flatMap((step) => (step.itemOf === undefined ? [...(items.get(step.id) ?? []), step] : []));
}

/** A worker that lacks what a step needs may be on its way, as during a deployment. */
const UNSERVED_AFTER_MS = 30_000;

/** Where nothing moves for want of a worker that could: what the workers lack, and since when. */
function whyUnserved({ view, unserved }: PlanDetail): string | null {
  const moving = view.open.filter((step) => canProgress(step, view));
  const lacking = moving.map((step) => unserved.get(step.stepId));
  const [first] = lacking;
  if (!first || lacking.some((one) => one === undefined)) return null;
  const sinceMs = view.now - first.since;
  return sinceMs < UNSERVED_AFTER_MS ? null : `${first.reason}, for ${formatDurationMs(sinceMs)} now`;
}

/** The command that a person would give next, or null where the plan needs none. */
export function nextCommand(view: PlanView, state: PlanState): string | null {
  const { planId } = view.meta;
  if (isTerminal(state)) return null;
  const asked = view.open.find((step): step is WaitingStep => step.kind === "waiting" && step.wait !== "timer");
  if (state === "waiting" && asked !== undefined) return waitCommand(planId, asked);
  if (state === "queued" && view.open.some((step) => canProgress(step, view))) return null;
  if (state === "queued") return "plan worker";
  return state === "running" || state === "waiting" ? `plan watch ${planId}` : `plan resume ${planId}`;
}

export function workerDocument(worker: WorkerView): WorkerDocument {
  return {
    workerId: worker.workerId,
    label: worker.label,
    pid: worker.pid,
    state: worker.alive ? worker.state : "dead",
    plans: worker.plans,
    queues: worker.queues,
    concurrency: worker.concurrency,
    active: worker.active,
    startedAt: iso(worker.startedAt),
    lastSeenAt: iso(worker.lastSeenAt),
  };
}

/** Replaces the milliseconds of `at` by a date that people and machines can read. */
export function dated<T extends { readonly at: number }>(fact: T): Dated<T> {
  return { ...fact, at: iso(fact.at) } as unknown as Dated<T>;
}

function stepDocument(
  step: CompiledStep,
  detail: PlanDetail,
  open: OpenStep | undefined,
  beginningOf: (record: StepRecord) => number,
): StepDocument {
  const record = detail.records.get(step.id);
  const { id, phase, uses, needs, effect } = step;
  const declared = { id, phase, uses, needs, effect, items: itemCounts(step, detail) };
  if (record) {
    return { ...declared, ...doneFacts(record, beginningOf(record)), error: detail.errors.get(step.id) ?? null };
  }
  if (!open) return { ...declared, ...NOTHING_YET };
  return {
    ...declared,
    ...NOTHING_YET,
    ...openFacts(open, detail.view),
    attempts: open.attempts,
    failures: open.failures,
    crashes: open.crashes,
    ask: detail.asks.get(step.id) ?? null,
    error: detail.errors.get(step.id) ?? null,
    progress: detail.progress.get(step.id) ?? null,
    unserved: open.kind === "delayed" || open.kind === "queued" ? (detail.unserved.get(step.id)?.reason ?? null) : null,
  };
}

function itemCounts(step: CompiledStep, { records }: PlanDetail): StepDocument["items"] {
  if (mapRole(step) !== "join" || !records.has(listStepId(step.id))) return null;
  const items = step.needs.slice(1);
  return { done: items.filter((id) => records.has(id)).length, total: items.length };
}

const NOTHING_YET = {
  state: "pending",
  attempts: 0,
  failures: 0,
  crashes: 0,
  worker: null,
  workerLabel: null,
  startedAt: null,
  durationMs: null,
  wait: null,
  limit: null,
  dueAt: null,
  ask: null,
  error: null,
  unserved: null,
  progress: null,
} as const;

function doneFacts(record: StepRecord, startedAt: number) {
  return {
    ...NOTHING_YET,
    state: record.kind,
    attempts: record.attempts,
    worker: record.workerId || null,
    startedAt: iso(startedAt),
    durationMs: record.startedAt + record.durationMs - startedAt,
  };
}

function openFacts(open: OpenStep, view: PlanView): Partial<StepDocument> & { readonly state: StepState } {
  switch (open.kind) {
    case "queued":
    case "backlog":
      return { state: "queued" };
    case "delayed":
      return { state: "delayed", dueAt: iso(open.dueAt) };
    case "running": {
      const owner = view.owners.get(open.workerId);
      return {
        state: owner?.alive === true ? "running" : "lost",
        worker: open.workerId,
        workerLabel: owner?.label ?? null,
        startedAt: iso(open.startedAt),
        durationMs: Math.max(0, view.now - open.startedAt),
      };
    }
    case "waiting":
      return { state: "waiting", wait: open.wait, startedAt: iso(open.since), dueAt: isoOrNull(open.dueAt) };
    case "failed":
      return { state: "failed" };
    case "exclusive":
      return { state: "exclusive" };
    case "limited":
      return { state: "limited", limit: describeLimit(open.limit, view.inUse.get(open.limit.key) ?? 0) };
    case "held":
      return { state: "held" };
    case "uncertain":
      return { state: "uncertain", worker: open.workerId || null, startedAt: iso(open.since) };
    default:
      return open satisfies never;
  }
}

function iso(at: number): string {
  return new Date(at).toISOString();
}

function isoOrNull(at: number | null): string | null {
  return at === null ? null : iso(at);
}
