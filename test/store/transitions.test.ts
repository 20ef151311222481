/** Every transition of a plan, one call at a time, on a real Redis. */
import { afterEach, beforeEach, describe, expect, inject, test } from "vitest";
import { aChain, aDefinition, aStore, type HandWorker, nextOf, stepOf, type TestStore } from "../support/plans.js";
import { checkInvariants } from "../support/invariants.js";

let t: TestStore;
let worker: HandWorker;

beforeEach(async () => {
  t = await aStore(inject("redisUrl"));
  worker = await t.worker();
});

afterEach(async () => {
  await t.drop();
});

const boom = { code: "STEP_FAILED", message: "boom" };

describe("an outcome sent again", () => {
  test("a chain runs with one call a step", async () => {
    const plan = await t.submit(aChain(["a", "b", "c"]));
    const a = await worker.take();
    expect(a.stepId).toBe("a");
    const b = stepOf(await worker.complete(a, 1));
    const c = stepOf(await worker.complete(b, 2));
    const last = await worker.complete(c, 3);
    expect([b.stepId, c.stepId, last.next.kind]).toEqual(["b", "c", "none"]);
    expect(await t.state(plan)).toBe("completed");
    expect(await checkInvariants(t.store, plan)).toEqual([]);
  });
});
