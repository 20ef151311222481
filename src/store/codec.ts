/** What stands in Redis, read with a strict eye: whatever doesn't have the form that our scripts write is refused. */
import { StoreUnsuitableError } from "../core/errors.js";
import type { PlanEvent } from "../core/history.js";
import { checkpointId, decisionId, isId } from "../core/ids.js";
import type { AwaitedLimit, ConcurrencyLimit, RateLimit } from "../core/limits.js";
import type { AttemptError } from "../core/outcome.js";
import {
  type OpenStep,
  PLAN_STATES,
  type PlanMeta,
  type PlanState,
  type PlanStop,
  type StepRecord,
  type WaitKind,
  type WorkerView,
} from "../core/plan.js";
import type { FetchReply, ForkOrigin, StartedStep, StepProgress, Verdict } from "../core/ports.js";
import type { SandboxSnapshot } from "../core/sandbox.js";
import { jobId } from "./keys.js";

export function pairs(flat: readonly string[]): Map<string, string> {
  const map = new Map<string, string>();
  for (let i = 0; i + 1 < flat.length; i += 2) map.set(flat[i]!, flat[i + 1]!);
  return map;
}

/** What belongs to a plan's metadata and stands elsewhere, because the hash has short values only. Empty where there is none. */
export interface BesideMeta {
  readonly workdir: string;
  /** actor|reason */
  readonly stop: string;
}

export function decodeMeta(planId: string, hash: ReadonlyMap<string, string>, beside: BesideMeta): PlanMeta {
  const text = (field: string) => {
    const value = hash.get(field);
    if (value === undefined) throw corrupt(`plan ${planId}`, `no field ${field}`);
    return value;
  };
  const int = (field: string) => integer(text(field), `plan ${planId}, ${field}`);
  const state = text("state");
  if (!(PLAN_STATES as readonly string[]).includes(state)) throw corrupt(`plan ${planId}`, `state ${state}`);
  return {
    planId,
    name: text("name"),
    version: int("version"),
    storedState: state as PlanState,
    epoch: int("epoch"),
    line: int("line"),
    fence: int("fence"),
    revision: int("revision"),
    definitionDigest: text("definition"),
    grown: hash.has("grown") ? int("grown") : 0,
    total: int("total"),
    done: int("done"),
    phase: text("phase"),
    lastCompletedStep: text("last_completed_step") || null,
    lastCheckpointId: text("last_checkpoint_id") || null,
    lastDecisionId: text("last_decision_id"),
    sandboxPlace: text("sandbox") === "" ? null : int("sandbox"),
    keptAnswers: int("answers"),
    resumeCount: int("resume_count"),
    resumedAt: hash.get("resumed") === hash.get("revision") ? int("updated") : null,
    createdAt: int("created"),
    updatedAt: int("updated"),
    finishedAt: hash.has("finished") ? int("finished") : null,
    privateQueue: hash.get("queue") || null,
    tag: text("tag"),
    workdir: beside.workdir || null,
    actor: hash.get("actor") ?? "",
    stop: decodeStop(beside.stop, hash.get("pausing") ?? ""),
  };
}

function decodeStop(text: string, pausing: string): PlanStop | null {
  if (text === "") return null;
  const [by, ...reason] = text.split("|");
  return { by: by!, reason: reason.join("|") || null, pending: pausing !== "" };
}

/** `text` is plan epoch point, empty where a plan was submitted. */
export function decodeOrigin(planId: string, text: string): ForkOrigin | null {
  if (text === "") return null;
  const [source, epoch, ...from] = text.split(" ");
  if (!isId(source)) throw corrupt(`plan ${planId}, fork`, text);
  return { planId: source, epoch: integer(epoch ?? "", `plan ${planId}, fork`), from: from.join(" ") || null };
}

const WAITS: ReadonlyMap<string, WaitKind> = new Map([
  ["a", "approval"],
  ["c", "choice"],
  ["s", "signal"],
  ["t", "timer"],
]);
export const WAIT_LETTERS: Readonly<Record<WaitKind, string>> = { approval: "a", choice: "c", signal: "s", timer: "t" };

