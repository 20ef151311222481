/** A worker that lost a step, or whose plan went on without it, writes nothing about it. */
import { afterEach, beforeEach, describe, expect, inject, test } from "vitest";
import { resumePlan } from "../../src/client/resume.js";
import type { Outcome } from "../../src/core/outcome.js";
import type { StartedStep } from "../../src/core/ports.js";
import { checkInvariants } from "../support/invariants.js";
import { aChain, aDefinition, aStore, type HandWorker, nextOf, stepOf, type TestStore } from "../support/plans.js";

const boom = { code: "STEP_FAILED", message: "boom" };
const OUTCOMES: [string, Outcome][] = [
  ["complete", { kind: "complete", output: '"late"' }],
  ["retry", { kind: "retry", delayMs: 0, error: boom }],
  ["fail", { kind: "fail", error: boom }],
  ["release", { kind: "release", reason: "stop" }],
  ["defer", { kind: "defer", delayMs: 1_000, reason: "lacks it" }],
  ["park", { kind: "park", wait: "approval", dueInMs: null, ask: null }],
];

let t: TestStore;
let zombie: HandWorker;
let held: StartedStep | null = null;

beforeEach(async () => {
  t = await aStore(inject("redisUrl"));
  zombie = await t.worker();
});

afterEach(async () => {
  await t.drop();
});

describe.each(OUTCOMES)("a late %s", (_, outcome) => {
  test("after a takeover is LOST and changes nothing, while the other runs and after it is done", async () => {
    const plan = await t.submit(aChain(["a", "b"]));
    const stale = await zombie.take();
    const other = await t.worker();
    await other.beat([zombie.id]);
    const taken = await other.take();

    const whileRunning = await unchanged(plan, () => zombie.settle(stale, outcome, false));
    await other.complete(taken, "mine", false);
    const afterwards = await unchanged(plan, () => zombie.settle(stale, outcome, false));

    expect(taken).toMatchObject({ stepId: "a", attempt: 2 });
    expect([whileRunning.verdict, afterwards.verdict]).toEqual(["LOST", "LOST"]);
    expect(await t.store.output(plan, "a")).toBe('"mine"');
    expect(await checkInvariants(t.store, plan)).toEqual([]);
  });

  test("before anybody took the step again is LOST too", async () => {
    const plan = await t.submit(aChain(["a", "b"]));
    const stale = await zombie.take();
    await (await t.worker()).beat([zombie.id]);

    const late = await unchanged(plan, () => zombie.settle(stale, outcome, false));

    expect(late.verdict).toBe("LOST");
    expect((await t.store.view(plan)).open[0]).toMatchObject({ kind: "queued", crashes: 1 });
  });

  test.each<[string, (plan: string) => Promise<unknown>]>([
    ["cancelled", (plan) => t.store.cancel(plan, "tester", null)],
    ["paused", (plan) => t.store.pause(plan, "tester", null, false)],
    [
      "paused and resumed",
      async (plan) => {
        await t.store.pause(plan, "tester", null, false);
        await resumePlan(t.store, plan, { actor: "tester" });
      },
    ],
  ])("of a plan that was %s meanwhile is FENCED: its job is finished, the plan untouched", async (_, change) => {
    const plan = await t.submit(aChain(["a", "b"]));
    const stale = await zombie.take();
    await change(plan);

    const late = await unchanged(plan, () => zombie.settle(stale, outcome, false));

    expect(late.verdict).toBe("FENCED");
    expect(await t.redis.lrange(`${t.keys.base}work:active`, 0, -1)).toEqual([]);
    expect(await t.redis.exists(`${t.keys.base}work:${plan}/a/1`, `${t.keys.base}work:${plan}/a/1:lock`)).toBe(0);
    expect(await zombie.owned()).toEqual({});
    expect(await checkInvariants(t.store, plan)).toEqual([]);
  });

  test("of a plan that another step stopped is FENCED, and the slot goes on with other work", async () => {
    const plan = await t.submit(aDefinition([{ id: "a" }, { id: "b" }], { failFast: true }));
    const stale = await zombie.take();
    const bad = await zombie.take();
    await zombie.settle(bad, { kind: "fail", error: boom }, false);
    await t.submit(aDefinition([{ id: "elsewhere" }]));

    const late = await unchanged(plan, () => zombie.settle(stale, outcome));

    expect([late.verdict, nextOf(late)]).toEqual(["FENCED", "elsewhere"]);
    expect(await t.state(plan)).toBe("failed");
    expect(await checkInvariants(t.store, plan)).toEqual([]);
  });
});

