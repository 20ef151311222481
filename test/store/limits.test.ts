/** Limits that plans share: never more than they say, nobody forgotten, and each plan's turn comes. */
import { beforeEach, describe, expect, test } from "vitest";
import { resumePlan } from "../../src/client/resume.js";
import type { StepDefinition } from "../../src/core/definition.js";
import type { Outcome } from "../../src/core/outcome.js";
import type { StartedStep } from "../../src/core/ports.js";
import { runScript } from "../../src/store/scripts.js";
import { LOCK_MS } from "../../src/store/step-log.js";
import { checkInvariants } from "../support/invariants.js";
import { aBench } from "../support/one-test.js";
import {
  aChain,
  aDefinition,
  type HandWorker,
  nextOf,
  type StepSpec,
  stepOf,
  type TestStore,
} from "../support/plans.js";
import { runWorker } from "../support/step-workers.js";
import { until } from "../support/until.js";

const ONE = { concurrency: { key: "api", limit: 1 } };
const TWO = { concurrency: { key: "api", limit: 2 } };
const boom = { code: "STEP_FAILED", message: "boom" };
const DONE: Outcome = { kind: "complete", output: "1" };

let t: TestStore;
let worker: HandWorker;

beforeEach(async () => {
  ({ t, worker } = await aBench());
});

