/** Plans in Redis, for producers and operators: one script a transition, reads without a write. */
import type { Redis } from "ioredis";
import type { CompiledDefinition } from "../core/definition.js";
import {
  NotWaitingError,
  PlanExistsError,
  PlanNotFoundError,
  StoreUnsuitableError,
  WaymarkError,
} from "../core/errors.js";
import { type Checkpoint, type Decision, isDone, type PlanEvent, signalled } from "../core/history.js";
import { decisionId, newPlanTag } from "../core/ids.js";
import { digestOf, type Json } from "../core/json.js";
import { requireShares } from "../core/limits.js";
import { Line } from "../core/line.js";
import type { Ask, AttemptError } from "../core/outcome.js";
import { type PayloadCodec, PLAIN_PAYLOADS } from "../core/payload-codec.js";
import { DEFAULT_PAYLOAD_LIMIT_BYTES } from "../core/payload-limit.js";
import {
  ANSWERED_WAITS,
  isTerminal,
  type PlanMeta,
  type PlanState,
  type PlanView,
  planState,
  type StepRecord,
  type WorkerView,
} from "../core/plan.js";
import type {
  Answerable,
  ForkAnswer,
  ForkWrite,
  ListedPlan,
  ListQuery,
  LogChunk,
  PlanDetail,
  PlanStore,
  Preview,
  PreviewDepth,
  PrunablePlan,
  ResumeAnswer,
  ResumeWrite,
  SignalAnswer,
  StepProgress,
  SubmitRequest,
} from "../core/ports.js";
import { FULL_LIST_LIMIT } from "../core/resume-summary.js";
import { explainState } from "../core/state-sentences.js";
import { describeStoreUrl, type StoreLocation } from "../core/store-address.js";
import type { Evidence } from "../core/verify.js";
import {
  decodeError,
  decodeEvent,
  decodeMeta,
  decodeOpenStep,
  decodeOrigin,
  decodeProgress,
  decodeRecord,
  decodeSnapshot,
  decodeWorker,
  decodeWorkerReply,
  type EventBase,
  oneField,
  pairs,
  WAIT_LETTERS,
  type WorkerReply,
} from "./codec.js";
import { requireShards, requireSuitable } from "./connect.js";
import { around, DefinitionStore } from "./definitions.js";
import { readEvidence } from "./evidence.js";
import { followAll, followPlan, passOverMissing } from "./follow.js";
import { Stage, stageFork } from "./fork-call.js";
import type { Keys } from "./keys.js";
import { INLINE_INPUT_BYTES, Payloads } from "./payloads.js";
import { namedSnapshots, prunablePlans, pruneDefinitions, removePlan } from "./prune.js";
import { type QueueDepth, queueDepth } from "./queue-depth.js";
import { resumeCall } from "./resume-call.js";
import { ScheduleStore } from "./schedules.js";
import { readScript, runScript, timeOf } from "./scripts.js";
import { declaredOf, queueOf, successorArgs } from "./step-log.js";

/** Stands for the first snapshot in a submit until it is known that the plan isn't there yet. */
const NOT_TAKEN = "?";
/** Pages in which the index of plans is read. */
const LIST_PAGE = 100;
/** Fields that the input of a plan is looked for among in one round trip. */
const INPUT_SCAN = 1_000;

export interface PlanStoreOptions {
  readonly redis: Redis;
  readonly keys: Keys;
  /** Where `redis` is, for connections that must be separate. */
  readonly location: StoreLocation;
  /** Silence after which a worker counts as dead. */
  readonly deadAfterMs: number;
  /** What one payload may weigh; 256 KiB unless given. */
  readonly payloadLimitBytes?: number | undefined;
  /** What payloads go through; as they are unless given. */
  readonly payloads?: PayloadCodec | undefined;
  /** Whether a worker's process is known to be gone from this machine, whatever its last beat says. */
  /** How many shards the store has: one unless given. */
  readonly shards?: number;
  /** Compiled definitions by digest, where several shards share them. */
  readonly definitions?: Map<string, CompiledDefinition>;
  readonly isGone: (worker: { machine: string; pid: number; processStart: string }) => boolean;
}