/** `text` is state|attempts|failures|crashes|line|token|at|due|wait|queue|phase|fence|traits, and limits where it has any; see lua/open-record.lua. */
export function decodeOpenStep(stepId: string, text: string, createdAt: number): OpenStep {
  const f = text.split("|");
  if (f.length !== 13 && f.length !== 15) throw corrupt(`open step ${stepId}`, text);
  const int = (i: number) => integer(f[i]!, `open step ${stepId}`);
  const facts = {
    stepId,
    attempts: int(1),
    failures: int(2),
    crashes: int(3),
    line: int(4),
    queue: f[9]!,
    phase: f[10]!,
    effect: f[12]!.includes("i") ? ("irreversible" as const) : ("idempotent" as const),
  };
  const at = f[6] === "" ? createdAt : createdAt + int(6);
  const dueAt = f[7] === "" ? null : createdAt + int(7);
  switch (f[0]) {
    case "q":
      return { ...facts, kind: "queued" };
    case "b":
      return { ...facts, kind: "backlog" };
    case "e":
      return { ...facts, kind: "exclusive" };
    case "h":
      return { ...facts, kind: "held" };
    case "d":
      // Only a rate delays what hasn't started.
      return { ...facts, kind: "delayed", dueAt: dueAt ?? at, rate: f[6] === "" ? rateOf(f) : null };
    case "l":
    case "k": {
      const limit = f[0] === "l" ? concurrencyOf(f) : rateOf(f);
      if (!limit) throw corrupt(`open step ${stepId}`, text);
      return {
        ...facts,
        kind: "limited",
        limit: { kind: f[0] === "l" ? "concurrency" : "rate", ...limit } as AwaitedLimit,
      };
    }
    case "u":
      return { ...facts, kind: "uncertain", workerId: tokenWorker(f[5]!), since: at };
    case "r":
      return { ...facts, kind: "running", workerId: tokenWorker(f[5]!), startedAt: at };
    case "w": {
      const wait = WAITS.get(f[8]!);
      if (!wait) throw corrupt(`open step ${stepId}`, text);
      return { ...facts, kind: "waiting", wait, dueAt, since: at };
    }
    case "f":
      return { ...facts, kind: "failed", failedAt: at, quarantined: f[8] === "q" };
    default:
      throw corrupt(`open step ${stepId}`, text);
  }
}

/** Of an open step's fields: key:limit. */
function concurrencyOf(f: readonly string[]): ConcurrencyLimit | null {
  const [key, limit] = (f[13] ?? "").split(":");
  return key && limit ? { key, limit: integer(limit, `limit ${key}`) } : null;
}

/** Of an open step's fields: key:max:ms. */
function rateOf(f: readonly string[]): RateLimit | null {
  const [key, max, per] = (f[14] ?? "").split(":");
  return key && max && per ? { key, max: integer(max, `rate ${key}`), perMs: integer(per, `rate ${key}`) } : null;
}

/** Of a record, and of the event that goes with it. */
const RECORD_LETTERS: Readonly<Record<StepRecord["kind"], string>> = { completed: "c", skipped: "n", continued: "o" };
const RECORD_KINDS = new Map(
  Object.entries(RECORD_LETTERS).map(([kind, letter]) => [letter, kind as StepRecord["kind"]]),
);

/** `text` is c, n or o|attempts|line|token|start|duration|fence - start. */
export function decodeRecord(stepId: string, text: string, createdAt: number): StepRecord {
  const f = text.split("|");
  const kind = RECORD_KINDS.get(f[0]!);
  if (f.length !== 7 || kind === undefined) throw corrupt(`record of step ${stepId}`, text);
  const int = (i: number) => integer(f[i]!, `record of step ${stepId}`);
  const startedAt = createdAt + int(4);
  return {
    stepId,
    kind,
    attempts: int(1),
    line: int(2),
    workerId: tokenWorker(f[3]!),
    startedAt,
    durationMs: int(5),
    fence: startedAt + int(6),
  };
}

const SETTLED_EVENTS: Readonly<
  Record<string, "plan.completed" | "plan.failed" | "plan.waiting" | "plan.paused" | "plan.interrupted">
> = {
  completed: "plan.completed",
  failed: "plan.failed",
  waiting: "plan.waiting",
  paused: "plan.paused",
  interrupted: "plan.interrupted",
};

/** What an event's relative times and derived ids are reckoned from. */
export interface EventBase {
  readonly planId: string;
  readonly createdAt: number;
  readonly tag: string;
  /** The snapshots of its sandbox, by place. */
  readonly snapshots: readonly SandboxSnapshot[];
}

