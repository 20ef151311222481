/** Schedulers on interrupted plans: each plan is resumed once, and what must not be resumed is not. */
import { afterEach, beforeEach, expect, inject, test } from "vitest";
import { firstSnapshot, type OpenSandboxes, sandboxesOf } from "../../src/client/sandboxes.js";
import type { SandboxSnapshot } from "../../src/core/sandbox.js";
import { AutoResume } from "../../src/scheduler/auto-resume.js";
import { InterruptedPlans } from "../../src/store/interrupted-plans.js";
import { checkInvariants } from "../support/invariants.js";
import { A_SANDBOX, aChain, aDefinition, aPlanId, aSnapshot, aStore, type TestStore } from "../support/plans.js";
import { aFolder } from "../support/sandboxes.js";
import { noSandboxes, type RunningWorker, runWorker } from "../support/step-workers.js";
import { until } from "../support/until.js";

const { steps } = aChain(["a", "b"]).definition;
/** Pages that schedulers have looked at. */
let looks = 0;
let t: TestStore;
let running: RunningWorker | null = null;
let schedulers: AutoResume[] = [];
let sandboxes: OpenSandboxes = noSandboxes;

beforeEach(async () => {
  t = await aStore(inject("redisUrl"));
});

afterEach(async () => {
  await Promise.all(schedulers.map((scheduler) => scheduler.stop()));
  schedulers = [];
  sandboxes = noSandboxes;
  await running?.close();
  running = null;
  await t.drop();
});

test("ten schedulers resume two hundred interrupted plans, each of them once", { timeout: 180_000 }, async () => {
  const plans = await Promise.all(Array.from({ length: 200 }, () => anInterruptedPlan("auto")));
  running = await runWorker(t, () => null, { concurrency: 10 });

  for (let i = 0; i < 10; i++) scheduler();
  await until("all to complete", async () => (await states(plans)).every((state) => state === "completed"), 150_000);

  for (const plan of plans) {
    const resumed = (await t.store.history(plan)).filter((event) => event.type === "plan.resumed");
    expect(resumed).toMatchObject([{ actor: "scheduler" }]);
  }
  expect(await checkInvariants(t.store, plans[0]!)).toEqual([]);
});

test("what a person has to decide on is left to people", async () => {
  const worker = await t.worker();
  const fail = { kind: "fail", error: { code: "X", message: "x" } } as const;
  const manual = await anInterruptedPlan("manual");
  const undeclared = await anInterruptedPlan();
  const failed = await t.submit(aChain(["a"]));
  await worker.settle(await worker.take(), fail, false);
  const waiting = await t.submit(aChain(["a"]));
  await worker.settle(await worker.take(), { kind: "park", wait: "signal", dueInMs: null, ask: null }, false);
  const unsure = await t.submit(aChain(["a"], { effect: "irreversible" }));
  const victim = await t.worker();
  await victim.take();
  await worker.beat([victim.id]);
  const paused = await t.submit(aChain(["a"]));
  await t.store.pause(paused, "ada", null, false);
  const left = [manual, undeclared, failed, waiting, unsure, paused];
  const before = await Promise.all(left.map((plan) => t.dumpPlan(plan)));
  const resumable = await anInterruptedPlan("auto");
  running = await runWorker(t, () => null);

  scheduler();
  await until("the one that may to complete", async () => (await t.state(resumable)) === "completed");
  await until("another round", () => looks >= 2);

  expect(await Promise.all(left.map((plan) => t.dumpPlan(plan)))).toEqual(before);
});

test("a plan whose files are gone from the store that all machines see is left to a person", async () => {
  const store = aFolder();
  sandboxes = sandboxesOf({ dataDir: aFolder(), store });
  const compiled = aDefinition(steps, { resume: "auto", sandbox: A_SANDBOX });
  const submit = async (planId: string, sandbox: () => Promise<SandboxSnapshot>) => {
    const request = { planId, compiled, input: "{}", actor: "ada", workdir: null, privateQueue: `run~${planId}` };
    await t.store.submit({ ...request, sandbox });
    return planId;
  };
  const gone = await submit(aPlanId(), async () => aSnapshot(1));
  const whole = await submit(aPlanId(), () => firstSnapshot(compiled, null, sandboxes));
  running = await runWorker(t, () => null, { sandboxes });

  scheduler();
  await until("the other one to complete", async () => (await t.state(whole)) === "completed");
  await until("another round", () => looks >= 3);

  expect((await t.store.view(gone)).meta).toMatchObject({ epoch: 1, resumeCount: 0 });
});

test("without a worker that could take it, a plan is left as it is", async () => {
  const plan = await anInterruptedPlan("auto");
  const before = await t.dumpPlan(plan);
  scheduler();
  await until("two rounds", () => looks >= 2);
  expect(await t.dumpPlan(plan)).toEqual(before);
});

test("a plan that gets nowhere is resumed ten times, at growing intervals, and then left to a person", async () => {
  const plan = await t.submit(aChain(["a", "b"]));
  const plans = new InterruptedPlans(t.redis, t.keys);
  const pauses: number[] = [];
  for (let i = 0; i < 10; i++) {
    const now = Number((await t.redis.time())[0]) * 1_000;
    expect(await plans.claim(plan, 1)).toBe("OK");
    expect(await plans.claim(plan, 1)).toBe("LATER");
    const [, claims, notBefore] = (await t.redis.hget(t.keys.plan(plan), "auto"))!.split("|").map(Number);
    expect(claims).toBe(i + 1);
    pauses.push(notBefore! - now);
    await t.redis.hset(t.keys.plan(plan), "auto", `0|${claims}|0`);
  }
  expect(await plans.claim(plan, 1)).toBe("SPENT");
  expect(pauses[5]).toBeGreaterThan(pauses[0]!);
  expect(await plans.claim(plan, 2)).toBe("STALE");

  const worker = await t.worker();
  await worker.complete(await worker.take(), null, false);
  expect(await plans.claim(plan, 1)).toBe("OK");
});

function scheduler(): void {
  looks = 0;
  const log = { info() {}, warn() {} };
  const made = new AutoResume({ store: t.sharded, actor: "scheduler", everyMs: 100, log, sandboxes });
  const { nextPage } = InterruptedPlans.prototype;
  (made as unknown as { plans: InterruptedPlans[] }).plans[0]!.nextPage = async function (this: InterruptedPlans) {
    const page = await nextPage.call(this);
    looks++;
    return page;
  };
  schedulers.push(made);
  made.start();
}

/** Its only process is gone before it began. */
async function anInterruptedPlan(resume?: "auto" | "manual"): Promise<string> {
  const planId = aPlanId();
  const compiled = aDefinition(steps, resume === undefined ? {} : { resume });
  await t.store.submit({ planId, compiled, input: "{}", actor: "ada", workdir: null, privateQueue: `run~${planId}` });
  return planId;
}

function states(plans: readonly string[]): Promise<string[]> {
  return Promise.all(plans.map((plan) => t.state(plan)));
}
