/**
 * All shards of a store as one. A plan and all that belongs to it are in one shard, which follows from its id, so that
 * each transition is one script on one server of a cluster; what is asked of all plans is asked of every shard.
 */
import { crc32 } from "node:zlib";
import type { Redis } from "ioredis";
import type { CompiledDefinition } from "../core/definition.js";
import type { Checkpoint, Decision, PlanEvent } from "../core/history.js";
import type { PlanMeta, PlanView, WorkerView } from "../core/plan.js";
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
  SubmitRequest,
} from "../core/ports.js";
import type { StoreLocation } from "../core/store-address.js";
import type { Evidence } from "../core/verify.js";
import { merged } from "./merged.js";
import { namedSnapshots } from "./prune.js";
import type { QueueDepth } from "./queue-depth.js";
import type { RedisPlanStore } from "./redis-plan-store.js";
import type { ScheduleStore } from "./schedules.js";

export class ShardedPlanStore implements PlanStore {
  /** @param shards all of them, in their order */
  constructor(readonly shards: readonly RedisPlanStore[]) {}

  /** Where a plan is, or would be. */
  shardOf(planId: string): RedisPlanStore {
    return this.shards[shardNumber(planId, this.shards.length)]!;
  }

  /** The connection that all shards share. */
  get redis(): Redis {
    return this.first.redis;
  }

  get location(): StoreLocation {
    return this.first.location;
  }

  get address(): string {
    return this.first.address;
  }

  get prefix(): string {
    return this.first.keys.prefix;
  }

  get deadAfterMs(): number {
    return this.first.deadAfterMs;
  }

  get payloadLimitBytes(): number {
    return this.first.payloadLimitBytes;
  }

  get schedules(): ScheduleStore {
    return this.first.schedules;
  }

  /** Asked once a process, before its first write. @throws StoreUnsuitableError */
  requireSuitable(): Promise<void> {
    return this.first.requireSuitable();
  }

  /** Resolves when every shard has answered. */
  async ping(): Promise<void> {
    await Promise.all(this.shards.map(({ redis, keys }) => redis.exists(keys.workers)));
  }

  submit(request: SubmitRequest): Promise<{ existing: boolean }> {
    return this.shardOf(request.planId).submit(request);
  }

  view(planId: string): Promise<PlanView> {
    return this.shardOf(planId).view(planId);
  }

  detail(planId: string): Promise<PlanDetail> {
    return this.shardOf(planId).detail(planId);
  }

  definition(digest: string, planId: string): Promise<CompiledDefinition> {
    return this.shardOf(planId).definition(digest);
  }

  planDefinition(meta: PlanMeta): Promise<CompiledDefinition> {
    return this.shardOf(meta.planId).planDefinition(meta);
  }

  input(planId: string): Promise<string> {
    return this.shardOf(planId).input(planId);
  }

  output(planId: string, stepId: string): Promise<string> {
    return this.shardOf(planId).output(planId, stepId);
  }

  async list(query: ListQuery): Promise<ListedPlan[]> {
    const found = await Promise.all(this.shards.map((shard) => shard.list(query)));
    if (found.length === 1) return found[0]!;
    const newestFirst = found.flat().sort((a, b) => b.meta.createdAt - a.meta.createdAt);
    return newestFirst.slice(0, query.limit);
  }

  history(planId: string, fromSeq?: number): Promise<PlanEvent[]> {
    return this.shardOf(planId).history(planId, fromSeq);
  }

  follow(planId: string, fromSeq: number, signal: AbortSignal): AsyncIterable<PlanEvent> {
    return this.shardOf(planId).follow(planId, fromSeq, signal);
  }

  followAll(signal: AbortSignal): AsyncIterable<PlanEvent> {
    return merged(this.shards.map((shard) => shard.followAll(signal)));
  }

  checkpoints(planId: string): Promise<Checkpoint[]> {
    return this.shardOf(planId).checkpoints(planId);
  }

  decisions(planId: string): Promise<Decision[]> {
    return this.shardOf(planId).decisions(planId);
  }

