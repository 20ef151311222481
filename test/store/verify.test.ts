/** `plan verify` finds what is wrong: each violation is forged in the store, and named. */
import { afterEach, beforeEach, describe, expect, inject, test } from "vitest";
import { Client } from "../../src/client/client.js";
import { sandboxesOf } from "../../src/client/sandboxes.js";
import type { Sandboxes } from "../../src/sandbox/sandboxes.js";
import { RedisAttemptStore } from "../../src/store/attempt-store.js";
import {
  A_SANDBOX,
  aChain,
  aDefinition,
  aSnapshot,
  aStore,
  type HandWorker,
  stepOf,
  type TestStore,
} from "../support/plans.js";
import { aFolder } from "../support/sandboxes.js";

const PLAN = "web-42";
const JOB = `${PLAN}/c/1`;

let t: TestStore;
let worker: HandWorker;
let client: Client;
let key: string;
let history: string[];

beforeEach(async () => {
  t = await aStore(inject("redisUrl"));
  worker = await t.worker();
  client = new Client(async () => t.store, "ada", sandboxesOf({ dataDir: aFolder() }));
  key = t.keys.plan(PLAN);
});

afterEach(async () => {
  await t.drop();
});

describe("of a plan in the middle of its work", () => {
  beforeEach(async () => {
    await aPlan();
    history = await t.redis.lrange(`${key}:history`, 0, -1);
    expect(await found()).toEqual([]);
  });

  test.each<[string, string, () => Promise<unknown>]>([
    ["I1", "event 8, step.completed: a was done already", () => append(3)],
    ["I1", "event 8, step.started: a is done", () => append(1)],
    ["I4", "b completed in the history, without a record", () => t.redis.hdel(`${key}:steps`, "b")],
    [
      "I4",
      "c recorded as done, and the history doesn't say so",
      async () => t.redis.hset(`${key}:steps`, "c", (await t.redis.hget(`${key}:steps`, "b"))!),
    ],
    [
      "I4",
      "c is open, and recorded as done",
      async () => t.redis.hset(`${key}:steps`, "c", (await t.redis.hget(`${key}:steps`, "b"))!),
    ],
    ["I4", "everything that c needs is done, and it was not released", () => t.redis.hdel(`${key}:open`, "c")],
    ["I4", "d is open, and 1 of its needs are not done", () => openAs("d", "c")],
    ["I4", "x is open, and no step of the plan", () => openAs("x", "c")],
    ["I4", "1 needs of d are done; counted are 2", () => t.redis.hset(`${key}:needs`, "d", "2")],
    ["I5", "last_completed_step is a; the newest of the line is b", () => set("last_completed_step", "a")],
    ["I5", "last_checkpoint_id is null; the newest", () => set("last_checkpoint_id", "")],
    ["I6", "the checkpoint of b names decision dec_", () => t.redis.del(`${key}:decisions`)],
    ["I7", "step.started: b needs a, which is not done", () => rewrite([0, 4, 1, 2, 3, 5, 6])],
    ["I8", "the plan is stored as completed; the history ends without an end", () => set("state", "completed")],
    ["I8", "the plan is stored as running; the history ends cancelled", () => add("X|9000|1|ada|no")],
    [
      "I8",
      "event 9, plan.failed: it follows the end of the plan, which was completed",
      async () => {
        await add("z|9000|1|completed");
        await add("z|9001|1|failed");
      },
    ],
    ["I8", "the plan is not in the index of plans", () => t.redis.zrem(t.keys.plans, PLAN)],
    ["I8", "the plan is running, and not listed as open", () => t.redis.zrem(t.keys.openPlans, PLAN)],
    ["I9", "event 1, step.started: it is out of place", () => rewrite([1, 0, 2, 3, 4, 5, 6])],
    [
      "I9",
      "epoch 1 comes after 2",
      async () => {
        await add("p|9000|2|ada|");
        await add("p|9001|1|ada|");
      },
    ],
    ["I9", "attempt 1 of e is number 2 of its line", () => append(5)],
    ["I9", "comes after", () => append(5)],
    ["I9", "the plan is stored as failed; the history says running", () => set("state", "failed")],
    ["I9", "2 of 2 steps are done, and the plan is running", () => set("total", "2")],
    ["I9", "the plan has 5 steps; its total says 6", () => set("total", "6")],
    ["I9", "the fence is 5, below that of an attempt", () => set("fence", "5")],
    ["I9", "the epoch is 7; the history has come to 1", () => set("epoch", "7")],
    ["I9", "the line is that of epoch 3; the history says 1", () => set("line", "3")],
    ["I9", "resume_count is 2; the history has 0 resumes", () => set("resume_count", "2")],
    ["I9", "the record of a is of attempt 4", () => edit("steps", "a", /^c\|1/, "c|4")],
    ["I9", "e was started 1 times; its record says 3", () => edit("open", "e", /^r\|1/, "r|3")],
    ["I9", "failed is 1, with 0 such steps open", () => set("failed", "1")],
    ["I9", "waiting is 1, with 0 such steps open", () => set("waiting", "1")],
    ["I9", "last_decision_id is dec_x; the newest of the line is dec_", () => set("last_decision_id", "dec_x")],
    ["I9", "the choice a/how is decision 1; kept for its step is none", () => t.redis.del(`${key}:choices`)],
    ["I9", "a choice b/why is kept that the history doesn't have", () => t.redis.hset(`${key}:choices`, "b/why", "1")],
    ["I9", "something that Waymark did not write: event 8", () => add("?|0|1|x")],
    ["I9", "something that Waymark did not write: plan web-42: state odd", () => set("state", "odd")],
    [
      "I10",
      "event 9, plan.resumed: epoch 2 was begun by an earlier resume",
      async () => {
        for (const at of [9000, 9001]) await add(`R|${at}|2|ada||0|`);
      },
    ],
    ["I10", "c is queued, so its job belongs in wait; it is in wait and wait", () => t.redis.lpush(queue("wait"), JOB)],
    [
      "I10",
      "c is queued, so its job belongs in wait; it is in delayed",
      async () => {
        await t.redis.lrem(queue("wait"), 0, JOB);
        await t.redis.zadd(queue("delayed"), 1, JOB);
      },
    ],
    ["I10", "c is queued, so its job belongs in wait; it is nowhere", () => t.redis.lrem(queue("wait"), 0, JOB)],
    ["I10", `the job ${JOB} is in work wait, and doesn't exist`, () => t.redis.del(queue(JOB))],
    [
      "I10",
      `the job ${PLAN}/a/1 is of no open step, and in active`,
      () => t.redis.lpush(queue("active"), `${PLAN}/a/1`),
    ],
    [
      "I10",
      `the job ${PLAN}/a/1 is left over: no list of work has it`,
      () => t.redis.hset(queue(`${PLAN}/a/1`), "name", "step"),
    ],
    ["L1", "nothing takes c further: it is queued, and has no job", () => t.redis.lrem(queue("wait"), 0, JOB)],
    ["L1", "nothing takes c further: it is free to run, and not open", () => t.redis.hdel(`${key}:open`, "c")],
    ["L1", "which is not registered", () => t.redis.zrem(t.keys.workers, worker.id)],
    ["I9", "1 steps of work| are in the queue; counted are 7", () => t.redis.hset(`${key}:queued`, "work|", "7")],
    [
      "L1",
      "1 steps of work|3 wait in the backlog, and none is in the queue before them",
      async () => {
        await edit("open", "c", /^q(.*)$/, "b$1p3");
        await t.redis.rpush(`${key}:backlog:work|3`, "c");
      },
    ],
    ["L1", "c waits in the backlog, which doesn't have it", () => edit("open", "c", /^q/, "b")],
    ["L1", "the plan is running, and nothing of it is open", () => t.redis.del(`${key}:open`)],
    ["L1", "the turn to write the sandbox has c, not nobody", () => set("holder", "c")],
    ["L1", "nothing wait for the sandbox; in its queue: c", () => t.redis.rpush(`${key}:exclusive`, "c")],
  ])("%s: %s", async (invariant, message, forge) => {
    await forge();

    expect(await found()).toContainEqual(expect.stringMatching(new RegExp(`^${invariant}: .*${escaped(message)}`)));
  });

  test("nothing is written, and what is in queues that are too long is not judged", async () => {
    await t.redis.lpush(queue("wait"), ...Array.from({ length: 10_001 }, (_, i) => `other/x/${i}`));
    await t.redis.lrem(queue("wait"), 0, JOB);
    await t.redis.hset(queue(`${PLAN}/a/1`), "name", "step");
    const before = await t.dump();

    expect(await found()).toEqual([]);

    expect(await t.dump()).toEqual(before);
    await t.redis.zrem(t.keys.workers, worker.id);
    expect((await found()).map((violation) => violation.split(":")[0])).toEqual(["L1"]);
  });

  test("stale jobs may wait, and an owner that was told to stop may hold one; nobody else", async () => {
    await t.store.pause(PLAN, "ada", null, false);
    expect(await found()).toEqual([]);

    await t.redis.del(t.keys.own(worker.id));

    expect(await found()).toEqual([`I10: the job ${PLAN}/e/1 is of no open step, and in active`]);
  });
});

