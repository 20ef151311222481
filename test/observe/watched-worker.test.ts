/** A worker as a probe and a scraper see it. */
import { afterEach, beforeEach, expect, inject, test } from "vitest";
import { z } from "zod";
import { createWorker, definePlan, type FleetWorker, NonRetryableError } from "../../src/index.js";
import { aChain, aDefinition, aStore, type TestStore } from "../support/plans.js";
import { startTcpProxy } from "../support/tcp-proxy.js";
import { until } from "../support/until.js";

let t: TestStore;
let workers: FleetWorker[];

beforeEach(async () => {
  t = await aStore(inject("redisUrl"));
  workers = [];
});

afterEach(async () => {
  await Promise.all(workers.map((worker) => worker.close()));
  await t.drop();
});

async function start(
  options: Partial<Parameters<typeof createWorker>[0]> = {},
): Promise<{ port: number; worker: FleetWorker }> {
  const worker = createWorker({
    redis: t.url,
    prefix: t.prefix,
    plans: [],
    services: {},
    health: { port: 0 },
    ...options,
  } as never) as FleetWorker;
  workers.push(worker);
  await worker.start();
  return { port: (await worker.healthPort())!, worker };
}

async function ask(port: number, path: string): Promise<{ status: number; body: string }> {
  const response = await fetch(`http://127.0.0.1:${port}${path}`);
  return { status: response.status, body: await response.text() };
}

async function sample(port: number, series: string): Promise<number> {
  const { body } = await ask(port, "/metrics");
  const line = body.split("\n").find((found) => found.startsWith(`${series} `));
  return line === undefined ? 0 : Number(line.slice(series.length + 1));
}

test("counts what ends and how long it took, and tells what waits", async () => {
  let fails = 0;
  const plan = definePlan("web", { input: z.object({}) })
    .step("flaky", { retry: { delay: 1 } }, async () => {
      if (fails++ === 0) throw new Error("not yet");
    })
    .step("broken", async () => {
      throw new NonRetryableError("never");
    });
  const { port } = await start({ plans: [plan], queues: ["web", "documents"] });
  await t.submit(plan.compiled, "web-1", "{}");
  await t.submit(aDefinition([{ id: "later", uses: "sleep", with: { for: "1h" }, queue: "documents" }]));
  await until("the plan to fail", async () => (await t.state("web-1")) === "failed");
  await until(
    "the timer",
    async () => (await sample(port, 'waymark_queue_steps{queue="documents",state="delayed"}')) === 1,
  );

  expect(await sample(port, 'waymark_steps_total{plan="web",outcome="completed"}')).toBe(1);
  expect(await sample(port, 'waymark_steps_total{plan="web",outcome="retried"}')).toBe(1);
  expect(await sample(port, 'waymark_steps_total{plan="web",outcome="failed"}')).toBe(1);
  expect(await sample(port, 'waymark_steps_total{plan="test",outcome="parked"}')).toBe(1);
  expect(await sample(port, 'waymark_step_duration_seconds_count{plan="web"}')).toBe(3);
  expect(await sample(port, 'waymark_worker_state{waymark_worker_state="accepting"}')).toBe(1);
  expect(await sample(port, "waymark_store_up")).toBe(1);
  expect(await sample(port, "waymark_concurrency")).toBe(10);
  expect((await ask(port, "/metrics")).body).toMatch(/^# EOF\n$/m);
});

test("a step that nobody takes makes its queue old", async () => {
  const { port } = await start({ queues: ["documents", "work"] });
  await t.redis.hset(`${t.keys.base}work:meta`, "paused", "1");
  await t.submit(aChain(["a"]));

  expect(await sample(port, 'waymark_queue_steps{queue="work",state="waiting"}')).toBe(1);
  await until("it to age", async () => (await sample(port, 'waymark_queue_oldest_seconds{queue="work"}')) > 0.02);
  expect(await sample(port, 'waymark_queue_oldest_seconds{queue="documents"}')).toBe(0);
});

test("counts takeovers, what they recovered after how long, and results that were refused", async () => {
  let refuse!: () => void;
  const refused = new Promise<void>((resolve) => {
    refuse = resolve;
  });
  const plan = definePlan("web", { input: z.object({}) }).step("a", async () => refused);
  const dead = await t.worker(["web"], { machine: "elsewhere" });
  await t.submit(plan.compiled, "web-1", "{}");
  await dead.take();
  const { port } = await start({ plans: [plan] });

  await until("the takeover", async () => (await sample(port, "waymark_takeovers_total")) === 1);
  expect(await sample(port, "waymark_steps_taken_over_total")).toBe(1);
  expect(await sample(port, "waymark_recovery_seconds_count")).toBe(1);
  expect(await sample(port, "waymark_recovery_seconds_sum")).toBeGreaterThan(2);
  await until("the step to run", async () => (await sample(port, "waymark_active_steps")) === 1);
  await t.store.cancel("web-1", "tester", null);
  refuse();

  await until("the refusal", async () => (await sample(port, 'waymark_refused_writes_total{verdict="fenced"}')) === 1);
});

test("is unready while the store is away and while it drains, and lives all the while", async () => {
  const proxy = await startTcpProxy(t.url);
  let finish!: () => void;
  const finished = new Promise<void>((resolve) => {
    finish = resolve;
  });
  const plan = definePlan("web", { input: z.object({}) }).step("a", async () => finished);
  const { port, worker } = await start({ plans: [plan], redis: proxy.url });
  expect(await ask(port, "/readyz")).toMatchObject({ status: 200 });
  await t.submit(plan.compiled, "web-1", "{}");
  await until("the step to run", async () => (await sample(port, "waymark_active_steps")) === 1);

  proxy.judge = () => "-LOADING Redis is loading the dataset in memory";
  expect(await ask(port, "/readyz")).toMatchObject({
    status: 503,
    body: expect.stringContaining('"reason":"the store does not answer"') as string,
  });
  expect(await ask(port, "/livez")).toMatchObject({ status: 200 });
  expect(await sample(port, "waymark_store_up")).toBe(0);
  proxy.judge = () => "pass";
  await until("the store to be back", async () => (await ask(port, "/readyz")).status === 200);

  const drained = worker.drain({ grace: "20s" });
  await until("the drain", async () => (await ask(port, "/readyz")).status === 503);
  expect((await ask(port, "/readyz")).body).toContain('"reason":"the worker is draining"');
  expect(await ask(port, "/livez")).toMatchObject({ status: 200 });
  finish();
  expect(await drained).toEqual({ released: [] });
  await expect(ask(port, "/livez")).rejects.toThrow();
  await proxy.close();
});
