/** A step that kills its workers: counted, delayed, run alone, and taken out; and what is not held against a step. */
import { afterEach, beforeEach, expect, inject, test } from "vitest";
import { createClient } from "../../src/client/create-client.js";
import type { StartedStep } from "../../src/core/ports.js";
import { runScript } from "../../src/store/scripts.js";
import { checkInvariants } from "../support/invariants.js";
import { aChain, aDefinition, aStore, type HandWorker, type TestStore } from "../support/plans.js";
import { until } from "../support/until.js";

let t: TestStore;
let sweeper: HandWorker;

beforeEach(async () => {
  t = await aStore(inject("redisUrl"));
  sweeper = await t.worker(["nothing"]);
});

afterEach(async () => {
  await t.drop();
});

test("the first crash costs nothing; the second delays the step for 2 to 6 seconds", async () => {
  const plan = await t.submit(aChain(["a", "b"]));
  await crash();
  expect((await openStep(plan)).kind).toBe("queued");

  const now = Number((await sweeper.beat())[1]);
  await crash();

  const step = await openStep(plan);
  expect(step).toMatchObject({ kind: "delayed", crashes: 2, failures: 0 });
  if (step.kind !== "delayed") return;
  expect(step.dueAt - now).toBeGreaterThanOrEqual(2_000);
  expect(step.dueAt - now).toBeLessThan(6_500);
  expect(await checkInvariants(t.store, plan)).toEqual([]);
});

test("steps that crash together come back at different times", async () => {
  const plan = await t.submit(aDefinition(["a", "b", "c", "d", "e", "f"].map((id) => ({ id }))));
  for (let crashes = 0; crashes < 2; crashes++) {
    const victim = await t.worker();
    for (let i = 0; i < 6; i++) await victim.take();
    await sweeper.beat([victim.id]);
  }
  const due = (await t.store.view(plan)).open.map((step) => (step.kind === "delayed" ? step.dueAt : 0));
  expect(new Set(due).size).toBeGreaterThan(3);
});

test("only a crash while it runs alone takes a step out, and only the third", async () => {
  const plan = await t.submit(aChain(["a", "b"]));
  for (const crashes of [1, 2, 3, 4]) {
    await crash();
    expect(await openStep(plan)).toMatchObject({ crashes });
    await makeDue(plan);
  }
  expect((await openStep(plan)).kind).toBe("delayed");

  await crash({ alone: true });

  expect(await t.state(plan)).toBe("failed");
  const detail = await t.store.detail(plan);
  expect(detail.why).toBe("a was taken out after killing workers");
  expect(detail.errors.get("a")?.code).toBe("STEP_QUARANTINED");
  expect((await t.store.history(plan)).at(-2)).toMatchObject({
    type: "step.failed",
    final: true,
    error: { code: "STEP_QUARANTINED" },
  });
  expect(await checkInvariants(t.store, plan)).toEqual([]);
});

test("a resume lets it run again, with its crashes forgotten", async () => {
  const plan = await t.submit(aChain(["a"]));
  await quarantine(plan);
  const client = createClient({ redis: t.redis, prefix: t.prefix });
  await expect(client.result(plan)).rejects.toMatchObject({ code: "STEP_QUARANTINED", exitCode: 1 });

  await client.resume(plan);

  const worker = await t.worker();
  const step = await worker.take();
  expect(step.crashes).toBe(0);
  await worker.complete(step);
  expect(await t.state(plan)).toBe("completed");
  expect(await checkInvariants(t.store, plan)).toEqual([]);
});

test("what doesn't need it goes on, unless the definition stops at its first failure", async () => {
  const steps = [{ id: "a" }, { id: "b", queue: "else" }];
  const [goesOn, stops] = [await t.submit(aDefinition(steps)), await t.submit(aDefinition(steps, { failFast: true }))];
  for (const plan of [goesOn, stops]) await quarantine(plan);
  expect(await t.state(goesOn)).toBe("running");
  expect(await t.state(stops)).toBe("failed");
  for (const plan of [goesOn, stops]) expect(await checkInvariants(t.store, plan)).toEqual([]);
});

test("an irreversible step is never taken out: a person has to say whether it happened", async () => {
  const plan = await t.submit(aChain(["a"], { effect: "irreversible" }));
  await crash({ alone: true });
  expect(await openStep(plan)).toMatchObject({ kind: "uncertain", crashes: 1 });
});

test("neither a worker that leaves in order nor a reply that was lost is held against a step", async () => {
  const plan = await t.submit(aChain(["a"]));
  const leaves = await t.worker();
  await leaves.take();
  await leaves.deregister();
  const forgets = await t.worker();
  await forgets.take();
  await forgets.audit([]);
  expect(await openStep(plan)).toMatchObject({ kind: "queued", crashes: 0, attempts: 2 });
});

test("a worker that the store doesn't know can't say that a step runs alone", async () => {
  const keys = [t.keys.worker("nobody")];
  expect(await runScript(t.redis, "alone", keys, ["p/a/1", "1"])).toBe(0);
  expect(await t.redis.exists(...keys)).toBe(0);
});

async function quarantine(plan: string): Promise<void> {
  for (let crashes = 0; crashes < 3; crashes++) {
    await crash({ alone: true });
    await makeDue(plan);
  }
}

/** A worker takes the next step and dies with it. */
async function crash({ alone = false } = {}): Promise<StartedStep> {
  const victim = await t.worker();
  const step = await until("a step to take", async () => {
    const { next } = await victim.fetch();
    return next.kind === "step" && next.step;
  });
  const job = `${step.planId}/${step.stepId}/${step.epoch}`;
  if (alone) await runScript(t.redis, "alone", [t.keys.worker(victim.id)], [job, String(step.attempt)]);
  await sweeper.beat([victim.id]);
  return step;
}

/** Ends the delay of the plan's steps. */
async function makeDue(plan: string): Promise<void> {
  const queue = `${t.keys.base}work:delayed`;
  for (const id of await t.redis.zrange(queue, "0", "-1"))
    if (id.startsWith(`${plan}/`)) await t.redis.zadd(queue, 0, id);
}

async function openStep(plan: string) {
  return (await t.store.view(plan)).open.find((step) => step.stepId === "a")!;
}
