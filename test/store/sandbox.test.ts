/** What the protocol knows of a sandbox: snapshots in force, and whose turn it is to write. Workers are moved by hand. */
import { afterEach, beforeEach, describe, expect, inject, test } from "vitest";
import { resumePlan } from "../../src/client/resume.js";
import type { Effect, SandboxUse } from "../../src/core/definition.js";
import type { Outcome } from "../../src/core/outcome.js";
import type { StartedStep } from "../../src/core/ports.js";
import { checkInvariants } from "../support/invariants.js";
import {
  A_SANDBOX,
  aDefinition,
  aSnapshot,
  aStore,
  type HandWorker,
  nextOf,
  type StepSpec,
  stepOf,
  type TestStore,
} from "../support/plans.js";

const actor = "tester";
const boom = { code: "STEP_FAILED", message: "boom" };
const fail: Outcome = { kind: "fail", error: boom };
const drain: Outcome = { kind: "release", reason: "drain" };

let t: TestStore;
let worker: HandWorker;
let plans: string[];

beforeEach(async () => {
  t = await aStore(inject("redisUrl"));
  worker = await t.worker();
  plans = [];
});

afterEach(async () => {
  for (const plan of plans) expect(await checkInvariants(t.store, plan)).toEqual([]);
  await t.drop();
});

async function submitted(steps: readonly StepSpec[], head = {}): Promise<string> {
  const plan = await t.submit(aDefinition(steps, { sandbox: A_SANDBOX, ...head }));
  plans.push(plan);
  return plan;
}

function aStep(
  id: string,
  sandbox: SandboxUse,
  needs: readonly string[] = [],
  effect: Effect = "idempotent",
): StepSpec {
  return { id, sandbox, needs, effect };
}

function snapshotOf(step: StartedStep): unknown {
  return JSON.parse(step.sandbox!);
}

function wrote(nth: number): Outcome {
  return { kind: "complete", output: "null", sandbox: aSnapshot(nth) };
}

async function open(plan: string): Promise<string[]> {
  const { open } = await t.store.view(plan);
  return open.map((step) => `${step.stepId} ${step.kind}`).sort();
}

async function take(from = worker): Promise<StartedStep> {
  return stepOf(await from.fetch());
}

describe("the snapshot in force", () => {
  test("is the one that the plan started from, until a step leaves another", async () => {
    const plan = await submitted([
      aStep("scan", "read"),
      aStep("fix", "write", ["scan"]),
      aStep("look", "write", ["fix"]),
      aStep("tell", "none", ["look"]),
    ]);

    const scan = await take();
    expect(snapshotOf(scan)).toEqual(aSnapshot(0));
    const fix = stepOf(await worker.complete(scan));
    expect(snapshotOf(fix)).toEqual(aSnapshot(0));
    const look = stepOf(await worker.settle(fix, wrote(1)));
    expect(snapshotOf(look)).toEqual(aSnapshot(1));
    const tell = stepOf(await worker.complete(look));
    expect(tell.sandbox, "a step without a sandbox is told of none").toBeNull();
    await worker.complete(tell);

    const { digest: first } = aSnapshot(0);
    const { digest: second } = aSnapshot(1);
    const checkpoints = await t.store.checkpoints(plan);
    expect(checkpoints.map(({ step, sandbox }) => [step, sandbox])).toEqual([
      ["scan", first],
      ["fix", second],
      ["look", second],
      ["tell", second],
    ]);
    const completed = (await t.store.history(plan)).filter((event) => event.type === "step.completed");
    expect(completed.map((event) => event.sandbox)).toEqual([first, second, second, second]);
  });

  test("comes with a repeated fetch as well", async () => {
    await submitted([aStep("fix", "write")]);
    const token = worker.newToken();

    const first = stepOf(await worker.fetch(token));
    const again = stepOf(await worker.fetch(token));

    expect(again).toEqual(first);
    expect(snapshotOf(again)).toEqual(aSnapshot(0));
  });

  test("is written once by a repeated commit, and not by a refused one", async () => {
    const plan = await submitted([aStep("fix", "write"), aStep("next", "write", ["fix"])]);
    const fix = await take();
    await worker.settle(fix, wrote(1));

    expect((await worker.settle(fix, wrote(1))).verdict).toBe("DUP");
    const other = await t.worker();
    await other.beat([worker.id]);
    expect((await worker.settle({ ...fix, stepId: "next" }, wrote(2))).verdict).not.toBe("OK");

    expect(await t.redis.lrange(t.keys.planPart(plan, "sandboxes"), 0, -1)).toEqual(
      [aSnapshot(0), aSnapshot(1)].map((snapshot) => JSON.stringify(snapshot)),
    );
  });

  test("is kept by a repeated submit, whatever the files are by then", async () => {
    const compiled = aDefinition([aStep("fix", "write")], { sandbox: A_SANDBOX });
    const plan = await t.submit(compiled);
    const request = { planId: plan, compiled, input: '{"n":1}', actor, privateQueue: null, workdir: null };

    expect(await t.store.submit({ ...request, sandbox: async () => aSnapshot(7) })).toEqual({ existing: true });

    expect(snapshotOf(await take())).toEqual(aSnapshot(0));
  });

  test("a key of a wrong type refuses the commit before the first write", async () => {
    const plan = await submitted([aStep("fix", "write")]);
    const fix = await take();
    await t.redis.del(t.keys.planPart(plan, "sandboxes"));
    await t.redis.set(t.keys.planPart(plan, "sandboxes"), "forged");
    const before = await t.dumpPlan(plan);

    await expect(worker.settle(fix, wrote(1))).rejects.toThrow(/WRONGTYPE/);

    expect(await t.dumpPlan(plan)).toEqual(before);
    await t.redis.del(t.keys.planPart(plan, "sandboxes"));
    plans.length = 0;
  });

  test("something else in its place is refused by those who read it", async () => {
    const plan = await submitted([aStep("fix", "write")]);
    plans.length = 0;
    for (const forged of ["no JSON", '{"provider":"directory"}', "[1]", "null"]) {
      await t.redis.lset(t.keys.planPart(plan, "sandboxes"), 0, forged);

      await expect(t.store.history(plan)).rejects.toMatchObject({ code: "STORE_UNSUITABLE" });
    }
  });
});