export type ViewReply = [
  now: string,
  meta: string[],
  open: string[],
  owners: unknown[],
  servers: [string, number, ...unknown[]][],
  done: string[],
  definition: string[],
  workdir: string,
  stop: string,
  history: string[],
  decisions: string[],
  snapshots: string[],
  file: string,
  fork: string,
  inUse: string[],
];

export class RedisPlanStore implements PlanStore {
  readonly redis: Redis;
  readonly keys: Keys;
  readonly location: StoreLocation;
  readonly definitions: DefinitionStore;
  readonly sealed: Payloads;
  readonly schedules: ScheduleStore;
  readonly deadAfterMs: number;
  /** For whoever makes payloads: nothing larger is to be handed to the store. */
  readonly payloadLimitBytes: number;
  private suitable: Promise<void> | null = null;

  constructor(private readonly options: PlanStoreOptions) {
    this.redis = options.redis;
    this.keys = options.keys;
    this.location = options.location;
    this.deadAfterMs = options.deadAfterMs;
    this.payloadLimitBytes = options.payloadLimitBytes ?? DEFAULT_PAYLOAD_LIMIT_BYTES;
    this.definitions = new DefinitionStore(this.redis, this.keys, options.definitions);
    this.sealed = new Payloads(options.payloads ?? PLAIN_PAYLOADS);
    this.schedules = new ScheduleStore(this.redis, this.keys, this.definitions, this.sealed);
  }

  /** Where it is, without a password. */
  get address(): string {
    return describeStoreUrl(this.location.url);
  }

  /** Asked once a process, before its first write. @throws StoreUnsuitableError */
  requireSuitable(): Promise<void> {
    this.suitable ??= this.checkSuitable();
    return this.suitable;
  }

  /** The number of shards is recorded by the first write: with another one, plans would be looked for where they aren't. */
  private async checkSuitable(): Promise<void> {
    await requireSuitable(this.redis);
    const { shards = 1 } = this.options;
    requireShards(shards, await this.redis.set(this.keys.shards, String(shards), "NX", "GET"));
  }

  async submit(request: SubmitRequest): Promise<{ existing: boolean }> {
    await this.requireSuitable();
    const { compiled, planId, privateQueue } = request;
    requireShares(compiled.definition.steps, this.keys.shardCount);
    const input = this.sealed.sealInput(planId, request.input);
    const roots: string[] = [];
    const jobKeys = new Set<string>();
    for (const id of compiled.roots) {
      const step = compiled.steps.get(id)!;
      const queue = queueOf(step, privateQueue);
      roots.push(id, queue, step.phase, declaredOf(step, this.keys));
      jobKeys.add(this.keys.job(queue, planId, id, 1));
      for (const key of this.keys.queueKeys(queue)) jobKeys.add(key);
    }
    const send = (sandbox: string) =>
      runScript(
        this.redis,
        "submit",
        [
          this.keys.plan(planId),
          this.keys.definition(compiled.digest),
          ...this.keys.planKeys(planId),
          this.keys.plans,
          ...jobKeys,
        ],
        [
          this.keys.base,
          planId,
          digestOf({ name: compiled.definition.name, input: JSON.parse(request.input) as Json }).slice(0, 32),
          String(compiled.steps.size),
          compiled.definition.name,
          String(compiled.definition.version),
          compiled.digest,
          privateQueue ?? "",
          oneField(request.actor),
          input,
          request.workdir ?? "",
          Buffer.byteLength(input) <= INLINE_INPUT_BYTES ? "1" : "0",
          newPlanTag(),
          compiled.steps.get(compiled.roots[0]!)!.phase,
          sandbox,
          request.file === undefined ? "" : `${request.file.digest} ${request.file.path}`,
          ...roots,
        ],
      );
    let sandbox = request.sandbox === undefined ? "" : NOT_TAKEN;
    let answer = await send(sandbox);
    if (answer === "NOSANDBOX") {
      sandbox = JSON.stringify(await request.sandbox!());
      answer = await send(sandbox);
    }
    if (answer === "NODEFINITION") {
      await this.definitions.upload(compiled);
      answer = await send(sandbox);
    }
    switch (answer) {
      case "CREATED":
        this.definitions.remember(compiled);
        return { existing: false };
      case "EXISTING":
        return { existing: true };
      case "EXISTS":
        throw new PlanExistsError(planId);
      default:
        throw unexpected("submit", answer);
    }
  }

