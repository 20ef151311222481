/** The store executed a call and its reply never came, or came as an error: the step runs once and the next one at once. */
import { afterEach, beforeEach, expect, inject, test } from "vitest";
import { checkInvariants } from "../support/invariants.js";
import { aChain, aDefinition, aStore, type TestStore } from "../support/plans.js";
import { type PrivateRedis, startPrivateRedis } from "../support/private-redis.js";
import { commits, gate, type RunningWorker, runs, runWorker } from "../support/step-workers.js";
import { startTcpProxy, type TcpProxy } from "../support/tcp-proxy.js";
import { until } from "../support/until.js";

let t: TestStore;
let proxy: TcpProxy;
let running: RunningWorker[] = [];
let own: PrivateRedis | null = null;

beforeEach(async () => {
  t = await aStore(inject("redisUrl"));
  proxy = await startTcpProxy(t.url);
});

afterEach(async () => {
  await Promise.all(running.map((worker) => worker.close()));
  running = [];
  await t.drop();
  await proxy.close();
  await own?.stop();
  own = null;
});

test("a lost reply to a commit: the step ran once, the next one starts at once, nothing stays active", async () => {
  const ran: string[] = [];
  const times = new Map<string, number>();
  const worker = await start((call) => {
    ran.push(call.stepId);
    times.set(call.stepId, Date.now());
    return call.stepId;
  });
  const lost = proxy.once(commits, "lose reply");

  const plan = await t.submit(aChain(["a", "b", "c"]));
  await lost;
  await until("the plan to complete", async () => (await t.state(plan)) === "completed");

  expect(ran).toEqual(["a", "b", "c"]);
  expect(times.get("b")! - times.get("a")!).toBeLessThan(1_000);
  expect((await t.store.history(plan)).map((event) => event.type)).toEqual([
    "plan.submitted",
    ...["a", "b", "c"].flatMap(() => ["step.started", "step.completed"]),
    "plan.completed",
  ]);
  await nothingIsHeld(worker);
  expect(await checkInvariants(t.store, plan)).toEqual([]);
});

test.each(["retry", "fail", "release", "park"] as const)("a lost reply to %s is no second outcome", async (script) => {
  const ran: string[] = [];
  const worker = await start((call) => {
    ran.push(`${call.stepId} ${call.attempt}`);
    if (call.stepId === "other") return null;
    if (script === "retry" && call.attempt > 1) return null;
    if (script === "park") return { kind: "parked", wait: "signal", dueInMs: null, ask: null };
    throw new Error("boom");
  });
  const attempts = script === "fail" ? 1 : 2;
  const uses = script === "release" ? "nobody-has-it" : "act";
  const lost = proxy.once(runs(script), "lose reply");

  const plan = await t.submit(
    aDefinition([{ id: "a", uses, retry: { attempts, backoff: "fixed", delayMs: 1, maxMs: 1 } }]),
  );
  await lost;
  const other = await t.submit(aDefinition([{ id: "other" }]));
  await until("the slot to go on", async () => (await t.state(other)) === "completed", 2_000);
  const ended = { retry: "completed", fail: "failed", release: "running", park: "waiting" }[script];
  await until(`the plan to be ${ended}`, async () => (await t.state(plan)) === ended);

  const { open } = await t.store.view(plan);
  expect(ran.filter((call) => call !== "other 1")).toEqual(
    { retry: ["a 1", "a 2"], fail: ["a 1"], release: [], park: ["a 1"] }[script],
  );
  if (script === "fail") expect(open[0]).toMatchObject({ kind: "failed", failures: 1 });
  if (script === "release") expect(open[0]).toMatchObject({ attempts: 0 });
  await worker.close();
  expect(await checkInvariants(t.store, plan)).toEqual([]);
});

test("a lost reply to a fetch: the same step is given out again, and at once", async () => {
  const ran: string[] = [];
  const worker = await start((call) => ran.push(call.stepId), { concurrency: 2 });
  const takesJob = runs("fetch");
  const plan = await t.submit(aDefinition([{ id: "first" }]));
  await until("the worker to be warm", async () => (await t.state(plan)) === "completed");
  const lost = proxy.once(takesJob, "lose reply");

  const submittedAt = Date.now();
  const second = await t.submit(aChain(["a", "b"]));
  await lost;
  await until("the plan to complete", async () => (await t.state(second)) === "completed");

  expect(Date.now() - submittedAt).toBeLessThan(1_000);
  expect(ran).toEqual(["first", "a", "b"]);
  await nothingIsHeld(worker);
  expect(await checkInvariants(t.store, second)).toEqual([]);
});

test("connections that are cut again and again cost no attempt and no step", async () => {
  const ran: string[] = [];
  await start((call) => ran.push(`${call.planId} ${call.stepId}`), { concurrency: 5 });
  const chain = aChain(["a", "b", "c", "d", "e", "f", "g", "h"]);

  const plans = await Promise.all(Array.from({ length: 10 }, () => t.submit(chain)));
  for (let cuts = 0; cuts < 8; cuts++) {
    const before = ran.length;
    proxy.cut();
    await until("steps to run after the cut", () => ran.length > before || ran.length === 80);
  }
  await until("all plans to complete", async () => {
    const states = await Promise.all(plans.map((plan) => t.state(plan)));
    return states.every((state) => state === "completed");
  });

  expect([...ran].sort()).toEqual(plans.flatMap((plan) => [..."abcdefgh"].map((step) => `${plan} ${step}`)).sort());
  for (const plan of plans) expect(await checkInvariants(t.store, plan)).toEqual([]);
});

