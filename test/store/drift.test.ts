/** A plan that goes on under another definition, on the real scripts. */
import { beforeEach, expect, test } from "vitest";
import { type ResumeOptions, resumePlan } from "../../src/client/resume.js";
import type { CompiledDefinition } from "../../src/core/definition.js";
import { aBench } from "../support/one-test.js";
import { aChain, aDefinition, type HandWorker, type TestStore } from "../support/plans.js";

const actor = "ada";
const boom = { code: "STEP_FAILED", message: "boom" };

let t: TestStore;
let worker: HandWorker;
let plan: string;

beforeEach(async () => {
  ({ t, worker } = await aBench());
  plan = await t.submit(aChain(["scan", "build", "test", "ship"]));
  await complete("scan");
  await complete("build");
  await worker.settle(await worker.take(), { kind: "fail", error: boom }, false);
});

/** The chain as it is now: build means something else, and there is a lint. */
const CHANGED = aDefinition(
  [
    { id: "scan" },
    { id: "build", needs: ["scan"], rev: "2" },
    { id: "lint", needs: ["scan"] },
    { id: "test", needs: ["build", "lint"] },
    { id: "ship", needs: ["test"] },
  ],
  { version: 2 },
);

test("what changed is listed, and the stored definition runs", async () => {
  const before = await t.dump();
  const preview = await resume({ definition: CHANGED, dryRun: true });

  expect(preview).toMatchObject({
    eligible: true,
    version: 1,
    drift: ["build changed", "test changed", "lint added"],
    reuse: ["scan", "build"],
    run: ["test", "ship"],
  });
  expect(await t.dump()).toEqual(before);
  const resumed = await resume({ definition: CHANGED, expect: preview.resumeToken });
  expect(resumed.drift).toEqual(preview.drift);
  expect(await runToTheEnd()).toEqual(["test", "ship"]);
});

test("is refused where nobody said what becomes of the difference, and the definition is what would be executed", async () => {
  const inCode = aDefinition(CHANGED.definition.steps, { version: 2, source: "code" });

  await expect(resume({ definition: inCode })).rejects.toMatchObject({
    code: "DEFINITION_DRIFT",
    exitCode: 3,
    message: `Plan ${plan} runs under test v1, and the definition that is offered differs: build changed, test changed, lint added`,
    details: { drift: ["build changed", "test changed", "lint added"], version: 1, offered: 2 },
    try: `plan resume ${plan} --on-drift keep`,
  });
  await expect(resume({ definition: CHANGED, onDrift: "refuse" })).rejects.toMatchObject({ code: "DEFINITION_DRIFT" });
});

test("a definition that differs in nothing that a step declares is no other", async () => {
  const slower = CHANGED.definition.steps.map((step) => ({ ...step, timeoutMs: 1 }));
  const again = await t.submit(CHANGED);
  await t.store.pause(again, actor, null, false);

  const { summary } = await resumePlan(t.store, again, {
    actor,
    onDrift: "refuse",
    definition: { compiled: aDefinition(slower, { version: 3 }) },
  });

  expect(summary).toMatchObject({ eligible: true, drift: [], version: 2 });
});

test("keep: what is recorded stays, what is left runs under the new definition", async () => {
  const summary = await resume({ definition: CHANGED, onDrift: "keep" });

  expect(summary).toMatchObject({ version: 2, total: 5, reuse: ["scan", "build"], run: ["lint", "test", "ship"] });
  expect(await t.redis.hgetall(t.keys.plan(plan))).toMatchObject({
    version: "2",
    total: "5",
    definition: CHANGED.digest,
  });
  expect(await t.store.output(plan, "build")).toBe('"build"');
  expect((await t.store.history(plan)).find((event) => event.type === "plan.redefined")).toMatchObject({
    version: 2,
    definitionDigest: CHANGED.digest,
  });
  expect(await runToTheEnd()).toEqual(["lint", "test", "ship"]);
});

test("rerun: it starts at the first step that changed, with a new key", async () => {
  const preview = await resume({ definition: CHANGED, onDrift: "rerun", dryRun: true });
  const summary = await resume({ definition: CHANGED, onDrift: "rerun", expect: preview.resumeToken });

  expect({ ...summary, dryRun: true }).toEqual(preview);
  expect(summary).toMatchObject({ reuse: ["scan"], run: ["build", "lint", "test", "ship"], newKey: ["build", "test"] });
  expect(await runToTheEnd()).toEqual(expect.arrayContaining(["build", "lint", "test", "ship"]));
});

test("a done step that is gone leaves the line; its output stays under its epoch", async () => {
  const without = aChain(["scan", "test", "ship"]);

  const summary = await resume({ definition: without, onDrift: "keep" });

  expect(summary).toMatchObject({ drift: ["test changed", "build removed"], reuse: ["scan"], run: ["test", "ship"] });
  expect(summary.lastCompletedStep).toBe("scan");
  expect(await t.redis.hget(t.keys.planPart(plan, "out"), "build@1")).toBe('"build"');
  expect(await runToTheEnd()).toEqual(["test", "ship"]);
});

test("everything that is left may be gone", async () => {
  await resume({ definition: aChain(["scan", "build"]), onDrift: "keep" });

  expect(await t.state(plan)).toBe("completed");
});

test("another plan's definition, or one that an input doesn't fit, is refused", async () => {
  const other = aDefinition(CHANGED.definition.steps, { name: "other" });
  const strict = aDefinition(CHANGED.definition.steps, {
    inputSchema: { properties: { tag: { type: "string" } }, required: ["tag"] },
  });

  await expect(resume({ definition: other, onDrift: "keep" })).rejects.toMatchObject({
    code: "DEFINITION_DRIFT",
    message: expect.stringContaining("it is of plan other"),
  });
  await expect(resume({ definition: strict, onDrift: "keep" })).rejects.toMatchObject({ code: "INVALID_INPUT" });
});

async function complete(stepId: string): Promise<void> {
  const step = await worker.take();
  expect(step.stepId).toBe(stepId);
  await worker.complete(step, stepId, false);
}

async function resume({
  definition,
  ...options
}: Omit<ResumeOptions, "definition"> & { definition: CompiledDefinition }) {
  return (await resumePlan(t.store, plan, { actor, ...options, definition: { compiled: definition } })).summary;
}

async function runToTheEnd(): Promise<string[]> {
  const ran = await worker.completeAll();
  expect(await t.state(plan)).toBe("completed");
  return ran;
}
