/** Plans on a real Cluster of six servers: their shards on different ones, of which one dies, and a slot that moves. */
import { Cluster } from "ioredis";
import { afterAll, afterEach, beforeAll, expect, test, vi } from "vitest";
import { z } from "zod";
import { Client } from "../../src/client/client.js";
import { createClient } from "../../src/client/create-client.js";
import { createWorker } from "../../src/client/create-worker.js";
import { definePlan } from "../../src/define/define-plan.js";
import { connect } from "../../src/store/connect.js";
import { openStore } from "../../src/store/open-store.js";
import { runScript } from "../../src/store/scripts.js";
import { type ShardedPlanStore, shardNumber } from "../../src/store/sharded-plan-store.js";
import { Workplace } from "../support/cli.js";
import { type PrivateCluster, startPrivateCluster } from "../support/cluster.js";
import { documentedRules } from "../support/documented-rules.js";
import { checkInvariants } from "../support/invariants.js";
import { aChain, TestStore } from "../support/plans.js";
import { type RunningWorker, runWorker } from "../support/step-workers.js";
import { aPrefix } from "../support/store.js";
import { until } from "../support/until.js";

// On a busy machine servers and processes take their time to start.
vi.setConfig({ testTimeout: 90_000, hookTimeout: 90_000 });

const SHARDS = 4;
const STEPS = ["a", "b", "c", "d", "e"];
const DEADLINE_MS = 40_000;

let cluster: PrivateCluster;
let store: ShardedPlanStore;
let prefix: string;
let workers: RunningWorker[] = [];

beforeAll(async () => {
  cluster = await startPrivateCluster();
  prefix = aPrefix();
  store = await openStore({ url: cluster.url, prefix, shards: SHARDS, patient: true });
}, 60_000);

afterEach(async () => {
  for (const worker of workers) await worker.close();
  workers = [];
});

afterAll(async () => {
  await store?.close();
  await cluster?.stop();
});

test("shards are on different servers, and plans of all of them are completed", async () => {
  const servers = await Promise.all(store.shards.map(({ keys }) => cluster.primaryOf(keys.workers)));
  expect(new Set(servers).size).toBeGreaterThan(1);
  const worker = await aWorker();
  const ids = await submit("first", 2 * SHARDS);

  await allCompleted(ids);

  expect(new Set(ids.map((id) => shardNumber(id, SHARDS))).size).toBe(SHARDS);
  expect(worker.ran).toHaveLength(ids.length * STEPS.length);
  expect(await store.workers()).toMatchObject([{ alive: true }]);
  expect((await store.list({ limit: 100 })).map(({ meta }) => meta.planId).sort()).toEqual([...ids].sort());
});

