/** Plans that grow: a step's completion and the steps that it appends are one write, whoever else is at work. */
import { afterEach, beforeEach, describe, expect, inject, test } from "vitest";
import { resumePlan } from "../../src/client/resume.js";
import { grow, type StepDefinition } from "../../src/core/definition.js";
import type { StartedStep } from "../../src/core/ports.js";
import { checkInvariants } from "../support/invariants.js";
import { aChain, aDefinition, aStore, type HandWorker, nextOf, stepOf, type TestStore } from "../support/plans.js";

const BOOM = { code: "STEP_FAILED", message: "boom" };

let t: TestStore;
let worker: HandWorker;

beforeEach(async () => {
  t = await aStore(inject("redisUrl"));
  worker = await t.worker();
});

afterEach(async () => {
  await t.drop();
});

test("appended steps run after the one that appended them, in the order of their needs, and end the plan", async () => {
  const plan = await t.submit(aDefinition([{ id: "a" }]));

  const left = await append(await worker.take(), ["left"], ["right"], ["join", "left", "right"]);
  const ran = [nextOf(left)];
  let reply = await worker.complete(stepOf(left), "l");
  ran.push(nextOf(reply));
  reply = await worker.complete(stepOf(reply), "r");
  ran.push(nextOf(reply));
  expect(await t.state(plan)).toBe("running");
  await worker.complete(stepOf(reply), "j");

  expect(ran).toEqual(["left", "right", "join"]);
  expect(await t.state(plan)).toBe("completed");
  const { view, compiled } = await t.store.detail(plan);
  expect(view.meta).toMatchObject({ total: 4, done: 4, grown: 1 });
  expect([...compiled.steps.values()].map(({ id, index, needs, next }) => [id, index, needs, next])).toEqual([
    ["a", 0, [], ["left", "right", "join"]],
    ["left", 1, ["a"], ["join"]],
    ["right", 2, ["a"], ["join"]],
    ["join", 3, ["a", "left", "right"], []],
  ]);
  expect(await t.store.history(plan)).toContainEqual(
    expect.objectContaining({ type: "plan.grown", step: "a", appended: ["left", "right", "join"] }),
  );
  expect(await checkInvariants(t.store, plan)).toEqual([]);
});

test("one of them may need a step that is not done yet, of which nobody knew that anything follows", async () => {
  const plan = await t.submit(aDefinition([{ id: "slow" }, { id: "a" }, { id: "other" }]));
  const slow = await worker.take();
  const a = await worker.take();
  const other = await worker.take();
  await append(a, ["after", "slow"]);

  // The worker of `slow` fetched it before the plan grew; its commit is sent again with what it has learned.
  expect(slow.grown).toBe(0);
  await worker.complete(other, null, false);
  expect((await t.store.view(plan)).open.map((step) => step.stepId)).toEqual(["slow"]);
  const next = await worker.complete(slow);

  expect(nextOf(next)).toBe("after");
  await worker.complete(stepOf(next));
  expect(await t.state(plan)).toBe("completed");
  expect(await checkInvariants(t.store, plan)).toEqual([]);
});

test("a commit that doesn't know how the plan has grown writes nothing", async () => {
  const plan = await t.submit(aDefinition([{ id: "slow" }, { id: "a" }]));
  const slow = await worker.take();
  await append(await worker.take(), ["after", "slow"]);
  const before = await t.dumpPlan(plan);
  const { runScript } = await import("../../src/store/scripts.js");

  const reply = await runScript(
    t.redis,
    "complete",
    [t.keys.own(worker.id), t.keys.plan(plan)],
    [t.keys.base, "work", plan, "slow", "1", slow.token, "1", worker.id, "1000", "null", "ckp_x", "1"],
  );

  expect(reply).toEqual(["GROWN", expect.any(String), "", 0, "0"]);
  expect(await t.dumpPlan(plan)).toEqual(before);
});

test("two steps append at the same time, the later one knowing of the earlier", async () => {
  const plan = await t.submit(aDefinition([{ id: "a" }, { id: "b" }]));
  const [a, b] = [await worker.take(), await worker.take()];

  await append(a, ["from-a"]);
  await append(b, ["from-b"]);

  const { view } = await t.store.detail(plan);
  expect(view.open.map((step) => step.stepId).sort()).toEqual(["from-a", "from-b"]);
  expect(view.meta).toMatchObject({ total: 4, grown: 2 });
  expect(await checkInvariants(t.store, plan)).toEqual([]);
});

