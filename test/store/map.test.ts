/** Maps, step by step: how many items run at once, and what of them a rewind, a resume and a fork keep. */
import { beforeEach, describe, expect, inject, test } from "vitest";
import { Client } from "../../src/client/client.js";
import { resumePlan } from "../../src/client/resume.js";
import { sandboxesOf } from "../../src/client/sandboxes.js";
import type { StepDefinition } from "../../src/core/definition.js";
import { itemSteps } from "../../src/core/map.js";
import type { StartedStep } from "../../src/core/ports.js";
import { checkInvariants } from "../support/invariants.js";
import { aBench } from "../support/one-test.js";
import { aDefinition, aStore, type HandWorker, nextOf, stepOf, type TestStore } from "../support/plans.js";
import { aFolder } from "../support/sandboxes.js";

const BOOM = { code: "STEP_FAILED", message: "boom" };
const FAIL = { kind: "fail", error: BOOM } as const;

let t: TestStore;
let worker: HandWorker;
let plan: string;

beforeEach(async () => {
  ({ t, worker } = await aBench());
});

function aMap(concurrency: number | null = null, spec: Partial<StepDefinition> = {}) {
  const map = { over: "input.list", key: null, concurrency };
  return aDefinition([{ id: "scan" }, { id: "fix", needs: ["scan"], map, ...spec }, { id: "ship", needs: ["fix"] }]);
}

/** A plan whose map has these items, none of which has begun. */
async function aListedMap(
  keys: readonly string[],
  concurrency: number | null = null,
  spec: Partial<StepDefinition> = {},
) {
  const compiled = aMap(concurrency, spec);
  plan = await t.submit(compiled);
  const list = stepOf(await worker.complete(await worker.take()));
  expect(list.stepId).toBe("fix#");
  return settleList(list, keys);
}

async function settleList(list: StartedStep, keys: readonly string[]) {
  const base = await t.store.definition(list.definitionDigest);
  const { steps: appended } = itemSteps(base, "fix", keys, (key) => key);
  return worker.settle(list, { kind: "complete", output: JSON.stringify(keys), appended }, false);
}

async function kinds(): Promise<Record<string, string>> {
  const { open } = await t.store.view(plan);
  return Object.fromEntries(open.map((step) => [step.stepId, step.kind]).sort());
}

describe("items of which two run at once", () => {
  test("follow each other, and the map follows the last", async () => {
    await aListedMap(["a", "b", "c", "d"], 2);
    expect(await kinds()).toEqual({ "fix#a": "queued", "fix#b": "queued", "fix#c": "exclusive", "fix#d": "exclusive" });

    const [a, b] = [await worker.take(), await worker.take()];
    expect(nextOf(await worker.fetch())).toBe("none");
    const c = stepOf(await worker.complete(b, "b"));
    expect(c.stepId).toBe("fix#c");
    expect(await checkInvariants(t.store, plan)).toEqual([]);
    // One that will be tried again keeps its turn.
    await worker.settle(c, { kind: "retry", delayMs: 0, error: BOOM }, false);
    expect(await kinds()).toMatchObject({ "fix#c": "delayed", "fix#d": "exclusive" });
    const again = await worker.take();
    const d = stepOf(await worker.complete(again, "c"));
    await worker.complete(d, "d", false);
    const join = stepOf(await worker.complete(a, "a"));

    expect(join.stepId).toBe("fix");
    expect(stepOf(await worker.complete(join)).stepId).toBe("ship");
    expect((await t.redis.hgetall(t.keys.planPart(plan, "turns"))).fix).toBe("0");
  });

  test("pass their turn on when they fail for good, or only a person can go on with them", async () => {
    await aListedMap(["a", "b", "c", "d"], 2, { effect: "irreversible" });
    const [a, b] = [await worker.take(), await worker.take()];

    await worker.settle(a, FAIL, false);
    expect(await kinds()).toMatchObject({ "fix#a": "failed", "fix#c": "queued", "fix#d": "exclusive" });
    await worker.settle(b, { kind: "release", reason: "drain" }, false);

    expect(await kinds()).toMatchObject({ "fix#b": "uncertain", "fix#c": "queued", "fix#d": "queued" });
  });

  test("keep their turn when their worker leaves, and the others wait on", async () => {
    await aListedMap(["a", "b", "c"], 1);
    await worker.take();
    const other = await t.worker();

    await worker.deregister();

    expect(await kinds()).toEqual({ "fix#a": "queued", "fix#b": "exclusive", "fix#c": "exclusive" });
    const a = await other.take();
    expect(a.stepId).toBe("fix#a");
    expect(nextOf(await other.complete(a))).toBe("fix#b");
  });

  test("take their turns anew after a pause", async () => {
    await aListedMap(["a", "b", "c"], 1);
    await t.store.pause(plan, "tester", null, false);
    expect(new Set(Object.values(await kinds()))).toEqual(new Set(["held"]));

    await resumePlan(t.store, plan, { actor: "tester" });

    expect(Object.values(await kinds()).sort()).toEqual(["exclusive", "exclusive", "queued"]);
  });

  test("but not those that write the sandbox: they take turns anyway", async () => {
    const { steps } = itemSteps(aMap(2, { sandbox: "write" }), "fix", ["a"], (key) => key);
    const { declaredOf } = await import("../../src/store/step-log.js");

    expect(declaredOf(steps[0]!, t.keys)).toBe("w");
    expect(declaredOf({ ...steps[0]!, sandbox: "none", priority: 7 }, t.keys)).toBe("p7m2");
  });
});

