/** Plans that have got stuck by a hand from outside: the sweep finds them and they go on, under the same epoch. */
import { afterEach, beforeEach, describe, expect, inject, test } from "vitest";
import { runScript } from "../../src/store/scripts.js";
import { LOCK_MS } from "../../src/store/step-log.js";
import { checkInvariants } from "../support/invariants.js";
import { A_SANDBOX, aChain, aDefinition, aStore, type HandWorker, stepOf, type TestStore } from "../support/plans.js";
import { type RunningWorker, runWorker } from "../support/step-workers.js";
import { until } from "../support/until.js";

let t: TestStore;
let worker: HandWorker;
let running: RunningWorker | null = null;

beforeEach(async () => {
  t = await aStore(inject("redisUrl"));
  worker = await t.worker();
});

afterEach(async () => {
  await running?.close();
  running = null;
  await t.drop();
});

describe("a queued step", () => {
  test.each([
    ["whose job is gone", async (job: string) => void (await t.redis.del(queue(job), queue("wait")))],
    ["whose job is in no list", async () => void (await t.redis.del(queue("wait")))],
    [
      "whose job is active without a holder",
      async (job: string) => void (await t.redis.multi().del(queue("wait")).lpush(queue("active"), job).exec()),
    ],
  ])("%s has one again", async (_, damage) => {
    const plan = await t.submit(aChain(["a", "b"]));
    await damage(`${plan}/a/1`);

    expect(await mend(plan)).toBe(1);

    expect(await mend(plan)).toBe(0);
    await run(plan);
  });

  test("that is where it should be is left alone", async () => {
    const plan = await t.submit(aChain(["a"]));
    const before = await t.dump();
    expect(await mend(plan)).toBe(0);
    expect(await t.dump()).toEqual(before);
  });
});

describe("a step", () => {
  test.each([
    ["whose timer is over", "timer", 1, 0],
    ["whose timer goes on", "timer", 600_000, 1],
    ["that waits for a signal until a time that is over", "signal", 1, 0],
    ["that waits for a signal until a time to come", "signal", 600_000, 1],
  ] as const)("%s and has no job has one again, for the rest of its time", async (_, wait, dueInMs, delayed) => {
    const plan = await t.submit(aChain(["a"]));
    await worker.settle(await worker.take(), { kind: "park", wait, dueInMs, ask: null });
    await t.redis.del(queue("delayed"), queue(`${plan}/a/1`));
    const isOver = async () => {
      const { open, now } = await t.store.view(plan);
      return open[0]?.kind === "waiting" && open[0].dueAt! <= now;
    };
    if (delayed === 0) await until("it to be over", isOver);

    expect(await mend(plan)).toBe(1);

    expect(await t.redis.zcard(queue("delayed"))).toBe(delayed);
    expect(await checkInvariants(t.store, plan)).toEqual([]);
  });
});

test("a retry without a job has one again", async () => {
  const plan = await t.submit(aChain(["a"]));
  const failed = { kind: "retry", delayMs: 0, error: { code: "X", message: "x" } } as const;
  await worker.settle(await worker.take(), failed, false);
  await t.redis.del(queue("delayed"), queue("wait"), queue(`${plan}/a/1`));
  expect(await mend(plan)).toBe(1);
  await run(plan);
});

describe("a backlog", () => {
  const ids = Array.from({ length: 60 }, (_, i) => `s${i}`);
  let plan: string;
  let backlog: string;

  beforeEach(async () => {
    plan = await t.submit(aDefinition(ids.map((id) => ({ id }))));
    backlog = `${t.keys.plan(plan)}:backlog:work|`;
    expect(await t.redis.llen(backlog)).toBe(10);
  });

  test("whose steps in the queue nobody has started yet is as it should be", async () => {
    expect(await mend(plan)).toBe(0);
    expect(await t.redis.llen(backlog)).toBe(10);
  });

  test("whose list is lost has it again", async () => {
    await t.redis.del(backlog);
    await t.redis.hset(t.keys.plan(plan), "backlog", "");

    expect(await mend(plan)).toBe(10);

    expect(await t.redis.llen(backlog)).toBe(10);
    await run(plan);
  });

  test("that nothing in the queue is in front of goes on", async () => {
    for (let reply = await worker.fetch(); reply.next.kind === "step"; reply = await worker.complete(stepOf(reply))) {
      if ((await t.redis.llen(backlog)) === 5) await t.redis.hset(t.keys.plan(plan), "backlog", "");
    }
    expect((await t.store.view(plan)).open.map(({ kind }) => kind)).toEqual(Array(5).fill("backlog"));
    expect(await checkInvariants(t.store, plan)).toContainEqual(
      expect.stringContaining("5 steps of work| wait in the backlog, and none is in the queue before them"),
    );

    expect(await mend(plan)).toBe(1);

    await run(plan);
  });
});

