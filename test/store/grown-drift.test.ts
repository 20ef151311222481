/** A plan that has grown and goes on under another definition: what becomes of the steps that were appended to it. */
import { beforeEach, describe, expect, test } from "vitest";
import { type ResumeOptions, resumePlan } from "../../src/client/resume.js";
import type { CompiledDefinition, StepDefinition } from "../../src/core/definition.js";
import { itemSteps } from "../../src/core/map.js";
import type { StartedStep } from "../../src/core/ports.js";
import { aBench } from "../support/one-test.js";
import { aDefinition, aStore, type HandWorker, type StepSpec, type TestStore } from "../support/plans.js";

const FAIL = { kind: "fail", error: { code: "STEP_FAILED", message: "boom" } } as const;

let t: TestStore;
let worker: HandWorker;
let plan: string;

beforeEach(async () => {
  ({ t, worker } = await aBench());
});

describe("what a step has appended", () => {
  const SCAN = { id: "scan" };
  const LOOK = { id: "look", needs: ["scan"] };
  const SHIP = { id: "ship", needs: ["look"] };

  /** `look` has appended `fix`, which is done, and `report` behind it, which has failed. `ship` is done. */
  beforeEach(async () => {
    plan = await t.submit(version(1, SCAN, LOOK, SHIP));
    const appended = [anAppended("look", "fix"), anAppended("look", "report", "fix")];
    await settleEach({
      scan: { kind: "complete", output: '"scan"' },
      look: { kind: "complete", output: '"look"', appended },
      ship: { kind: "complete", output: '"ship"' },
      fix: { kind: "complete", output: '"fix"' },
      report: FAIL,
    });
    expect(await t.state(plan)).toBe("failed");
  });

  test("keep: it stays with that step, done or not, although that one has changed", async () => {
    const now = version(2, SCAN, { ...LOOK, rev: "2" }, SHIP, { id: "tell", needs: ["ship"] });

    const summary = await resumeAsSaid({ definition: now, onDrift: "keep" });

    expect(summary).toMatchObject({
      drift: ["look changed", "tell added"],
      reuse: ["scan", "look", "ship", "fix"],
      run: ["tell", "report"],
      newKey: [],
      total: 6,
      version: 2,
    });
    expect((await t.store.view(plan)).meta).toMatchObject({ total: 6, done: 4, grown: 1 });
    expect(await runToTheEnd()).toEqual(["report", "tell"]);
    expect(await t.store.output(plan, "fix")).toBe('"fix"');
  });

  test("what the definition had behind it is none of it any more", async () => {
    const summary = await resumeAsSaid({ definition: version(2, SCAN, LOOK), onDrift: "keep" });

    expect(summary).toMatchObject({
      drift: ["ship removed"],
      reuse: ["scan", "look", "fix"],
      run: ["report"],
      total: 4,
    });
    expect(await runToTheEnd()).toEqual(["report"]);
  });

  test("rerun: it is appended anew by the step that has changed, or something else is", async () => {
    const now = version(2, SCAN, { ...LOOK, rev: "2" }, SHIP);

    const summary = await resumeAsSaid({ definition: now, onDrift: "rerun" });

    expect(summary).toMatchObject({ reuse: ["scan"], run: ["look", "ship"], newKey: ["look", "ship"], total: 3 });
    expect((await t.store.view(plan)).meta).toMatchObject({ total: 3, done: 1, grown: 2 });
    const look = await worker.take();
    await worker.settle(look, { kind: "complete", output: "1", appended: [anAppended("look", "other")] }, false);
    expect(await runToTheEnd()).toEqual(["ship", "other"]);
  });

  test("rerun: it stays where another step has changed", async () => {
    const now = version(2, SCAN, LOOK, { ...SHIP, rev: "2" });

    const summary = await resumeAsSaid({ definition: now, onDrift: "rerun" });

    expect(summary).toMatchObject({ reuse: ["scan", "look", "fix"], run: ["ship", "report"], newKey: ["ship"] });
    expect(await runToTheEnd()).toEqual(["report", "ship"]);
  });

  test("goes with a step that the definition lacks, and with one that has to wait for what isn't done", async () => {
    const summary = await resumeAsSaid({
      definition: version(2, SCAN, { id: "ship", needs: ["scan"] }),
      onDrift: "keep",
    });

    expect(summary).toMatchObject({
      drift: ["ship changed", "look removed"],
      reuse: ["scan", "ship"],
      run: [],
      total: 2,
    });
    expect(await t.state(plan)).toBe("completed");
    expect(await t.redis.exists(t.keys.planPart(plan, "appended"))).toBe(0);
    expect(await t.redis.hget(t.keys.planPart(plan, "out"), "fix@1")).toBe('"fix"');
  });

  test("goes where the step that appended it now comes after one that isn't done", async () => {
    const now = version(2, SCAN, { id: "lint", needs: ["scan"] }, { id: "look", needs: ["scan", "lint"] }, SHIP);

    const summary = await resumeAsSaid({ definition: now, onDrift: "keep" });

    expect(summary).toMatchObject({ reuse: ["scan"], run: ["lint", "look", "ship"], total: 4 });
    expect(await runToTheEnd()).toEqual(["lint", "look", "ship"]);
  });

  test("stands in the way of a definition that has a step of its id, until the step that appended it runs again", async () => {
    const now = version(2, SCAN, LOOK, { id: "fix", needs: ["look"] }, { id: "ship", needs: ["fix"] });

    await expect(resume({ definition: now, onDrift: "keep" })).rejects.toMatchObject({
      code: "DEFINITION_DRIFT",
      exitCode: 3,
      message: `The definition that is offered can't take the place of the one that plan ${plan} runs under: it has a step fix, and look has appended one of that id`,
      details: { step: "fix", appendedBy: "look", drift: ["ship changed", "fix added"] },
      try: `plan resume ${plan} --on-drift keep --from-step look`,
    });
    const summary = await resumeAsSaid({ definition: now, onDrift: "keep", fromStep: "look" });

    expect(summary).toMatchObject({ reuse: ["scan"], run: ["look", "fix", "ship"], total: 4 });
    expect(summary.newKey).toEqual(["look", "fix", "ship"]);
    expect(await runToTheEnd()).toEqual(["look", "fix", "ship"]);
  });

  test.each<[string, CompiledDefinition, string]>([
    [
      "a step that it needs",
      version(2, { id: "look" }, { id: "ship", needs: ["look"] }),
      "it lacks scan, which late, appended by report, needs",
    ],
    [
      "its phase",
      version(2, ...[SCAN, LOOK, SHIP].map((step) => ({ ...step, phase: "apply" }))),
      "it lacks the phase execute of fix, which look has appended",
    ],
    [
      "its place before a step that it needs",
      aDefinition([SCAN, { ...LOOK, phase: "late" }, { ...SHIP, phase: "late" }], {
        version: 2,
        phases: ["execute", "late"],
      }),
      "it has look in a later phase than fix, which look has appended and which needs it",
    ],
  ])("keeps a definition out that lacks %s", async (_, now, why) => {
    await resumePlan(t.store, plan, { actor: "ada" });
    const appended = [anAppended("report", "late", "scan")];
    await worker.settle(await worker.take(), { kind: "complete", output: "null", appended }, false);
    await worker.settle(await worker.take(), FAIL, false);

    await expect(resume({ definition: now, onDrift: "keep" })).rejects.toMatchObject({
      code: "DEFINITION_DRIFT",
      message: expect.stringContaining(why),
    });
  });
});