describe("a concurrency", () => {
  test("lets so many attempts run; the others wait without a job, and each end lets one follow", async () => {
    const plan = await t.submit(aDefinition(steps(5, TWO)));

    const running = [await worker.take(), await worker.take()];
    expect((await worker.fetch()).next.kind).toBe("none");

    expect(await kinds(plan)).toEqual(["running", "running", "limited", "limited", "limited"]);
    expect(await t.redis.exists(queue("wait"))).toBe(0);
    expect(await t.state(plan)).toBe("running");
    expect((await t.store.detail(plan)).why).toBe("s0, s1 are executing");

    const [third, fourth] = [await worker.settle(running[0]!, DONE), await worker.settle(running[1]!, DONE)];
    expect([nextOf(third), nextOf(fourth)]).toEqual(["s2", "s3"]);
    for (const reply of [third, fourth]) await worker.settle(stepOf(reply), DONE, false);
    await finish(plan);
  });

  test("says who waits for it while nothing of the plan runs", async () => {
    const first = await t.submit(aDefinition(steps(1, ONE)));
    const running = await worker.take();
    const plan = await t.submit(aChain(["a", "b"], ONE));
    expect((await worker.fetch()).next.kind).toBe("none");

    expect(await t.store.detail(plan)).toMatchObject({
      state: "queued",
      why: "a waits for the limit api (1 of 1 in use)",
    });
    expect(running).toMatchObject({ planId: first });
    const reply = await worker.settle(running, DONE);
    expect(nextOf(reply)).toBe("a");
    expect(await t.state(plan)).toBe("running");
    await worker.settle(stepOf(reply), DONE, false);
    await finish(plan);
  });

  test.each<[string, (step: StartedStep) => Promise<unknown>]>([
    ["a completion", (step) => worker.settle(step, DONE, false)],
    ["a failure", (step) => worker.settle(step, { kind: "fail", error: boom }, false)],
    ["a retry", (step) => worker.settle(step, { kind: "retry", delayMs: 3_600_000, error: boom }, false)],
    ["a condition that doesn't hold", (step) => worker.settle(step, { kind: "skip" }, false)],
    ["a wait", (step) => worker.settle(step, { kind: "park", wait: "signal", dueInMs: null, ask: null }, false)],
    ["a drain that leaves it to a resume", (step) => worker.settle(step, release({ hold: true }), false)],
    [
      "a worker that can't run it",
      (step) => worker.settle(step, { kind: "defer", delayMs: 3_600_000, reason: "x" }, false),
    ],
    ["an append", (step) => worker.settle(step, { ...DONE, appended: [] }, false)],
  ])("of one is free again after %s", async (_, end) => {
    await t.submit(aDefinition([{ id: "a", ...ONE }]), "first");
    const a = await worker.take();
    const plan = await t.submit(aDefinition([{ id: "b", ...ONE }]));
    expect((await worker.fetch()).next.kind).toBe("none");

    await end(a);

    const b = await worker.take();
    expect(b).toMatchObject({ planId: plan, stepId: "b" });
    expect(await held("limit:api")).toEqual([`${plan}/b/1`]);
    expect((await worker.settle(b, DONE, false)).verdict).toBe("OK");
    expect(await held("limit:api")).toEqual([]);
  });

  test("of one goes from a crashed attempt to who waits, and to the crashed step after it", async () => {
    const plan = await t.submit(aDefinition(steps(2, ONE)));
    const dead = await t.worker();
    await dead.take();
    expect((await worker.fetch()).next.kind).toBe("none");

    await worker.beat([dead.id]);

    const next = await worker.take();
    expect(next.stepId).toBe("s1");
    expect((await worker.fetch()).next.kind).toBe("none");
    expect(await kinds(plan)).toEqual(["limited", "running"]);
    const again = stepOf(await worker.settle(next, DONE));
    expect(again).toMatchObject({ stepId: "s0", attempt: 2, crashes: 1 });
    expect(nextOf(await worker.settle(again, DONE))).toBe("none");
  });

  test("counts a cancelled or paused attempt until its worker has heard of it", async () => {
    for (const stop of ["cancel", "pause"] as const) {
      const plan = await t.submit(aDefinition([{ id: "a", ...ONE }]));
      const a = await worker.take();
      const waiting = await t.submit(aDefinition([{ id: "b", ...ONE }]));
      if (stop === "cancel") await t.store.cancel(plan, "ada", null);
      else await t.store.pause(plan, "ada", null, false);
      expect((await worker.fetch()).next.kind).toBe("none");
      expect(await kinds(waiting)).toEqual(["limited"]);

      const reply = await worker.settle(a, DONE);

      expect(reply.verdict).toBe("FENCED");
      expect(nextOf(reply)).toBe("b");
      expect(nextOf(await worker.settle(stepOf(reply), DONE))).toBe("none");
    }
  });

  test("forgets a stopped plan's steps that wait, or were called, and calls others", async () => {
    const holder = await t.submit(aDefinition([{ id: "h", ...ONE }]));
    const h = await worker.take();
    const stopped = await t.submit(aDefinition(steps(3, ONE)));
    const other = await t.submit(aDefinition([{ id: "o", ...ONE }]));
    expect((await worker.fetch()).next.kind).toBe("none");
    await worker.settle(h, DONE, false);
    expect(await t.state(holder)).toBe("completed");
    expect(await held("limit:api"), "one was called").toEqual([`${stopped}/s0/1`]);

    await t.store.pause(stopped, "ada", null, false);

    expect(await held("limit:api")).toEqual([`${other}/o/1`]);
    expect(await t.scan("limit:*")).toHaveLength(1);
    expect((await worker.take()).planId).toBe(other);
    await resumePlan(t.store, stopped, { actor: "ada" });
    expect((await worker.fetch()).next.kind).toBe("none");
    expect(await kinds(stopped)).toEqual(["limited", "limited", "limited"]);
  });

  test("is left by a resume's lost attempts, and by steps that a rewind runs again", async () => {
    const plan = await t.submit(aChain(["a", "b"], ONE));
    const dead = await t.worker();
    const a = await dead.take();
    await dead.settle(a, DONE, false);
    await dead.take();
    const waiting = await t.submit(aDefinition([{ id: "w", ...ONE }]));
    expect((await worker.fetch()).next.kind).toBe("none");
    await t.redis.zadd(t.keys.workers, "0", dead.id);
    await t.redis.zrem(t.keys.serving("work"), dead.id, worker.id);

    await resumePlan(t.store, plan, { actor: "ada", fromStep: "a" });

    await t.redis.zadd(t.keys.serving("work"), Date.now(), worker.id);
    const [first, second] = [await worker.take(), await worker.fetch()];
    expect(second.next.kind).toBe("none");
    expect([first.planId, await kinds(plan), await kinds(waiting)].flat()).toContain("limited");
    await worker.settle(first, DONE, false);
    await finish(plan);
    await finish(waiting);
  });

  test("calls plans in turns, whatever each has waiting", async () => {
    const first = await t.submit(aDefinition([{ id: "first", ...ONE }]), "first");
    const begun = await worker.take();
    for (const plan of ["big", "middle", "small"]) {
      await t.submit(aDefinition(steps(plan === "big" ? 200 : plan === "middle" ? 3 : 1, ONE)), plan);
      expect((await worker.fetch()).next.kind).toBe("none");
    }

    const ran: string[] = [];
    for (let reply = await worker.settle(begun, DONE); reply.next.kind === "step" && ran.length < 8; ) {
      ran.push(reply.next.step.planId);
      reply = await worker.settle(reply.next.step, DONE, ran.length < 8);
    }

    expect(ran).toEqual(["big", "middle", "small", "big", "middle", "big", "middle", "big"]);
    expect(await t.state(first)).toBe("completed");
    // What a plan has waiting for a limit is its share, as in a queue: the others are behind it.
    expect((await kinds("big")).filter((kind) => kind === "limited").length).toBeLessThanOrEqual(50);
  });

  test("lets nobody pass who comes while others wait", async () => {
    const plan = await t.submit(aDefinition(steps(2, ONE)));
    const running = await worker.take();
    expect((await worker.fetch()).next.kind).toBe("none");
    const late = await t.submit(aDefinition([{ id: "late", ...ONE }]));
    await worker.settle(running, DONE, false);
    // Called, and not fetched yet: its job is in front of the one that came late.
    expect(await t.redis.lrange(queue("wait"), 0, -1)).toEqual([`${late}/late/1`, `${plan}/s1/1`]);
    await t.redis.multi().del(queue("wait")).rpush(queue("wait"), `${plan}/s1/1`, `${late}/late/1`).exec();

    expect((await worker.take()).stepId).toBe("s1");
    expect((await worker.fetch()).next.kind).toBe("none");
    expect(await kinds(late)).toEqual(["limited"]);
  });

  test("checks each step against its own number", async () => {
    await t.submit(aDefinition([{ id: "wide", concurrency: { key: "api", limit: 3 } }]));
    const wide = await worker.take();
    const narrow = await t.submit(aDefinition([{ id: "narrow", ...ONE }]));
    const more = await t.submit(aDefinition([{ id: "more", concurrency: { key: "api", limit: 3 } }]));
    expect((await worker.fetch()).next.kind).toBe("none");
    expect([await kinds(narrow), await kinds(more)]).toEqual([["limited"], ["limited"]]);

    const reply = await worker.settle(wide, DONE);

    expect(nextOf(reply)).toBe("narrow");
    expect((await worker.take()).stepId, "which may have others beside it").toBe("more");
  });

  test("holds nothing of a queue that it isn't about", async () => {
    await t.submit(aDefinition([{ id: "a", ...ONE }]));
    await worker.take();
    const plan = await t.submit(aDefinition([...steps(300, ONE), { id: "free" }]));

    expect((await worker.take()).stepId).toBe("free");
    expect((await kinds(plan)).filter((kind) => kind === "limited")).toHaveLength(50);
    expect((await kinds(plan)).filter((kind) => kind === "backlog")).toHaveLength(250);
  });

  test("of the items of a map holds over all plans", async () => {
    const map = { map: { over: "input.list", key: null, concurrency: null }, ...TWO };
    const plan = await t.submit(aDefinition([{ id: "fix", ...map }]));
    const list = await worker.take();
    const { steps: all, definition } = await t.store.definition(list.definitionDigest);
    expect([all.get("fix#")!.concurrency, all.get("fix")!.concurrency]).toEqual([undefined, undefined]);
    const { itemSteps } = await import("../../src/core/map.js");
    const { compile } = await import("../../src/core/definition.js");
    const items = itemSteps(compile(definition), "fix", [1, 2, 3]);
    await worker.settle(list, { kind: "complete", output: "[1,2,3]", appended: items.steps }, false);

    expect([(await worker.take()).stepId, (await worker.take()).stepId]).toEqual(["fix#0", "fix#1"]);
    expect((await worker.fetch()).next.kind).toBe("none");
    expect((await kinds(plan)).sort()).toEqual(["limited", "running", "running"]);
  });

  test("goes on in a chain, with what is between", async () => {
    const plan = await t.submit(aDefinition(chained([ONE, {}, ONE, {}, {}, ONE])));
    await finish(plan);
    expect(await held("limit:api")).toEqual([]);
  });
});

