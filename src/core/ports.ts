/** Where store, queue, worker and client meet. Redis is behind `PlanStore`; nothing here knows of it. */
import type { CompiledDefinition, StepDefinition } from "./definition.js";
import type { ResumeDecision } from "./eligibility.js";
import type { ForkDecision } from "./fork.js";
import type { Checkpoint, Decision, PlanEvent } from "./history.js";
import type { Ask, AttemptError, Outcome } from "./outcome.js";
import type { PlanMeta, PlanState, PlanView, StepRecord, WaitKind, WorkerView } from "./plan.js";
import type { SandboxSnapshot } from "./sandbox.js";
import type { Schedule } from "./schedule.js";
import type { Evidence } from "./verify.js";

export interface SubmitRequest {
  readonly planId: string;
  readonly compiled: CompiledDefinition;
  /** Serialised and validated. */
  readonly input: string;
  readonly actor: string;
  /** Steps go to this queue instead of their own: the process that submits executes the plan alone. */
  readonly privateQueue: string | null;
  readonly workdir: string | null;
  /** Where the plan document lies, and the SHA-256 of its text: what a later resume compares the file with. */
  readonly file?: DocumentFile;
  /** Takes what the sandbox starts from, where the plan has one. Called only for a plan that isn't there yet. */
  readonly sandbox?: () => Promise<SandboxSnapshot>;
}

export interface DocumentFile {
  readonly path: string;
  readonly digest: string;
}

export interface ResumeWrite {
  readonly decision: ResumeDecision;
  readonly view: PlanView;
  /** Stored with the request id, and given to whoever repeats it. */
  readonly answer: string;
  readonly requestId: string | null;
  readonly actor: string;
  readonly reason: string | null;
  readonly privateQueue: string | null;
  readonly workdir: string | null;
  /** What was in the plan's files and is discarded by it: named in the history, and kept while the plan is. */
  readonly kept?: SandboxSnapshot | null;
}

export type ResumeAnswer =
  | { readonly kind: "resumed"; readonly epoch: number }
  /** The request id was answered before; this is that answer, as stored. */
  | { readonly kind: "repeated"; readonly summary: string }
  /** Something changed between reading and writing: read again. */
  | { readonly kind: "stale" };

/** What a plan was forked from. */
export interface ForkOrigin {
  readonly planId: string;
  readonly epoch: number;
  /** The point, where one was named. */
  readonly from: string | null;
}

export interface ForkWrite {
  /** Of the new plan. */
  readonly planId: string;
  /** Stands for what was asked: the same id with the same request is the same plan. */
  readonly request: string;
  readonly source: Preview;
  readonly decision: ForkDecision;
  /** Serialised and validated. */
  readonly input: string;
  /** Given to whoever repeats the request. */
  readonly answer: string;
  readonly actor: string;
}

/** `stale`: the source changed in what it inherits between reading and writing; read again. */
export type ForkAnswer = "created" | "existing" | "stale";

/** A plan with all its steps, for `plan get`. */
export interface PlanDetail {
  readonly view: PlanView;
  readonly state: PlanState;
  readonly why: string;
  readonly compiled: CompiledDefinition;
  readonly records: ReadonlyMap<string, StepRecord>;
  readonly errors: ReadonlyMap<string, AttemptError>;
  readonly asks: ReadonlyMap<string, Ask>;
  /** The snapshot in force; null where the plan has no sandbox. */
  readonly sandbox: SandboxSnapshot | null;
  readonly fork: ForkOrigin | null;
  /** Steps that every worker which fetched them had to hand back: since when, and what was lacking. */
  readonly unserved: ReadonlyMap<string, { readonly since: number; readonly reason: string }>;
  /** How far the attempts that run say that they are. */
  readonly progress: ReadonlyMap<string, StepProgress>;
}

/** How far an attempt says that it is: from 0 to 1, and in words. */
export interface StepProgress {
  readonly fraction: number;
  readonly note: string | null;
}

export interface ListQuery {
  readonly states?: readonly PlanState[];
  /** Exact name, or a glob with `*`. */
  readonly name?: string;
  readonly createdSince?: number;
  readonly limit: number;
}

export interface ListedPlan {
  readonly meta: PlanMeta;
  readonly state: PlanState;
  readonly why: string;
}

export interface LogChunk {
  readonly step: string;
  readonly attempt: number;
  /** The last 64 KiB of it. */
  readonly text: string;
  /** Bytes written in all. */
  readonly bytes: number;
  /** The last epoch of its line, where a rewind has superseded the step since. */
  readonly superseded: number | null;
}

