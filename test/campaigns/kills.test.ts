/** The kill campaign at a size for every day: `npm run campaign -- kills --count 200` is the whole of it. */
import { expect, inject, test } from "vitest";
import { aPrefix } from "../support/store.js";
import { runKills } from "./kills.js";

test("twenty workers that are killed with steps in their hands lose no plan and repeat no record", {
  timeout: 240_000,
}, async () => {
  const report = await runKills({ url: inject("redisUrl"), prefix: aPrefix(), count: 20, workers: 3, seed: 20 });

  expect(report).toMatchObject({ kills: 20, lost: [], duplicates: [], violations: [] });
  // Each of them had at least one step in flight; a commit may have been on its way.
  expect(report.attemptsHit).toBeGreaterThanOrEqual(15);
  expect(report.repeatedEffects).toBeLessThanOrEqual(report.attemptsHit);
});