describe("a rate", () => {
  const RATE = { rate: { key: "api", max: 2, perMs: 300 } };

  test("lets no more attempts start in any window, and calls the next few by their time", async () => {
    const plan = await t.submit(aDefinition(steps(9, RATE)));
    await finish(plan);

    expectRate(await starts([plan]), 2, 300);
    expect(await t.redis.llen(`${t.keys.base}rate:api:starts`)).toBe(2);
    expect(await t.scan("rate:api:*")).toHaveLength(2);
  });

  test("holds no job of the others, and none of their attempts", async () => {
    const plan = await t.submit(aDefinition(steps(30, { rate: { key: "api", max: 1, perMs: 60_000 } })));
    await worker.settle(await worker.take(), DONE, false);
    expect((await worker.fetch()).next.kind).toBe("none");

    expect((await kinds(plan)).sort()).toEqual(["delayed", ...Array(28).fill("limited")]);
    expect(await t.redis.zcard(queue("delayed"))).toBe(1);
    const { open, now } = await t.store.view(plan);
    const next = open.find((step) => step.kind === "delayed")!;
    expect(next).toMatchObject({ attempts: 0, rate: { key: "api", max: 1, perMs: 60_000 } });
    expect(next.kind === "delayed" && next.dueAt - now).toBeGreaterThan(50_000);
    expect((await t.store.detail(plan)).why).toMatch(/^s1 starts in .*: the rate api \(1 in 1m\)$/);
  });

  test("says so where all that is left is behind it", async () => {
    const rate = { rate: { key: "api", max: 1, perMs: 60_000 } };
    await t.submit(aDefinition(steps(2, rate)));
    await worker.settle(await worker.take(), DONE, false);
    expect((await worker.fetch()).next.kind).toBe("none");
    const plan = await t.submit(aDefinition([{ id: "a", ...rate }]));
    expect((await worker.fetch()).next.kind).toBe("none");

    expect((await t.store.detail(plan)).why).toBe("a waits for the rate api (1 in 1m)");
  });

  test("counts retries, and lets plans take turns", async () => {
    const [big, small] = [await t.submit(aDefinition(steps(12, RATE))), await t.submit(aDefinition(steps(2, RATE)))];
    const failed = new Set<string>();
    await finish(small, (step) => {
      const isFirst = step.stepId === "s0" && !failed.has(step.planId);
      failed.add(step.planId);
      return isFirst ? { kind: "retry", delayMs: 0, error: boom } : DONE;
    });

    expectRate(await starts([big, small]), 2, 300);
    expect((await t.store.view(big)).meta.done).toBeLessThan(8);
  });

  test("and a concurrency of one step hold both", async () => {
    const plan = await t.submit(aDefinition(steps(6, { ...RATE, ...ONE })));
    const first = await worker.take();
    expect((await worker.fetch()).next.kind).toBe("none");
    expect(await held("limit:api")).toEqual([`${plan}/s0/1`]);
    await worker.settle(first, DONE, false);
    await finish(plan);

    expectRate(await starts([plan]), 2, 300);
    expect(await held("limit:api")).toEqual([]);
    expect(await held("rate:api")).toEqual([]);
  });

  test("wakes idle workers when it lets the next ones begin, of each plan in its turn", async () => {
    const [big, small] = [await t.submit(aDefinition(steps(40, RATE))), await t.submit(aDefinition(steps(3, RATE)))];
    const running = await Promise.all([1, 2].map(() => runWorker(t, () => null, { concurrency: 4 })));
    await until("the small plan to complete", async () => (await t.state(small)) === "completed");
    await Promise.all(running.map((one) => one.close()));

    expectRate(await starts([big, small]), 2, 300);
    expect((await t.store.view(big)).meta.done).toBeLessThan(12);
  });

  test("that a paused plan was called for goes to others", async () => {
    const rate = { rate: { key: "api", max: 1, perMs: 400 } };
    const paused = await t.submit(aDefinition(steps(3, rate)));
    await worker.settle(await worker.take(), DONE, false);
    const other = await t.submit(aDefinition([{ id: "o", ...rate }]));
    expect((await worker.fetch()).next.kind).toBe("none");
    expect(await held("rate:api")).toEqual([`${paused}/s1/1`]);

    await t.store.pause(paused, "ada", null, false);

    expect(await held("rate:api")).toEqual([`${other}/o/1`]);
    await finish(other);
    expectRate(await starts([paused, other]), 1, 400);
  });
});