export function decodeEvent({ planId, createdAt, tag, snapshots }: EventBase, seq: number, text: string): PlanEvent {
  const f = text.split("|");
  const bad = () => corrupt(`event ${seq} of plan ${planId}`, text);
  const field = (i: number) => {
    const value = f[i];
    if (value === undefined) throw bad();
    return value;
  };
  const int = (i: number) => integer(field(i), `event ${seq} of plan ${planId}`);
  const rest = (i: number) => f.slice(i).join("|");
  const facts = { seq, at: createdAt + int(1), planId, epoch: int(2) };
  const step = field(3);
  switch (f[0]) {
    case "S":
      return { ...facts, type: "plan.submitted", actor: rest(3) };
    case "F":
      return {
        ...facts,
        type: "plan.forked",
        actor: step,
        source: field(4),
        sourceEpoch: int(5),
        newInput: f[6] === "1",
        from: rest(7) || null,
      };
    case "s":
      return { ...facts, type: "step.started", step, attempt: int(4), fence: createdAt + int(5), workerId: field(6) };
    case "a":
      return { ...facts, type: "step.admitted", step, attempt: int(4) };
    case "c":
    case "n":
    case "o": {
      const fence = createdAt + int(5);
      const left = {
        step,
        attempt: int(4),
        fence,
        checkpointId: checkpointId(tag, fence),
        decisionId: decisionId(tag, createdAt, int(6)),
        sandbox: f[8] === undefined ? null : (snapshots[int(8) - 1]?.digest ?? null),
      };
      if (f[0] === "c") return { ...facts, type: "step.completed", ...left, actor: f[7] || null };
      return { ...facts, type: f[0] === "n" ? "step.skipped" : "step.continued", ...left };
    }
    case "f":
      return {
        ...facts,
        type: "step.failed",
        step,
        attempt: int(4),
        final: f[5] === "1",
        retryInMs: f[6] === "" ? null : int(6),
        error: decodeError(rest(7)),
      };
    case "r":
      return { ...facts, type: "step.released", step, attempt: int(4), reason: rest(5) };
    case "x":
      return { ...facts, type: "step.crashed", step, attempt: int(4), workerId: field(5) };
    case "w": {
      const wait = WAITS.get(field(5));
      if (!wait) throw bad();
      const dueAt = field(6) === "" ? null : createdAt + int(6);
      return { ...facts, type: "step.waiting", step, attempt: int(4), wait, dueAt };
    }
    case "d":
      return {
        ...facts,
        type: "decision.recorded",
        step,
        decisionId: decisionId(tag, createdAt, int(4)),
        actor: field(5),
      };
    case "g":
      return { ...facts, type: "plan.grown", step, appended: field(4).split(" ") };
    case "p":
      return { ...facts, type: "plan.pause_requested", actor: step, reason: rest(4) || null };
    case "X":
      return { ...facts, type: "plan.cancelled", actor: step, reason: rest(4) || null };
    case "R":
      return {
        ...facts,
        type: "plan.resumed",
        actor: step,
        from: f[4] || null,
        superseded: int(5),
        reason: rest(6) || null,
      };
    case "V":
      return { ...facts, type: "plan.redefined", version: int(3), definitionDigest: field(4) };
    case "U":
      return { ...facts, type: "steps.superseded", steps: step.split(" ") };
    case "K":
      return { ...facts, type: "sandbox.kept", sandbox: snapshots[int(3) - 1]?.digest ?? null };
    case "z": {
      const type = SETTLED_EVENTS[step];
      if (!type) throw bad();
      return { ...facts, type };
    }
    default:
      throw bad();
  }
}

/** What an event's times and ids become in the history of another plan. */
export interface EncodeBase {
  readonly createdAt: number;
  /** Places of decisions among those of that plan, by the ids that events have; others are the root. */
  readonly decisions: ReadonlyMap<string, number>;
  /** Places of snapshots, by digest. */
  readonly snapshots: ReadonlyMap<string, number>;
}

