/** What ioredis sends again after a lost reply must change nothing, and must name the job that the slot holds. */
import { afterEach, beforeEach, describe, expect, inject, test } from "vitest";
import type { Outcome } from "../../src/core/outcome.js";
import { checkInvariants } from "../support/invariants.js";
import {
  aChain,
  aDefinition,
  aPlanId,
  aStore,
  type HandWorker,
  nextOf,
  stepOf,
  type TestStore,
} from "../support/plans.js";

const boom = { code: "STEP_FAILED", message: "boom" };

let t: TestStore;
let worker: HandWorker;

beforeEach(async () => {
  t = await aStore(inject("redisUrl"));
  worker = await t.worker();
});

afterEach(async () => {
  await t.drop();
});

test("a fetch sent again returns the same job and takes no second one", async () => {
  await t.submit(aDefinition([{ id: "a" }, { id: "b" }]));
  const token = worker.newToken();

  const first = await worker.fetch(token);
  const again = await worker.fetch(token);

  expect({ ...again, now: 0 }).toEqual({ ...first, now: 0 });
  expect(await active()).toHaveLength(1);
  expect(await waiting()).toHaveLength(1);
});

describe.each<[string, Outcome, string]>([
  ["complete", { kind: "complete", output: '"done"' }, "step.completed"],
  ["retry", { kind: "retry", delayMs: 60_000, error: boom }, "step.failed"],
  ["fail", { kind: "fail", error: boom }, "step.failed"],
  ["release", { kind: "release", reason: "drain" }, "step.released"],
  ["park for a signal", { kind: "park", wait: "signal", dueInMs: null, ask: null }, "step.waiting"],
  ["park for a timer", { kind: "park", wait: "timer", dueInMs: 60_000, ask: null }, "step.waiting"],
])("%s, sent again,", (_, outcome, event) => {
  test("is recorded once, with no next job taken", async () => {
    const plan = await t.submit(
      aDefinition([
        { id: "a", retry: { attempts: 9, backoff: "fixed", delayMs: 1, maxMs: 1 } },
        { id: "z", needs: ["a"] },
      ]),
    );
    const a = await worker.take();

    const first = await worker.settle(a, outcome, false);
    const before = await t.dump();
    const again = await worker.settle(a, outcome, false);

    expect(first.verdict).toBe("OK");
    expect(again.verdict).toBe("DUP");
    expect(await t.dump()).toEqual(before);
    expect((await t.store.history(plan)).filter((e) => e.type === event)).toHaveLength(1);
    expect(await checkInvariants(t.store, plan)).toEqual([]);
  });

  test("names the job that its first call took", async () => {
    const plan = await t.submit(aDefinition([{ id: "a" }]));
    const a = await worker.take();
    const other = await t.submit(aDefinition([{ id: "b" }]));
    await t.submit(aDefinition([{ id: "c" }]));

    const first = await worker.settle(a, outcome);
    const before = await t.dump();
    const again = await worker.settle(a, outcome);

    // What is released goes to the front of its queue: then it is what the first call took.
    const taken = outcome.kind === "release" ? "a" : "b";
    expect([first.verdict, nextOf(first)]).toEqual(["OK", taken]);
    expect([again.verdict, nextOf(again)]).toEqual(["DUP", taken]);
    expect({ ...again, now: 0, verdict: "" }).toEqual({ ...first, now: 0, verdict: "" });
    expect(await t.dump()).toEqual(before);
    expect(await active()).toHaveLength(1);
    expect(await checkInvariants(t.store, plan)).toEqual([]);
    expect(await checkInvariants(t.store, other)).toEqual([]);
  });

  test("when another has taken the step since, loses neither the step nor the slot's next job", async () => {
    const plan = await t.submit(
      aDefinition([{ id: "a", retry: { attempts: 9, backoff: "fixed", delayMs: 0, maxMs: 0 } }]),
    );
    const a = await worker.take();
    await t.submit(aDefinition([{ id: "b" }]));
    const soon =
      outcome.kind === "retry"
        ? { ...outcome, delayMs: 0 }
        : outcome.kind === "park" && outcome.wait === "timer"
          ? { ...outcome, dueInMs: 0 }
          : outcome;
    const other = await t.worker();
    // The slot gets b, and the other worker what a left behind, if anything.
    const first = await worker.settle(a, soon, false);
    const b = await worker.take(a.token);
    const theirs = await other.fetch();

    const again = await worker.settle(a, soon);

    expect(first.verdict).toBe("OK");
    expect(again.verdict).not.toBe("OK");
    expect(nextOf(again)).toBe(b.stepId);
    expect(Object.keys(await worker.owned())).toEqual([a.token]);
    expect(await active()).toHaveLength(theirs.next.kind === "step" ? 2 : 1);
    expect(await checkInvariants(t.store, plan)).toEqual([]);
  });
});