describe("the items of a map", () => {
  const FIX = { id: "fix", needs: ["scan"], map: { over: "input.list", key: null, concurrency: null } };
  const SHIP = { id: "ship", needs: ["fix"] };

  /** Of two items one is done, and the other has failed. */
  beforeEach(async () => {
    const before = version(1, { id: "scan" }, FIX, SHIP);
    plan = await t.submit(before);
    await settleEach({ scan: { kind: "complete", output: "null" } });
    await list(await worker.take(), before, ["a", "b"]);
    await settleEach({ "fix#a": { kind: "complete", output: '"a"' }, "fix#b": FAIL });
  });

  test("keep: those that are done are kept, the others do what the map declares now", async () => {
    const now = version(2, { id: "scan" }, { ...FIX, with: { much: true }, effect: "irreversible" }, SHIP);

    const summary = await resumeAsSaid({ definition: now, onDrift: "keep" });

    expect(summary).toMatchObject({
      drift: ["fix changed"],
      reuse: ["scan", "fix#", "fix#a"],
      run: ["fix", "ship", "fix#b"],
      total: 6,
    });
    const stranger = await aStore(t.url, { prefix: t.prefix });
    const { compiled, view } = await stranger.store.detail(plan);
    stranger.redis.disconnect();
    expect(compiled.steps.get("fix#b")).toMatchObject({ with: { much: true }, itemOf: "fix", item: 1 });
    expect(view.open.find((step) => step.stepId === "fix#b")).toMatchObject({ effect: "irreversible" });
    expect(await runToTheEnd()).toEqual(["fix#b", "fix", "ship"]);
  });

  test("rerun: they run again where the map does something else, with the list that they had", async () => {
    const now = version(2, { id: "scan" }, { ...FIX, with: { much: true } }, SHIP);

    const summary = await resumeAsSaid({ definition: now, onDrift: "rerun" });

    expect(summary).toMatchObject({
      reuse: ["scan", "fix#"],
      run: ["fix", "ship", "fix#a", "fix#b"],
      newKey: ["fix#a"],
    });
    expect(await runToTheEnd()).toEqual(["fix#b", "fix#a", "fix", "ship"]);
  });

  test("rerun: where the list is another one, it is made anew", async () => {
    const now = version(2, { id: "scan" }, { ...FIX, map: { ...FIX.map, over: "input.other" } }, SHIP);

    const summary = await resumeAsSaid({ definition: now, onDrift: "rerun" });

    expect(summary).toMatchObject({ reuse: ["scan"], run: ["fix#", "fix", "ship"], newKey: ["fix#"], total: 4 });
    await list(await worker.take(), now, ["c"]);
    expect(await runToTheEnd()).toEqual(["fix#c", "fix", "ship"]);
  });

  test("go with a map that is none any more", async () => {
    const now = version(2, { id: "scan" }, { id: "fix", needs: ["scan"] }, SHIP);

    const summary = await resumeAsSaid({ definition: now, onDrift: "keep" });

    expect(summary).toMatchObject({
      drift: ["fix changed", "fix# removed"],
      reuse: ["scan"],
      run: ["fix", "ship"],
      total: 3,
    });
    expect(await runToTheEnd()).toEqual(["fix", "ship"]);
  });
});

