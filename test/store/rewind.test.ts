/** A resume from an earlier point, on the real scripts: what is kept, what goes, and what the plan goes on with. */
import { beforeEach, describe, expect, test } from "vitest";
import { type ResumeOptions, resumePlan } from "../../src/client/resume.js";
import type { CompiledDefinition } from "../../src/core/definition.js";
import type { Outcome } from "../../src/core/outcome.js";
import type { StartedStep } from "../../src/core/ports.js";
import { RedisAttemptStore } from "../../src/store/attempt-store.js";
import { aBench } from "../support/one-test.js";
import { A_SANDBOX, aChain, aDefinition, aSnapshot, type HandWorker, type TestStore } from "../support/plans.js";

const actor = "ada";
const boom = { code: "STEP_FAILED", message: "boom" };

let t: TestStore;
let worker: HandWorker;
let plan: string;

beforeEach(async () => {
  ({ t, worker } = await aBench());
});

describe("what the plan goes on with", () => {
  test("is the newest checkpoint and decision that are kept", async () => {
    await submitted(aChain(["scan", "choose", "fix", "ship"]));
    await complete("scan");
    await decide(await worker.take(), "how", "patch");
    await complete("choose");
    await decide(await worker.take(), "where", "here");
    await complete("fix");
    const before = await metadata();
    const [, , patch, here] = (await t.store.decisions(plan)).map((decision) => decision.decisionId);
    expect(before).toMatchObject({ last_completed_step: "fix", last_decision_id: here ?? patch });

    const summary = await rewind({ fromStep: "fix" });

    const [root, how, where] = await t.store.decisions(plan);
    expect(how).toMatchObject({ parent: root!.decisionId, current: true });
    expect(where).toMatchObject({ parent: how!.decisionId, current: false });
    const [scan, choose, fix] = await t.store.checkpoints(plan);
    expect([scan, choose, fix].map((checkpoint) => checkpoint!.current)).toEqual([true, true, false]);
    expect(await metadata()).toMatchObject({
      last_completed_step: "choose",
      last_checkpoint_id: choose!.checkpointId,
      last_decision_id: how!.decisionId,
      decision: "1",
      phase: "execute",
    });
    expect(summary).toMatchObject({
      lastCompletedStep: "choose",
      decisionId: how!.decisionId,
      reuse: ["scan", "choose"],
    });
    const again = await worker.take();
    expect(again).toMatchObject({ stepId: "fix", attempt: 1, line: 3 });
    await decide(again, "where", "there");
    expect((await t.store.decisions(plan)).at(-1)).toMatchObject({ parent: how!.decisionId, current: true });
  });

  test("is nothing where everything is superseded", async () => {
    await submitted(aChain(["a", "b", "c"]));
    await complete("a");
    await complete("b");

    await rewind({ fromStep: "a" });

    expect(await metadata()).toMatchObject({
      last_completed_step: "",
      last_checkpoint_id: "",
      decision: "0",
    });
    expect(await worker.take()).toMatchObject({ stepId: "a", line: 3 });
  });

  test("is the sandbox of the point: who wrote it later runs again, with what needs them, and nobody else", async () => {
    const write = { sandbox: "write" } as const;
    await submitted(
      aDefinition(
        [
          { id: "start", ...write },
          { id: "left", needs: ["start"] },
          { id: "right", needs: ["start"], ...write },
          { id: "read", needs: ["start"], sandbox: "read" },
          { id: "after", needs: ["right"] },
          { id: "end", needs: ["left", "after", "read"] },
        ],
        { sandbox: A_SANDBOX },
      ),
    );
    await worker.settle(await worker.take(), wrote(1), false);
    const taken = [await worker.take(), await worker.take(), await worker.take()];
    const [left, right, read] = ["left", "right", "read"].map((id) => taken.find((step) => step.stepId === id)!);
    await worker.settle(right!, wrote(2), false);
    await worker.complete(read!, "read", false);
    await worker.complete(await worker.take(), "after", false);
    await worker.settle(left!, { kind: "fail", error: boom }, false);

    const summary = await rewind({ fromStep: "left" });

    expect(summary).toMatchObject({ reuse: ["start", "read"], newKey: ["left", "right", "after"] });
    expect(await metadata()).toMatchObject({ sandbox: "2", last_completed_step: "read" });
    expect((await t.store.history(plan)).find((event) => event.type === "steps.superseded")).toMatchObject({
      steps: ["left", "right", "after"],
      epoch: 2,
    });
  });
});

