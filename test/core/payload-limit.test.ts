/** How large a payload may be, as people write it. */
import { expect, test } from "vitest";
import { parsePayloadLimit } from "../../src/core/payload-limit.js";

test.each([
  [262_144, 262_144],
  ["262144", 262_144],
  ["2048B", 2_048],
  ["512KiB", 524_288],
  ["1 MiB", 1_048_576],
  ["32MiB", 33_554_432],
])("%j is %d bytes", (given, bytes) => {
  expect(parsePayloadLimit(given)).toBe(bytes);
});

test.each([1_023, "1023", "33MiB", "1MB", "1 GiB", "-1", "1.5MiB", "", "much", null, Number.NaN])(
  "%j is no limit",
  (given) => {
    expect(parsePayloadLimit(given)).toBeNull();
  },
);
