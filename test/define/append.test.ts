// biome-ignore-all lint/suspicious/noTemplateCurlyInString: that is what an expression looks like
/** What a step may append, and what is refused before anything is written. */
import { expect, test } from "vitest";
import type { AppendedStep } from "../../src/core/handler.js";
import { expression, toDefinitionSteps } from "../../src/define/append.js";
import { builtinHandlers } from "../../src/handlers/index.js";
import { aDefinition } from "../support/plans.js";

const plan = aDefinition(
  [
    { id: "look", phase: "strategize" },
    { id: "late", phase: "apply" },
  ],
  { phases: ["strategize", "execute", "apply"] },
);
const LIMITS = { handlers: new Map(builtinHandlers()), payloadLimitBytes: 1_000 };
const append = (...steps: AppendedStep[]) => toDefinitionSteps(steps, "look", plan, LIMITS);

test("a step without a `with` has an empty one, needs whoever appends it, and is in `execute` or the later phase of a need", () => {
  expect(append({ id: "a", uses: "noop" }, { id: "b", uses: "noop", needs: ["late", "a"] })).toMatchObject([
    { id: "a", with: {}, needs: ["look"], phase: "execute", queue: "work", effect: "idempotent" },
    { id: "b", needs: ["look", "late", "a"], phase: "apply" },
  ]);
});

test.each([
  [
    "of an earlier phase than what it needs",
    { needs: ["late"], phase: "execute" },
    /needs a step of the later phase apply/,
  ],
  ["of a phase that the plan doesn't have", { phase: "after" }, /has the phase "after"/],
  ["with an id that exists", { id: "late" }, /exists already/],
  ["with an effect that nobody knows", { effect: "maybe" }, /has the effect "maybe"/],
])("a step %s is refused", (_, change, message) => {
  expect(() => append({ id: "a", uses: "noop", ...change } as AppendedStep)).toThrow(message);
});

test("what is no list of steps is refused", () => {
  expect(() => toDefinitionSteps({} as never, "look", plan, LIMITS)).toThrow(/appends is no list of steps/);
});

test("a step whose `with` is too large is refused", () => {
  expect(() => append({ id: "a", uses: "sleep", with: { for: "x".repeat(1_000) } })).toThrow(
    /^The `with` of a has 1010 bytes; the limit is 1000/,
  );
});

test("an expression is one path", () => {
  expect(() => expression("steps.a.output")).not.toThrow();
  expect(() => expression("steps.a.output }} and ${{ steps.b.output")).toThrow(/is no single path/);
  expect(() => expression("steps[")).toThrow(/The expression "steps\["/);
});