test("a zombie doesn't touch the job of the worker that has its step now, also where the plan was paused since", async () => {
  const plan = await t.submit(aChain(["a", "b"]));
  const stale = await zombie.take();
  const other = await t.worker();
  await other.beat([zombie.id]);
  const taken = await other.take();
  await t.store.pause(plan, "tester", null, false);
  const before = await t.dump();

  const late = await zombie.complete(stale, null, false);

  expect(late.verdict).toBe("LOST");
  expect(await t.dump()).toEqual(before);
  expect((await other.complete(taken, null, false)).verdict).toBe("FENCED");
});

test("a commit of a job that is not active is LOST and changes nothing, though the lock is its own", async () => {
  const plan = await t.submit(aChain(["a", "b"]));
  const step = await zombie.take();
  await t.redis.lrem(`${t.keys.base}work:active`, 0, `${plan}/a/1`);

  const refused = await unchanged(plan, () => zombie.complete(step, null, false));

  expect(refused.verdict).toBe("LOST");
});

test("a takeover removes the zombie's lock", async () => {
  const plan = await t.submit(aChain(["a"]));
  const stale = await zombie.take();
  const lock = `${t.keys.base}work:${plan}/a/1:lock`;
  expect(await t.redis.get(lock)).toBe(stale.token);

  await (await t.worker()).beat([zombie.id]);

  expect(await t.redis.get(lock)).toBeNull();
});

test("a worker that was taken over gets nothing more under its old name, whatever it sends", async () => {
  await t.submit(aDefinition([{ id: "a" }]));
  const stale = await zombie.take();
  const other = await t.worker();
  await other.beat([zombie.id]);
  await t.submit(aDefinition([{ id: "b" }]));

  const settled = await zombie.complete(stale);
  const fetched = await zombie.fetch();
  const beat = await zombie.beat();

  // Nobody would ever take over from a worker that the store has forgotten.
  expect([settled.next.kind, fetched.next.kind]).toEqual(["none", "none"]);
  expect([fetched.verdict, beat[0]]).toEqual(["UNREGISTERED", "UNREGISTERED"]);
  expect(await zombie.owned()).toEqual({});
  expect(await t.redis.lrange(`${t.keys.base}work:active`, 0, -1)).toEqual([]);
});

test("a commit sent again by a worker that was taken over brings it no step", async () => {
  const plan = await t.submit(aChain(["a", "b"]));
  const a = await zombie.take();
  await zombie.complete(a);
  await (await t.worker()).beat([zombie.id]);

  const again = await zombie.complete(a);

  expect([again.verdict, again.next.kind]).toEqual(["DUP", "none"]);
  expect(await zombie.owned()).toEqual({});
  expect((await t.store.view(plan)).open.map((step) => [step.stepId, step.kind])).toEqual([["b", "queued"]]);
});

test("an irreversible step of a dead worker is nobody's to run again, and says whose it was", async () => {
  const plan = await t.submit(
    aDefinition([
      { id: "pay", effect: "irreversible" },
      { id: "ship", needs: ["pay"] },
    ]),
  );
  const stale = await zombie.take();
  const other = await t.worker();
  await other.beat([zombie.id]);

  expect(nextOf(await other.fetch())).toBe("none");
  expect((await t.store.view(plan)).open[0]).toMatchObject({ kind: "uncertain", workerId: zombie.id });
  expect((await unchanged(plan, () => zombie.complete(stale, null, false))).verdict).toBe("LOST");
  await expect(resumePlan(t.store, plan, { actor: "tester" })).rejects.toMatchObject({ code: "ACK_REQUIRED" });
  expect(await checkInvariants(t.store, plan)).toEqual([]);
});

