/** A worker's life: taking steps, draining, losing its registration, sharing its slots and its wake-ups. */
import { setTimeout as sleep } from "node:timers/promises";
import { Queue, QueueEvents } from "bullmq";
import { Redis } from "ioredis";
import { afterEach, beforeEach, expect, inject, test } from "vitest";
import { resumePlan } from "../../src/client/resume.js";
import { checkInvariants } from "../support/invariants.js";
import { aChain, aDefinition, aPlanId, aStore, type TestStore } from "../support/plans.js";
import { gate, type RunningWorker, runWorker } from "../support/step-workers.js";
import { until } from "../support/until.js";

let t: TestStore;
let running: RunningWorker[] = [];

beforeEach(async () => {
  t = await aStore(inject("redisUrl"));
});

afterEach(async () => {
  await Promise.all(running.map((worker) => worker.close()));
  running = [];
  await t.drop();
});

async function start(
  ...args: Parameters<typeof runWorker> extends [TestStore, ...infer Rest] ? Rest : never
): Promise<RunningWorker> {
  const worker = await runWorker(t, ...args);
  running.push(worker);
  return worker;
}

async function completed(...plans: string[]): Promise<void> {
  await until("the plans to complete", async () =>
    (await Promise.all(plans.map((plan) => t.state(plan)))).every((state) => state === "completed"),
  );
}

async function asleep(worker: RunningWorker): Promise<void> {
  const client = new Redis(t.url);
  await until("the worker to wait for a marker", async () => /cmd=bzpopmin/.test(String(await client.client("LIST"))));
  client.disconnect();
  expect(worker.worker.active).toBe(0);
}

test("a drain lets active steps finish and takes nothing new", async () => {
  const started = gate();
  const passed = gate();
  const ran: string[] = [];
  const worker = await start(async (call) => {
    ran.push(call.stepId);
    started.open();
    await passed.passed;
    return null;
  });
  const plan = await t.submit(aChain(["a", "b"]));
  await started.passed;

  const drained = worker.worker.drain({ graceMs: 20_000 });
  const again = worker.worker.drain({ graceMs: 1 });
  await until(
    "the store to know",
    async () => (await t.redis.hget(t.keys.worker(worker.worker.workerId), "state")) === "draining",
  );
  expect(await t.redis.zscore(t.keys.serving("work"), worker.worker.workerId)).toBeNull();
  passed.open();

  expect(await drained).toEqual({ released: [] });
  expect(await again).toEqual({ released: [] });
  expect(ran).toEqual(["a"]);
  expect((await t.store.view(plan)).open.map((step) => `${step.stepId} ${step.kind}`)).toEqual(["b queued"]);
  expect(await t.scan("worker:*")).toEqual([]);
  expect(await checkInvariants(t.store, plan)).toEqual([]);
});

test("a drain aborts what is active near its end, and hands back what doesn't stop, in time", async () => {
  const aborted: unknown[] = [];
  const started = gate();
  const worker = await start(
    async ({ stepId, signal }) => {
      signal.addEventListener("abort", () => aborted.push([stepId, (signal.reason as { reason: string }).reason]));
      if (stepId === "stubborn") started.open();
      await new Promise(
        (_, reject) => stepId === "polite" && signal.addEventListener("abort", () => reject(signal.reason)),
      );
      return null;
    },
    { concurrency: 2 },
  );
  const plan = await t.submit(aDefinition([{ id: "stubborn" }, { id: "polite" }]));
  await started.passed;
  await until("both to run", () => worker.worker.active === 2);

  const startedAt = Date.now();
  const report = await worker.worker.drain({ graceMs: 1_000 });
  const tookMs = Date.now() - startedAt;

  expect(tookMs).toBeGreaterThanOrEqual(790);
  expect(tookMs).toBeLessThan(1_200);
  expect(report.released.map((step) => step.stepId).sort()).toEqual(["polite", "stubborn"]);
  expect(aborted).toEqual(
    expect.arrayContaining([
      ["stubborn", "drain"],
      ["polite", "drain"],
    ]),
  );
  expect((await t.store.view(plan)).open.map((step) => [step.kind, step.failures, step.attempts])).toEqual([
    ["queued", 0, 1],
    ["queued", 0, 1],
  ]);
  expect(await checkInvariants(t.store, plan)).toEqual([]);
});