describe("of a plan with files", () => {
  beforeEach(async () => {
    await t.submit(
      aDefinition(
        ["a", "b", "c", "d"].map((id) => ({ id, sandbox: "write" as const, needs: id === "a" ? [] : ["a"] })),
        { sandbox: A_SANDBOX },
      ),
      PLAN,
    );
    await worker.settle(await worker.take(), { kind: "complete", output: "null", sandbox: aSnapshot(1) }, false);
    expect(await found()).toEqual([]);
  });

  test.each<[string, string, () => Promise<unknown>]>([
    ["I6", "the checkpoint of a names a snapshot that isn't there", () => t.redis.rpop(`${key}:sandboxes`)],
    ["I6", "the snapshot in force, number 9, isn't there", () => set("sandbox", "9")],
    ["I9", "the snapshot in force is sha256:", () => set("sandbox", "1")],
    ["I9", "have their turn to write the sandbox at once", () => edit("open", "c", /^e/, "q")],
    ["L1", "c, d wait for the sandbox; in its queue: c", () => t.redis.lrem(`${key}:exclusive`, 0, "d")],
    ["L1", "the turn to write the sandbox has nobody, not b", () => set("holder", "")],
  ])("%s: %s", async (invariant, message, forge) => {
    await forge();

    expect(await found()).toContainEqual(expect.stringMatching(new RegExp(`^${invariant}: .*${escaped(message)}`)));
  });
});

