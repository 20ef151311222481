/** Steps that are done without an output: skipped, or failed in a plan that goes on. */
import { beforeEach, describe, expect, test } from "vitest";
import { Client } from "../../src/client/client.js";
import { resumePlan } from "../../src/client/resume.js";
import { sandboxesOf } from "../../src/client/sandboxes.js";
import type { RedisAttemptStore } from "../../src/store/attempt-store.js";
import { checkInvariants } from "../support/invariants.js";
import { aBench } from "../support/one-test.js";
import {
  A_SANDBOX,
  aChain,
  aDefinition,
  aSnapshot,
  type HandWorker,
  nextOf,
  stepOf,
  type TestStore,
} from "../support/plans.js";
import { aFolder } from "../support/sandboxes.js";

const BOOM = { code: "EXIT_3", message: "boom" };
const SKIP = { kind: "skip" } as const;
const FAIL = { kind: "fail", error: BOOM } as const;

let t: TestStore;
let worker: HandWorker;
let attempts: RedisAttemptStore;

beforeEach(async () => {
  ({ t, worker, attempts } = await aBench());
});

/** `docs` and `test` need `build`; `ship` needs both. */
const DIAMOND = aDefinition([
  { id: "build" },
  { id: "docs", needs: ["build"], when: "code", onFailure: "continue" },
  { id: "test", needs: ["build"] },
  { id: "ship", needs: ["docs", "test"] },
]);

describe("a skipped step", () => {
  test("counts as done: joins run, the plan completes, and its output is null", async () => {
    const plan = await t.submit(DIAMOND);
    const docs = stepOf(await worker.complete(await worker.take()));
    const tested = stepOf(await worker.settle(docs, SKIP));

    const ship = stepOf(await worker.complete(tested));
    expect(ship.stepId).toBe("ship");
    await worker.complete(ship);

    expect(await t.state(plan)).toBe("completed");
    expect(await t.store.output(plan, "docs")).toBe("null");
    const { records, errors } = await t.store.detail(plan);
    expect([...records.values()].map(({ stepId, kind }) => `${stepId} ${kind}`).sort()).toEqual([
      "build completed",
      "docs skipped",
      "ship completed",
      "test completed",
    ]);
    expect(errors.size).toBe(0);
  });

  test("is a commit of the line, and a point that one can resume from", async () => {
    const plan = await t.submit(DIAMOND);
    const docs = stepOf(await worker.complete(await worker.take()));
    await worker.settle(docs, SKIP, false);

    const { meta } = await t.store.view(plan);
    const [, skipped] = await t.store.checkpoints(plan);
    expect(meta.lastCompletedStep).toBe("docs");
    expect(skipped).toMatchObject({ step: "docs", checkpointId: meta.lastCheckpointId, current: true });
    expect((await t.store.history(plan)).at(-1)).toMatchObject({ type: "step.skipped", step: "docs", attempt: 1 });
  });

  test("is reused by a resume and superseded by a rewind, after which it is asked again", async () => {
    const plan = await t.submit(DIAMOND);
    const docs = stepOf(await worker.complete(await worker.take()));
    const tested = stepOf(await worker.settle(docs, SKIP));
    await worker.settle(tested, FAIL, false);

    const { summary } = await resumePlan(t.store, plan, { actor: "tester" });
    expect(summary).toMatchObject({ reuse: ["build", "docs"], run: ["test", "ship"], lastCompletedStep: "docs" });
    await worker.settle(await worker.take(), FAIL, false);

    const rewound = await resumePlan(t.store, plan, { actor: "tester", fromStep: "build" });
    expect(rewound.summary).toMatchObject({ reuse: [], newKey: ["build", "docs", "test"] });
    const again = stepOf(await worker.complete(await worker.take()));
    expect(again).toMatchObject({ stepId: "docs", attempt: 1 });
    await worker.complete(again, { pages: 3 }, false);
    expect(await t.store.output(plan, "docs")).toBe('{"pages":3}');
  });

  test("that may write the sandbox leaves the files as they were, and its turn to the next", async () => {
    const plan = await t.submit(aChain(["a", "b", "c"], { sandbox: "write", when: "code" }, { sandbox: A_SANDBOX }));
    const a = await worker.take();
    const sandbox = aSnapshot(1);
    const b = stepOf(await worker.settle(a, { kind: "complete", output: "null", sandbox }));
    const c = stepOf(await worker.settle(b, SKIP));

    expect(c.stepId).toBe("c");
    expect(JSON.parse(c.sandbox!)).toEqual(sandbox);
    expect((await t.store.checkpoints(plan)).map((point) => point.sandbox)).toEqual([sandbox.digest, sandbox.digest]);
    expect(await checkInvariants(t.store, plan)).toEqual([]);
    await worker.settle(c, SKIP);
    expect(await t.state(plan)).toBe("completed");
  });

  test("is written once, whoever says it again", async () => {
    const plan = await t.submit(aChain(["a", "b"], { when: "code" }));
    const a = await worker.take();
    const first = await worker.settle(a, SKIP);
    const before = await t.dumpPlan(plan);

    const again = await worker.settle(a, SKIP);

    expect(again).toMatchObject({ verdict: "DUP" });
    expect(nextOf(again)).toBe(nextOf(first));
    expect(await t.dumpPlan(plan)).toEqual(before);
  });

  test("of an epoch that is over changes nothing", async () => {
    const plan = await t.submit(aChain(["a", "b"], { when: "code" }));
    const a = await worker.take();
    await t.store.cancel(plan, "tester", null);
    const before = await t.dumpPlan(plan);

    expect(await worker.settle(a, SKIP)).toMatchObject({ verdict: "FENCED" });
    expect(await t.dumpPlan(plan)).toEqual(before);
  });

  test("releases what was appended meanwhile, too", async () => {
    await t.submit(aDefinition([{ id: "slow", when: "code" }, { id: "a" }]));
    const slow = await worker.take();
    const a = await worker.take();
    const appended = aDefinition([{ id: "after", needs: ["slow", "a"], appendedBy: "a" }]).definition.steps;
    await worker.settle(a, { kind: "complete", output: "null", appended }, false);

    expect(nextOf(await worker.settle(slow, SKIP))).toBe("after");
  });
});