  logs(planId: string, stepId?: string): Promise<LogChunk[]> {
    return this.shardOf(planId).logs(planId, stepId);
  }

  /** A worker is registered in each shard that it serves; it is given as the one knows it that heard of it last. */
  async workers(): Promise<WorkerView[]> {
    const found = (await Promise.all(this.shards.map((shard) => shard.workers()))).flat();
    const newest = new Map<string, WorkerView>();
    for (const worker of found) {
      const known = newest.get(worker.workerId);
      if (known === undefined || known.lastSeenAt < worker.lastSeenAt) newest.set(worker.workerId, worker);
    }
    return [...newest.values()];
  }

  preview(planId: string, depth: PreviewDepth): Promise<Preview> {
    return this.shardOf(planId).preview(planId, depth);
  }

  evidence(planId: string): Promise<Evidence> {
    return this.shardOf(planId).evidence(planId);
  }

  async *planIds(): AsyncGenerator<string> {
    for (const shard of this.shards) yield* shard.planIds();
  }

  resume(write: ResumeWrite): Promise<ResumeAnswer> {
    return this.shardOf(write.view.meta.planId).resume(write);
  }

  storedAnswer(planId: string, requestId: string): Promise<string | null> {
    return this.shardOf(planId).storedAnswer(planId, requestId);
  }

  fork(write: ForkWrite): Promise<ForkAnswer> {
    return this.shardOf(write.planId).fork(write, this.shardOf(write.source.view.meta.planId));
  }

  forkAnswer(planId: string, request: string): Promise<string | null> {
    return this.shardOf(planId).forkAnswer(planId, request);
  }

  async *prunablePlans(olderThanMs: number): AsyncGenerator<PrunablePlan> {
    for (const shard of this.shards) yield* shard.prunablePlans(olderThanMs);
  }

  removePlan(planId: string, olderThanMs: number): Promise<boolean> {
    return this.shardOf(planId).removePlan(planId, olderThanMs);
  }

  async pruneDefinitions(without: ReadonlySet<string>, dryRun: boolean): Promise<number> {
    const pruned = await Promise.all(this.shards.map((shard) => shard.pruneDefinitions(without, dryRun)));
    return pruned.reduce((sum, count) => sum + count, 0);
  }

  namedSnapshots(without: ReadonlySet<string>): Promise<ReadonlySet<string>> {
    return namedSnapshots(this.shards, without);
  }

  pause(planId: string, actor: string, reason: string | null, afterStep: boolean): Promise<void> {
    return this.shardOf(planId).pause(planId, actor, reason, afterStep);
  }

  cancel(planId: string, actor: string, reason: string | null): Promise<void> {
    return this.shardOf(planId).cancel(planId, actor, reason);
  }

  answerable(planId: string, stepId: string): Promise<Answerable> {
    return this.shardOf(planId).answerable(planId, stepId);
  }

  signal(to: Answerable, answer: SignalAnswer): Promise<{ kept: boolean }> {
    return this.shardOf(to.planId).signal(to, answer);
  }

  /** Which of these plans never change again, or aren't there any more. */
  async ended(planIds: readonly string[]): Promise<string[]> {
    const ended = this.shards.map((shard) => shard.ended(planIds.filter((id) => this.shardOf(id) === shard)));
    return (await Promise.all(ended)).flat();
  }

  /** Over all shards. */
  async queueDepth(queue: string): Promise<QueueDepth> {
    const depths = await Promise.all(this.shards.map((shard) => shard.queueDepth(queue)));
    return depths.reduce((sum, depth) => ({
      queue,
      waiting: sum.waiting + depth.waiting,
      delayed: sum.delayed + depth.delayed,
      active: sum.active + depth.active,
      oldestMs: Math.max(sum.oldestMs, depth.oldestMs),
    }));
  }

  close(): Promise<void> {
    return this.first.close();
  }

  private get first(): RedisPlanStore {
    return this.shards[0]!;
  }
}

/** CRC-32 of the id, so that anybody can find a plan. Never changed: plans would be looked for where they aren't. */
export function shardNumber(planId: string, shards: number): number {
  return shards === 1 ? 0 : crc32(planId) % shards;
}