describe("of a plan that is over", () => {
  test("completed means that everything is done, and nothing open", async () => {
    await t.submit(aChain(["a", "b"]), PLAN);
    await worker.complete(stepOf(await worker.complete(await worker.take())));
    expect(await found()).toEqual([]);

    await openAs("b", "b", "q|0|0|0|1|||||work|execute||");
    expect(await found()).toContain("I4: the plan is completed, with b open");
    await t.redis.zadd(t.keys.openPlans, 1, PLAN);
    expect(await found()).toContain("I8: the plan is completed, and listed as open");
  });

  test("and of one that was rewound, grew and forked, all of it holds", async () => {
    await t.submit(aChain(["look", "end"]), PLAN);
    const appended = [{ ...aDefinition([{ id: "x", needs: ["look"] }]).definition.steps[0]!, appendedBy: "look" }];
    const look = { kind: "complete", output: "null", appended } as const;
    await worker.settle(await worker.take(), look, false);
    await worker.complete(await worker.take(), null, false);
    await worker.complete(await worker.take(), null, false);
    await client.fork(PLAN, { planId: "other", fromStep: "look" });
    const other = [
      { ...appended[0]!, needs: ["look", "y"] },
      { ...appended[0]!, id: "y" },
    ].reverse();
    await worker.settle(await worker.take(), { ...look, appended: other }, false);

    for await (const document of client.verifyAll())
      expect(document).toMatchObject({ violations: [], snapshots: null });
  });
});