test("a resume's folder reaches a worker that knows the plan by another", async () => {
  const seen: unknown[] = [];
  await start(({ stepId, workdir }) => {
    seen.push([stepId, workdir]);
    if (workdir === "/old" && stepId === "b") throw new Error("no such folder");
    return null;
  });
  const planId = aPlanId();
  const compiled = aChain(["a", "b"], { retry: { attempts: 1, backoff: "fixed", delayMs: 1, maxMs: 1 } });
  const request = { planId, compiled, input: "{}", actor: "tester", privateQueue: null };
  await t.store.submit({ ...request, workdir: "/old" });
  await until("the plan to fail", async () => (await t.state(planId)) === "failed");

  await resumePlan(t.store, planId, { actor: "tester", workdir: "/new" });
  await completed(planId);

  expect(seen).toEqual([
    ["a", "/old"],
    ["b", "/old"],
    ["b", "/new"],
  ]);
});

test("a step that took time is recorded while another one blocks the process", async () => {
  const ready = gate();
  const go = gate();
  let blockedAt = 0;
  await start(
    async ({ stepId }) => {
      if (stepId === "warm") return null;
      if (stepId === "a") {
        ready.open();
        await go.passed;
        return null;
      }
      await ready.passed;
      await sleep(5);
      go.open();
      // Everything that follows on the other's end without a turn of the event loop, its commit included.
      for (let i = 0; i < 1_000; i++) await null;
      blockedAt = Date.now();
      while (Date.now() < blockedAt + 2_000);
      return null;
    },
    { concurrency: 2 },
  );

  // The server has the scripts then: a commit that it doesn't know would be sent twice.
  await completed(await t.submit(aDefinition([{ id: "warm" }])));
  const plan = await t.submit(aDefinition([{ id: "a" }, { id: "b" }]));
  await completed(plan);

  const recorded = (await t.store.history(plan)).find((event) => event.type === "step.completed" && event.step === "a");
  expect(recorded!.at - blockedAt).toBeLessThan(1_000);
});

test("releaseNow ends a drain that would wait", async () => {
  const started = gate();
  const worker = await start(() => {
    started.open();
    return new Promise(() => {});
  });
  const plan = await t.submit(aDefinition([{ id: "a" }]));
  await started.passed;

  const drained = worker.worker.drain({ graceMs: 60_000 });
  worker.worker.releaseNow();

  expect(await drained).toEqual({ released: [{ planId: plan, stepId: "a" }] });
});

test("a released step runs elsewhere within 200 ms", async () => {
  const started = gate();
  const first = await start(() => {
    started.open();
    return new Promise(() => {});
  });
  const plan = await t.submit(aDefinition([{ id: "a" }]));
  await started.passed;
  await start(() => "other");

  await first.worker.drain({ graceMs: 300 });
  await completed(plan);

  const events = await t.store.history(plan);
  const released = events.find((event) => event.type === "step.released")!;
  const again = events.filter((event) => event.type === "step.started")[1]!;
  expect(again.at - released.at).toBeLessThan(200);
});

test("close is safe before start, twice, and after a drain", async () => {
  const worker = await start(() => null);
  await worker.worker.close();
  await worker.worker.close();
  expect(await worker.worker.drain({ graceMs: 10 })).toEqual({ released: [] });
  expect(await t.scan("worker*")).toEqual([]);
});