  async view(planId: string): Promise<PlanView> {
    return this.decodeView(planId, await this.readView(planId, "none", "")).view;
  }

  async preview(planId: string, depth: PreviewDepth): Promise<Preview> {
    const full = depth !== "frontier";
    // A definition that this process has is not sent again; most often it has the newest one.
    return this.decodePreview(
      planId,
      depth,
      await this.readView(planId, full ? depth : "resume", this.lastDefinition ?? ""),
    );
  }

  /** What view.lua has answered. */
  async decodePreview(planId: string, depth: PreviewDepth, reply: ViewReply): Promise<Preview> {
    const full = depth !== "frontier";
    const { view } = this.decodeView(planId, reply);
    const { meta } = view;
    const small = meta.total <= FULL_LIST_LIMIT;
    let compiled: CompiledDefinition | null = null;
    if (full || small) {
      compiled =
        reply[6].length > 0
          ? this.definitions.decode(meta.definitionDigest, pairs(reply[6]))
          : await this.definitions.get(meta.definitionDigest);
      if (meta.grown > 0) compiled = await this.planDefinition(meta);
      this.lastDefinition = meta.definitionDigest;
    }
    const records = new Map<string, StepRecord>();
    let doneSteps: string[];
    if (full) {
      for (const [id, text] of pairs(reply[5])) records.set(id, decodeRecord(id, text, meta.createdAt));
      doneSteps = [...records.keys()];
    } else {
      doneSteps = reply[5];
    }
    if (compiled) {
      const { steps } = compiled;
      doneSteps = [...doneSteps].sort((a, b) => (steps.get(a)?.index ?? 0) - (steps.get(b)?.index ?? 0));
    }
    const named = reply[11].map((text) => decodeSnapshot(planId, text));
    const snapshots = depth === "line" ? named : [];
    const place = depth === "line" ? meta.sandboxPlace : 1;
    const inForce = place === null ? null : (named[place - 1] ?? null);
    const { createdAt, tag } = meta;
    const events = reply[9].map((entry, i) => decodeEvent({ planId, createdAt, tag, snapshots }, i + 1, entry));
    const decisions = depth === "line" ? decodeDecisions(this.sealed, meta, reply[10], events) : [];
    const [digest, ...path] = reply[12].split(" ");
    const file = reply[12] === "" ? null : { digest: digest!, path: path.join(" ") };
    const places = { workdir: reply[7] || null, file, fork: decodeOrigin(planId, reply[13]) };
    return { view, compiled, doneSteps, records, ...places, events, decisions, snapshots, inForce };
  }

  private lastDefinition: string | null = null;

  async detail(planId: string): Promise<PlanDetail> {
    const preview = await this.preview(planId, "full");
    const { view, records } = preview;
    const state = planState(view);
    const errors = new Map<string, AttemptError>();
    const asks = new Map<string, Ask>();
    const unserved = new Map<string, { since: number; reason: string }>();
    const progress = new Map<string, StepProgress>();
    const fields = view.open.flatMap((step) => [
      `:error:${step.stepId}`,
      `:ask:${step.stepId}`,
      `:unserved:${step.stepId}`,
      `:progress:${step.stepId}`,
    ]);
    if (fields.length > 0) {
      const values = await this.redis.hmget(this.keys.planPart(planId, "out"), ...fields);
      view.open.forEach((step, i) => {
        const [error, ask, waited, told] = values.slice(i * 4, i * 4 + 4);
        if (error) errors.set(step.stepId, decodeError(error));
        if (ask) asks.set(step.stepId, this.sealed.openAsk(planId, step.stepId, ask));
        if (waited) {
          const [since, ...reason] = waited.split("|");
          unserved.set(step.stepId, { since: Number(since), reason: reason.join("|") });
        }
        const said = told && step.kind === "running" ? decodeProgress(told, step.attempts) : null;
        if (said) progress.set(step.stepId, said);
      });
    }
    const continued = [...records.values()].filter((record) => record.kind === "continued").map(({ stepId }) => stepId);
    for (const [id, error] of await this.failures(planId, continued)) errors.set(id, error);
    return {
      view,
      state,
      why: explainState(view, state),
      compiled: preview.compiled!,
      records,
      sandbox: preview.inForce,
      fork: preview.fork,
      errors,
      asks,
      unserved,
      progress,
    };
  }

