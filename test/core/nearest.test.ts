/** What counts as a slip of the fingers. */
import { expect, test } from "vitest";
import { nearest } from "../../src/core/nearest.js";

test.each([
  ["foo", ["from", "for"], "for"],
  ["foo", ["from"], null],
  ["d", ["a"], "a"],
  ["zzz", ["z"], null],
  ["shel", ["shell", "sleep"], "shell"],
  ["form", ["from"], "from"],
  ["passEnv", ["pass-env"], "pass-env"],
  ["resmue", ["resume", "run"], "resume"],
])("%s among %j means %s", (name, candidates, meant) => {
  expect(nearest(name, candidates)).toBe(meant);
});
