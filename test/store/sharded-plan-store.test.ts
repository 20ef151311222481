/** Plans in several shards, on one server: each whole in its own, all of them as one store. */
import { afterEach, beforeEach, expect, inject, test } from "vitest";
import { Client } from "../../src/client/client.js";
import { putSchedule } from "../../src/client/schedules.js";
import type { PlanEvent } from "../../src/core/history.js";
import { planState } from "../../src/core/plan.js";
import { RecurringPlans } from "../../src/scheduler/recurring-plans.js";
import { openStore } from "../../src/store/open-store.js";
import { type ShardedPlanStore, shardNumber } from "../../src/store/sharded-plan-store.js";
import { checkInvariants } from "../support/invariants.js";
import { aChain, aDefinition, aSnapshot, TestStore } from "../support/plans.js";
import { gate, noSandboxes, type RunningWorker, runWorker } from "../support/step-workers.js";
import { aPrefix } from "../support/store.js";
import { until } from "../support/until.js";

const SHARDS = 3;
/** One in each shard, in their order. */
const IN_SHARD = [0, 1, 2].map((shard) => {
  for (let i = 0; ; i++) if (shardNumber(`plan-${i}`, SHARDS) === shard) return `plan-${i}`;
});

let prefix: string;
let store: ShardedPlanStore;
let workers: RunningWorker[];

beforeEach(async () => {
  prefix = aPrefix();
  store = await openStore({ url: inject("redisUrl"), prefix, shards: SHARDS });
  workers = [];
});

afterEach(async () => {
  for (const worker of workers) await worker.close();
  const keys = await store.redis.keys(`{${prefix}:*}:*`);
  if (keys.length > 0) await store.redis.unlink(keys);
  await store.close();
});

test("a plan is where the CRC-32 of its id says, and everything of it is there", async () => {
  expect([shardNumber("web-42", 1), shardNumber("web-42", 4), shardNumber("release", 4)]).toEqual([0, 3, 1]);
  const [, second] = IN_SHARD;

  await submit(second!);

  const keys = await store.redis.keys(`*${second}*`);
  expect(keys.length).toBeGreaterThan(4);
  expect(keys.filter((key) => !key.startsWith(`{${prefix}:1}:`))).toEqual([]);
  expect(store.shardOf(second!)).toBe(store.shards[1]);
});

test("a schedule is in the first shard, and submits plans to any", { timeout: 30_000 }, async () => {
  // With a memory of its own, as another process has: the definition must come from the store.
  const scheduler = await openStore({ url: inject("redisUrl"), prefix, shards: SHARDS });
  await putSchedule(store, "often", aChain(["a"]), "{}", { every: "1s" });
  const options = { store: scheduler, actor: "scheduler", everyMs: 20, log: { info() {}, warn() {} } };
  const recurring = new RecurringPlans({ ...options, sandboxes: noSandboxes });
  recurring.start();
  const shards = async () => new Set((await store.list({ limit: 50 })).map(({ meta }) => store.shardOf(meta.planId)));

  await until("plans in two shards", async () => (await shards()).size >= 2, 20_000);
  await recurring.stop();
  await scheduler.close();

  const keys = await store.redis.keys(`{${prefix}:*}:schedules`);
  expect(keys).toEqual([`{${prefix}:0}:schedules`]);
});

test("a list is newest first over all shards, up to its limit", async () => {
  for (const id of IN_SHARD) {
    await submit(id);
    await until("the clock to tell the next one apart", async () => Date.now() > (await store.view(id)).meta.createdAt);
  }

  const ids = async (limit: number) => (await store.list({ limit })).map(({ meta }) => meta.planId);

  expect(await ids(10)).toEqual([...IN_SHARD].reverse());
  expect(await ids(2)).toEqual([...IN_SHARD].reverse().slice(0, 2));
});

test("one worker serves the queue of every shard, is shown once, and all plans are completed", async () => {
  await aWorker(({ stepId }) => stepId);
  const seen: PlanEvent[] = [];
  const stop = new AbortController();
  const following = (async () => {
    for await (const event of store.followAll(stop.signal)) seen.push(event);
  })();
  await until("somebody to follow", () => true);
  for (const id of IN_SHARD) await submit(id, ["a", "b", "c"]);

  await until("all to be completed", async () => (await store.list({ limit: 9, states: ["completed"] })).length === 3);

  for (const id of IN_SHARD) expect(await checkInvariants(store.shardOf(id), id)).toEqual([]);
  expect(await store.workers()).toMatchObject([{ alive: true, queues: ["work"] }]);
  expect(await store.ended([...IN_SHARD, "nobody"])).toHaveLength(4);
  await until("their ends", () => seen.filter(({ type }) => type === "plan.completed").length === 3);
  stop.abort();
  await following;
  expect(new Set(seen.map(({ planId }) => planId))).toEqual(new Set(IN_SHARD));
  const verified = new Map<string, number>();
  for await (const { planId, violations } of new Client(async () => store, "ada").verifyAll()) {
    verified.set(planId, violations.length);
  }
  expect(verified).toEqual(new Map(IN_SHARD.map((id) => [id, 0])));
});

test("a worker for one plan serves its shard only", async () => {
  const [first, second] = IN_SHARD;
  await aWorker(() => null, { planId: second! });

  await submit(first!);
  await submit(second!);

  await until("its plan", async () => (await stateOf(second!)) === "completed");
  expect(await stateOf(first!)).toBe("queued");
  expect(await store.redis.exists(`{${prefix}:0}:workers`, `{${prefix}:2}:workers`)).toBe(0);
});