  evidence(planId: string): Promise<Evidence> {
    return readEvidence(this, planId);
  }

  prunablePlans(olderThanMs: number): AsyncIterable<PrunablePlan> {
    return prunablePlans(this, olderThanMs);
  }

  async removePlan(planId: string, olderThanMs: number): Promise<boolean> {
    await this.requireSuitable();
    return removePlan(this, planId, olderThanMs);
  }

  async pruneDefinitions(without: ReadonlySet<string>, dryRun: boolean): Promise<number> {
    if (!dryRun) await this.requireSuitable();
    return pruneDefinitions(this, without, dryRun);
  }

  namedSnapshots(without: ReadonlySet<string>): Promise<ReadonlySet<string>> {
    return namedSnapshots([this], without);
  }

  async *planIds(): AsyncGenerator<string> {
    // A scan gives what is there all the while, also where plans come and go; it may give it twice.
    const given = new Set<string>();
    for (let cursor = ""; cursor !== "0"; ) {
      const [next, page] = await this.redis.zscan(this.keys.plans, cursor || "0", "COUNT", LIST_PAGE);
      cursor = next;
      for (let i = 0; i < page.length; i += 2) {
        if (!given.has(page[i]!)) yield page[i]!;
        given.add(page[i]!);
      }
    }
  }

  definition(digest: string): Promise<CompiledDefinition> {
    return this.definitions.get(digest);
  }

  planDefinition({ planId, definitionDigest, grown }: PlanMeta): Promise<CompiledDefinition> {
    return this.definitions.ofPlan(planId, definitionDigest, grown);
  }

  async input(planId: string): Promise<string> {
    const key = this.keys.planPart(planId, "out");
    // Looked up by its name, a field of a hash that is being rehashed moves others, and a dry-run reads this.
    for (let cursor = ""; cursor !== "0"; ) {
      const [next, found] = await this.redis.hscan(key, cursor || "0", "MATCH", ":input", "COUNT", INPUT_SCAN);
      if (found.length > 0) return this.sealed.openInput(planId, found[1]!);
      cursor = next;
    }
    throw new PlanNotFoundError(planId);
  }

  async output(planId: string, stepId: string): Promise<string> {
    const value = await this.redis.hget(this.keys.planPart(planId, "out"), stepId);
    return this.sealed.openOutput(planId, stepId, value ?? "null");
  }

  /** Input, folder and outputs that a worker lacks, in one read. */
  async payloads(
    planId: string,
    stepIds: readonly string[],
  ): Promise<{ input: string; workdir: string | null; outputs: string[] }> {
    const [[input, ...outputs], workdir] = await Promise.all([
      this.redis.hmget(this.keys.planPart(planId, "out"), ":input", ...stepIds),
      this.redis.hget(this.keys.planPart(planId, "origin"), "workdir"),
    ]);
    return {
      input: this.sealed.openInput(planId, input ?? "null"),
      workdir,
      outputs: outputs.map((output, i) => this.sealed.openOutput(planId, stepIds[i]!, output ?? "null")),
    };
  }

  /** Why steps failed that the plan went on without; of those that did. */
  async failures(planId: string, stepIds: readonly string[]): Promise<Map<string, AttemptError>> {
    const failures = new Map<string, AttemptError>();
    if (stepIds.length === 0) return failures;
    const fields = stepIds.map((id) => `:failed:${id}`);
    const texts = await this.redis.hmget(this.keys.planPart(planId, "out"), ...fields);
    texts.forEach((text, i) => {
      if (text !== null) failures.set(stepIds[i]!, decodeError(text));
    });
    return failures;
  }

  /** An input that came with the start of a step. */
  openInput(planId: string, stored: string): string {
    return this.sealed.openInput(planId, stored);
  }

