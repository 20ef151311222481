/** Which of the steps that wait in one queue comes first, and that nobody sleeps beside it. */
import { beforeEach, expect, test } from "vitest";
import { resumePlan } from "../../src/client/resume.js";
import { queueDepth } from "../../src/store/queue-depth.js";
import { aBench } from "../support/one-test.js";
import { aChain, aDefinition, type HandWorker, nextOf, type TestStore } from "../support/plans.js";

const BOOM = { code: "STEP_FAILED", message: "boom" };

let t: TestStore;
let worker: HandWorker;

beforeEach(async () => {
  ({ t, worker } = await aBench());
});

async function drain(): Promise<string[]> {
  const ran: string[] = [];
  for (let reply = await worker.fetch(); reply.next.kind === "step"; reply = await worker.complete(reply.next.step)) {
    ran.push(reply.next.step.stepId);
  }
  return ran;
}

test("steps without a priority come first, then 1, then 2, equal ones as they came", async () => {
  await t.submit(
    aDefinition([
      { id: "low", priority: 200 },
      { id: "two", priority: 2 },
    ]),
  );
  await t.submit(aDefinition([{ id: "one", priority: 1 }, { id: "plain" }, { id: "two-again", priority: 2 }]));

  expect(await queueDepth(t.redis, t.keys, "work")).toMatchObject({ waiting: 5, oldestMs: expect.any(Number) });
  expect(await drain()).toEqual(["plain", "one", "two", "two-again", "low"]);
});

test("a chain of urgent steps lets others pass that are more urgent", async () => {
  await t.submit(aChain(["a", "b"], { priority: 5 }));
  const a = await worker.take();
  await t.submit(aDefinition([{ id: "urgent", priority: 1 }]));

  const reply = await worker.complete(a);

  expect(nextOf(reply)).toBe("urgent");
});

test("what is handed back is the next of its priority, and wakes somebody", async () => {
  await t.submit(
    aDefinition([
      { id: "first", priority: 2 },
      { id: "second", priority: 2 },
    ]),
  );
  const first = await worker.take();
  await t.redis.del(`${t.keys.base}work:marker`);

  await worker.settle(first, { kind: "release", reason: "drain" }, false);

  expect(await t.redis.zcard(`${t.keys.base}work:marker`)).toBe(1);
  expect(await drain()).toEqual(["first", "second"]);
});

test("a retry and a resume keep it", async () => {
  const plan = await t.submit(
    aDefinition([
      { id: "late", priority: 2 },
      { id: "early", priority: 1 },
    ]),
  );
  const early = await worker.take();
  const late = await worker.take();
  await worker.settle(early, { kind: "fail", error: BOOM }, false);
  await worker.settle(late, { kind: "retry", delayMs: 0, error: BOOM }, false);
  await worker.settle(await worker.take(), { kind: "fail", error: BOOM }, false);

  await resumePlan(t.store, plan, { actor: "tester" });

  expect(await t.redis.zcard(`${t.keys.base}work:prioritized`)).toBe(2);
  expect(await drain()).toEqual(["early", "late"]);
});