/** What producers and operators do with plans. Every write is one transition, refused by code. */
export interface PlanStore {
  /** For whoever makes payloads: nothing larger is to be handed to the store. */
  readonly payloadLimitBytes: number;
  readonly schedules: Schedules;
  /** Asked once a process, before its first write. @throws StoreUnsuitableError */
  requireSuitable(): Promise<void>;
  /** @returns whether the plan was there already, with the same name and input. @throws PlanExistsError */
  submit(request: SubmitRequest): Promise<{ existing: boolean }>;
  /** @throws PlanNotFoundError */
  view(planId: string): Promise<PlanView>;
  detail(planId: string): Promise<PlanDetail>;
  definition(digest: string, planId: string): Promise<CompiledDefinition>;
  /** What a plan runs: its definition, and the steps that were appended to it. */
  planDefinition(meta: PlanMeta): Promise<CompiledDefinition>;
  input(planId: string): Promise<string>;
  output(planId: string, stepId: string): Promise<string>;
  list(query: ListQuery): Promise<ListedPlan[]>;
  history(planId: string, fromSeq?: number): Promise<PlanEvent[]>;
  /** The events from `fromSeq` on, then each new one as it happens, until the plan is terminal or `signal` is aborted. */
  follow(planId: string, fromSeq: number, signal: AbortSignal): AsyncIterable<PlanEvent>;
  /** Events of all plans as they happen, from now on. */
  followAll(signal: AbortSignal): AsyncIterable<PlanEvent>;
  checkpoints(planId: string): Promise<Checkpoint[]>;
  decisions(planId: string): Promise<Decision[]>;
  logs(planId: string, stepId?: string): Promise<LogChunk[]>;
  workers(): Promise<WorkerView[]>;
  /**
   * Reads what a resume decides from, in one moment and one round trip, and writes nothing. "frontier" is what a plain
   * resume needs: a large plan gives its newest done steps and no definition. "full" lists every done step and loads the
   * definition whatever their number; "line" adds the history and the decisions, as a rewind needs.
   */
  preview(planId: string, depth: PreviewDepth): Promise<Preview>;
  /** Everything that is stored of a plan, its jobs included, in one moment. @throws PlanNotFoundError, StoreUnsuitableError */
  evidence(planId: string): Promise<Evidence>;
  /** Ids of all plans, each once, in no order. */
  planIds(): AsyncIterable<string>;
  resume(write: ResumeWrite): Promise<ResumeAnswer>;
  /** The answer that was stored with a request to resume, or null. */
  storedAnswer(planId: string, requestId: string): Promise<string | null>;
  /** Creates a plan from what another has done, in one write. @throws PlanExistsError, PlanNotFoundError */
  fork(write: ForkWrite): Promise<ForkAnswer>;
  /** What was said when a plan was forked by this request; null where there is no plan of this id. @throws PlanExistsError */
  forkAnswer(planId: string, request: string): Promise<string | null>;
  /** Plans that have been over for so long. */
  prunablePlans(olderThanMs: number): AsyncIterable<PrunablePlan>;
  /** Removes a plan, in one write, if it has been over for so long. @returns whether it did */
  removePlan(planId: string, olderThanMs: number): Promise<boolean>;
  /** Removes, or with `dryRun` counts, definitions that no plan has but `without`, and that nobody has used for a day. */
  pruneDefinitions(without: ReadonlySet<string>, dryRun: boolean): Promise<number>;
  /** Digests of all snapshots that plans name, `without` those that only these plans name. */
  namedSnapshots(without: ReadonlySet<string>): Promise<ReadonlySet<string>>;
  pause(planId: string, actor: string, reason: string | null, afterStep: boolean): Promise<void>;
  cancel(planId: string, actor: string, reason: string | null): Promise<void>;
  /** Reads what an answer to a step needs: the step and those that need it, whatever the size of the plan. @throws STEP_NOT_FOUND */
  answerable(planId: string, stepId: string): Promise<Answerable>;
  /** Completes a parked step. A signal to a step that doesn't wait yet is kept until it does. @throws NOT_WAITING */
  signal(to: Answerable, answer: SignalAnswer): Promise<{ kept: boolean }>;
  close(): Promise<void>;
}

/** Recurring plans. Whoever writes one says what it replaces, so that of two who do one finds that it has changed. */
export interface Schedules {
  /** By name. */
  list(): Promise<StoredSchedule[]>;
  find(name: string): Promise<StoredSchedule | null>;
  /** @returns false where `before` isn't what is stored any more */
  put(schedule: Schedule, input: string, before: StoredSchedule | null): Promise<boolean>;
  /** @returns whether it was there */
  remove(name: string): Promise<boolean>;
  /** Makes sure that the store has it. */
  upload(compiled: CompiledDefinition): Promise<void>;
  definition(schedule: Schedule): Promise<CompiledDefinition>;
  /** The store's clock. */
  now(): Promise<number>;
}

export interface StoredSchedule {
  readonly schedule: Schedule;
  /** Serialised. Opened when it is asked for: who only looks needs no key. */
  input(): string;
  /** As it is stored. */
  readonly text: string;
}

export interface PrunablePlan {
  readonly planId: string;
  /** What it takes in the store. */
  readonly bytes: number;
}

export type PreviewDepth = "frontier" | "full" | "line";