  /** Which of these plans never change again, or aren't there any more. */
  async ended(planIds: readonly string[]): Promise<string[]> {
    const states = await Promise.all(planIds.map((id) => this.redis.hget(this.keys.plan(id), "state")));
    return planIds.filter((_, i) => states[i] === null || isTerminal(states[i] as PlanState));
  }

  async list(query: ListQuery): Promise<ListedPlan[]> {
    const found: ListedPlan[] = [];
    const matches = query.name === undefined ? null : globPattern(query.name);
    for (let from = 0; found.length < query.limit; from += LIST_PAGE) {
      const ids = await this.redis.zrevrange(this.keys.plans, from, from + LIST_PAGE - 1);
      const views = await Promise.all(ids.map((id) => this.readView(id, "list", "").catch(passOverMissing)));
      for (let i = 0; i < ids.length && found.length < query.limit; i++) {
        const reply = views[i];
        if (!reply) continue;
        const { view } = this.decodeView(ids[i]!, reply);
        if (query.createdSince !== undefined && view.meta.createdAt < query.createdSince) return found;
        if (matches && !matches.test(view.meta.name)) continue;
        const state = planState(view);
        if (query.states && !query.states.includes(state)) continue;
        found.push({ meta: view.meta, state, why: explainState(view, state) });
      }
      if (ids.length < LIST_PAGE) break;
    }
    return found;
  }

  async history(planId: string, fromSeq = 1): Promise<PlanEvent[]> {
    // Sent in this order on one connection, so that the base knows every snapshot that the events name.
    const [entries, base] = await Promise.all([
      this.redis.lrange(this.keys.planPart(planId, "history"), fromSeq - 1, -1),
      this.eventBase(planId),
    ]);
    return entries.map((entry, i) => decodeEvent(base, fromSeq + i, entry));
  }

  /** @throws PlanNotFoundError */
  async eventBase(planId: string): Promise<EventBase> {
    const [[created, tag], snapshots] = await Promise.all([
      this.redis.hmget(this.keys.plan(planId), "created", "tag"),
      this.redis.lrange(this.keys.planPart(planId, "sandboxes"), 0, -1),
    ]);
    if (!created || !tag) throw new PlanNotFoundError(planId);
    const decoded = snapshots.map((text) => decodeSnapshot(planId, text));
    return { planId, createdAt: Number(created), tag, snapshots: decoded };
  }

  follow(planId: string, fromSeq: number, signal: AbortSignal): AsyncIterable<PlanEvent> {
    return followPlan(this, planId, fromSeq, signal);
  }

  followAll(signal: AbortSignal): AsyncIterable<PlanEvent> {
    return followAll(this, signal);
  }

  async checkpoints(planId: string): Promise<Checkpoint[]> {
    const events = await this.history(planId);
    const line = Line.of(events);
    const checkpoints: Checkpoint[] = [];
    for (const event of events) {
      if (!isDone(event)) continue;
      const { checkpointId, step, epoch, decisionId, sandbox, at } = event;
      const current = line.done.get(step)?.checkpointId === checkpointId;
      checkpoints.push({ checkpointId, step, epoch, decisionId, sandbox, at, current });
    }
    return checkpoints;
  }

  async decisions(planId: string): Promise<Decision[]> {
    const [base, [name, actor], stored, events] = await Promise.all([
      this.eventBase(planId),
      this.redis.hmget(this.keys.plan(planId), "name", "actor"),
      this.redis.lrange(this.keys.planPart(planId, "decisions"), 0, -1),
      this.history(planId),
    ]);
    return decodeDecisions(this.sealed, { ...base, name: name!, actor: actor! }, stored, events);
  }