test("the command line works on it, as a user with the documented rights", async () => {
  const rules = [...documentedRules("waymark"), ...documentedRules("cluster")];
  for (const server of await cluster.primaries()) {
    await cluster.ask(server, "ACL", "SETUSER", "operator", "on", ">pw", ...rules, `~{${prefix}:*}:*`);
  }
  const place = new Workplace();
  place.env.WAYMARK_REDIS_URL = cluster.url.replace("//", "//operator:pw@");
  place.env.WAYMARK_PREFIX = prefix;
  place.env.WAYMARK_SHARDS = String(SHARDS);
  place.write("plan.yaml", "plan: hello\nsteps: [{ id: one, run: echo hi }, { id: two, run: echo ho }]\n");

  const run = await place.plan("run", "plan.yaml", "--id", "by-hand");
  const again = await place.plan("resume", "by-hand", "--dry-run");
  const doctor = await place.json<{ suitable: boolean; checks: { name: string; found: string }[] }>("doctor");

  expect(run.code, run.stderr).toBe(0);
  expect(again.stderr).toContain("PLAN_TERMINAL");
  expect((await place.json<object[]>("list", "--name", "hello")).length).toBe(1);
  expect(doctor.suitable, JSON.stringify(doctor.checks)).toBe(true);
  expect(doctor.checks.find(({ name }) => name === "shards")?.found).toMatch(/^4 on \d of 3 primaries \(0: 127/);
  await place.close();
});

test("a library is served by a cluster's client of its own", async () => {
  const nodes = (await cluster.primaries()).map(({ port }) => ({ host: "127.0.0.1", port }));
  const redis = new Cluster(nodes, { redisOptions: { protocol: 2, maxRetriesPerRequest: null } as never });
  const plan = definePlan("lib", { input: z.object({}) }).step("one", { effect: "irreversible" }, async () => 1);
  const worker = createWorker({ redis, prefix, shards: SHARDS, plans: [plan], services: {} });
  const client = createClient({ redis, prefix, shards: SHARDS });

  const { result } = await client.submit(plan, {}, { planId: "by-library" });

  expect(await result()).toBe(1);
  await worker.close();
  await client.close();
  expect(await redis.get(`{${prefix}:0}:shards`)).toBe(String(SHARDS));
  redis.disconnect();
});

test("one node of it is not enough of an address", async () => {
  const { keys } = store.shards[0]!;
  const others = await cluster.primaries();
  const owner = await cluster.primaryOf(keys.shards);
  const place = new Workplace();
  place.env.WAYMARK_PREFIX = prefix;
  place.env.WAYMARK_SHARDS = String(SHARDS);

  place.env.WAYMARK_REDIS_URL = others.find((server) => server !== owner)!.url;
  const elsewhere = await place.plan("list");
  place.env.WAYMARK_REDIS_URL = owner.url;
  const doctor = await place.plan("doctor");

  expect([elsewhere.code, doctor.code]).toEqual([6, 6]);
  expect(elsewhere.stderr).toContain("STORE_UNSUITABLE: This Redis is one node of a cluster");
  await place.close();
});

test("a slot that moves while its plans run loses no step, and does none twice", async () => {
  const worker = await aWorker({ concurrency: 2, holdMs: 20 });
  const ids = await submit("moving", 4 * SHARDS);
  await until("work to have begun", () => worker.ran.length > 4);
  const { keys } = store.shards[1]!;

  const to = await cluster.moveSlotOf(keys.workers, async () => {
    const { length } = worker.ran;
    await until("the other shards to go on meanwhile", () => worker.ran.length > length + 2);
  });

  await allCompleted(ids);
  expect(await cluster.primaryOf(keys.workers)).toBe(to);
  expect(worker.ran.length).toBe(ids.length * STEPS.length);
  expect(new Set(worker.ran).size).toBe(worker.ran.length);
});

test("no script begins on a shard that is half moved", async () => {
  const { keys } = store.shards[2]!;
  const [id] = await submit("half", 1, 2);
  const before = await store.view(id!);
  const hasty = await connect({ url: cluster.url, patient: false });
  const refusals: string[] = [];

  await cluster.moveSlotOf(keys.workers, async () => {
    // The only key that this call names for itself is still there; one that it would write last has gone.
    const cancel = runScript(hasty, "cancel", [keys.plan(id!)], [keys.base, id!, "tester", ""]);
    refusals.push(
      await cancel.then(
        () => "done",
        (error: Error) => error.message,
      ),
    );
  }, [keys.planPart(id!, "history")]);

  expect(refusals).toEqual([expect.stringContaining("Too many Cluster redirections")]);
  const after = await store.view(id!);
  expect({ ...after, now: 0 }).toEqual({ ...before, now: 0 });
  hasty.disconnect();
  await aWorker();
  await allCompleted([id!]);
});

test("a server that dies is replaced by its replica, and no plan is lost", async () => {
  const worker = await aWorker({ concurrency: 4, holdMs: 20 });
  const other = await aWorker({ concurrency: 4, holdMs: 20 });
  const ids = await submit("dying", 6 * SHARDS);
  await until("work to have begun", () => worker.ran.length + other.ran.length > 8);
  const { keys } = store.shards[0]!;

  const dead = await cluster.killPrimaryOf(keys.workers);

  await until("a replica to take over", async () => (await cluster.primaries()).length === 3, DEADLINE_MS);
  await allCompleted(ids);
  expect(await cluster.primaryOf(keys.workers)).not.toBe(dead);
  expect(new Set([...worker.ran, ...other.ran]).size).toBe(ids.length * STEPS.length);
  await until("both workers in every shard", async () =>
    (await Promise.all(store.shards.map((shard) => shard.workers()))).every(
      (found) => found.filter(({ alive }) => alive).length === 2,
    ),
  );
});

interface CountingWorker extends RunningWorker {
  /** plan/step of each attempt that it ran. */
  readonly ran: readonly string[];
}

async function aWorker({ concurrency = 4, holdMs = 0 } = {}): Promise<CountingWorker> {
  const ran: string[] = [];
  const t = new TestStore(store.shards[0]!, cluster.url, prefix);
  const running = await runWorker(
    t,
    async ({ planId, stepId }) => {
      ran.push(`${planId}/${stepId}`);
      if (holdMs > 0) await new Promise((resolve) => setTimeout(resolve, holdMs));
      return stepId;
    },
    { shards: SHARDS, concurrency },
  );
  workers.push(running);
  return Object.assign(running, { ran });
}

/** So many plans over all shards, or of one. */
async function submit(name: string, count: number, shard: number | null = null): Promise<string[]> {
  const ids: string[] = [];
  for (let i = 0; ids.length < count; i++) {
    const id = `${name}-${i}`;
    if (shard === null ? shardNumber(id, SHARDS) === ids.length % SHARDS : shardNumber(id, SHARDS) === shard)
      ids.push(id);
  }
  for (const planId of ids) {
    const request = {
      planId,
      compiled: aChain(STEPS),
      input: "{}",
      actor: "tester",
      privateQueue: null,
      workdir: null,
    };
    await store.submit(request);
  }
  return ids;
}

async function allCompleted(ids: readonly string[]): Promise<void> {
  const client = new Client(async () => store, "tester");
  for (const id of ids) {
    await until(`${id} to be completed`, async () => (await client.summary(id)).state === "completed", DEADLINE_MS);
    expect(await checkInvariants(store.shardOf(id), id), id).toEqual([]);
    expect((await client.verify(id)).violations, id).toEqual([]);
  }
}