function version(number: number, ...steps: readonly StepSpec[]): CompiledDefinition {
  const phases = [...new Set(steps.map((step) => step.phase ?? "execute"))];
  return aDefinition(steps, { version: number, phases });
}

/** Needs the step that appends it, and the others. */
function anAppended(by: string, id: string, ...needs: readonly string[]): StepDefinition {
  const [step] = aDefinition([{ id, needs: [by, ...needs] }]).definition.steps;
  return { ...step!, appendedBy: by };
}

async function list(step: StartedStep, compiled: CompiledDefinition, keys: readonly string[]): Promise<void> {
  const { steps } = itemSteps(compiled, "fix", keys, (key) => key);
  await worker.settle(step, { kind: "complete", output: JSON.stringify(keys), appended: steps }, false);
}

/** Takes as many steps, in whatever order they come, and ends each as is said. */
async function settleEach(outcomes: Readonly<Record<string, Parameters<HandWorker["settle"]>[1]>>): Promise<void> {
  for (const _ of Object.keys(outcomes)) {
    const step = await worker.take();
    await worker.settle(step, outcomes[step.stepId]!, false);
  }
}

async function resume({
  definition,
  ...options
}: Omit<ResumeOptions, "definition"> & { definition: CompiledDefinition }) {
  return (await resumePlan(t.store, plan, { actor: "ada", ...options, definition: { compiled: definition } })).summary;
}

/** Looks first, and finds that it changes nothing and says what is done then. */
async function resumeAsSaid(options: Parameters<typeof resume>[0]) {
  const before = await t.dump();
  const preview = await resume({ ...options, dryRun: true });
  expect(await t.dump()).toEqual(before);
  const summary = await resume({ ...options, expect: preview.resumeToken });
  expect({ ...summary, dryRun: true }).toEqual(preview);
  return summary;
}

async function runToTheEnd(): Promise<string[]> {
  const ran = await worker.completeAll();
  expect(await t.state(plan)).toBe("completed");
  return ran;
}
