/** Plans that are over leave the store whole, one write each, and definitions after them; what others name is found for whoever removes the rest. */
import type { PrunablePlan } from "../core/ports.js";
import { decodeSnapshot } from "./codec.js";
import { possibleJobs } from "./evidence.js";
import { passOverMissing } from "./follow.js";
import type { RedisPlanStore } from "./redis-plan-store.js";
import { runScript, timeOf } from "./scripts.js";

/** Plans looked at in one round trip. */
const PAGE = 100;

/** Plans that have been over for so long, with what they weigh in Redis. */
export async function* prunablePlans(store: RedisPlanStore, olderThanMs: number): AsyncGenerator<PrunablePlan> {
  const { redis, keys } = store;
  const endedBefore = (await timeOf(redis, keys)) - olderThanMs;
  for await (const page of pages(store.planIds())) {
    const pipeline = redis.pipeline();
    for (const planId of page) pipeline.hmget(keys.plan(planId), "state", "finished");
    const replies = results(await pipeline.exec()) as (string | null)[][];
    for (const [i, planId] of page.entries()) {
      const [state, finished] = replies[i]!;
      const isOver = state === "completed" || state === "cancelled";
      if (isOver && finished != null && Number(finished) <= endedBefore) {
        yield { planId, bytes: await weigh(store, planId) };
      }
    }
  }
}

/** @returns false where it isn't over any more as was asked, or gone already */
export async function removePlan(store: RedisPlanStore, planId: string, olderThanMs: number): Promise<boolean> {
  const view = await store.view(planId).catch(passOverMissing);
  if (view === null) return false;
  const { firstEpoch, jobs } = possibleJobs(await store.planDefinition(view.meta), view.meta);
  const args = [store.keys.base, planId, String(olderThanMs), String(firstEpoch), ...jobs];
  return (await runScript(store.redis, "prune", store.keys.ownKeys(planId), args)) === "OK";
}

/**
 * Digests of every snapshot that a plan names, but for `without`, in all shards. A fork is looked for among the plans again
 * once those that are being written were, in each shard: whichever of the two it is at any moment, it is found, also where its
 * source is removed meanwhile.
 */
export async function namedSnapshots(
  shards: readonly RedisPlanStore[],
  without: ReadonlySet<string>,
): Promise<Set<string>> {
  const named = new Set<string>();
  const seen = new Set(without);
  const read = async ({ redis }: RedisPlanStore, owners: readonly string[], key: (owner: string) => string) => {
    const pipeline = redis.pipeline();
    for (const owner of owners) pipeline.lrange(key(owner), 0, -1);
    const replies = results(await pipeline.exec()) as string[][];
    for (const [i, owner] of owners.entries()) {
      for (const text of replies[i]!) named.add(decodeSnapshot(owner, text).digest);
    }
  };
  const readPlans = async (shard: RedisPlanStore) => {
    for await (const page of pages(shard.planIds())) {
      const unseen = page.filter((planId) => !seen.has(planId));
      await read(shard, unseen, (planId) => shard.keys.planPart(planId, "sandboxes"));
      for (const planId of unseen) seen.add(planId);
    }
  };
  const readStaged = async (shard: RedisPlanStore) => {
    const { redis, keys } = shard;
    await read(shard, await redis.smembers(keys.staged), (name) => keys.stagedPart(name, "sandboxes"));
  };
  for (const look of [readPlans, readStaged, readPlans]) await Promise.all(shards.map(look));
  return named;
}

/** For so long nothing was begun under a definition that is removed: longer than any look at all plans takes. */
const DEFINITION_UNUSED_MS = 25 * 3_600_000;

/**
 * Removes definitions that no plan but `without` has, and no schedule, and under which nothing was begun for a day. A plan that comes
 * while the others are looked at has used its definition by then.
 * @returns how many there are
 */
export async function pruneDefinitions(
  store: RedisPlanStore,
  without: ReadonlySet<string>,
  dryRun: boolean,
): Promise<number> {
  const { redis, keys, schedules } = store;
  const unusedSince = (await timeOf(redis, keys)) - DEFINITION_UNUSED_MS;
  const unused = new Set(await redis.zrangebyscore(keys.definitions, "-inf", unusedSince));
  if (unused.size === 0) return 0;
  for (const { schedule } of await schedules.list()) unused.delete(schedule.definitionDigest);
  for await (const page of pages(store.planIds())) {
    const pipeline = redis.pipeline();
    const others = page.filter((planId) => !without.has(planId));
    for (const planId of others) pipeline.hmget(keys.plan(planId), "definition");
    for (const [digest] of results(await pipeline.exec()) as (string | null)[][]) unused.delete(digest ?? "");
  }
  if (dryRun) return unused.size;
  let removed = 0;
  for (const digest of unused) {
    const args = [digest, String(DEFINITION_UNUSED_MS)];
    if ((await runScript(redis, "forget", [keys.definitions, keys.definition(digest)], args)) === "OK") removed += 1;
  }
  return removed;
}

async function weigh({ redis, keys }: RedisPlanStore, planId: string): Promise<number> {
  const pipeline = redis.pipeline();
  for (const key of keys.ownKeys(planId)) pipeline.memory("USAGE", key);
  const sizes = results(await pipeline.exec()) as (number | null)[];
  return sizes.reduce<number>((sum, size) => sum + (size ?? 0), 0);
}

async function* pages(ids: AsyncIterable<string>): AsyncGenerator<string[]> {
  let page: string[] = [];
  for await (const id of ids) {
    page.push(id);
    if (page.length < PAGE) continue;
    yield page;
    page = [];
  }
  yield page;
}

function results(replies: [Error | null, unknown][] | null): unknown[] {
  return (replies ?? []).map(([error, reply]) => {
    if (error) throw error;
    return reply;
  });
}