/** Writes an event that a fork inherits, as the scripts write those of a plan's own. Its epoch is the first. */
export function encodeEvent(base: EncodeBase, event: PlanEvent): string {
  const rel = (at: number) => String(at - base.createdAt);
  const fields = (letter: string, ...rest: readonly (string | number)[]) =>
    [letter, rel(event.at), "1", ...rest].join("|");
  switch (event.type) {
    case "plan.submitted":
      return fields("S", event.actor);
    case "plan.forked":
      return fields("F", event.actor, event.source, event.sourceEpoch, event.newInput ? "1" : "", event.from ?? "");
    case "step.started":
      return fields("s", event.step, event.attempt, rel(event.fence), event.workerId);
    case "step.admitted":
      return fields("a", event.step, event.attempt);
    case "step.completed":
    case "step.skipped":
    case "step.continued": {
      const { step, attempt, fence, decisionId, sandbox } = event;
      const actor = event.type === "step.completed" ? event.actor : null;
      const files = sandbox === null ? [] : [base.snapshots.get(sandbox)!];
      const letter = RECORD_LETTERS[event.type.slice("step.".length) as StepRecord["kind"]];
      return fields(letter, step, attempt, rel(fence), base.decisions.get(decisionId) ?? 0, actor ?? "", ...files);
    }
    case "step.failed": {
      const { step, attempt, final, retryInMs, error } = event;
      return fields("f", step, attempt, final ? "1" : "0", retryInMs ?? "", JSON.stringify(error));
    }
    case "step.released":
      return fields("r", event.step, event.attempt, event.reason);
    case "step.crashed":
      return fields("x", event.step, event.attempt, event.workerId);
    case "step.waiting":
      return fields(
        "w",
        event.step,
        event.attempt,
        WAIT_LETTERS[event.wait],
        event.dueAt === null ? "" : rel(event.dueAt),
      );
    case "decision.recorded":
      return fields("d", event.step, base.decisions.get(event.decisionId)!, event.actor);
    case "plan.grown":
      return fields("g", event.step, event.appended.join(" "));
    case "plan.pause_requested":
    case "plan.paused":
    case "plan.cancelled":
    case "plan.failed":
    case "plan.interrupted":
    case "plan.waiting":
    case "plan.completed":
    case "plan.resumed":
    case "plan.redefined":
    case "steps.superseded":
    case "sandbox.kept":
      throw new Error(`${event.type} is no event that a plan inherits`);
    default:
      return event satisfies never;
  }
}

/** The record of a step that a fork inherits: what `decodeRecord` reads, in the first line of the new plan. */
export function encodeRecord(record: StepRecord, createdAt: number): string {
  const { kind, attempts, workerId, startedAt, durationMs, fence } = record;
  return [RECORD_LETTERS[kind], attempts, 1, workerId, startedAt - createdAt, durationMs, fence - startedAt].join("|");
}

export function decodeError(text: string): AttemptError {
  try {
    const value = JSON.parse(text) as Partial<AttemptError>;
    if (typeof value.code === "string" && typeof value.message === "string")
      return { code: value.code, message: value.message };
  } catch {
    // Falls through: a text that isn't ours is shown as it is.
  }
  return { code: "STEP_FAILED", message: text };
}

/** What an attempt said of how far it is; null where it was another one. */
export function decodeProgress(text: string, attempt: number): StepProgress | null {
  const [, by, fraction, note] = /^(\d+)\|([^|]*)\|(.*)$/s.exec(text) ?? [];
  if (Number(by) !== attempt) return null;
  return { fraction: Number(fraction), note: note || null };
}

/** How many snapshots an event of a plan speaks of: its base must know as many. */
export function snapshotsNamed(event: string): number {
  const f = event.split("|");
  return Number((RECORD_KINDS.has(f[0]!) ? f[8] : f[0] === "K" ? f[3] : undefined) ?? 0);
}

export function decodeSnapshot(planId: string, text: string): SandboxSnapshot {
  const where = `snapshot of plan ${planId}`;
  let value: Partial<SandboxSnapshot> | null;
  try {
    value = JSON.parse(text) as Partial<SandboxSnapshot> | null;
  } catch {
    throw corrupt(where, text);
  }
  const { provider, digest, files, bytes } = value ?? {};
  const isSnapshot =
    typeof provider === "string" && typeof digest === "string" && Number.isInteger(files) && Number.isInteger(bytes);
  if (!isSnapshot) throw corrupt(where, text);
  return { provider, digest, files: files!, bytes: bytes! };
}

export interface WorkerReply {
  readonly workerId: string;
  readonly beatAt: number;
  readonly info: ReadonlyMap<string, string>;
}

export function decodeWorkerReply(reply: unknown): WorkerReply {
  const [workerId, beat, info] = reply as [string, string, string[]];
  return { workerId, beatAt: Number(beat), info: pairs(info) };
}