test.each<[string, (plan: string) => Promise<unknown>]>([
  ["its plan was paused", (plan) => t.store.pause(plan, "tester", null, false)],
  ["its worker drained", () => zombie.settle(held!, { kind: "release", reason: "drain" }, false)],
  [
    "another step stopped the plan",
    async () => zombie.settle(await zombie.take(), { kind: "fail", error: boom }, false),
  ],
])("an irreversible step that ran when %s is asked about before it runs again", async (_, cut) => {
  const plan = await t.submit(aDefinition([{ id: "pay", effect: "irreversible" }, { id: "bad" }], { failFast: true }));
  const first = await zombie.take();
  held = first.stepId === "pay" ? first : await zombie.take();
  if (held !== first) await zombie.settle(first, { kind: "release", reason: "drain" }, false);
  await cut(plan);
  if ((await t.state(plan)) === "running") await t.store.pause(plan, "tester", null, false);

  await expect(resumePlan(t.store, plan, { actor: "tester" })).rejects.toMatchObject({ code: "ACK_REQUIRED" });
});

test("a silent worker is taken over only after DEAD_AFTER, and after as long a watch", async () => {
  await t.drop();
  t = await aStore(inject("redisUrl"), { deadAfterMs: 200 });
  zombie = await t.worker();
  const other = await t.worker();
  const plan = await t.submit(aChain(["a"]));
  await zombie.take();
  const startedAt = Date.now();
  const taken: string[] = [];
  while (taken.length === 0 && Date.now() < startedAt + 5_000) taken.push(...(await other.beat())[5]);

  // Nobody had swept before: the first beat gives everybody one DEAD_AFTER to be heard.
  expect(Date.now() - startedAt).toBeGreaterThanOrEqual(199);
  expect(taken).toEqual([zombie.id]);
  expect(await checkInvariants(t.store, plan)).toEqual([]);
});

test("an outage looks like nobody's death: whoever sweeps first waits for the others", async () => {
  await t.drop();
  t = await aStore(inject("redisUrl"), { deadAfterMs: 300 });
  const workers = await Promise.all([1, 2, 3, 4].map(() => t.worker()));
  for (const worker of workers) await worker.beat();
  // As if the store had been away: the last beats and the last sweep are old.
  const old = Date.now() - 60_000;
  for (const worker of workers) await t.redis.zadd(t.keys.workers, old, worker.id);
  await t.redis.hset(t.keys.sweep, "at", old, "until", old);

  const first = await workers[0]!.beat();
  await workers[1]!.beat();

  expect(first[5]).toEqual([]);
  expect(await t.redis.zcard(t.keys.workers)).toBe(4);
});

test("a third of the fleet silent at once gets one more DEAD_AFTER", async () => {
  await t.drop();
  t = await aStore(inject("redisUrl"), { deadAfterMs: 200 });
  const workers = await Promise.all([1, 2, 3, 4, 5].map(() => t.worker()));
  const [watcher, ...others] = workers as [HandWorker, ...HandWorker[]];
  await watcher.beat();
  const old = Date.now() - 60_000;
  await t.redis.hset(t.keys.sweep, "until", old);
  for (const other of others) await t.redis.zadd(t.keys.workers, old, other.id);

  const first = await watcher.beat();
  const startedAt = Date.now();
  let dead = first[5];
  while (dead.length === 0 && Date.now() < startedAt + 5_000) dead = (await watcher.beat())[5];

  expect(first[5]).toEqual([]);
  expect(Date.now() - startedAt).toBeGreaterThanOrEqual(190);
  expect([...dead].sort()).toEqual(others.map((other) => other.id).sort());
});

