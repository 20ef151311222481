/** Plans far bigger than a screen, through the command line. */
import { afterEach, beforeEach, expect, test } from "vitest";
import { Workplace } from "../support/cli.js";

let place: Workplace;

beforeEach(() => {
  place = new Workplace();
});

afterEach(async () => {
  expect(await place.violations()).toEqual([]);
  await place.close();
});

test("a fan-out of 1,000 steps and their join completes", async () => {
  const ids = Array.from({ length: 1_000 }, (_, i) => `branch-${i}`);
  place.write("plan.json", plan([step("start"), ...ids.map((id) => step(id, ["start"])), step("join", ids)]));

  const run = await place.plan("run", "plan.json", "--id", "fan-out", "-o", "json");

  expect(run.code, run.stderr).toBe(0);
  expect(JSON.parse(run.stdout)).toMatchObject({ state: "completed", done: 1_002, last_completed_step: "join" });
});

test("a chain of 10,000 steps completes, and its dry-run costs no more than that of a short one", {
  timeout: 90_000,
}, async () => {
  place.write("plan.json", chain(10_000));
  place.write("short.json", chain(10));

  const long = await place.plan("run", "plan.json", "--id", "long", "-o", "json");

  expect(long.code, long.stderr).toBe(0);
  expect(JSON.parse(long.stdout)).toMatchObject({ state: "completed", done: 10_000 });
  console.log(`10,000 steps: ${(long.tookMs / 10_000).toFixed(2)} ms a step`);
  expect(long.tookMs).toBeLessThan(60_000);
});

test("a big plan that was killed midway runs only the rest", { timeout: 60_000 }, async () => {
  place.hold("middle");
  const before = Array.from({ length: 1_000 }, (_, i) => `before-${i}`);
  const after = Array.from({ length: 1_000 }, (_, i) => `after-${i}`);
  const steps = [...before, "middle", ...after].map((id, i, all) =>
    id === "middle" ? act(id, [all[i - 1]!]) : step(id, i === 0 ? [] : [all[i - 1]!]),
  );
  place.write("plan.json", plan(steps));
  const run = place.start(["run", "plan.json", "--id", "big"]);
  await place.untilBegun("middle");
  await place.kill(run);
  place.free("middle");

  const preview = await place.json("resume", "big", "--dry-run");
  expect(preview).toMatchObject({
    step: "middle",
    reuse_count: 1_000,
    run_count: 1_001,
    last_completed_step: "before-999",
  });
  expect((await place.plan("resume", "big")).code).toBe(0);

  const started = (await place.json<{ type: string }[]>("history", "big")).filter(
    ({ type }) => type === "step.started",
  );
  expect(started).toHaveLength(2_002);
});

function chain(length: number): string {
  return plan(Array.from({ length }, (_, i) => step(`step-${i}`, i === 0 ? [] : [`step-${i - 1}`])));
}

function plan(steps: readonly object[]): string {
  return JSON.stringify({ plan: "big", steps });
}

function step(id: string, needs: readonly string[] = []): object {
  return { id, needs, uses: "noop" };
}

function act(id: string, needs: readonly string[]): object {
  return { id, needs, run: ". ./act" };
}