describe("steps that write the sandbox", () => {
  test("take turns, in the order in which they became free; readers overlap", async () => {
    const plan = await submitted([
      aStep("w1", "write"),
      aStep("w2", "write"),
      aStep("r1", "read"),
      aStep("r2", "read"),
      aStep("w3", "write"),
    ]);
    expect(await open(plan)).toEqual(["r1 queued", "r2 queued", "w1 queued", "w2 exclusive", "w3 exclusive"]);
    const others = await Promise.all([t.worker(), t.worker()]);

    const w1 = await take();
    expect([(await take(others[0])).stepId, (await take(others[1])).stepId]).toEqual(["r1", "r2"]);
    const w2 = stepOf(await worker.settle(w1, wrote(1)));
    expect([w2.stepId, snapshotOf(w2)]).toEqual(["w2", aSnapshot(1)]);
    expect(await open(plan)).toEqual(["r1 running", "r2 running", "w2 running", "w3 exclusive"]);
  });

  test.each<[string, Outcome, string]>([
    ["waits for another attempt", { kind: "retry", delayMs: 3_600_000, error: boom }, "w1 delayed"],
    ["was handed back", drain, "w1 queued"],
    ["was offered to a worker that lacks something", { kind: "defer", delayMs: 3_600_000, reason: "no" }, "w1 delayed"],
  ])("wait while the one whose turn it is %s", async (_what, outcome, first) => {
    const plan = await submitted([aStep("w1", "write"), aStep("w2", "write")]);

    await worker.settle(await take(), outcome, false);

    expect(await open(plan)).toEqual([first, "w2 exclusive"]);
  });

  test("wait while the one whose turn it is moves to another worker", async () => {
    const plan = await submitted([aStep("w1", "write"), aStep("w2", "write")]);
    await take();
    const other = await t.worker();

    await other.beat([worker.id]);

    expect(await open(plan)).toEqual(["w1 queued", "w2 exclusive"]);
    expect((await take(other)).stepId).toBe("w1");
  });

  test("go on when the one whose turn it is has failed for good: the plan is failed only after them", async () => {
    const plan = await submitted([aStep("w1", "write"), aStep("w2", "write")]);

    const w2 = stepOf(await worker.settle(await take(), fail));

    expect(w2.stepId).toBe("w2");
    expect(await t.state(plan)).toBe("running");
    await worker.settle(w2, wrote(1));
    expect(await t.state(plan)).toBe("failed");
  });

  test("go on when only a person can say whether the one whose turn it is happened", async () => {
    const plan = await submitted([aStep("w1", "write", [], "irreversible"), aStep("w2", "write")]);
    await take();
    const other = await t.worker();

    await other.beat([worker.id]);

    expect(await open(plan)).toEqual(["w1 uncertain", "w2 queued"]);
    const w2 = await take(other);
    await other.settle(w2, drain, false);
    expect(await open(plan)).toEqual(["w1 uncertain", "w2 queued"]);
  });

  test("go on when an irreversible one is handed back", async () => {
    const plan = await submitted([aStep("w1", "write", [], "irreversible"), aStep("w2", "write")]);

    await worker.settle(await take(), drain, false);

    expect(await open(plan)).toEqual(["w1 uncertain", "w2 queued"]);
  });

  test("hold nothing while their plan is paused, and take turns anew after a resume", async () => {
    const plan = await submitted([aStep("w1", "write"), aStep("w2", "write"), aStep("w3", "write")]);
    const w1 = await take();
    await t.store.pause(plan, actor, null, true);
    expect(await open(plan)).toEqual(["w1 running", "w2 held", "w3 held"]);
    await worker.settle(w1, wrote(1));
    expect(await t.state(plan)).toBe("paused");

    await resumePlan(t.store, plan, { actor });

    expect(await open(plan)).toEqual(["w2 queued", "w3 exclusive"]);
    const w2 = await take();
    expect(snapshotOf(w2)).toEqual(aSnapshot(1));
    expect(stepOf(await worker.settle(w2, wrote(2))).stepId).toBe("w3");
  });

  test("are held by the failure of another where the plan stops at its first", async () => {
    const plan = await submitted([aStep("r", "read"), aStep("w1", "write"), aStep("w2", "write")], { failFast: true });

    await worker.settle(await take(), fail, false);

    expect(await open(plan)).toEqual(["r failed", "w1 held", "w2 held"]);
    await resumePlan(t.store, plan, { actor });
    expect(await open(plan)).toEqual(["r queued", "w1 queued", "w2 exclusive"]);
  });

  test("of which one was lost with its worker take turns anew after a resume", async () => {
    const plan = await submitted([aStep("w1", "write"), aStep("w2", "write")]);
    await take();
    await t.redis.zadd(t.keys.workers, "0", worker.id);

    await resumePlan(t.store, plan, { actor });

    expect(await open(plan)).toEqual(["w1 queued", "w2 exclusive"]);
  });

  test("wait in the backlog with their turn", async () => {
    const readers = Array.from({ length: 50 }, (_, i) => aStep(`r${i}`, "read"));
    const plan = await submitted([...readers, aStep("w1", "write"), aStep("w2", "write")]);

    const kinds = (await open(plan)).filter((step) => step.startsWith("w"));

    expect(kinds).toEqual(["w1 backlog", "w2 exclusive"]);
  });
});