describe("the sweep", () => {
  /** As if the time of the next look had come. */
  const look = async () => {
    for (const name of await t.redis.zrange(`${t.keys.base}limits`, "0", "-1"))
      await t.redis.zadd(`${t.keys.base}limits`, "0", name);
    await worker.beat();
  };

  test("finds a holder that is none", async () => {
    const plan = await t.submit(aDefinition(steps(2, ONE)));
    await worker.settle(await worker.take(), DONE, false);
    await t.redis.hset(`${t.keys.base}limit:api:held`, "nobody/knows/1", "work|w-gone.0:1");
    expect((await worker.fetch()).next.kind).toBe("none");
    expect(await kinds(plan)).toEqual(["limited"]);

    await look();

    expect(await held("limit:api")).toEqual([`${plan}/s1/1`]);
    await finish(plan);
    await look();
    expect(await t.scan("limit*")).toEqual([]);
  });

  test("leaves one that runs, or waits for its rate", async () => {
    const rate = { rate: { key: "api", max: 1, perMs: 60_000 } };
    const plan = await t.submit(aDefinition(steps(4, { ...TWO, ...rate })));
    await worker.take();
    expect((await worker.fetch()).next.kind).toBe("none");
    expect((await kinds(plan)).sort()).toEqual(["delayed", "limited", "limited", "running"]);
    const before = await held("limit:api");

    await look();

    expect(await held("limit:api")).toEqual(before);
    expect(before.sort()).toEqual([`${plan}/s0/1`, `${plan}/s1/1`]);
  });

  test("takes a place back from one that was called and that nobody starts, where others wait", async () => {
    await t.submit(aDefinition([{ id: "first", ...ONE }]));
    const first = await worker.take();
    const called = await t.submit(aDefinition([{ id: "a", ...ONE }]));
    const other = await t.submit(aDefinition([{ id: "b", ...ONE }]));
    expect((await worker.fetch()).next.kind).toBe("none");
    await worker.settle(first, DONE, false);
    expect(await held("limit:api")).toEqual([`${called}/a/1`]);
    await look();
    expect(await held("limit:api"), "not before its time is over").toEqual([`${called}/a/1`]);
    await t.redis.hset(`${t.keys.base}limit:api:held`, `${called}/a/1`, "work|@1");

    await look();

    expect(await held("limit:api")).toEqual([`${other}/b/1`]);
    expect((await worker.take()).planId).toBe(other);
    expect((await worker.fetch()).next.kind).toBe("none");
    expect(await kinds(called)).toEqual(["limited"]);
  });

  test("calls who waits where nobody holds anything", async () => {
    const plan = await t.submit(aDefinition(steps(2, ONE)));
    const running = await worker.take();
    expect((await worker.fetch()).next.kind).toBe("none");
    await t.redis.del(`${t.keys.base}limit:api:held`);
    await look();
    expect(await held("limit:api")).toEqual([`${plan}/s1/1`]);
    await worker.settle(running, DONE, false);
    await finish(plan);
  });

  test("goes on with other limits, and with everything else, where something else stands in the place of one", async () => {
    const broken = await t.submit(aDefinition(steps(2, { concurrency: { key: "broken", limit: 1 } })));
    await worker.settle(await worker.take(), DONE, false);
    const second = await worker.take();
    const other = await t.submit(aDefinition(steps(2, ONE)));
    const running = await worker.take();
    expect((await worker.fetch()).next.kind).toBe("none");
    await t.redis.del(`${t.keys.base}limit:api:held`);
    await t.redis.set(`${t.keys.base}limit:broken:turns`, "x");
    await t.redis.zadd(`${t.keys.base}limits`, "1", "limit:broken");

    for (let i = 0; i < 2; i++) {
      await t.redis.zadd(`${t.keys.base}limits`, "XX", "0", "limit:api");
      expect((await worker.beat())[0]).toBe("OK");
    }

    expect(await held("limit:api")).toEqual([`${other}/s1/1`]);
    await t.redis.del(`${t.keys.base}limit:broken:turns`);
    await worker.settle(second, DONE, false);
    await worker.settle(running, DONE, false);
    await finish(other);
    expect(await t.state(broken)).toBe("completed");
  });

  test("of a plan finds a step that nobody would call", async () => {
    const plan = await t.submit(aDefinition(steps(3, ONE)));
    const running = await worker.take();
    expect((await worker.fetch()).next.kind).toBe("none");
    await t.redis.del(`${t.keys.base}limit:api:of:${plan}`, `${t.keys.base}limit:api:turns`);
    expect(await checkInvariants(t.store, plan)).toEqual([
      "L1: nothing takes s1 further: it waits for limit:api, which doesn't know of it",
      "L1: nothing takes s2 further: it waits for limit:api, which doesn't know of it",
    ]);

    expect(await mend(plan)).toBe(2);

    expect(await mend(plan)).toBe(0);
    await worker.settle(running, DONE, false);
    await finish(plan);
  });

  test("of a plan counts a running step again", async () => {
    const plan = await t.submit(aDefinition([{ id: "a", ...ONE }]));
    const running = await worker.take();
    await t.redis.del(`${t.keys.base}limit:api:held`);
    expect(await checkInvariants(t.store, plan)).toEqual(["I9: a runs, and limit:api doesn't count it"]);
    await mend(plan);
    expect(await held("limit:api")).toEqual([`${plan}/a/1`]);
    await worker.settle(running, DONE, false);
  });
});

