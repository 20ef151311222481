import fc from "fast-check";
import { expect, test } from "vitest";
import { describeLimit, requireShares, shareOf } from "../../src/core/limits.js";

test("the shares of all shards are the whole, and none is one more than another's", () => {
  fc.assert(
    fc.property(fc.nat({ max: 1_000 }), fc.integer({ min: 1, max: 64 }), (most, shards) => {
      const shares = Array.from({ length: shards }, (_, shard) => shareOf(most, shard, shards));
      expect(shares.reduce((sum, share) => sum + share, 0)).toBe(most);
      expect(shares[0]! - shares.at(-1)!).toBeLessThanOrEqual(1);
    }),
  );
});

test("a limit that leaves a shard without a share is refused", () => {
  const concurrency = { id: "a", concurrency: { key: "api", limit: 3 } };
  const rate = { id: "b", rate: { key: "api", max: 2, perMs: 1_000 } };

  expect(() => requireShares([concurrency, rate, { id: "c" }], 2)).not.toThrow();
  expect(() => requireShares([concurrency], 4)).toThrow(
    "Step a has the concurrency api of 3, and the store has 4 shards, which divide it: it must be at least 4",
  );
  expect(() => requireShares([rate], 3)).toThrow("Step b has the rate api of 2, and the store has 3 shards");
  expect(() => requireShares([{ id: "a", concurrency: { key: "api", limit: 1 } }], 1)).not.toThrow();
});

test("a limit is told with its numbers", () => {
  expect(describeLimit({ kind: "concurrency", key: "api", limit: 3 }, 2)).toBe("the limit api (2 of 3 in use)");
  expect(describeLimit({ kind: "rate", key: "api", max: 10, perMs: 60_000 }, 0)).toBe("the rate api (10 in 1m)");
});