  async logs(planId: string, stepId?: string): Promise<LogChunk[]> {
    const [[digest, grown], hash] = await Promise.all([
      this.redis.hmget(this.keys.plan(planId), "definition", "grown"),
      this.redis.hgetall(this.keys.planPart(planId, "logs")),
    ]);
    if (!digest) throw new PlanNotFoundError(planId);
    const { steps } = await this.definitions.ofPlan(planId, digest, Number(grown));
    const place = (id: string) => steps.get(id)?.index ?? steps.size;
    const all = new Map(Object.entries(hash));
    const chunks: LogChunk[] = [];
    for (const [field, text] of all) {
      const match = /^([^@]+?)(?:@(\d+))?\/(\d+)$/.exec(field);
      if (!match || (stepId !== undefined && match[1] !== stepId)) continue;
      chunks.push({
        step: match[1]!,
        attempt: Number(match[3]),
        text,
        bytes: Number(all.get(`${field}:bytes`) ?? text.length),
        superseded: match[2] === undefined ? null : Number(match[2]),
      });
    }
    const line = (chunk: LogChunk) => chunk.superseded ?? Number.POSITIVE_INFINITY;
    return chunks.sort((a, b) => place(a.step) - place(b.step) || line(a) - line(b) || a.attempt - b.attempt);
  }

  async workers(): Promise<WorkerView[]> {
    const [now, flat] = await Promise.all([
      timeOf(this.redis, this.keys),
      this.redis.zrange(this.keys.workers, "0", "-1", "WITHSCORES"),
    ]);
    const beats = [...pairs(flat.map(String))];
    const infos = await Promise.all(beats.map(([id]) => this.redis.hgetall(this.keys.worker(id))));
    return beats.map(([workerId, beat], i) =>
      this.decodeWorker({ workerId, beatAt: Number(beat), info: new Map(Object.entries(infos[i]!)) }, now),
    );
  }

  queueDepth(queue: string): Promise<QueueDepth> {
    return queueDepth(this.redis, this.keys, queue);
  }

  async resume(write: ResumeWrite): Promise<ResumeAnswer> {
    await this.requireSuitable();
    const { meta } = write.view;
    const { adopts, next } = write.decision.actions!;
    if (adopts) requireShares(adopts.definition.steps, this.keys.shardCount);
    const compiled = next ?? (await this.planDefinition(meta));
    const call = resumeCall(this.keys, write, {
      compiled,
      sealed: this.sealed,
      deadAfterMs: this.deadAfterMs,
      gone: this.goneWorkers(write.view),
    });
    const send = () => runScript(this.redis, "resume", call.keys, call.args);
    let answer = await send();
    if (answer === "NODEFINITION") {
      await this.definitions.upload(adopts!);
      answer = await send();
    }
    if (answer === "OK") return { kind: "resumed", epoch: meta.epoch + 1 };
    if (answer === "STALE") return { kind: "stale" };
    if (answer === "NOPLAN") throw new PlanNotFoundError(meta.planId);
    if (typeof answer === "string" && answer.startsWith("REPEATED ")) {
      return { kind: "repeated", summary: answer.slice("REPEATED ".length) };
    }
    throw unexpected("resume", answer);
  }

  /** @param from the shard of the plan that is forked */
  async fork(write: ForkWrite, from: RedisPlanStore = this): Promise<ForkAnswer> {
    await this.requireSuitable();
    const stage = new Stage(this);
    let answer: unknown = "STALE";
    try {
      const call = await stageFork(from, this, stage, write);
      const send = (keys: string[], args: string[]) => runScript(this.redis, "fork", keys, args);
      if (call !== null) answer = await send(call.keys, call.args);
      if (call !== null && answer === "NODEFINITION") {
        await this.definitions.upload(await from.definitions.get(write.source.view.meta.definitionDigest));
        answer = await send(call.keys, call.args);
      }
    } finally {
      if (answer !== "CREATED") await stage.drop();
    }
    switch (answer) {
      case "CREATED":
        return "created";
      case "EXISTING":
        return "existing";
      case "EXISTS":
        throw new PlanExistsError(write.planId);
      case "STALE":
        return "stale";
      default:
        throw unexpected("fork", answer);
    }
  }

  async forkAnswer(planId: string, request: string): Promise<string | null> {
    // Whole, for the same reason as the input: a dry-run asks as well.
    const [{ request: found }, { answer }] = await Promise.all([
      this.redis.hgetall(this.keys.plan(planId)),
      this.redis.hgetall(this.keys.planPart(planId, "origin")),
    ]);
    if (found === undefined) return null;
    if (found !== request) throw new PlanExistsError(planId);
    return answer!;
  }

  storedAnswer(planId: string, requestId: string): Promise<string | null> {
    return this.redis.hget(this.keys.planPart(planId, "requests"), `resume:${requestId}`);
  }