describe("a condition that holds", () => {
  test("is recorded once, and known to every later attempt", async () => {
    const plan = await t.submit(aDefinition([{ id: "a", when: "code" }]));
    const first = await worker.take();
    expect(await attempts.admitted(first)).toBe(false);

    expect(await attempts.admit(first)).toMatchObject({ verdict: "OK" });
    expect(await attempts.admit(first)).toMatchObject({ verdict: "OK" });
    await worker.settle(first, { kind: "release", reason: "drain" }, false);
    const second = await worker.take();

    expect(await attempts.admitted(second)).toBe(true);
    const admitted = (await t.store.history(plan)).filter((event) => event.type === "step.admitted");
    expect(admitted).toEqual([expect.objectContaining({ step: "a", attempt: 1 })]);
    expect(await attempts.admit(first)).toMatchObject({ verdict: expect.stringMatching(/DUP|LOST/) });
  });

  test("is forgotten by a rewind of its step, but not by one to a decision that it made", async () => {
    const plan = await t.submit(aDefinition([{ id: "a", when: "code" }]));
    const a = await worker.take();
    await attempts.admit(a);
    const made = { question: "?", options: ["x", "y"], choice: "x", rationale: null, madeBy: "step a" };
    await attempts.decide(a, "how", made);
    await worker.settle(a, FAIL, false);
    const decision = (await t.store.decisions(plan)).at(-1)!.decisionId;

    await resumePlan(t.store, plan, { actor: "tester", fromDecision: decision });
    const anew = await worker.take();
    expect(await attempts.admitted(anew)).toBe(true);
    await worker.settle(anew, FAIL, false);

    await resumePlan(t.store, plan, { actor: "tester", fromStep: "a" });
    expect(await attempts.admitted(await worker.take())).toBe(false);
  });
});