test("who is called in a queue that nobody serves has its job, and no place", async () => {
  await t.submit(aDefinition([{ id: "first", ...ONE }]));
  const first = await worker.take();
  const gpu = await t.worker(["gpu"]);
  const unserved = await t.submit(aDefinition([{ id: "a", queue: "gpu", ...ONE }]));
  expect((await gpu.fetch()).next.kind).toBe("none");
  const other = await t.submit(aDefinition([{ id: "b", ...ONE }]));
  expect((await worker.fetch()).next.kind).toBe("none");
  await t.redis.zrem(t.keys.serving("gpu"), gpu.id);

  const reply = await worker.settle(first, DONE);

  expect(nextOf(reply)).toBe("b");
  expect(await kinds(unserved)).toEqual(["queued"]);
  expect((await gpu.fetch()).next.kind).toBe("none");
  await worker.settle(stepOf(reply), DONE, false);
  expect(await t.state(other)).toBe("completed");
});

test("nor has who is called in a queue that is paused", async () => {
  await t.submit(aDefinition([{ id: "first", ...ONE }]));
  const first = await worker.take();
  const gpu = await t.worker(["gpu"]);
  const paused = await t.submit(aDefinition([{ id: "a", queue: "gpu", ...ONE }]));
  expect((await gpu.fetch()).next.kind).toBe("none");
  await t.submit(aDefinition([{ id: "b", ...ONE }]));
  expect((await worker.fetch()).next.kind).toBe("none");
  await t.redis.hset(`${t.keys.base}gpu:meta`, "paused", "1");

  const reply = await worker.settle(first, DONE);

  expect(nextOf(reply)).toBe("b");
  expect(await kinds(paused)).toEqual(["queued"]);
  await t.redis.hdel(`${t.keys.base}gpu:meta`, "paused");
  expect((await gpu.fetch()).next.kind).toBe("none");
  expect(nextOf(await worker.settle(stepOf(reply), DONE, false))).toBe("none");
  expect((await gpu.take()).planId).toBe(paused);
});