test("steps that wait for a sandbox which nobody has take their turns", async () => {
  const steps = ["a", "b", "c"].map((id) => ({ id, sandbox: "write" as const }));
  const plan = await t.submit(aDefinition(steps, { sandbox: A_SANDBOX }));
  expect(await mend(plan), "a has it").toBe(0);
  await worker.complete(stepOf(await worker.fetch()), null, false);
  await t.redis.hset(t.keys.plan(plan), "holder", "");
  await t.redis.hset(t.keys.planPart(plan, "open"), "b", "h|0|0|0|1||||||execute||w");

  await mend(plan);

  expect((await t.store.view(plan)).open.map(({ stepId, kind }) => [stepId, kind])).toContainEqual(["c", "queued"]);
});

describe("a running step", () => {
  test("whose owner is registered no more goes back, with a crash", async () => {
    const plan = await t.submit(aChain(["a", "b"]));
    const lost = await t.worker();
    await lost.take();
    await t.redis.zrem(t.keys.workers, lost.id);
    await t.redis.del(t.keys.own(lost.id), queue(`${plan}/a/1:lock`), queue("active"));

    expect(await mend(plan)).toBe(1);

    expect((await t.store.view(plan)).open[0]).toMatchObject({ kind: "queued", crashes: 1 });
    await run(plan);
  });

  test("that its owner forgot is its own again, so that a takeover finds it", async () => {
    const plan = await t.submit(aChain(["a"]));
    const step = await worker.take();
    await t.redis.del(t.keys.own(worker.id), queue(`${plan}/a/1:lock`));
    await mend(plan);
    expect(await worker.owned()).toEqual({ [step.token]: `work ${plan}/a/1` });
    expect((await worker.complete(step)).verdict).toBe("OK");
    expect(await checkInvariants(t.store, plan)).toEqual([]);
  });

  test.each([
    ["goes on", false],
    ["was refused, and has forgotten it: it goes back", true],
  ])("whose job was removed from its queue, while its owner %s", async (_, refused) => {
    const plan = await t.submit(aChain(["a", "b"]));
    const step = await worker.take();
    await t.redis.del(queue("active"), queue(`${plan}/a/1`), queue(`${plan}/a/1:lock`));
    if (refused) expect((await worker.complete(step, null, false)).verdict).toBe("LOST");

    await mend(plan);

    if (refused) expect(await worker.audit([])).toBe(1);
    else expect((await worker.complete(step, null, false)).verdict).toBe("OK");
    await run(plan);
  });
});

test("a plan whose only process is gone is interrupted; one that waits for a person goes on waiting", async () => {
  const [queued, waiting] = ["queued", "waiting"];
  const request = { compiled: aChain(["a"]), input: "{}", actor: "ada", workdir: null, privateQueue: "run~gone" };
  for (const planId of [queued, waiting]) await t.store.submit({ ...request, planId });
  await t.redis.hset(t.keys.plan(waiting), "state", "waiting");
  expect([await mend(queued), await mend(waiting)]).toEqual([1, 0]);
  expect([await t.state(queued), await t.state(waiting)]).toEqual(["interrupted", "waiting"]);
  expect((await t.store.history(queued)).at(-1)?.type).toBe("plan.interrupted");
});

test.each(["paused", "failed", "cancelled"])("a plan that is %s is left alone", async (state) => {
  const plan = await t.submit(aChain(["a"]));
  if (state === "paused") await t.store.pause(plan, "ada", null, false);
  if (state === "cancelled") await t.store.cancel(plan, "ada", null);
  if (state === "failed")
    await worker.settle(await worker.take(), { kind: "fail", error: { code: "X", message: "x" } });
  const before = await t.dump();
  expect(await mend(plan)).toBe(0);
  expect(await t.dump()).toEqual(before);
});

