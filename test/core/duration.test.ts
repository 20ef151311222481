import fc from "fast-check";
import { expect, test } from "vitest";
import { formatDurationMs, parseDurationMs } from "../../src/core/duration.js";

test.each([
  [0, 0],
  [1_500, 1_500],
  [1.4, 1],
  ["250ms", 250],
  ["30s", 30_000],
  [" 1.5m ", 90_000],
  ["2h", 7_200_000],
  ["1d", 86_400_000],
])("%j is a duration of %d ms", (written, ms) => {
  expect(parseDurationMs(written)).toBe(ms);
});

test.each([-1, Number.NaN, Infinity, "", "10", "10 m", "-5s", "5M", "1h30m", "m", null, true, ["1s"], { s: 1 }])(
  "%j is not a duration",
  (value) => {
    expect(parseDurationMs(value)).toBeNull();
  },
);

test.each([
  [0, "0ms"],
  [339.6, "340ms"],
  [1_000, "1s"],
  [2_500, "2.5s"],
  [45_400, "45s"],
  [60_000, "1m"],
  [192_000, "3m 12s"],
  [3_840_000, "1h 4m"],
  [7_200_000, "2h"],
  [183_600_000, "2d 3h"],
])("%d ms reads as %s", (ms, text) => {
  expect(formatDurationMs(ms)).toBe(text);
});

test("whole units survive being written and read", () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 10_000 }), fc.constantFrom("ms", "s", "m", "h", "d"), (count, unit) => {
      const one = parseDurationMs(`1${unit}`)!;
      expect(parseDurationMs(`${count}${unit}`)).toBe(count * one);
    }),
  );
});