describe("a list", () => {
  test("that needs nothing is where its plan begins", async () => {
    plan = await t.submit(aDefinition([{ id: "fix", map: { over: "input", key: null, concurrency: 1 } }]));
    const list = await worker.take();
    expect(list.stepId).toBe("fix#");

    await settleList(list, ["a", "b"]);
    const b = stepOf(await worker.complete(await worker.take()));
    const join = stepOf(await worker.complete(b));

    expect([b.stepId, join.stepId]).toEqual(["fix#b", "fix"]);
    await worker.complete(join);
    expect(await t.state(plan)).toBe("completed");
  });

  test("is said again without a second set of items", async () => {
    await aListedMap([]);
    const compiled = aMap();
    plan = await t.submit(compiled);
    const list = stepOf(await worker.complete(await worker.take()));
    await settleList(list, ["a", "b"]);
    const before = await t.dumpPlan(plan);

    expect(await settleList(list, ["a", "b"])).toMatchObject({ verdict: "DUP" });
    expect(await t.dumpPlan(plan)).toEqual(before);
  });

  test("that would make the plan too long fails its step", async () => {
    const { steps } = itemSteps(aMap(), "fix", ["a", "b"], (key) => key);
    const same = [steps[0]!, steps[0]!];
    plan = await t.submit(aMap());
    const list = stepOf(await worker.complete(await worker.take()));

    await worker.settle(list, { kind: "complete", output: "[]", appended: same }, false);

    expect((await t.store.detail(plan)).errors.get("fix#")).toEqual({
      code: "INVALID_PLAN",
      message: "the plan has a step fix#a already",
    });
  });

  test("of 2,000 items is released in parts, and joined in its order", async () => {
    const keys = Array.from({ length: 2_000 }, (_, i) => `k${i}`);
    await aListedMap(keys);
    const { compiled } = await t.store.detail(plan);

    expect(compiled.steps.get("fix")!.needs.slice(0, 3)).toEqual(["fix#", "fix#k0", "fix#k1"]);
    expect(Object.values(await kinds()).filter((kind) => kind === "queued")).toHaveLength(50);
  });
});

