import fc from "fast-check";
import { expect, test } from "vitest";
import { checkpointId, decisionId, isId, isStepId, newPlanId, newPlanTag, newWorkerId } from "../../src/core/ids.js";

const IDS = fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/);

test.each(["a", "0", "constructor", "toString", "a.b-c_d", "x".repeat(128)])("%s can be an id", (id) => {
  expect(isId(id)).toBe(true);
});

test.each(["", "__proto__", ".a", "-a", "_a", "a b", "a:b", "{a}", "a\n", "../x", "ä", "x".repeat(129), 1, null])(
  "%j can't be an id",
  (id) => {
    expect(isId(id)).toBe(false);
  },
);

test.each<[unknown, boolean]>([
  ["fix", true],
  ["fix#", true],
  ["fix#src/a%20b.ts", true],
  ["#a", false],
  ["a b", false],
  ["fix#a b", false],
  ["fix#a|b", false],
  ["fix#a@2", false],
  [1, false],
])("that %j is the id of a step: %s", (id, isOne) => {
  expect(isStepId(id)).toBe(isOne);
});

test("a plan id that nobody chose is an id, begins with the plan's name and sorts by time", () => {
  fc.assert(
    fc.property(IDS, fc.integer({ min: 1_600_000_000_000, max: 2_500_000_000_000 }), (name, now) => {
      const earlier = newPlanId(name, now);
      const later = newPlanId(name, now + 1);

      expect(isId(earlier)).toBe(true);
      expect(earlier.startsWith(name.slice(0, 96))).toBe(true);
      expect(earlier < later).toBe(true);
    }),
  );
});

test("worker ids are ids and don't repeat", () => {
  const ids = Array.from({ length: 1_000 }, newWorkerId);

  expect(ids.every(isId)).toBe(true);
  expect(new Set(ids).size).toBe(1_000);
});

test("tags of plans are sixteen digits and don't repeat", () => {
  const tags = Array.from({ length: 2_000 }, newPlanTag);

  expect(tags.every((tag) => /^[0-9A-HJKMNP-TV-Z]{16}$/.test(tag))).toBe(true);
  expect(new Set(tags).size).toBe(2_000);
});

test("checkpoints of a plan sort by fence, decisions by their place", () => {
  const tag = newPlanTag();

  expect(checkpointId(tag, 9) < checkpointId(tag, 10)).toBe(true);
  expect(checkpointId(tag, 33)).toBe(`ckp_0000000011${tag}`);
  expect(decisionId(tag, 1_700_000_000_000, 0) < decisionId(tag, 1_700_000_000_000, 1)).toBe(true);
  expect(decisionId(tag, 0, 31)).toBe(`dec_000000000Z${tag}`);
});