describe("client.verify", () => {
  test("reads the content of every snapshot, unless it is not to", async () => {
    const dataDir = aFolder();
    client = new Client(async () => t.store, "ada", sandboxesOf({ dataDir }));
    await client.submitCompiled(aChain(["a", "b"], { sandbox: "write" }, { sandbox: A_SANDBOX }), "{}", {
      planId: PLAN,
    });
    expect(await client.verify(PLAN)).toMatchObject({
      violations: [],
      snapshots: 1,
      events: 1,
      checkpoints: 0,
      state: "queued",
    });
    await worker.settle(await worker.take(), { kind: "complete", output: "null", sandbox: aSnapshot(3) }, false);

    const { violations, snapshots } = await client.verify(PLAN);
    expect(snapshots).toBe(2);
    expect(violations).toEqual([
      {
        invariant: "I6",
        message: expect.stringMatching(/^The checkpoint of a: Snapshot sha256:\w+ can't be restored/),
      },
    ]);
    expect(await client.verify(PLAN, { files: false })).toMatchObject({ violations: [], snapshots: null });

    await t.redis.lset(`${key}:sandboxes`, 0, JSON.stringify(aSnapshot(4)));
    expect((await client.verify(PLAN)).violations[0]!.message).toMatch(/^A snapshot that the plan names: /);
    const elsewhere = new Client(async () => t.store, "ada", sandboxesOf({ dataDir: aFolder() }));
    expect(await elsewhere.verify(PLAN)).toMatchObject({ violations: [], snapshots: null });
  });

  test("fails where snapshots are kept and can't be reached: that says nothing of them", async () => {
    await client.submitCompiled(aChain(["a"], { sandbox: "write" }, { sandbox: A_SANDBOX }), "{}", { planId: PLAN });
    const unreachable = { name: "directory", verify: async () => Promise.reject(new Error("no route")) };
    const sandboxes = { keeps: () => true, provider: () => unreachable } as unknown as Sandboxes;

    await expect(
      new Client(
        async () => t.store,
        "ada",
        async () => sandboxes,
      ).verify(PLAN),
    ).rejects.toThrow("no route");
  });

  test("of all plans passes over one that was removed meanwhile; of one that isn't there is refused", async () => {
    await aPlan();
    await t.redis.zadd(t.keys.plans, 1, "removed");
    const all: string[] = [];
    for await (const { planId } of client.verifyAll()) all.push(planId);

    expect(all).toEqual([PLAN]);
    await expect(client.verify("removed")).rejects.toMatchObject({ code: "PLAN_NOT_FOUND" });
  });

  test("reads again where the plan grows or is redefined between its two reads", async () => {
    await aPlan();
    const view = t.store.view.bind(t.store);
    let reads = 0;
    t.store.view = async (planId) => {
      const read = await view(planId);
      return reads++ > 0 ? read : { ...read, meta: { ...read.meta, privateQueue: "run~gone" } };
    };

    expect((await client.verify(PLAN)).violations).toEqual([]);
    expect(reads).toBe(2);
  });
});

/** a has decided how and is done, b is done, e runs, c is queued, d waits for e. */
async function aPlan(): Promise<void> {
  const steps = [
    { id: "a" },
    { id: "b", needs: ["a"] },
    { id: "c", needs: ["b"] },
    { id: "e", needs: ["a"] },
    { id: "d", needs: ["b", "e"] },
  ];
  await t.submit(aDefinition(steps), PLAN);
  const a = await worker.take();
  const attempts = new RedisAttemptStore(t.redis, t.keys, t.store.sealed);
  await attempts.decide(a, "how", { question: "how?", options: [], choice: "well", rationale: null, madeBy: "test" });
  await worker.complete(a, null, false);
  const [b, e] = [await worker.take(), await worker.take()];
  await worker.complete(b, null, false);
  expect([b.stepId, e.stepId]).toEqual(["b", "e"]);
}

async function found(): Promise<string[]> {
  const { violations } = await client.verify(PLAN, { files: false });
  return violations.map(({ invariant, message }) => `${invariant}: ${message}`);
}

function set(field: string, value: string): Promise<unknown> {
  return t.redis.hset(key, field, value);
}

function queue(part: string): string {
  return `${t.keys.base}work:${part}`;
}

function add(event: string): Promise<unknown> {
  return t.redis.rpush(`${key}:history`, event);
}

/** Repeats an event. */
function append(index: number): Promise<unknown> {
  return add(history[index]!);
}

async function rewrite(order: readonly number[]): Promise<void> {
  await t.redis.del(`${key}:history`);
  await t.redis.rpush(`${key}:history`, ...order.map((i) => history[i]!));
}

async function edit(part: "steps" | "open", step: string, what: RegExp, by: string): Promise<void> {
  const text = (await t.redis.hget(`${key}:${part}`, step))!;
  expect(text).toMatch(what);
  await t.redis.hset(`${key}:${part}`, step, text.replace(what, by));
}

async function openAs(step: string, other: string, record?: string): Promise<void> {
  await t.redis.hset(`${key}:open`, step, record ?? (await t.redis.hget(`${key}:open`, other))!);
}

function escaped(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
}