describe("a slot whose sandbox step is done", () => {
  test("goes on with the next sandbox step of the plan, before others that wait longer", async () => {
    await submitted([aStep("fix", "write"), aStep("test", "write", ["fix"])]);
    const other = await submitted([{ id: "other" }]);
    const fix = await take();

    const reply = await worker.settle(fix, wrote(1));

    expect(nextOf(reply)).toBe("test");
    expect(stepOf(reply).handedOff).toBe(1);
    expect(await open(other)).toEqual(["other queued"]);
  });

  test("also where the plan has more to do than its share of the queue", async () => {
    const readers = Array.from({ length: 60 }, (_, i) => aStep(`r${i}`, "read"));
    const plan = await submitted([aStep("fix", "write"), ...readers, aStep("test", "write", ["fix"])]);

    const reply = await worker.settle(await take(), wrote(1));

    expect(nextOf(reply)).toBe("test");
    expect((await open(plan)).filter((step) => step.endsWith("backlog"))).toHaveLength(10);
  });

  test("prefers the one that writes, and leaves the others to others", async () => {
    const plan = await submitted([
      aStep("fix", "write"),
      aStep("a", "none", ["fix"]),
      aStep("b", "read", ["fix"]),
      aStep("c", "write", ["fix"]),
    ]);

    expect(nextOf(await worker.settle(await take(), wrote(1)))).toBe("c");

    expect(await open(plan)).toEqual(["a queued", "b queued", "c running"]);
  });

  test("goes on with the plan's only next step, though that one has no files", async () => {
    await submitted([{ id: "other" }]);
    const first = await take();
    await submitted([aStep("fix", "write"), aStep("choose", "none", ["fix"])]);
    const fix = await take();
    await worker.settle(first, drain, false);

    expect(nextOf(await worker.settle(fix, wrote(1)))).toBe("choose");
  });

  test("lets other plans have their turn in the end", async () => {
    const ids = Array.from({ length: 70 }, (_, i) => `s${i}`);
    await submitted(ids.map((id, i) => aStep(id, "write", i === 0 ? [] : [ids[i - 1]!])));
    const other = await submitted([{ id: "other" }]);
    let step = await take();

    let ran = 1;
    for (; step.planId !== other; ran++) step = stepOf(await worker.complete(step));

    expect(ran).toBe(66);
  });

  test("takes nothing while it drains: the step waits for another", async () => {
    const plan = await submitted([aStep("fix", "write"), aStep("test", "write", ["fix"])]);

    await t.redis.hset(t.keys.worker(worker.id), "state", "draining");
    const reply = await worker.settle(await take(), wrote(1), false);

    expect(nextOf(reply)).toBe("none");
    expect(await open(plan)).toEqual(["test queued"]);
    const other = await t.worker();
    const step = await take(other);
    expect(step).toMatchObject({ stepId: "test", handedOff: 0 });
    expect(snapshotOf(step)).toEqual(aSnapshot(1));
  });
});

