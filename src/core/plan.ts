/**
 * A plan as it is read: its metadata, its open steps, who holds them. States are decided here, for readers and for
 * `assess` alike, because nobody alive may be there to write that a plan is interrupted.
 */
import type { Effect } from "./definition.js";
import type { AwaitedLimit, RateLimit } from "./limits.js";

export const PLAN_STATES = [
  "cancelled",
  "completed",
  "paused",
  "running",
  "failed",
  "waiting",
  "interrupted",
  "queued",
] as const;
export type PlanState = (typeof PLAN_STATES)[number];

export function isTerminal(state: PlanState): state is "cancelled" | "completed" {
  return state === "cancelled" || state === "completed";
}

/** What stands in the plan's hash. Times are milliseconds since 1970 by the store's clock. */
export interface PlanMeta {
  readonly planId: string;
  readonly name: string;
  readonly version: number;
  /** As written by the last transition; `planState` says what it is now. */
  readonly storedState: PlanState;
  readonly epoch: number;
  /** The epoch of the last rewind: which line of history is current. 1 where there was none. */
  readonly line: number;
  readonly fence: number;
  /** Raised by every change of state, frontier or records. */
  readonly revision: number;
  readonly definitionDigest: string;
  /** How often it has changed its appended steps; 0 where it has none but those of its definition. */
  readonly grown: number;
  readonly total: number;
  readonly done: number;
  readonly phase: string;
  readonly lastCompletedStep: string | null;
  readonly lastCheckpointId: string | null;
  readonly lastDecisionId: string;
  /** Which of the plan's sandbox snapshots is in force; null where it has none. */
  readonly sandboxPlace: number | null;
  /** Answers that came before their step waits, or while the plan is paused: a resume may go on with them. */
  readonly keptAnswers: number;
  readonly resumeCount: number;
  /** When it was resumed for workers to take, where nothing has happened to it since. */
  readonly resumedAt: number | null;
  readonly createdAt: number;
  readonly updatedAt: number;
  readonly finishedAt: number | null;
  /** The private queue of the process that executes this plan alone, or null where its steps go to their own queues. */
  readonly privateQueue: string | null;
  /** Stands for the plan inside the ids of its checkpoints and decisions. */
  readonly tag: string;
  /** Folder of the plan document, where its shell steps run without a sandbox. */
  readonly workdir: string | null;
  /** Who submitted it. */
  readonly actor: string;
  /** Who paused or cancelled it, where somebody did. */
  readonly stop: PlanStop | null;
}

/** Somebody's word that a plan stops. */
export interface PlanStop {
  readonly by: string;
  readonly reason: string | null;
  /** True while its active steps finish first. */
  readonly pending: boolean;
}

/** A step on the frontier, or one that ended without a record. */
export type OpenStep = OpenStepFacts &
  (
    | { readonly kind: "queued" }
    /** Holds its place until a delay (a retry, a missing worker, its rate) is over. */
    | { readonly kind: "delayed"; readonly dueAt: number; readonly rate: RateLimit | null }
    /** Free to run, not yet in its queue because too many were released at once. */
    | { readonly kind: "backlog" }
    /** Free to run, and another step writes the sandbox, or as many items of its map run as may: it follows when one has ended. */
    | { readonly kind: "exclusive" }
    /** Free to run, and as much as may runs or has started already with one of its limits. */
    | { readonly kind: "limited"; readonly limit: AwaitedLimit }
    /** Irreversible, started, without a record: only a person can say whether it happened. */
    | { readonly kind: "uncertain"; readonly workerId: string; readonly since: number }
    /** Out of its queue: the plan is paused, pausing, cancelled, stopped at its first failure, or a drain left it to a resume. */
    | { readonly kind: "held" }
    | { readonly kind: "running"; readonly workerId: string; readonly startedAt: number }
    | { readonly kind: "waiting"; readonly wait: WaitKind; readonly dueAt: number | null; readonly since: number }
    /** Quarantined: not by an outcome of its own, but because it kills its workers. */
    | { readonly kind: "failed"; readonly failedAt: number; readonly quarantined: boolean }
  );

export interface OpenStepFacts {
  readonly stepId: string;
  /** Attempts started so far. */
  readonly attempts: number;
  /** Attempts that failed since the plan was last resumed; the number that `retry.attempts` limits. */
  readonly failures: number;
  readonly crashes: number;
  readonly queue: string;
  readonly phase: string;
  /** The line in which the step was released: part of its idempotency key. */
  readonly line: number;
  readonly effect: Effect;
}