describe("active jobs without a holder", () => {
  test("go back: a step's with a crash, a stranger's as it is, a leftover away; once a minute", async () => {
    const plan = await t.submit(aDefinition([{ id: "a" }, { id: "b" }]));
    const lost = await t.worker();
    const taken = stepOf(await lost.fetch());
    const held = await worker.take();
    await t.redis.zrem(t.keys.workers, lost.id);
    await t.redis.lpush(queue("active"), "stranger", "nobody/knows/1");

    expect(await strays()).toBe(3);

    const open = new Map((await t.store.view(plan)).open.map((step) => [step.stepId, step]));
    expect(open.get(taken.stepId)).toMatchObject({ kind: "queued", crashes: 1 });
    expect(open.get(held.stepId)).toMatchObject({ kind: "running", crashes: 0 });
    expect(await t.redis.lrange(queue("active"), 0, -1)).toEqual([`${plan}/${held.stepId}/1`]);
    expect((await t.redis.lrange(queue("wait"), 0, -1)).sort()).toEqual(
      [`${plan}/${taken.stepId}/1`, "stranger"].sort(),
    );
    await t.redis.lpush(queue("active"), "nobody/knows/1");
    expect(await strays()).toBe(0);
  });
});

describe("the pages of a sweep", () => {
  test("hold what should move and has not for five seconds, once a second for the whole fleet", async () => {
    const [quiet, moves, paused] = await Promise.all([0, 1, 2].map(() => t.submit(aChain(["a"]))));
    await t.store.pause(paused!, "ada", null, false);
    for (const plan of [quiet!, paused!]) await t.redis.hincrby(t.keys.plan(plan), "created", -6_000);
    const other = await t.worker();

    const pages = [(await worker.beat())[7], (await other.beat())[7], (await worker.beat())[7]];

    expect(pages).toEqual([[quiet], [], []]);
    expect(moves).not.toBe(quiet);
  });

  test("go through all open plans, and begin again after ten seconds", async () => {
    const plans = await Promise.all(Array.from({ length: 60 }, () => t.submit(aChain(["a"]))));
    for (const plan of plans) await t.redis.hincrby(t.keys.plan(plan), "created", -6_000);
    const nextSecond = () => t.redis.hincrby(t.keys.sweep, "page", -1_000);

    const first = (await worker.beat())[7];
    await nextSecond();
    const second = (await worker.beat())[7];
    await nextSecond();
    const third = (await worker.beat())[7];
    await nextSecond();
    await t.redis.hincrby(t.keys.sweep, "round", -10_000);
    const again = (await worker.beat())[7];

    expect([first.length, second.length, third.length, again.length]).toEqual([50, 10, 0, 50]);
    expect(new Set([...first, ...second])).toEqual(new Set(plans));
  });
});

test("a worker mends what got stuck, says so, and the plan completes", async () => {
  const plan = await t.submit(aChain(["a", "b"]));
  await t.redis.del(queue("wait"), queue(`${plan}/a/1`));
  await t.redis.hincrby(t.keys.plan(plan), "created", -6_000);

  running = await runWorker(t, () => null);

  await until("the plan to complete", async () => (await t.state(plan)) === "completed");
  const said = await until("it to say so", () => running?.log.find((line) => line.message.startsWith("put right")));
  expect(said.facts).toMatchObject({ plan, steps: 1 });
});

async function mend(plan: string): Promise<number> {
  const keys = [t.keys.plan(plan), t.keys.workers];
  let steps = 0;
  for (let cursor = "0"; ; ) {
    const [next, mended] = (await runScript(t.redis, "mend", keys, [t.keys.base, plan, cursor, LOCK_MS])) as [
      string,
      number,
    ];
    steps += mended;
    if (next === "0") return steps;
    cursor = next;
  }
}

async function strays(): Promise<number> {
  return Number(await runScript(t.redis, "strays", [t.keys.sweep, t.keys.workers], [t.keys.base, "work"]));
}

/** Runs the plan to its end by hand. */
async function run(plan: string): Promise<void> {
  let { next } = await worker.fetch();
  while (next.kind === "step") ({ next } = await worker.complete(next.step));
  expect(await t.state(plan)).toBe("completed");
  expect((await t.store.view(plan)).meta.epoch).toBe(1);
  expect(await checkInvariants(t.store, plan)).toEqual([]);
}

function queue(part: string): string {
  return `${t.keys.base}work:${part}`;
}