test.each<[string, Partial<StepDefinition>[], string]>([
  ["an id that the plan has", [{ id: "b" }], "the plan has a step b already"],
  ["an id twice", [{ id: "x" }, { id: "x" }], "the plan has a step x already"],
  ["a need that the plan hasn't", [{ id: "x", needs: ["a", "nope"] }], "x needs nope, which the plan does not have"],
  [
    "a need of a later phase",
    [{ id: "x", phase: "early", needs: ["a", "b"] }],
    "x of phase early needs b of the later phase late",
  ],
  ["an unknown phase", [{ id: "x", phase: "never" }], "the plan has no phase never"],
])("%s fails the step that appends it, and nothing is appended", async (_, steps, why) => {
  const plan = await t.submit(
    aDefinition(
      [
        { id: "a", phase: "early" },
        { id: "b", phase: "late", needs: ["a"] },
      ],
      {
        phases: ["early", "late"],
      },
    ),
  );
  const a = await worker.take();
  const appended = steps.map((step) => aStep({ phase: "early", needs: ["a"], appendedBy: "a", ...step }));

  await worker.settle(a, { kind: "complete", output: "null", appended });

  const { view, errors } = await t.store.detail(plan);
  expect(view.open.map(({ stepId, kind }) => [stepId, kind])).toEqual([["a", "failed"]]);
  expect(errors.get("a")).toEqual({ code: "INVALID_PLAN", message: why });
  expect(view.meta).toMatchObject({ total: 2, grown: 0 });
  expect(await checkInvariants(t.store, plan)).toEqual([]);
});

test("a repeated commit appends once", async () => {
  const plan = await t.submit(aDefinition([{ id: "a" }]));
  const a = await worker.take();
  const first = await append(a, ["b"]);

  const again = await append(a, ["b"]);

  expect([first.verdict, again.verdict]).toEqual(["OK", "DUP"]);
  expect([nextOf(first), nextOf(again)]).toEqual(["b", "b"]);
  expect((await t.store.view(plan)).meta).toMatchObject({ total: 2, grown: 1 });
});

test("a step that lost its plan appends nothing", async () => {
  const plan = await t.submit(aDefinition([{ id: "a" }]));
  const a = await worker.take();
  await t.store.pause(plan, "tester", null, false);

  expect((await append(a, ["b"])).verdict).toBe("FENCED");
  expect((await t.store.view(plan)).meta).toMatchObject({ total: 1, grown: 0 });
});

test("a worker that has never met the plan runs what was appended, and appends more", async () => {
  const plan = await t.submit(aChain(["a", "z"]));
  const a = await worker.take();
  await worker.settle(a, { kind: "complete", output: "null", appended: [appendedBy("a", ["b"])] }, false);
  const stranger = await aStore(t.url, { prefix: t.prefix });
  const other = await stranger.worker();

  // It loads what it lacks, as a worker's run does.
  const first = await other.take();
  await stranger.store.planDefinition((await stranger.store.view(plan)).meta);
  const rest = [first, await other.take()];
  for (const step of rest) {
    if (step.stepId === "b")
      await other.settle(step, { kind: "complete", output: "null", appended: [appendedBy("b", ["c"])] }, false);
    else await other.complete(step, null, false);
  }
  await other.complete(await other.take());

  expect(await t.state(plan)).toBe("completed");
  expect((await t.store.view(plan)).meta).toMatchObject({ total: 4, done: 4, grown: 2 });
  expect(await checkInvariants(t.store, plan)).toEqual([]);
  stranger.redis.disconnect();
});

test("a fan-out of a thousand appended steps drains through the backlog to its join", { timeout: 60_000 }, async () => {
  const plan = await t.submit(aDefinition([{ id: "a" }]));
  const ids = Array.from({ length: 1_000 }, (_, i) => `s${i}`);
  let reply = await append(await worker.take(), ...ids.map((id) => [id]), ["join", ...ids]);
  const ran: string[] = [];
  while (reply.next.kind === "step") {
    ran.push(reply.next.step.stepId);
    reply = await worker.complete(reply.next.step);
  }

  expect(ran).toHaveLength(1_001);
  expect(ran.at(-1)).toBe("join");
  expect(await t.state(plan)).toBe("completed");
  expect(await checkInvariants(t.store, plan)).toEqual([]);
});