test("a repeated call of an end leaves a place once", async () => {
  await t.submit(aDefinition(steps(4, ONE)));
  const first = await worker.take();
  expect((await worker.fetch()).next.kind).toBe("none");
  const reply = await worker.settle(first, DONE);
  const again = await worker.settle(first, DONE);

  expect(again.verdict).toBe("DUP");
  expect(nextOf(again)).toBe(nextOf(reply));
  expect(await held("limit:api")).toHaveLength(1);
});

function release({ hold }: { hold: boolean }): Outcome {
  return { kind: "release", reason: "drain", hold };
}

function steps(count: number, limits: Partial<StepDefinition>): StepSpec[] {
  return Array.from({ length: count }, (_, i) => ({ id: `s${i}`, ...limits }));
}

function chained(limits: readonly Partial<StepDefinition>[]): StepSpec[] {
  return limits.map((limit, i) => ({ id: `s${i}`, needs: i === 0 ? [] : [`s${i - 1}`], ...limit }));
}

function queue(part: string): string {
  return `${t.keys.base}work:${part}`;
}

/** Of the plan's open steps, in their order. */
async function kinds(plan: string): Promise<string[]> {
  const { open } = await t.store.view(plan);
  return [...open].sort((a, b) => a.stepId.localeCompare(b.stepId)).map(({ kind }) => kind);
}