  async pause(planId: string, actor: string, reason: string | null, afterStep: boolean): Promise<void> {
    const args = [this.keys.base, planId, oneField(actor), reason ?? "", afterStep ? "1" : "0"];
    this.requireOk("pause", planId, await runScript(this.redis, "pause", this.keys.planKeys(planId), args));
  }

  async cancel(planId: string, actor: string, reason: string | null): Promise<void> {
    const args = [this.keys.base, planId, oneField(actor), reason ?? ""];
    this.requireOk("cancel", planId, await runScript(this.redis, "cancel", this.keys.planKeys(planId), args));
  }

  async answerable(planId: string, stepId: string): Promise<Answerable> {
    const [[epoch, queue, digest, grownText], open, ask, now] = await Promise.all([
      this.redis.hmget(this.keys.plan(planId), "epoch", "queue", "definition", "grown"),
      this.redis.hget(this.keys.planPart(planId, "open"), stepId),
      this.redis.hget(this.keys.planPart(planId, "out"), `:ask:${stepId}`),
      timeOf(this.redis, this.keys),
    ]);
    if (!epoch || !digest) throw new PlanNotFoundError(planId);
    const grown = Number(grownText);
    const found =
      grown === 0
        ? await this.definitions.around(digest, stepId)
        : around(await this.definitions.ofPlan(planId, digest, grown), stepId);
    if (found === null) {
      throw new WaymarkError("STEP_NOT_FOUND", `Plan ${planId} has no step ${stepId}`, {
        details: { planId, step: stepId },
        try: `plan get ${planId}`,
      });
    }
    const record = open === null ? null : decodeOpenStep(stepId, open, 0);
    return {
      planId,
      epoch: Number(epoch),
      privateQueue: queue || null,
      ...found,
      grown,
      wait: record?.kind === "waiting" ? record.wait : null,
      ask: ask === null ? null : this.sealed.openAsk(planId, stepId, ask),
      now,
    };
  }

  async signal(to: Answerable, answer: SignalAnswer): Promise<{ kept: boolean }> {
    const { planId, step } = to;
    const stepId = step.id;
    const { args, jobKeys } = successorArgs(this.keys, to.next, to);
    const choice = answer.choice ?? signalled(stepId, answer.data);
    const made = { step: stepId, ...choice, madeBy: answer.actor, at: to.now };
    const decision = this.sealed.sealDecision(planId, made);
    const reply = String(
      await runScript(
        this.redis,
        "signal",
        [...this.keys.planKeys(planId), ...jobKeys()],
        [
          this.keys.base,
          planId,
          stepId,
          WAIT_LETTERS[ANSWERED_WAITS.get(step.uses) ?? "signal"],
          // An id stands for one signal to one step.
          answer.signalId === null ? "" : `${stepId}/${answer.signalId}`,
          answer.cancels ? "cancel" : "",
          oneField(answer.actor),
          decision,
          this.sealed.sealOutput(planId, stepId, answer.data),
          String(to.grown),
          ...args,
        ],
      ),
    );
    if (reply === "GROWN") return this.signal(await this.answerable(planId, stepId), answer);
    if (reply.startsWith("NOTWAITING ")) throw new NotWaitingError(planId, stepId, reply.slice("NOTWAITING ".length));
    if (reply === "KEPT") return { kept: true };
    if (reply === "REPEATED") {
      return { kept: (await this.redis.hexists(this.keys.planPart(planId, "steps"), stepId)) === 0 };
    }
    this.requireOk("signal", planId, reply);
    return { kept: false };
  }

  async close(): Promise<void> {
    this.redis.disconnect();
  }

  /** Workers of this view whose process this machine knows to be gone. */
  private goneWorkers(view: PlanView): string[] {
    const seen = [...view.owners.values(), ...[...view.servers.values()].filter((worker) => worker !== null)];
    return [
      ...new Set([...seen.filter((worker) => !worker.alive).map((worker) => worker.workerId), ...view.goneWorkers]),
    ];
  }