describe("a step of a grown plan that waits", () => {
  test("is answered with what has come to need it, also when the answer came first", async () => {
    const plan = await t.submit(aDefinition([{ id: "gate", uses: "wait" }, { id: "a" }]));
    const gate = await worker.take();
    const a = await worker.take();
    const to = await t.store.answerable(plan, "gate");
    const signal = { data: "1", cancels: false, signalId: null, actor: "sam", choice: null };
    await append(a, ["after", "gate"]);
    await t.store.signal(to, signal);

    // The attempt began before the plan grew: it takes the answer with the next one.
    const parked = await worker.settle(gate, { kind: "park", wait: "signal", dueInMs: null, ask: null });
    const again = stepOf(parked);
    const next = await worker.settle(again, { kind: "park", wait: "signal", dueInMs: null, ask: null });

    expect(again).toMatchObject({ stepId: "gate", attempt: 2, grown: 1 });
    expect(nextOf(next)).toBe("after");
    await worker.complete(stepOf(next));
    expect(await t.state(plan)).toBe("completed");
    expect(await checkInvariants(t.store, plan)).toEqual([]);
  });

  test("is answered by somebody who read the plan before it grew", async () => {
    const plan = await t.submit(aDefinition([{ id: "gate", uses: "wait" }, { id: "a" }]));
    await worker.settle(await worker.take(), { kind: "park", wait: "signal", dueInMs: null, ask: null }, false);
    const to = await t.store.answerable(plan, "gate");
    await append(await worker.take(), ["after", "gate"]);

    await t.store.signal(to, { data: "1", cancels: false, signalId: null, actor: "sam", choice: null });

    expect((await worker.take()).stepId).toBe("after");
    expect(await checkInvariants(t.store, plan)).toEqual([]);
  });
});

test("a rewind of the step that appended them takes its steps out of the plan; it may append them again", async () => {
  const plan = await t.submit(aChain(["first", "a"]));
  const a = stepOf(await worker.complete(await worker.take()));
  const b = stepOf(await append(a, ["b"], ["c", "b"]));
  const c = stepOf(await append(b, ["d"]));
  await worker.settle(c, { kind: "fail", error: BOOM }, false);
  const d = await worker.take();
  await worker.settle(d, { kind: "fail", error: BOOM }, false);
  expect((await t.store.view(plan)).meta).toMatchObject({ total: 5, done: 3, grown: 2 });

  const { summary } = await resumePlan(t.store, plan, { actor: "tester", fromStep: "a" });

  expect(summary).toMatchObject({ reuse: ["first"], run: ["a"], runCount: 1, newKey: ["a"], total: 2, stepNumber: 2 });

  expect((await t.store.view(plan)).meta).toMatchObject({ total: 2, done: 1, grown: 3 });
  expect(await t.redis.exists(t.keys.planPart(plan, "appended"), t.keys.planPart(plan, "needs"))).toBe(0);
  expect(await checkInvariants(t.store, plan)).toEqual([]);
  const again = stepOf(await append(await worker.take(), ["b"]));
  expect(again).toMatchObject({ stepId: "b", attempt: 1 });
  await worker.complete(again);
  expect(await t.state(plan)).toBe("completed");
  expect(await checkInvariants(t.store, plan)).toEqual([]);
});

test("a rewind to an appended step keeps what was appended with it", async () => {
  const plan = await t.submit(aDefinition([{ id: "a" }]));
  const b = stepOf(await append(await worker.take(), ["b"], ["c", "b"]));
  const c = stepOf(await worker.complete(b));
  await worker.settle(c, { kind: "fail", error: BOOM }, false);

  await resumePlan(t.store, plan, { actor: "tester", fromStep: "b" });

  expect((await t.store.view(plan)).meta).toMatchObject({ total: 3, done: 1, grown: 1 });
  const reply = await worker.complete(await worker.take());
  expect(nextOf(reply)).toBe("c");
  await worker.complete(stepOf(reply));
  expect(await t.state(plan)).toBe("completed");
  expect(await checkInvariants(t.store, plan)).toEqual([]);
});

test("what is said to be an appended step and isn't one is refused", async () => {
  const plan = await t.submit(aDefinition([{ id: "a" }]));
  await append(await worker.take(), ["b"]);
  await t.redis.hset(t.keys.planPart(plan, "appended"), "b", '{"id":"c"}');
  const stranger = await aStore(t.url, { prefix: t.prefix });

  await expect(stranger.store.detail(plan)).rejects.toMatchObject({ code: "STORE_UNSUITABLE" });
  stranger.redis.disconnect();
});

/** Each with the step that it needs besides the one that appends it. */
function append(step: StartedStep, ...appended: (readonly string[])[]) {
  const steps = appended.map((one) => appendedBy(step.stepId, one));
  return worker.settle(step, { kind: "complete", output: "null", appended: steps });
}

function appendedBy(by: string, [id, ...needs]: readonly string[]): StepDefinition {
  return aStep({ id: id!, needs: [by, ...needs], appendedBy: by });
}

function aStep(step: Partial<StepDefinition>): StepDefinition {
  const [base] = aDefinition([{ id: "x" }]).definition.steps;
  return { ...base!, ...step };
}

test("the definition of a grown plan keeps its digest, and is a new one", () => {
  const base = aChain(["a", "b"]);

  const grown = grow(base, [appendedBy("a", ["c", "b"])]);

  expect(grown.digest).toBe(base.digest);
  expect(grown.steps.get("b")!.next).toEqual(["c"]);
  expect(base.steps.get("b")!.next).toEqual([]);
});