test("a retry sent again doesn't count against the attempt that its first call took", async () => {
  const plan = await t.submit(aDefinition([{ id: "a" }]));
  const first = await worker.take();
  const outcome: Outcome = { kind: "retry", delayMs: 0, error: boom };

  const second = stepOf(await worker.settle(first, outcome));
  const again = await worker.settle(first, outcome);

  expect(second.attempt).toBe(2);
  expect(again.verdict).toBe("DUP");
  expect(stepOf(again)).toEqual(second);
  expect((await t.store.view(plan)).open[0]).toMatchObject({ kind: "running", attempts: 2, failures: 1 });
});

test("a retry of a step that ran again under the same token and went on says what the slot holds now", async () => {
  const plan = await t.submit(aDefinition([{ id: "a" }]));
  const first = await worker.take();
  const second = stepOf(await worker.settle(first, { kind: "retry", delayMs: 0, error: boom }));
  await t.submit(aDefinition([{ id: "b" }]));
  const b = stepOf(await worker.complete(second));

  const again = await worker.complete(second);
  const older = await worker.settle(first, { kind: "retry", delayMs: 0, error: boom });

  expect([again.verdict, stepOf(again)]).toEqual(["DUP", b]);
  expect([older.verdict === "OK", stepOf(older)]).toEqual([false, b]);
  expect(await checkInvariants(t.store, plan)).toEqual([]);
});

test("a completed step whose successor another worker has is not released again", async () => {
  const plan = await t.submit(aChain(["a", "b", "c"]));
  const other = await t.worker();
  const a = await worker.take();
  await worker.complete(a, null, false);
  const b = await other.take();

  const again = await worker.complete(a);
  await other.complete(b, null, false);
  const late = await worker.complete(a, null, false);

  expect([again.verdict, nextOf(again), late.verdict]).toEqual(["DUP", "none", "DUP"]);
  expect((await t.store.view(plan)).open.map((step) => [step.stepId, step.kind])).toEqual([["c", "queued"]]);
  expect(await checkInvariants(t.store, plan)).toEqual([]);
});

test("a fetch sent again for a job whose plan was paused and resumed meanwhile gives that job up", async () => {
  const plan = await t.submit(aChain(["a", "b"]));
  const token = worker.newToken();
  await worker.fetch(token);
  await t.store.pause(plan, "tester", null, false);
  await resume(plan);

  const again = await worker.fetch(token);

  expect(stepOf(again)).toMatchObject({ stepId: "a", epoch: 3 });
  expect(await active()).toEqual([`${plan}/a/3`]);
  expect(await checkInvariants(t.store, plan)).toEqual([]);
});

test("an audit gives back what the worker owns and doesn't know, and nothing else", async () => {
  const plan = await t.submit(aDefinition([{ id: "a" }, { id: "b" }]), aPlanId());
  const known = await worker.take();
  const lost = await worker.take();

  const given = await worker.audit([known.token]);

  expect(given).toBe(1);
  expect(await active()).toEqual([`${plan}/${known.stepId}/1`]);
  expect(await waiting()).toEqual([`${plan}/${lost.stepId}/1`]);
  expect(Object.keys(await worker.owned())).toEqual([known.token]);
  expect((await worker.complete(lost)).verdict).toBe("LOST");
  expect(await checkInvariants(t.store, plan)).toEqual([]);
});

test("an audit that names a fetch under way leaves its job alone", async () => {
  const plan = await t.submit(aDefinition([{ id: "a" }]));
  const step = await worker.take();

  expect(await worker.audit([step.token])).toBe(0);
  expect((await worker.complete(step)).verdict).toBe("OK");
  expect(await t.state(plan)).toBe("completed");
});

async function resume(plan: string): Promise<void> {
  const { resumePlan } = await import("../../src/client/resume.js");
  await resumePlan(t.store, plan, { actor: "tester" });
}

function active(): Promise<string[]> {
  return t.redis.lrange(`${t.keys.base}work:active`, 0, -1);
}

function waiting(): Promise<string[]> {
  return t.redis.lrange(`${t.keys.base}work:wait`, 0, -1);
}