describe("after some items are done", () => {
  test("a resume runs the others", async () => {
    await aListedMap(["a", "b"]);
    await worker.settle(await worker.take(), FAIL, false);
    await worker.complete(await worker.take(), "b", false);

    const { summary } = await resumePlan(t.store, plan, { actor: "tester" });

    expect(summary).toMatchObject({ reuse: ["scan", "fix#", "fix#b"], run: ["fix", "ship", "fix#a"], step: "fix#a" });
    expect(stepOf(await worker.complete(await worker.take())).stepId).toBe("fix");
  });

  test("a rewind to an item keeps the list and the other items", async () => {
    await aListedMap(["a", "b"]);
    const b = stepOf(await worker.settle(await worker.take(), { kind: "complete", output: "1" }));
    const ship = stepOf(await worker.complete(stepOf(await worker.complete(b))));
    await worker.settle(ship, FAIL, false);

    const { summary } = await resumePlan(t.store, plan, { actor: "tester", fromStep: "fix#b" });

    expect(summary).toMatchObject({ reuse: ["scan", "fix#", "fix#a"], run: ["fix", "ship", "fix#b"] });
    const again = await worker.take();
    expect(again).toMatchObject({ stepId: "fix#b", attempt: 1 });
    expect(nextOf(await worker.complete(again))).toBe("fix");
  });

  test("a rewind to the map makes its list anew, with other items", async () => {
    await aListedMap(["a", "b"]);
    const b = stepOf(await worker.complete(await worker.take()));
    const ship = stepOf(await worker.complete(stepOf(await worker.complete(b))));
    await worker.settle(ship, FAIL, false);

    const { summary } = await resumePlan(t.store, plan, { actor: "tester", fromStep: "fix" });

    expect(summary).toMatchObject({ reuse: ["scan"], run: ["fix#", "fix", "ship"], total: 4, from: "step fix" });
    const list = await worker.take();
    expect(list).toMatchObject({ stepId: "fix#", attempt: 1 });
    await settleList(list, ["c"]);
    const c = await worker.take();
    expect(c).toMatchObject({ stepId: "fix#c" });
    await worker.complete(stepOf(await worker.complete(stepOf(await worker.complete(c)))));
    expect(await t.state(plan)).toBe("completed");
    const { view } = await t.store.detail(plan);
    expect(view.meta).toMatchObject({ total: 5, done: 5 });
  });

  test("a fork inherits list and items, and runs the others", async () => {
    const client = new Client(async () => t.store, "ada", sandboxesOf({ dataDir: aFolder() }));
    await aListedMap(["a", "b"]);
    await worker.settle(await worker.take(), FAIL, false);
    await worker.complete(await worker.take(), "b", false);

    const summary = await client.fork(plan, { planId: "new" });

    expect(summary).toMatchObject({ reuse: ["scan", "fix#", "fix#b"], run: ["fix", "ship", "fix#a"] });
    const a = await worker.take();
    expect(a).toMatchObject({ planId: "new", stepId: "fix#a" });
    await worker.complete(stepOf(await worker.complete(stepOf(await worker.complete(a)))));
    expect(await t.state("new")).toBe("completed");
  });

  test("logs, views and the tree know them by their ids, in their place", async () => {
    const client = new Client(async () => t.store, "ada", sandboxesOf({ dataDir: aFolder() }));
    await aListedMap(["src/a.ts", "b"]);
    await worker.complete(await worker.take(), null, false);
    await t.redis.hset(t.keys.planPart(plan, "logs"), { "fix#src/a.ts/1": "old", "fix#src/a.ts/1:bytes": "3" });

    const { steps } = await client.get(plan);

    expect(steps.map((step) => step.id)).toEqual(["scan", "fix#", "fix#src/a.ts", "fix#b", "fix", "ship"]);
    expect(steps.map((step) => step.items)).toEqual([null, null, null, null, { done: 1, total: 2 }, null]);
    expect(await t.store.logs(plan, "fix#src/a.ts")).toEqual([
      { step: "fix#src/a.ts", attempt: 1, text: "old", bytes: 3, superseded: null },
    ]);
  });
});

test("an item that something else than a list has put there is refused", async () => {
  await aListedMap(["a"]);
  const key = t.keys.planPart(plan, "appended");
  const stored = JSON.parse((await t.redis.hget(key, "fix#a"))!);
  expect(Object.keys(stored).sort()).toEqual(["appendedBy", "id", "index", "item", "itemOf", "phase"]);

  for (const change of [{ itemOf: "scan" }, { item: "x" }, { id: "fix#b" }, { index: null }]) {
    await t.redis.hset(key, "fix#a", JSON.stringify({ ...stored, ...change }));
    const fresh = await aStore(inject("redisUrl"), { prefix: t.prefix });
    await expect(fresh.store.detail(plan)).rejects.toThrow("something that Waymark did not write");
    fresh.redis.disconnect();
  }
  await t.redis.hset(key, "fix#a", JSON.stringify(stored));
});