export function decodeWorker(reply: WorkerReply, now: number, deadAfterMs: number, gone: boolean): WorkerView {
  const { info } = reply;
  const words = (field: string) => (info.get(field) ?? "").split(" ").filter((word) => word !== "");
  return {
    workerId: reply.workerId,
    label: info.get("label") ?? reply.workerId,
    pid: Number(info.get("pid") ?? 0),
    state: info.get("state") === "draining" ? "draining" : "accepting",
    plans: words("plans"),
    queues: words("queues"),
    concurrency: Number(info.get("concurrency") ?? 0),
    startedAt: Number(info.get("started") ?? 0),
    lastSeenAt: reply.beatAt,
    alive: !gone && now - reply.beatAt < deadAfterMs,
    active: Number(info.get("active") ?? 0),
  };
}

/** What the store says to an outcome, where it doesn't also refuse it for what the plan has become. */
export type SettleReply =
  | FetchReply
  /** The plan has steps that the worker doesn't know. */
  | { readonly verdict: "GROWN" }
  /** The plan can't have the steps that this one appends. */
  | { readonly verdict: "UNFIT"; readonly why: string };

export function decodeSettle(reply: unknown, ended: StartedStep): SettleReply {
  const [verdict, , , , , why] = reply as string[];
  switch (verdict) {
    case "GROWN":
      return { verdict };
    case "UNFIT":
      return { verdict, why: why! };
    default:
      return decodeFetch(reply, ended.token, ended.queue, ended);
  }
}

/** The slot goes on with the plan's next step. Everything but these is as it was for the step that it just ended. */
export function nextInSlot(ended: StartedStep, stepId: string, now: number, fence: number): FetchReply {
  const step = {
    ...ended,
    stepId,
    fence,
    attempt: 1,
    failures: 0,
    crashes: 0,
    startedAt: now,
    dueAt: null,
    input: null,
    handedOff: ended.handedOff + 1,
  };
  return { verdict: "OK", now, next: { kind: "step", jobId: jobId(step.planId, stepId, step.epoch), step } };
}

/** See fetch_reply in lua/start.lua. */
export function decodeFetch(reply: unknown, token: string, queue: string, ended?: StartedStep): FetchReply {
  const f = reply as (string | number | null)[];
  const verdict = f[0] as Verdict;
  const now = Number(f[1]);
  const jobId = f[2] as string;
  if (jobId === "") return { verdict, now, next: { kind: "none", limitMs: Number(f[3]), dueAt: Number(f[4]) } };
  if (f[3] === "foreign") return { verdict, now, next: { kind: "foreign", jobId, hash: f[4] as unknown as string[] } };
  const inline = f[16] === "1";
  return {
    verdict,
    now,
    next: {
      kind: "step",
      jobId,
      step: {
        planId: f[3] as string,
        stepId: f[4] as string,
        epoch: Number(f[5]),
        line: Number(f[6]),
        attempt: Number(f[7]),
        failures: Number(f[8]),
        fence: Number(f[9]),
        startedAt: Number(f[10]),
        dueAt: f[11] === "" ? null : Number(f[11]),
        planName: f[12] as string,
        definitionDigest: f[13] as string,
        privateQueue: (f[14] as string) || null,
        createdAt: Number(f[15]),
        tag: f[19] as string,
        crashes: Number(f[20]),
        input: inline ? (f[17] as string) : null,
        workdir: inline ? (f[18] as string) || null : null,
        sandbox: (f[21] as string) || null,
        grown: Number(f[22]),
        token,
        queue,
        handedOff: f[23] === "handed" && ended ? ended.handedOff + 1 : 0,
      },
    },
  };
}

/** Fields of records and events are separated by bars and lines. */
export function oneField(text: string): string {
  return text.replace(/[|\r\n]/g, "_").slice(0, 64);
}

export function tokenWorker(token: string): string {
  const end = token.indexOf(".");
  return end < 0 ? token : token.slice(0, end);
}

function integer(text: string, where: string): number {
  if (!/^-?\d{1,16}$/.test(text)) throw corrupt(where, `"${text}" is not a number`);
  return Number(text);
}

function corrupt(where: string, what: string): StoreUnsuitableError {
  return new StoreUnsuitableError(
    `The store holds something that Waymark did not write: ${where}: ${what.slice(0, 200)}`,
    { where },
  );
}