  private async readView(
    planId: string,
    what: "none" | "resume" | "full" | "line" | "list",
    known: string,
  ): Promise<ViewReply> {
    const reply = await readScript(
      this.redis,
      "view",
      [this.keys.plan(planId), this.keys.workers],
      [this.keys.base, String(this.deadAfterMs), what, known, String(FULL_LIST_LIMIT)],
    );
    if (!reply) throw new PlanNotFoundError(planId);
    return reply as ViewReply;
  }

  private decodeView(planId: string, reply: ViewReply): { view: PlanView } {
    const [nowText, hash, open, owners, queues, , , workdir, stop, , , , , , used] = reply;
    const now = Number(nowText);
    const meta = decodeMeta(planId, pairs(hash), { workdir, stop });
    const ownerViews = new Map<string, WorkerView>();
    for (const owner of owners) {
      const worker = this.decodeWorker(decodeWorkerReply(owner), now);
      ownerViews.set(worker.workerId, worker);
    }
    const servers = new Map<string, WorkerView | null>();
    const goneWorkers: string[] = [];
    let liveWorkers = 0;
    for (const [queue, count, ...some] of queues) {
      const listed = some.map((worker) => this.decodeWorker(decodeWorkerReply(worker), now));
      const alive = listed.filter((worker) => worker.alive);
      goneWorkers.push(...listed.filter((worker) => !worker.alive).map((worker) => worker.workerId));
      servers.set(queue, alive[0] ?? null);
      liveWorkers += Math.max(0, count - (listed.length - alive.length));
    }
    const openSteps = [...pairs(open)].map(([id, text]) => decodeOpenStep(id, text, meta.createdAt));
    const inUse = new Map([...pairs(used)].map(([key, count]) => [key, Number(count)]));
    return { view: { meta, open: openSteps, owners: ownerViews, servers, inUse, liveWorkers, goneWorkers, now } };
  }

  private decodeWorker(reply: WorkerReply, now: number): WorkerView {
    const { info } = reply;
    const gone = this.options.isGone({
      machine: info.get("machine") ?? "",
      pid: Number(info.get("pid") ?? 0),
      processStart: info.get("process_start") ?? "",
    });
    return decodeWorker(reply, now, this.deadAfterMs, gone);
  }

  private requireOk(verb: string, planId: string, reply: unknown): void {
    if (reply === "OK") return;
    if (reply === "NOPLAN") throw new PlanNotFoundError(planId);
    if (typeof reply === "string" && reply.startsWith("TERMINAL ")) {
      const state = reply.slice("TERMINAL ".length);
      throw new WaymarkError("PLAN_TERMINAL", `Plan ${planId} is ${state} and never changes again`, {
        details: { planId, state },
        try: `plan get ${planId}`,
      });
    }
    throw unexpected(verb, reply);
  }
}

/** The root, and what stands in the list: place of the parent|JSON. */
function decodeDecisions(
  sealed: Payloads,
  meta: Pick<PlanMeta, "planId" | "tag" | "createdAt" | "name" | "actor">,
  stored: readonly string[],
  events: readonly PlanEvent[],
): Decision[] {
  const { tag, createdAt } = meta;
  const standing = Line.of(events).decisions;
  const root: Decision = {
    decisionId: decisionId(tag, createdAt, 0),
    parent: null,
    step: null,
    key: null,
    question: "submit?",
    options: [],
    choice: meta.name,
    rationale: null,
    madeBy: meta.actor,
    at: createdAt,
    current: true,
  };
  const made = stored.map((text, i): Decision => {
    const bar = text.indexOf("|");
    const fields = sealed.openDecision(meta.planId, text.slice(bar + 1));
    const parent = decisionId(tag, createdAt, Number(text.slice(0, bar)));
    const id = decisionId(tag, createdAt, i + 1);
    return { ...fields, decisionId: id, parent, current: standing.has(id) };
  });
  return [root, ...made];
}

function globPattern(glob: string): RegExp {
  return new RegExp(`^${glob.replace(/[.+?^${}()|[\]\\]/g, "\\$&").replace(/\*/g, ".*")}$`);
}

function unexpected(script: string, reply: unknown): StoreUnsuitableError {
  return new StoreUnsuitableError(`The script ${script} answered ${String(reply).slice(0, 200)}`, { script });
}