export interface Preview {
  readonly view: PlanView;
  readonly compiled: CompiledDefinition | null;
  readonly doneSteps: readonly string[];
  /** Records of done steps; none for "frontier". */
  readonly records: ReadonlyMap<string, StepRecord>;
  readonly workdir: string | null;
  /** The document that was submitted, where it was a file. */
  readonly file: DocumentFile | null;
  /** Null where it was submitted. */
  readonly fork: ForkOrigin | null;
  /** Oldest first; none but for "line". */
  readonly events: readonly PlanEvent[];
  /** The root first; none but for "line". */
  readonly decisions: readonly Decision[];
  /** Of the sandbox, the one it started from first; none but for "line". */
  readonly snapshots: readonly SandboxSnapshot[];
  /** The one in force; null where the plan has no sandbox. */
  readonly inForce: SandboxSnapshot | null;
}

/** A step that somebody may answer. */
export interface Answerable {
  readonly planId: string;
  readonly epoch: number;
  readonly privateQueue: string | null;
  readonly step: StepDefinition;
  readonly next: readonly StepDefinition[];
  /** How often the plan has changed its appended steps. */
  readonly grown: number;
  /** What it waits for now, if it does. */
  readonly wait: WaitKind | null;
  readonly ask: Ask | null;
  /** The store's clock when it was read. */
  readonly now: number;
}

export interface SignalAnswer {
  /** Serialised; becomes the step's output. */
  readonly data: string;
  /** Whether the plan ends with this answer: a rejection. */
  readonly cancels: boolean;
  readonly signalId: string | null;
  readonly actor: string;
  /** Recorded as a decision where a person chose. */
  readonly choice: {
    readonly question: string;
    readonly options: readonly string[];
    readonly choice: string;
    readonly rationale: string | null;
  } | null;
}

/** A step that this worker now holds. */
export interface StartedStep {
  readonly planId: string;
  readonly stepId: string;
  readonly epoch: number;
  readonly line: number;
  readonly attempt: number;
  readonly failures: number;
  /** How often it died with its worker since it last got further. */
  readonly crashes: number;
  readonly fence: number;
  readonly token: string;
  readonly queue: string;
  readonly planName: string;
  readonly definitionDigest: string;
  readonly privateQueue: string | null;
  readonly workdir: string | null;
  readonly createdAt: number;
  readonly tag: string;
  readonly startedAt: number;
  /** Inlined where it is small; else read it. */
  readonly input: string | null;
  /** When the timer that it was parked with is over, if it was parked with one. */
  readonly dueAt: number | null;
  /** The snapshot (JSON) that a step which reads or writes the sandbox begins with. Not looked into before it is used: one
   *  that nobody wrote fails its step, and costs no slot. */
  readonly sandbox: string | null;
  /** How often the plan has changed its appended steps. */
  readonly grown: number;
  /** How many steps of this plan the slot ran just before, without looking for others. */
  readonly handedOff: number;
}

/**
 * What the store said to an outcome. DUP: it was written before, the reply had been lost. LOST: another has the step.
 * FENCED: the plan went on to another epoch. UNREGISTERED: the store doesn't know this worker (any more).
 */
export type Verdict = "OK" | "DUP" | "LOST" | "FENCED" | "UNREGISTERED";

export interface FetchReply {
  readonly verdict: Verdict;
  readonly now: number;
  readonly next:
    | { readonly kind: "step"; readonly jobId: string; readonly step: StartedStep }
    | { readonly kind: "foreign"; readonly jobId: string; readonly hash: readonly string[] }
    | { readonly kind: "none"; readonly limitMs: number; readonly dueAt: number };
}

/** What the store said to an attempt that goes on. */
export interface Written {
  readonly verdict: Exclude<Verdict, "UNREGISTERED">;
}

/** `choice` is the recorded one, null where there is none. */
export interface Decided extends Written {
  readonly choice: string | null;
}

/** What an attempt decides under a key of its step. */
export type MadeDecision = Pick<Decision, "question" | "options" | "choice" | "rationale" | "madeBy">;

/** What an attempt does with the store before it ends. Everything here may be repeated. */
export interface AttemptStore {
  /** Records a decision under a key of the step, or only looks it up. The recorded one counts, whoever made it. */
  decide(step: StartedStep, key: string, made: MadeDecision | null): Promise<Decided>;
  /** Keeps a cursor for the next attempt. */
  save(step: StartedStep, cursor: string): Promise<Written>;
  /** Records that the step's condition holds, for the attempts after this one too. */
  admit(step: StartedStep): Promise<Written>;
  admitted(step: StartedStep): Promise<boolean>;
  /** The cursor that the last attempt saved, or null. */
  saved(step: StartedStep): Promise<string | null>;
  /** Keeps how far the attempt says that it is. */
  progress(step: StartedStep, fraction: number, note: string | null): Promise<Written>;
}

/** What a worker's slots do with the store: one call a step. */
export interface StepLog {
  /** Takes the next step of a queue and writes its start. Repeatable with the same token. */
  fetch(queue: string, token: string): Promise<FetchReply>;
  /**
   * Ends an attempt and, where `fetchNext`, takes the slot's next step with it. Repeatable with the same arguments. Where it
   * `mayWait`, it may leave at the end of this turn of the event loop, with others.
   */
  settle(step: StartedStep, outcome: Outcome, fetchNext: boolean, mayWait?: boolean): Promise<FetchReply>;
}
