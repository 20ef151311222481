import { randomBytes } from "node:crypto";
import { expect, test } from "vitest";
import { PayloadKeyError } from "../../src/core/errors.js";
import { aesPayloads, PLAIN_PAYLOADS } from "../../src/core/payload-codec.js";
import { Payloads } from "../../src/store/payloads.js";

const sealed = new Payloads(aesPayloads({ k1: randomBytes(32) }));
const DECISION = {
  step: "choose",
  key: "how",
  question: "how?",
  options: ["patch", "rewrite"],
  choice: "patch",
  rationale: "smaller",
  madeBy: "ada",
  at: 1,
};

test("of a sealed decision everybody sees who made it and where, and nobody what was asked and chosen", () => {
  const stored = sealed.sealDecision("p", DECISION);

  expect(JSON.parse(stored)).toEqual({
    step: "choose",
    key: "how",
    madeBy: "ada",
    at: 1,
    sealed: expect.stringMatching(/^~k1~/),
  });
  for (const secret of ["how?", "patch", "smaller"]) expect(stored).not.toContain(`"${secret}"`);
  expect(sealed.openDecision("p", stored)).toEqual(DECISION);
});

test("a decision of a whole plan is sealed for the plan, and opens nowhere else", () => {
  const { step: _, key: __, ...root } = DECISION;
  const stored = sealed.sealDecision("p", root);

  expect(sealed.openDecision("p", stored)).toEqual({ ...root, key: null });
  expect(() => sealed.openDecision("q", stored)).toThrow(PayloadKeyError);
});

test("without a key a decision is stored as it is", () => {
  const plain = new Payloads(PLAIN_PAYLOADS);

  expect(JSON.parse(plain.sealDecision("p", DECISION))).toEqual(DECISION);
  expect(plain.openDecision("p", plain.sealDecision("p", DECISION))).toEqual(DECISION);
});

test("nothing is stored as nothing, and not sealed", () => {
  expect(sealed.sealOutput("p", "s", "null")).toBe("null");
  expect(sealed.openOutput("p", "s", "null")).toBe("null");
});
