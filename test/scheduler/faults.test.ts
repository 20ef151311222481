/** Schedulers beside a store that is away, plans that can't be read, and plans that get nowhere. */
import { afterEach, beforeEach, expect, inject, test } from "vitest";
import { AutoResume } from "../../src/scheduler/auto-resume.js";
import { AUTO_RESUME_BUDGET, InterruptedPlans } from "../../src/store/interrupted-plans.js";
import { openStore } from "../../src/store/open-store.js";
import type { ShardedPlanStore } from "../../src/store/sharded-plan-store.js";
import { aChain, aDefinition, aPlanId, aStore, type TestStore } from "../support/plans.js";
import { noSandboxes, type RunningWorker, runs, runWorker } from "../support/step-workers.js";
import { startTcpProxy, type TcpProxy } from "../support/tcp-proxy.js";
import { until } from "../support/until.js";

const OOM = "-OOM command not allowed when used memory > 'maxmemory'.";
const { steps } = aChain(["a", "b"]).definition;

let t: TestStore;
let proxy: TcpProxy;
/** The scheduler's own way to the store, through the proxy. */
let store: ShardedPlanStore;
let scheduler: AutoResume;
let worker: RunningWorker;
let warnings: { facts: Record<string, unknown>; message: string }[];

beforeEach(async () => {
  t = await aStore(inject("redisUrl"));
  proxy = await startTcpProxy(t.url);
  store = await openStore({ url: proxy.url, prefix: t.prefix });
  warnings = [];
  const warn = (facts: object, message: string) => void warnings.push({ facts: { ...facts }, message });
  scheduler = new AutoResume({
    store,
    actor: "scheduler",
    everyMs: 20,
    log: { info() {}, warn },
    sandboxes: noSandboxes,
  });
  worker = await runWorker(t, () => null);
});

afterEach(async () => {
  proxy.judge = () => "pass";
  await scheduler.stop();
  await worker.close();
  await store.close();
  await proxy.close();
  await t.drop();
});

test("a store that refuses to be looked at is said to, and looked at again", async () => {
  const plan = await anInterruptedPlan();
  let refused = 0;
  proxy.judge = (args) => (args[0] === "zrange" && ++refused <= 2 ? OOM : "pass");

  scheduler.start();
  scheduler.start();

  await completed(plan);
  expect(warnings.map(({ message }) => message)).toEqual(Array(2).fill("interrupted plans could not be looked for"));
});

test("a plan that can't be read is said to be, and the others are resumed", async () => {
  const [forged, lost, plan] = [aPlanId(), await anInterruptedPlan("lost"), await anInterruptedPlan()];
  await t.redis.zadd(t.keys.openPlans, 0, forged);
  await t.redis.set(t.keys.plan(forged), "no hash");
  await t.redis.del(t.keys.definition((await t.store.view(lost)).meta.definitionDigest));

  scheduler.start();

  await completed(plan);
  expect(new Set(warnings.map(({ facts }) => facts.plan))).toEqual(new Set([forged, lost]));
  expect(warnings.every(({ message }) => message === "a plan could not be resumed")).toBe(true);
  await t.redis.del(t.keys.plan(forged));
});

test("a plan whose budget is spent is told of once", async () => {
  const plan = await anInterruptedPlan();
  await t.redis.hset(t.keys.plan(plan), "auto", `0|${AUTO_RESUME_BUDGET}|0`);
  let claims = 0;
  proxy.judge = (args) => {
    if (runs("claim")(args)) claims++;
    return "pass";
  };

  scheduler.start();
  await until("three claims", () => claims >= 3);
  await scheduler.stop();

  expect(warnings).toMatchObject([{ facts: { plan }, message: expect.stringMatching(/waits for a person$/) }]);
  expect(await t.state(plan)).not.toBe("completed");
});

test("a scheduler that is stopped in the middle of a page resumes no other plan, and can't be started again", async () => {
  const plans = [await anInterruptedPlan(), await anInterruptedPlan()];
  let stopped: Promise<void> | null = null;
  proxy.judge = (args) => {
    if (runs("claim")(args)) stopped ??= scheduler.stop();
    return "pass";
  };

  scheduler.start();
  await until("the stop", () => stopped !== null);
  await stopped;
  scheduler.start();

  const resumed = await Promise.all(plans.map(async (plan) => (await t.store.view(plan)).meta.epoch > 1));
  expect(resumed.filter(Boolean)).toHaveLength(1);
});

test("somebody who is faster is nothing to tell of", async () => {
  const plan = await anInterruptedPlan();
  let isPaused = false;
  proxy.judge = (args) => {
    // Between the claim and the resume.
    if (runs("claim")(args) && !isPaused) {
      isPaused = true;
      void t.store.cancel(plan, "ada", null);
    }
    return "pass";
  };

  scheduler.start();
  await until("the plan to be cancelled", async () => (await t.state(plan)) === "cancelled");
  await scheduler.stop();

  expect(warnings).toEqual([]);
});

test("plans beyond the first page are found, and after the last page the first comes again", async () => {
  const plans = new InterruptedPlans(t.redis, t.keys);
  const crowd = Array.from({ length: 200 }, (_, i) => `crowd-${i}`);
  const pipeline = t.redis.pipeline();
  for (const [i, plan] of crowd.entries()) pipeline.zadd(t.keys.openPlans, i, plan);
  await pipeline.exec();
  const plan = await anInterruptedPlan();

  expect([await plans.nextPage(), await plans.nextPage(), await plans.nextPage()]).toEqual([[], [plan], []]);
});

/** Its only process is gone before it began. */
async function anInterruptedPlan(name = "test"): Promise<string> {
  const planId = aPlanId();
  const compiled = aDefinition(steps, { name, resume: "auto" });
  await t.store.submit({ planId, compiled, input: "{}", actor: "ada", workdir: null, privateQueue: `run~${planId}` });
  return planId;
}

async function completed(plan: string): Promise<void> {
  await until(`${plan} to complete`, async () => (await t.state(plan)) === "completed");
}