async function held(limit: string): Promise<string[]> {
  return t.redis.hkeys(`${t.keys.base}${limit}:held`);
}

async function mend(plan: string): Promise<number> {
  const keys = [t.keys.plan(plan), t.keys.workers];
  const [, mended] = (await runScript(t.redis, "mend", keys, [t.keys.base, plan, "0", LOCK_MS])) as [string, number];
  return mended;
}

/** Takes what there is, whosever it is, until the plan is completed. */
async function finish(plan: string, end: (step: StartedStep) => Outcome = () => DONE): Promise<void> {
  await until("the plan to complete", async () => {
    let reply = await worker.fetch();
    while (reply.next.kind === "step") reply = await worker.settle(reply.next.step, end(reply.next.step));
    return (await t.state(plan)) === "completed";
  });
}

async function starts(plans: readonly string[]): Promise<number[]> {
  const events = (await Promise.all(plans.map((plan) => t.store.history(plan)))).flat();
  return events.flatMap((event) => (event.type === "step.started" ? [event.at] : [])).sort((a, b) => a - b);
}

function expectRate(times: readonly number[], max: number, perMs: number): void {
  expect(times.length).toBeGreaterThan(max);
  for (let i = max; i < times.length; i++) expect(times[i]! - times[i - max]!).toBeGreaterThanOrEqual(perMs);
}