describe("a step that runs again", () => {
  test("begins with attempt 1; output, log and failures of its old line are kept aside", async () => {
    await submitted(aChain(["a", "b"]));
    await worker.complete(await worker.take(), "first", false);
    await t.redis.hset(t.keys.planPart(plan, "logs"), { "a/1": "old", "a/1:bytes": "3", "b/1": "boom" });
    await worker.settle(await worker.take(), { kind: "fail", error: boom }, false);

    await rewind({ fromStep: "a" });

    expect(await t.store.output(plan, "a")).toBe("null");
    expect(await t.redis.hget(t.keys.planPart(plan, "out"), "a@1")).toBe('"first"');
    expect((await t.store.detail(plan)).errors.size).toBe(0);
    expect(await t.redis.hexists(t.keys.planPart(plan, "out"), ":error:b")).toBe(0);
    await t.redis.hset(t.keys.planPart(plan, "logs"), { "a/1": "new" });
    expect(await t.store.logs(plan)).toEqual([
      { step: "a", attempt: 1, text: "old", bytes: 3, superseded: 1 },
      { step: "a", attempt: 1, text: "new", bytes: 3, superseded: null },
      { step: "b", attempt: 1, text: "boom", bytes: 4, superseded: 1 },
    ]);
  });

  test("and can't be undone is run again only where somebody said so, and that is a decision of theirs", async () => {
    await submitted(
      aDefinition([
        { id: "build" },
        { id: "pay", needs: ["build"], effect: "irreversible" },
        { id: "tell", needs: ["pay"] },
      ]),
    );
    await complete("build");
    await complete("pay");
    await worker.settle(await worker.take(), { kind: "fail", error: boom }, false);

    await expect(rewind({ fromStep: "build" })).rejects.toMatchObject({
      code: "ACK_REQUIRED",
      message: `pay of plan ${plan} cannot be undone and would run again: say that it shall`,
      try: `plan resume ${plan} --from-step build --ack pay=redo`,
    });
    await expect(rewind({ fromStep: "build", acks: { pay: { said: "done" } } })).rejects.toMatchObject({
      code: "USAGE",
      try: `plan resume ${plan} --from-step build --ack pay=redo`,
    });
    const { repeated } = await rewind({ fromStep: "build", acks: { pay: { said: "redo" } } });

    expect(repeated).toEqual(["pay"]);
    expect((await t.store.decisions(plan)).at(-1)).toMatchObject({
      step: "pay",
      choice: "redo",
      madeBy: actor,
      current: true,
    });
    await complete("build");
    expect(await worker.take()).toMatchObject({ stepId: "pay", line: 2 });
  });
});

describe("a point of a line that is gone", () => {
  test("is refused, and the refusal says so", async () => {
    await submitted(aChain(["a", "b", "c"]));
    await decide(await worker.take(), "how", "x");
    await complete("a");
    await complete("b");
    const [, old] = await t.store.checkpoints(plan);
    const [, decision] = await t.store.decisions(plan);
    await rewind({ fromStep: "a" });
    await complete("a");

    await expect(rewind({ fromCheckpoint: old!.checkpointId })).rejects.toMatchObject({
      code: "CHECKPOINT_NOT_FOUND",
      message: `The checkpoint ${old!.checkpointId} of plan ${plan} is not in its current line any more: epoch 3 began without it`,
    });
    await expect(rewind({ fromDecision: decision!.decisionId })).rejects.toMatchObject({
      code: "DECISION_NOT_FOUND",
      message: expect.stringContaining("is not in its current line any more"),
    });
  });
});