/** What a step waits for: a person's approval or choice, a signal, or a timer. */
export type WaitKind = "approval" | "choice" | "signal" | "timer";

/** The handlers that wait for an answer from outside, and what kind of. */
export const ANSWERED_WAITS: ReadonlyMap<string, Exclude<WaitKind, "timer">> = new Map([
  ["approve", "approval"],
  ["ask", "choice"],
  ["wait", "signal"],
] as const);

export const WAIT_WORDS: Readonly<Record<WaitKind, string>> = {
  approval: "an approval",
  choice: "a choice",
  signal: "a signal",
  timer: "a timer",
};

/** The record of a step that is done. Written once. */
export interface StepRecord {
  readonly stepId: string;
  /** Skipped: its condition did not hold. Continued: it failed for good, and the plan goes on without it. */
  readonly kind: "completed" | "skipped" | "continued";
  readonly attempts: number;
  readonly workerId: string;
  readonly startedAt: number;
  readonly durationMs: number;
  readonly fence: number;
  readonly line: number;
}

/** One process that executes steps, as the store and this machine know it. */
export interface WorkerView {
  readonly workerId: string;
  /** What people call it: host:pid. */
  readonly label: string;
  readonly pid: number;
  readonly state: "accepting" | "draining";
  /** Plans it knows, as globs or names. */
  readonly plans: readonly string[];
  readonly queues: readonly string[];
  readonly concurrency: number;
  readonly startedAt: number;
  readonly lastSeenAt: number;
  /** False once its beat is older than DEAD_AFTER, or when its process is gone from this machine. */
  readonly alive: boolean;
  readonly active: number;
}

/** Everything that a decision about a plan needs, read in one consistent moment. */
export interface PlanView {
  readonly meta: PlanMeta;
  readonly open: readonly OpenStep[];
  /** The workers that hold a running step of this plan, dead ones too. */
  readonly owners: ReadonlyMap<string, WorkerView>;
  /** For each queue of an open step, a live worker that serves it, or null. */
  readonly servers: ReadonlyMap<string, WorkerView | null>;
  /** How many places of each concurrency are taken that an open step waits for. */
  readonly inUse: ReadonlyMap<string, number>;
  /** Workers that serve one of those queues. */
  readonly liveWorkers: number;
  /** Workers whose beat is fresh but whose process is gone from this machine. */
  readonly goneWorkers: readonly string[];
  /** The store's clock when it was read. */
  readonly now: number;
}

/** The first of SPEC's states that holds. */
export function planState(view: PlanView): PlanState {
  const { storedState } = view.meta;
  if (isTerminal(storedState) || storedState === "paused") return storedState;
  // What a fork was born with, it didn't start itself.
  const isUntouched = view.meta.done === 0 || (storedState === "queued" && view.open.length > 0);
  const neverStarted = isUntouched && view.open.every((step) => step.attempts === 0);
  if (view.open.some((step) => canProgress(step, view))) return neverStarted ? "queued" : "running";
  if (view.open.some((step) => step.kind === "failed")) return "failed";
  if (view.open.length > 0 && view.open.every((step) => isWaiting(step, view))) return "waiting";
  return neverStarted && view.meta.privateQueue === null ? "queued" : "interrupted";
}

/** Whether a live worker executes the step or can take it. */
export function canProgress(step: OpenStep, view: PlanView): boolean {
  switch (step.kind) {
    case "running":
      return view.owners.get(step.workerId)?.alive === true;
    case "queued":
    case "delayed":
    case "backlog":
    case "limited":
      return view.servers.get(step.queue) != null;
    case "waiting":
      // A pause takes the job of what waits: its time goes on, and the resume looks at it.
      if (view.meta.storedState === "paused") return false;
      return step.dueAt !== null && step.dueAt <= view.now && view.servers.get(step.queue) != null;
    // Whoever has the sandbox is another open step.
    case "exclusive":
    case "held":
    case "uncertain":
    case "failed":
      return false;
    default:
      return step satisfies never;
  }
}

/** An answer needs no worker; a timer, or a wait that ends, needs one when it is over, and a private queue never gets another. */
function isWaiting(step: OpenStep, view: PlanView): boolean {
  if (step.kind !== "waiting") return false;
  if (step.dueAt === null || view.servers.get(step.queue) != null) return true;
  return view.meta.privateQueue === null && step.dueAt > view.now;
}