describe("a step that fails in a plan that goes on", () => {
  test("counts as done, and says why it failed", async () => {
    const plan = await t.submit(DIAMOND);
    const docs = stepOf(await worker.complete(await worker.take()));
    const tested = stepOf(await worker.settle(docs, FAIL));
    await worker.complete(stepOf(await worker.complete(tested)));

    expect(await t.state(plan)).toBe("completed");
    const { records, errors } = await t.store.detail(plan);
    expect(records.get("docs")).toMatchObject({ kind: "continued", attempts: 1 });
    expect(errors.get("docs")).toEqual(BOOM);
    expect(await t.store.failures(plan, ["docs", "test"])).toEqual(new Map([["docs", BOOM]]));
    expect(await t.store.output(plan, "docs")).toBe("null");
    const events = (await t.store.history(plan)).filter((event) => "step" in event && event.step === "docs");
    expect(events.map((event) => event.type)).toEqual(["step.started", "step.failed", "step.continued"]);
    expect(events[1]).toMatchObject({ final: true, error: BOOM });
  });

  test("stops nothing of a plan that stops at its first failure", async () => {
    const plan = await t.submit(
      aDefinition(
        [
          { id: "a", onFailure: "continue" },
          { id: "b", needs: ["a"] },
        ],
        { failFast: true },
      ),
    );

    const b = stepOf(await worker.settle(await worker.take(), FAIL));

    expect(b.stepId).toBe("b");
    await worker.settle(b, FAIL, false);
    expect(await t.state(plan)).toBe("failed");
  });

  test("leaves nothing of that to a rewind", async () => {
    const plan = await t.submit(DIAMOND);
    const docs = stepOf(await worker.complete(await worker.take()));
    const tested = stepOf(await worker.settle(docs, FAIL));
    await worker.settle(tested, FAIL, false);

    await resumePlan(t.store, plan, { actor: "tester", fromStep: "docs" });
    for (let step = await worker.take(); ; step = stepOf(await worker.complete(step))) {
      if (step.stepId === "ship") break;
    }

    expect(await t.store.failures(plan, ["docs"])).toEqual(new Map());
    expect((await t.store.detail(plan)).errors.size).toBe(0);
  });
});

test("a fork inherits what was passed over, and why it was", async () => {
  const client = new Client(async () => t.store, "ada", sandboxesOf({ dataDir: aFolder() }));
  const source = await t.submit(
    aDefinition([
      { id: "lint", onFailure: "continue" },
      { id: "docs", needs: ["lint"], when: "code" },
      { id: "choose", needs: ["docs"], when: "code" },
      { id: "ship", needs: ["choose"] },
    ]),
  );
  const docs = stepOf(await worker.settle(await worker.take(), FAIL));
  const choose = stepOf(await worker.settle(docs, SKIP));
  await attempts.admit(choose);
  await attempts.decide(choose, "how", { question: "?", options: ["x"], choice: "x", rationale: null, madeBy: "me" });
  await worker.settle(stepOf(await worker.complete(choose)), FAIL, false);
  const decision = (await t.store.decisions(source)).at(-1)!.decisionId;

  await client.fork(source, { planId: "new" });
  const anew = await client.fork(source, { planId: "anew", fromDecision: decision });

  const { records, errors } = await t.store.detail("new");
  expect([...records.values()].map(({ kind }) => kind)).toEqual(["continued", "skipped", "completed"]);
  expect([...errors]).toEqual([["lint", BOOM]]);
  expect((await t.store.history("new")).map((event) => event.type)).toEqual(
    expect.arrayContaining(["step.continued", "step.skipped", "step.admitted", "step.completed"]),
  );
  expect(await checkInvariants(t.store, "new")).toEqual([]);
  // It has another input, perhaps: whether the step runs is asked anew.
  expect(anew).toMatchObject({ reuse: ["lint", "docs"], run: ["choose", "ship"] });
  expect(await t.redis.hgetall(t.keys.planPart("anew", "choices"))).toEqual({});
  expect(await checkInvariants(t.store, "anew")).toEqual([]);
});