test.each([
  "-READONLY You can't write against a read only replica.",
  "-LOADING Redis is loading the dataset in memory",
] as const)("a commit answered with %s is sent again: no attempt burnt, no effect repeated", async (error) => {
  const ran: string[] = [];
  const worker = await start((call) => ran.push(call.stepId));
  let errors = 0;
  proxy.judge = (args) => (commits(args) && errors++ < 4 ? error : "pass");

  const plan = await t.submit(aChain(["a", "b"]));
  await until("the plan to complete", async () => (await t.state(plan)) === "completed");

  expect(errors).toBeGreaterThan(4);
  expect(ran).toEqual(["a", "b"]);
  expect((await t.store.history(plan)).filter((event) => event.type === "step.failed")).toEqual([]);
  expect(worker.log.filter((line) => line.level === "warn").length).toBeGreaterThanOrEqual(4);
  expect(await checkInvariants(t.store, plan)).toEqual([]);
});

test("a drain that begins while the last result is on its way ends with that", async () => {
  let away = true;
  proxy.judge = (args) => (away && commits(args) ? "-LOADING Redis is loading the dataset in memory" : "pass");
  const { worker } = await start(() => null);
  const plan = await t.submit(aChain(["a", "b"]));
  await until("a commit to be refused", () => proxy.seen.some(commits) && worker.active === 0);

  const startedAt = Date.now();
  const drained = worker.drain({ graceMs: 20_000 });
  away = false;
  await drained;

  expect(Date.now() - startedAt).toBeLessThan(10_000);
  expect((await t.store.view(plan)).open.map((step) => [step.stepId, step.kind])).toEqual([["b", "queued"]]);
  expect(await checkInvariants(t.store, plan)).toEqual([]);
});

test("a store that became a replica takes the record when it is a master again", async () => {
  await privateStore();
  const passed = gate();
  const started = gate();
  const ran: string[] = [];
  await start(async (call) => {
    ran.push(call.stepId);
    started.open();
    await passed.passed;
    return 1;
  });
  const plan = await t.submit(aChain(["a", "b"]));
  await started.passed;

  await t.redis.call("replicaof", "127.0.0.1", "1");
  const refused = until("the commit to be refused", () => proxy.seen.filter(commits).length >= 3);
  passed.open();
  await refused;
  expect(await t.redis.hlen(t.keys.planPart(plan, "steps"))).toBe(0);
  await t.redis.call("replicaof", "no", "one");

  await until("the plan to complete", async () => (await t.state(plan)) === "completed");
  expect(ran).toEqual(["a", "b"]);
  expect(await checkInvariants(t.store, plan)).toEqual([]);
});

test("a store that is out of memory loses neither the record nor an attempt", async () => {
  await privateStore();
  const passed = gate();
  const started = gate();
  const ran: string[] = [];
  await start(async (call) => {
    ran.push(call.stepId);
    started.open();
    await passed.passed;
    return "x".repeat(1_000);
  });
  const plan = await t.submit(aChain(["a", "b", "c"]));
  await started.passed;

  await t.redis.config("SET", "maxmemory", "1");
  await expect(t.submit(aChain(["z"]), "refused")).rejects.toThrow(/OOM/);
  passed.open();
  await until(
    "the first record",
    async () => (await t.redis.hlen(t.keys.planPart(plan, "steps"))) > 0 || proxy.seen.filter(commits).length >= 3,
  );
  await t.redis.config("SET", "maxmemory", "0");

  await until("the plan to complete", async () => (await t.state(plan)) === "completed");
  expect(ran).toEqual(["a", "b", "c"]);
  expect(await t.redis.exists(t.keys.plan("refused"))).toBe(0);
  expect(await checkInvariants(t.store, plan)).toEqual([]);
});

test("scripts that the server forgot are loaded again by the call that misses them", async () => {
  await privateStore();
  const ran: string[] = [];
  await start(async (call) => {
    ran.push(call.stepId);
    await t.redis.script("FLUSH");
    return null;
  });

  const plan = await t.submit(aChain(["a", "b", "c"]));
  await until("the plan to complete", async () => (await t.state(plan)) === "completed");

  expect(ran).toEqual(["a", "b", "c"]);
  expect(await checkInvariants(t.store, plan)).toEqual([]);
});

test("a store that was killed and came back with its data goes on where it was", async () => {
  await privateStore({ appendfsync: "always" });
  const passed = gate();
  const started = gate();
  const ran: string[] = [];
  await start(async (call) => {
    ran.push(call.stepId);
    if (call.stepId !== "a") return 1;
    started.open();
    await passed.passed;
    return 1;
  });
  const plan = await t.submit(aChain(["a", "b"]));
  await started.passed;

  await own!.kill();
  passed.open();
  await own!.start();

  await until("the plan to complete", async () => (await t.state(plan)) === "completed", 20_000);
  expect(ran).toEqual(["a", "b"]);
  expect(await checkInvariants(t.store, plan)).toEqual([]);
});

async function start(
  act: Parameters<typeof runWorker>[1],
  options: Parameters<typeof runWorker>[2] = {},
): Promise<RunningWorker> {
  const worker = await runWorker(t, act, { url: proxy.url, ...options });
  running.push(worker);
  return worker;
}

async function privateStore(options: Parameters<typeof startPrivateRedis>[0] = {}): Promise<void> {
  await t.drop();
  await proxy.close();
  own = await startPrivateRedis(options);
  t = await aStore(own.url);
  proxy = await startTcpProxy(own.url);
}

async function nothingIsHeld(worker: RunningWorker): Promise<void> {
  expect(await t.redis.lrange(`${t.keys.base}work:active`, 0, -1)).toEqual([]);
  const owned = await t.redis.hgetall(t.keys.own(worker.worker.workerId));
  expect(Object.keys(owned)).toEqual([]);
}