test("a worker that the store has forgotten goes on as a new one", async () => {
  const aborted: unknown[] = [];
  const started = gate();
  const passed = gate();
  const worker = await start(async ({ stepId, attempt, signal }) => {
    if (stepId !== "a" || attempt > 1) return null;
    signal.addEventListener("abort", () => aborted.push((signal.reason as { reason: string }).reason));
    started.open();
    await passed.passed;
    return null;
  });
  const plan = await t.submit(aChain(["a", "b"]));
  await started.passed;
  const before = worker.worker.workerId;

  await t.redis.zrem(t.keys.workers, before);
  await until("a new incarnation", () => worker.log.some((line) => line.message.includes("new incarnation")));
  await until("the attempt to be told", () => aborted.length > 0);
  passed.open();
  await completed(plan);

  expect(aborted).toEqual(["lost"]);
  expect(worker.worker.workerId).not.toBe(before);
  expect(await t.redis.zrange(t.keys.workers, "0", "-1")).toEqual([worker.worker.workerId]);
  const other = await t.submit(aChain(["c", "d"]));
  await completed(other);
  expect(await checkInvariants(t.store, plan)).toEqual([]);
});

test("a drain in the moment in which a new incarnation is registered ends that one too", async () => {
  const begun = gate();
  const worker = await start(() => null, {
    onLog: (line) => line.message.includes("new incarnation") && setImmediate(() => begun.open()),
  });
  await t.redis.zrem(t.keys.workers, worker.worker.workerId);
  await begun.passed;

  await worker.worker.drain({ graceMs: 2_000 });

  expect(await t.redis.zcard(t.keys.workers)).toBe(0);
  const plan = await t.submit(aDefinition([{ id: "a" }]));
  await worker.close();
  expect(await t.state(plan)).toBe("queued");
});

test("a worker with no free slot doesn't swallow a wake-up: another starts the step at once", async () => {
  const passed = gate();
  const busy = await start(async ({ stepId }) => (stepId === "long" ? passed.passed.then(() => null) : "busy"), {
    concurrency: 1,
  });
  const long = await t.submit(aDefinition([{ id: "long" }]));
  await until("it to be full", () => busy.worker.active === 1);
  await start(() => "idle");

  for (let i = 0; i < 20; i++) {
    const startedAt = Date.now();
    const plan = await t.submit(aDefinition([{ id: "short" }]));
    await completed(plan);
    expect(Date.now() - startedAt).toBeLessThan(1_000);
    expect(await t.store.output(plan, "short")).toBe('"idle"');
  }
  passed.open();
  await completed(long);
});

test("a draining worker doesn't swallow a wake-up either", async () => {
  for (let i = 0; i < 5; i++) {
    const leaves = await start(() => "leaving");
    const stays = await start(() => "staying");
    await asleep(leaves);
    // The worker that waits longest is the one whom a marker wakes.
    const drained = leaves.worker.drain({ graceMs: 2_000 });
    const startedAt = Date.now();
    const plans = await Promise.all([1, 2, 3].map(() => t.submit(aDefinition([{ id: "short" }]))));
    await completed(...plans);
    expect(Date.now() - startedAt).toBeLessThan(1_000);
    await drained;
    await stays.worker.close();
  }
});

test("concurrency counts over all queues of a process, and all of them are served", async () => {
  let active = 0;
  let most = 0;
  const seen = new Set<string>();
  await start(
    async (call) => {
      most = Math.max(most, ++active);
      seen.add(call.stepId);
      await new Promise((resolve) => setTimeout(resolve, 5));
      active--;
      return null;
    },
    { queues: ["left", "right"], concurrency: 3 },
  );

  const of = (queue: string) => aDefinition(Array.from({ length: 20 }, (_, i) => ({ id: `${queue}-${i}`, queue })));
  const plans = await Promise.all([t.submit(of("left")), t.submit(of("right"))]);
  await completed(...plans);

  expect(most).toBe(3);
  expect(seen.size).toBe(40);
});

