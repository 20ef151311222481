import { afterEach, beforeEach, expect, inject, test, vi } from "vitest";
import { decodeProgress } from "../../src/store/codec.js";
import { Progress } from "../../src/worker/progress.js";
import { aDefinition, aStore, type TestStore } from "../support/plans.js";
import { gate, type RunningWorker, runWorker } from "../support/step-workers.js";
import { until } from "../support/until.js";

let t: TestStore;
let worker: RunningWorker | undefined;

beforeEach(async () => {
  t = await aStore(inject("redisUrl"));
});

afterEach(async () => {
  vi.useRealTimers();
  await worker?.close();
  worker = undefined;
  await t.drop();
});

test("how far a step says that it is can be read while it runs, and no longer", async () => {
  const end = gate();
  worker = await runWorker(t, async ({ progress, stepId }) => {
    if (stepId === "b") return;
    progress(0.25, "1 of 4 | files");
    await end.passed;
  });
  const plan = await t.submit(aDefinition([{ id: "a" }, { id: "b", needs: ["a"] }]));
  const told = async () => (await t.store.detail(plan)).progress.get("a");

  const said = await until("it to be said", told);
  end.open();
  await until("the plan to end", async () => (await t.state(plan)) === "completed");

  expect(said).toEqual({ fraction: 0.25, note: "1 of 4 | files" });
  expect(await told()).toBeUndefined();
});

test("what an earlier attempt said is not what this one says", () => {
  expect(decodeProgress("2|0.5|half", 2)).toEqual({ fraction: 0.5, note: "half" });
  expect(decodeProgress("2|1|", 2)).toEqual({ fraction: 1, note: null });
  expect(decodeProgress("2|0.5|half", 3)).toBeNull();
  expect(decodeProgress("what is this", 1)).toBeNull();
});

test("of many words in a row the first and the last are told, each slot's, and nobody hears of a failure but the log", async () => {
  vi.useFakeTimers();
  const sent: unknown[] = [];
  const errors: unknown[] = [];
  const progress = new Progress(
    async (step, fraction) => {
      sent.push([step.stepId, fraction]);
      if (fraction === 1) throw new Error("gone");
    },
    (error) => errors.push(error),
  );
  const a = { token: "w.0", stepId: "a" } as never;
  const b = { token: "w.1", stepId: "b" } as never;

  for (const fraction of [0.1, 0.2, 0.3]) progress.tell(a, fraction, null);
  progress.tell(b, 1, null);
  expect(sent).toEqual([["a", 0.1]]);
  await vi.advanceTimersByTimeAsync(500);
  expect(sent).toEqual([
    ["a", 0.1],
    ["a", 0.3],
    ["b", 1],
  ]);
  expect(errors).toHaveLength(1);

  progress.tell(a, 0.4, null);
  progress.stop();
  await vi.advanceTimersByTimeAsync(5_000);
  expect(sent).toHaveLength(3);
  expect(vi.getTimerCount()).toBe(0);
});