describe("a decision that is taken anew", () => {
  test("is asked again, and what its step decided before it stays", async () => {
    const [, , where] = await decidedThree();

    await rewind({ fromDecision: where! });

    const again = await worker.take();
    expect(again.stepId).toBe("choose");
    expect(await decide(again, "how", "another")).toBe("patch");
    expect(await decide(again, "where", "there")).toBe("there");
    expect(await decide(again, "when", "later")).toBe("later");
    const standing = (await t.store.decisions(plan)).filter((decision) => decision.current);
    expect(standing.map(({ choice }) => choice)).toEqual(["test", "patch", "there", "later"]);
    const byId = new Map(standing.map((decision) => [decision.decisionId, decision.choice]));
    expect(standing.map(({ parent }) => byId.get(parent ?? "") ?? null)).toEqual([null, "test", "patch", "there"]);
  });

  test("can be set: its step finds it recorded, as the decision of whoever set it", async () => {
    const [, , where] = await decidedThree();

    await rewind({ fromDecision: where!, choose: "there", reason: "moved" });

    const again = await worker.take();
    expect(await decide(again, "where", "here")).toBe("there");
    expect((await t.store.decisions(plan)).at(-1)).toMatchObject({
      step: "choose",
      key: "where",
      options: ["here", "there"],
      choice: "there",
      rationale: "moved",
      madeBy: actor,
    });
  });

  test("can't be set to what is no option, nor where there is nothing to choose", async () => {
    const [root, , where] = await decidedThree();

    await expect(rewind({ fromDecision: where!, choose: "nowhere" })).rejects.toMatchObject({
      code: "INVALID_CHOICE",
      message: expect.stringContaining('"nowhere" is none of the options'),
      details: { options: ["here", "there"] },
      try: `plan decisions ${plan}`,
    });
    await expect(rewind({ fromDecision: root!, choose: "x" })).rejects.toMatchObject({
      code: "INVALID_CHOICE",
      message: expect.stringContaining("is its submission"),
    });
    await expect(rewind({ fromStep: "choose", choose: "x" })).rejects.toMatchObject({ code: "USAGE" });
  });

  test("of a person is kept as the answer that the step will wait for", async () => {
    await submitted(
      aDefinition([
        { id: "ok", uses: "approve" },
        { id: "go", needs: ["ok"] },
        { id: "end", needs: ["go"] },
      ]),
    );
    const ask = { question: "Go?", options: ["approve", "reject"], onReject: "cancel" as const, schema: null };
    const park = { kind: "park", wait: "approval", dueInMs: null, ask } as const;
    await worker.settle(await worker.take(), park, false);
    const choice = { question: "Go?", options: ["approve", "reject"], choice: "approve", rationale: null };
    await t.signal(plan, "ok", { data: "{}", cancels: false, signalId: null, actor: "bob", choice });
    await complete("go");
    const [, approval] = await t.store.decisions(plan);

    await rewind({ fromDecision: approval!.decisionId, choose: "reject" });
    await worker.settle(await worker.take(), park, false);

    expect(await t.state(plan)).toBe("cancelled");
    expect(JSON.parse(await t.store.output(plan, "ok"))).toEqual({ choice: "reject", by: actor });
    expect((await t.store.decisions(plan)).at(-1)).toMatchObject({ choice: "reject", madeBy: actor, current: true });
  });
});

async function submitted(compiled: CompiledDefinition): Promise<void> {
  plan = await t.submit(compiled);
}

/** Completes the step that a worker holds of this plan, or takes it first. */
async function complete(stepId: string): Promise<void> {
  const step = held?.stepId === stepId ? held : await worker.take();
  held = null;
  expect(step.stepId).toBe(stepId);
  await worker.complete(step, stepId, false);
}

let held: StartedStep | null = null;

/** Returns what stands recorded. */
async function decide(step: StartedStep, key: string, choice: string): Promise<string> {
  held = step;
  const made = { question: `${key}?`, options: key === "where" ? ["here", "there"] : [], choice, rationale: null };
  const attempts = new RedisAttemptStore(t.redis, t.keys, t.store.sealed);
  return (await attempts.decide(step, key, { ...made, madeBy: "test" })).choice!;
}

/** The ids of the root and of three decisions that one step made; the step after it failed. */
async function decidedThree(): Promise<string[]> {
  await submitted(aChain(["choose", "fix"]));
  const step = await worker.take();
  for (const [key, choice] of [
    ["how", "patch"],
    ["where", "here"],
    ["when", "now"],
  ] as const)
    await decide(step, key, choice);
  await complete("choose");
  await worker.settle(await worker.take(), { kind: "fail", error: boom }, false);
  return (await t.store.decisions(plan)).map((decision) => decision.decisionId);
}

/** Paused first: a live worker could take its steps. */
async function rewind(options: ResumeOptions) {
  if (!["failed", "paused"].includes(await t.state(plan))) await t.store.pause(plan, actor, null, false);
  return (await resumePlan(t.store, plan, { actor, ...options })).summary;
}

function wrote(nth: number): Outcome {
  return { kind: "complete", output: "null", sandbox: aSnapshot(nth) };
}

function metadata(): Promise<Record<string, string>> {
  return t.redis.hgetall(t.keys.plan(plan));
}