test("a stranger's job in a queue of ours ends as failed by BullMQ, and steps go on", async () => {
  const ran: string[] = [];
  await start((call) => {
    ran.push(call.stepId);
    return null;
  });
  const connection = new Redis(t.url, { maxRetriesPerRequest: null });
  const queue = new Queue("work", { connection: connection as never, prefix: t.keys.tag });
  const events = new QueueEvents("work", { connection: { url: t.url }, prefix: t.keys.tag });
  await events.waitUntilReady();
  const failed: string[] = [];
  events.on("failed", ({ jobId }) => failed.push(jobId));
  const jobs = await Promise.all([
    queue.add("theirs", { a: 1 }),
    queue.add("theirs", {}, { priority: 5 }),
    queue.add("theirs", {}, { delay: 20 }),
  ]);
  const plan = await t.submit(aChain(["a", "b"]));

  await completed(plan);
  await until("the strangers to fail", () => failed.length === 3);

  expect([...failed].sort()).toEqual(jobs.map((job) => job.id).sort());
  // Where their owner can find them.
  expect((await queue.getFailed()).map((job) => [job.id, job.failedReason]).sort()).toEqual(
    jobs.map((job) => [job.id, "Not a Waymark step: this queue belongs to Waymark"]).sort(),
  );
  expect(ran).toEqual(["a", "b"]);
  const again = await t.submit(aChain(["c", "d"]));
  await completed(again);
  expect(await t.redis.lrange(`${t.keys.base}work:active`, 0, -1)).toEqual([]);
  await events.close();
  await queue.close();
  connection.disconnect();
});

test("cancel, pause and the failure of another step reach a running handler as an aborted signal with the reason", async () => {
  const reasons: unknown[] = [];
  let runningSteps = 0;
  await start(
    async ({ stepId, signal }) => {
      if (stepId === "bad") {
        await until("the other to run", () => runningSteps === 1);
        throw Object.assign(new Error("boom"));
      }
      runningSteps++;
      await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
      reasons.push((signal.reason as { reason: string }).reason);
      runningSteps--;
      throw new Error("stopped");
    },
    { concurrency: 2 },
  );
  const once = { attempts: 1, backoff: "fixed", delayMs: 1, maxMs: 1 } as const;

  const cancelled = await t.submit(aDefinition([{ id: "runs" }]));
  await until("it to run", () => runningSteps === 1);
  await t.store.cancel(cancelled, "tester", null);
  await until("it to stop", () => runningSteps === 0);
  const paused = await t.submit(aDefinition([{ id: "runs" }]));
  await until("it to run", () => runningSteps === 1);
  await t.store.pause(paused, "tester", null, false);
  await until("it to stop", () => runningSteps === 0);
  const failed = await t.submit(aDefinition([{ id: "runs" }, { id: "bad", retry: once }], { failFast: true }));
  await until("the plan to fail", async () => (await t.state(failed)) === "failed");
  await until("it to stop", () => reasons.length === 3);

  expect(reasons).toEqual(["cancel", "pause", "failed"]);
  await until("nothing to be active", async () => (await t.redis.llen(`${t.keys.base}work:active`)) === 0);
  for (const plan of [cancelled, paused, failed]) {
    expect(await checkInvariants(t.store, plan)).toEqual([]);
    const open = (await t.store.view(plan)).open.filter((step) => step.stepId === "runs");
    expect(open.map((step) => [step.kind, step.failures])).toEqual([["held", 0]]);
  }
});

test("a step that times out fails its attempt, and one that ignores it is ended all the same", {
  timeout: 20_000,
}, async () => {
  await start(() => new Promise(() => {}));
  const once = { attempts: 1, backoff: "fixed", delayMs: 1, maxMs: 1 } as const;
  const plan = await t.submit(aDefinition([{ id: "hangs", timeoutMs: 20, retry: once }]));

  await until("the plan to fail", async () => (await t.state(plan)) === "failed", 12_000);

  const detail = await t.store.detail(plan);
  expect(detail.errors.get("hangs")?.message).toMatch(/timed out after 20/);
});

test("a step whose handler nobody has is handed round without an attempt", async () => {
  await start(() => null);
  const plan = await t.submit(aDefinition([{ id: "a", uses: "nobody-has-it" }]));

  const detail = await until("it to be said", async () => {
    const read = await t.store.detail(plan);
    // While somebody looks at it, it counts as an attempt.
    return read.unserved.size > 0 && read.view.open[0]?.kind !== "running" && read;
  });

  expect(detail.unserved.get("a")?.reason).toBe("no worker has the handler nobody-has-it");
  expect(detail.view.open[0]).toMatchObject({ attempts: 0, failures: 0 });
});
