/** Plain commits that leave in one call: each is all or nothing, and none depends on the others. */
import { afterEach, beforeEach, expect, test } from "vitest";
import type { StartedStep } from "../../src/core/ports.js";
import { checkInvariants } from "../support/invariants.js";
import { aChain, aDefinition, aStore, type HandWorker, nextOf, stepOf, type TestStore } from "../support/plans.js";
import { type PrivateRedis, startPrivateRedis } from "../support/private-redis.js";

let own: PrivateRedis;
let t: TestStore;
let worker: HandWorker;

beforeEach(async () => {
  own = await startPrivateRedis({ appendfsync: "no" });
  t = await aStore(own.url);
  worker = await t.worker();
  // The server knows the script from here on: a call by its digest counts as one.
  const [a] = await started(1);
  const c = stepOf(await commit(stepOf(await commit(a!))));
  await commit(c);
});

afterEach(async () => {
  await t.drop();
  await own.stop();
});

test("steps that end together are recorded together, a dozen in a call", async () => {
  const steps = await started(30);

  await t.redis.config("RESETSTAT");
  const replies = await Promise.all(steps.map((step) => commit(step)));

  expect(replies.map(nextOf)).toEqual(steps.map(() => "b"));
  expect(await calls()).toBe(3);
  for (const { planId } of steps) {
    expect((await t.store.history(planId)).map((event) => event.type)).toEqual([
      "plan.submitted",
      "step.started",
      "step.completed",
      "step.started",
    ]);
    expect(await checkInvariants(t.store, planId)).toEqual([]);
  }
  // The slots own what they go on with.
  const owned = Object.values(await worker.owned()).sort();
  expect(owned).toEqual(steps.map(({ planId, epoch }) => `work ${planId}/b/${epoch}`).sort());
});

test("two steps of one plan can be among them", async () => {
  const plan = await t.submit(
    aDefinition([{ id: "a" }, { id: "x", needs: [] }, { id: "b", needs: ["a"] }, { id: "y", needs: ["x"] }]),
  );
  const [a, x] = [await worker.take(), await worker.take()];

  const [b, y] = (await Promise.all([commit(a), commit(x)])).map(stepOf);

  expect([b!.stepId, y!.stepId].sort()).toEqual(["b", "y"]);
  expect(Math.abs(b!.fence - y!.fence)).toBeGreaterThan(0);
  expect(await checkInvariants(t.store, plan)).toEqual([]);
});

test("one that takes long doesn't wait, and takes along what does", async () => {
  const [first, second] = await started(2);

  await t.redis.config("RESETSTAT");
  const replies = await Promise.all([commit(first!), commit(second!, false)]);

  expect(replies.map(nextOf)).toEqual(["b", "b"]);
  expect(await calls()).toBe(1);
});

test("what is refused, raises or is said again leaves the others alone", async () => {
  const [fine, cancelled, forged, repeated, pausing] = (await started(5)) as [
    StartedStep,
    StartedStep,
    StartedStep,
    StartedStep,
    StartedStep,
  ];
  await t.store.cancel(cancelled.planId, "tester", null);
  const history = t.keys.planPart(forged.planId, "history");
  await t.redis.del(history);
  await t.redis.set(history, "forged");
  await commit(repeated);
  await t.store.pause(pausing.planId, "tester", null, true);
  const untouched = () => t.dump(`plan:${forged.planId}*`);
  const before = await untouched();

  const [one, two, three, four, five] = await Promise.allSettled(
    [fine, cancelled, forged, repeated, pausing].map((step) => commit(step)),
  );

  expect(one).toMatchObject({ value: { verdict: "OK", next: { step: { planId: fine.planId, stepId: "b" } } } });
  expect(two).toMatchObject({ value: { verdict: "FENCED" } });
  expect(three).toMatchObject({ status: "rejected", reason: { message: expect.stringMatching(/WRONGTYPE/) } });
  expect(four).toMatchObject({ value: { verdict: "DUP", next: { step: { planId: repeated.planId, stepId: "b" } } } });
  expect(five).toMatchObject({ value: { verdict: "OK", next: { kind: "none" } } });
  expect(await untouched()).toEqual(before);
  expect(await t.state(pausing.planId)).toBe("paused");
  for (const { planId } of [fine, cancelled, repeated, pausing]) {
    expect(await checkInvariants(t.store, planId)).toEqual([]);
  }
});

/** The first steps of as many chains, in slots of their own. */
async function started(plans: number): Promise<StartedStep[]> {
  const steps: StartedStep[] = [];
  for (let i = 0; i < plans; i++) {
    await t.submit(aChain(["a", "b", "c"]));
    steps.push(await worker.take());
  }
  return steps;
}

/** How often a script ran since the counts were reset. */
async function calls(): Promise<number> {
  return Number(/^cmdstat_evalsha:calls=(\d+)/m.exec(await t.redis.info("commandstats"))?.[1] ?? 0);
}

function commit(step: StartedStep, mayWait = true) {
  return worker.log.settle(step, { kind: "complete", output: '"done"' }, true, mayWait);
}