test("workers that fell silent together count together, though the last beat of the first is a second older", async () => {
  const [watcher, ...others] = await Promise.all([1, 2, 3, 4, 5].map(() => t.worker()));
  await watcher!.beat();
  const [seconds, micros] = await t.redis.time();
  const now = Number(seconds) * 1_000 + Math.floor(Number(micros) / 1_000);
  await t.redis.hset(t.keys.sweep, "until", now - 60_000);
  // With DEAD_AFTER at three seconds only the first of them is silent for long enough.
  for (const [i, other] of others.entries()) await t.redis.zadd(t.keys.workers, now - 3_050 + i * 200, other.id);

  const [, , , , , dead] = await watcher!.beat();

  expect(dead).toEqual([]);
  expect(await t.redis.hget(t.keys.sweep, "brake")).toBe("1");
});

test("one that is silent among workers that beat is taken over without a brake", async () => {
  const [watcher, silent] = await Promise.all([1, 2, 3, 4, 5].map(() => t.worker()));
  await watcher!.beat();
  const [seconds, micros] = await t.redis.time();
  const now = Number(seconds) * 1_000 + Math.floor(Number(micros) / 1_000);
  await t.redis.hset(t.keys.sweep, "until", now - 60_000);
  await t.redis.zadd(t.keys.workers, now - 3_050, silent!.id);

  const [, , , , , dead] = await watcher!.beat();

  expect(dead).toEqual([silent!.id]);
});

test("a takeover of more jobs than one call may give back goes on in the next", async () => {
  const plan = await t.submit(aDefinition(Array.from({ length: 230 }, (_, i) => ({ id: `s${i}` }))));
  for (let i = 0; i < 230; i++) await zombie.take();
  const other = await t.worker();

  const first = await other.beat([zombie.id]);
  const between = await t.redis.llen(`${t.keys.base}work:active`);
  const second = await other.beat([zombie.id]);

  expect([first[4], between, second[4]]).toEqual([200, 30, 30]);
  expect(await t.redis.zscore(t.keys.workers, zombie.id)).toBeNull();
  expect(await checkInvariants(t.store, plan)).toEqual([]);
});

test("a worker that leaves in order gives back what it holds", async () => {
  const plan = await t.submit(aChain(["a", "b"]));
  await zombie.take();

  await zombie.deregister();

  expect((await t.store.view(plan)).open[0]).toMatchObject({ kind: "queued" });
  expect(await t.scan("worker:*")).toEqual([]);
  expect(await checkInvariants(t.store, plan)).toEqual([]);
});

test("after a resume that was faster than the takeover nothing of the dead worker's job is left", async () => {
  await t.drop();
  t = await aStore(inject("redisUrl"), { isGone: (worker) => worker.pid === 4_242 });
  zombie = await t.worker(["work"], { pid: "4242", process_start: "1" });
  const plan = await t.submit(aChain(["a", "b"]));
  const stale = await zombie.take();

  await resumePlan(t.store, plan, { actor: "tester" });
  const late = await unchanged(plan, () => zombie.complete(stale, null, false));

  expect(["LOST", "FENCED"]).toContain(late.verdict);
  expect(await t.redis.lrange(`${t.keys.base}work:active`, 0, -1)).toEqual([]);
  expect(await t.redis.exists(`${t.keys.base}work:${plan}/a/1`)).toBe(0);
  await (await t.worker()).beat([zombie.id]);
  expect(await checkInvariants(t.store, plan)).toEqual([]);
  const other = await t.worker();
  expect(await other.take()).toMatchObject({ stepId: "a", epoch: 2, attempt: 2 });
  expect(stepOf(await other.fetch(`${other.id}.0:0`)).epoch).toBe(2);
});

async function unchanged<T>(plan: string, act: () => Promise<T>): Promise<T> {
  const before = await t.dumpPlan(plan);
  const result = await act();
  expect(await t.dumpPlan(plan)).toEqual(before);
  return result;
}
