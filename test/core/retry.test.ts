import fc from "fast-check";
import { expect, test } from "vitest";
import { DEFAULT_RETRY, type RetryPolicy } from "../../src/core/definition.js";
import { JITTER, nextDelayMs } from "../../src/core/retry.js";

const MIDDLE = () => 0.5;

function aPolicy(changes: Partial<RetryPolicy>): RetryPolicy {
  return { ...DEFAULT_RETRY, ...changes };
}

test("an exponential delay doubles with every failure until the maximum", () => {
  const policy = aPolicy({ attempts: 9, delayMs: 1_000, maxMs: 10_000 });

  const delays = [1, 2, 3, 4].map((failures) => nextDelayMs(policy, failures, MIDDLE));

  expect(delays).toEqual([1_000, 2_000, 4_000, 8_000]);
  expect(nextDelayMs(policy, 5, () => 0.999999)).toBe(10_000);
  expect(nextDelayMs(policy, 8, () => 0)).toBe(8_000);
});

test("a fixed delay stays the same, and no maximum shortens it", () => {
  const policy = aPolicy({ backoff: "fixed", attempts: 9, delayMs: 5_000, maxMs: 1_000 });

  expect([1, 2, 8].map((failures) => nextDelayMs(policy, failures, MIDDLE))).toEqual([5_000, 5_000, 5_000]);
});

test("the attempts of a policy include the first one", () => {
  expect(nextDelayMs(aPolicy({ attempts: 3 }), 2, MIDDLE)).not.toBeNull();
  expect(nextDelayMs(aPolicy({ attempts: 3 }), 3, MIDDLE)).toBeNull();
  expect(nextDelayMs(aPolicy({ attempts: 1 }), 1, MIDDLE)).toBeNull();
});

test("every delay is within a fifth of its nominal value and never above the maximum", () => {
  const policies = fc.record({
    attempts: fc.constant(5_000),
    backoff: fc.constantFrom("fixed", "exponential"),
    delayMs: fc.integer({ min: 0, max: 100_000 }),
    maxMs: fc.integer({ min: 0, max: 1_000_000 }),
  }) as fc.Arbitrary<RetryPolicy>;
  const chances = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
  fc.assert(
    fc.property(policies, fc.integer({ min: 1, max: 4_999 }), chances, (policy, failures, chance) => {
      const exact = policy.backoff === "fixed" ? policy.delayMs : policy.delayMs * 2 ** Math.min(failures - 1, 60);
      const nominal = policy.backoff === "fixed" ? exact : Math.min(exact, policy.maxMs);

      const delay = nextDelayMs(policy, failures, () => chance)!;

      expect(delay).toBeGreaterThanOrEqual(Math.floor(nominal * (1 - JITTER)));
      expect(delay).toBeLessThanOrEqual(Math.ceil(nominal * (1 + JITTER)));
      if (policy.backoff === "exponential") expect(delay).toBeLessThanOrEqual(policy.maxMs);
    }),
  );
});