test("a worker that one shard has forgotten begins anew, and no crash is counted in the others", async () => {
  const [first, second] = IN_SHARD;
  const held = gate();
  let begun = 0;
  const { worker } = await aWorker(async ({ signal }) => {
    begun++;
    if (begun > 1) return begun;
    await Promise.race([held.passed, new Promise((resolve) => signal.addEventListener("abort", resolve))]);
    throw new Error("too late");
  });
  const { workerId } = worker;
  await submit(first!, ["a"]);
  await until("its step to run", () => begun === 1);

  await store.redis.zrem(`{${prefix}:1}:workers`, workerId);
  await submit(second!, ["a"]);

  await until("both plans", async () => (await store.list({ limit: 9, states: ["completed"] })).length === 2);
  held.open();
  expect(worker.workerId).not.toBe(workerId);
  const history = await store.history(first!);
  expect(history.map(({ type }) => type)).not.toContain("step.failed");
  expect(await checkInvariants(store.shardOf(first!), first!)).toEqual([]);
  await until("the old one to be gone", async () => (await store.workers()).length === 1);
});

test("a limit is divided: all shards together never let more through, and one too small for them is refused", async () => {
  const limited = (limit: number) =>
    aDefinition(["a", "b", "c"].map((id) => ({ id, concurrency: { key: "api", limit } })));
  const held = gate();
  let running = 0;
  await aWorker(
    async () => {
      running++;
      await held.passed;
    },
    { concurrency: 9 },
  );
  const request = { input: "{}", actor: "tester", privateQueue: null, workdir: null };
  await expect(store.submit({ ...request, planId: "small", compiled: limited(2) })).rejects.toMatchObject({
    code: "STORE_UNSUITABLE",
    details: { step: "a", shards: SHARDS },
  });
  for (const planId of IN_SHARD) await store.submit({ ...request, planId, compiled: limited(4) });

  const limitedSteps = async () => {
    const views = await Promise.all(IN_SHARD.map((id) => store.view(id)));
    return views.map(({ open }) => open.filter((step) => step.kind === "limited").length);
  };
  await until("the others to wait", async () => (await limitedSteps()).join(" ") === "1 2 2");
  expect(running).toBe(4);
  held.open();
  await until("all to be done", async () => (await store.list({ limit: 9, states: ["completed"] })).length === 3);
});

test("a plan is forked into another shard, which gets its definition", async () => {
  const [first, second] = IN_SHARD;
  await aWorker(({ stepId }) => stepId);
  await submit(first!, ["a", "b"]);
  await until("the source", async () => (await stateOf(first!)) === "completed");

  const client = new Client(async () => store, "ada");
  const fork = await client.fork(first!, { planId: second!, fromStep: "b" });

  expect(fork.reuse).toEqual(["a"]);
  await until("the fork", async () => (await stateOf(second!)) === "completed");
  expect(await store.output(second!, "a")).toBe('"a"');
  expect(await checkInvariants(store.shardOf(second!), second!)).toEqual([]);
});

test("the depth of a queue is that of all shards", async () => {
  for (const id of IN_SHARD) await submit(id);

  expect(await store.queueDepth("work")).toMatchObject({ queue: "work", waiting: 3, delayed: 0, active: 0 });
});

test("the first write decides how many shards there are; whoever says otherwise is refused, to read as to write", async () => {
  const url = inject("redisUrl");
  const other = await openStore({ url, prefix, shards: 2 });
  await submit(IN_SHARD[0]!);

  const refusal = {
    code: "STORE_UNSUITABLE",
    message: /This store has 3 shards, and 2 are configured: set WAYMARK_SHARDS=3/,
  };
  await expect(openStore({ url, prefix, shards: 2 })).rejects.toMatchObject(asMatchers(refusal));
  await expect(other.requireSuitable()).rejects.toMatchObject(asMatchers(refusal));
  await expect(openStore({ url, prefix })).rejects.toThrow("and 1 are configured");
  await other.close();
});

function asMatchers({ code, message }: { code: string; message: RegExp }) {
  return { code, message: expect.stringMatching(message) as string };
}

async function aWorker(...[act, options]: Parameters<typeof runWorker> extends [unknown, ...infer R] ? R : never) {
  const t = new TestStore(store.shards[0]!, inject("redisUrl"), prefix);
  const running = await runWorker(t, act, { shards: SHARDS, concurrency: 4, ...options });
  workers.push(running);
  return running;
}

async function stateOf(planId: string): Promise<string> {
  return planState(await store.view(planId));
}

async function submit(planId: string, steps: readonly string[] = ["a", "b"]): Promise<void> {
  const compiled = steps.length === 1 ? aDefinition([{ id: steps[0]! }]) : aChain(steps);
  await store.submit({ planId, compiled, input: "{}", actor: "tester", privateQueue: null, workdir: null });
}

test("a prune goes through all shards, and finds what their plans name", async () => {
  const [first, second, third] = IN_SHARD as [string, string, string];
  const client = new Client(async () => store, "ada");
  const snapshots = [1, 2, 3].map(aSnapshot);
  for (const [i, id] of IN_SHARD.entries()) {
    await submit(id);
    const { redis, keys } = store.shardOf(id);
    await redis.rpush(keys.planPart(id, "sandboxes"), JSON.stringify(snapshots[i]));
  }
  const { redis, keys } = store.shards[1]!;
  await redis.sadd(keys.staged, "fork");
  await redis.rpush(keys.stagedPart("fork", "sandboxes"), JSON.stringify(aSnapshot(4)));
  for (const id of [first, third]) await client.cancel(id);

  const named = await store.namedSnapshots(new Set([first]));
  const { plans } = await client.prune({ olderThan: 0, files: false });

  expect([...named].sort()).toEqual([2, 3, 4].map((nth) => aSnapshot(nth).digest).sort());
  expect(plans).toEqual([first, third]);
  expect((await client.list()).map(({ planId }) => planId)).toEqual([second]);
});