describe("a step that another worker frees than the one that has the files", () => {
  let other: HandWorker;
  let plan: string;
  let last: StartedStep;

  /** `worker` has written the files. What frees the next writer is the end of `last`, on `other`. */
  beforeEach(async () => {
    other = await t.worker();
    plan = await submitted([aStep("fix", "write"), aStep("ask", "none"), aStep("next", "write", ["fix", "ask"])]);
    const fix = await take();
    last = await take(other);
    await worker.settle(fix, wrote(1), false);
  });

  test("is left to that worker, which is woken for it", async () => {
    await t.redis.del(`${t.keys.base}work:marker`);

    expect(nextOf(await other.complete(last))).toBe("none");

    expect(await t.redis.zcard(`${t.keys.base}work:marker`)).toBe(1);
    expect(nextOf(await worker.fetch())).toBe("next");
  });

  test("stays in front while others take what is behind it", async () => {
    await submitted([aStep("x", "write"), aStep("y", "none")]);

    expect(nextOf(await other.complete(last))).toBe("x");
    expect(nextOf(await other.fetch())).toBe("y");

    expect(nextOf(await worker.fetch())).toBe("next");
  });

  test("is anybody's once it was left to that worker a few times", async () => {
    const seen = [nextOf(await other.complete(last))];
    while (seen.length < 20 && seen.at(-1) === "none") seen.push(nextOf(await other.fetch()));

    expect(seen).toEqual([...Array(8).fill("none"), "next"]);
  });

  test.each<[string, () => Promise<unknown>]>([
    ["is silent", () => t.redis.zadd(t.keys.serving("work"), Date.now() - 2_600, worker.id)],
    ["is leaving", () => t.redis.hset(t.keys.worker(worker.id), "state", "draining")],
    ["is gone", () => worker.deregister()],
  ])("is anybody's where that worker %s", async (_, happens) => {
    await happens();

    expect(nextOf(await other.complete(last))).toBe("next");
  });

  test("is anybody's where that worker could not run the one before", async () => {
    await other.complete(last);
    const next = await take();
    await worker.settle(next, { kind: "defer", delayMs: 0, reason: "no worker has test v1" }, false);

    expect(nextOf(await other.fetch())).toBe("next");
  });

  test("is that worker's again after a failed attempt", async () => {
    await other.complete(last);
    await worker.settle(await take(), { kind: "retry", delayMs: 0, error: boom }, false);

    expect(nextOf(await other.fetch())).toBe("none");
    expect(nextOf(await worker.fetch())).toBe("next");
  });

  test("is its worker's who wrote last", async () => {
    await worker.deregister();
    const next = stepOf(await other.complete(last));
    await other.settle(next, wrote(2), false);

    expect(await t.redis.hmget(t.keys.plan(plan), "files_at", "files_passed")).toEqual([other.id, "0"]);
  });
});
