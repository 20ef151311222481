/** What holds and what doesn't, of every kind of value that a path can lead to. */
import { describe, expect, test } from "vitest";
import { holds, type PathCondition } from "../../src/core/condition.js";
import type { ExpressionScope } from "../../src/core/expression.js";
import type { Json } from "../../src/core/json.js";

const SCOPE: ExpressionScope = {
  input: { yes: true, no: false, none: null, zero: 0, one: 1, empty: "", text: "no", list: [], map: { a: 1, b: [2] } },
  outputs: new Map<string, Json>([
    ["scan", { how: "patch" }],
    ["skipped", null],
  ]),
  errors: new Map([["lint", { code: "EXIT_1", message: "exit status 1" }]]),
  plan: { id: "p-1", name: "web", version: 3 },
  secret: () => null,
};

function asked(condition: PathCondition): boolean {
  return holds(condition, SCOPE, "`when` of step x");
}

describe("a path alone", () => {
  test.each(["input.yes", "input.one", "input.text", "input.list", "input.map", "errors.lint", "plan.version"])(
    "%s holds",
    (value) => expect(asked({ value })).toBe(true),
  );

  test.each(["input.no", "input.none", "input.zero", "input.empty", "errors.scan", "errors.scan.code"])(
    "%s doesn't",
    (value) => expect(asked({ value })).toBe(false),
  );

  test("that leads nowhere is no answer", () => {
    expect(() => asked({ value: "steps.scan.output.found" })).toThrow(
      "`when` of step x is not valid: steps.scan.output.found: it does not exist; steps.scan.output is an object with the keys how",
    );
    expect(() => asked({ value: "not a path" })).toThrow(/can't stand in an expression/);
  });

  test("into a step that left no output is null, however deep it leads", () => {
    expect(asked({ value: "steps.skipped.output" })).toBe(false);
    expect(asked({ value: "steps.skipped.output.a[3].b" })).toBe(false);
    expect(asked({ value: "steps.skipped.output.a", in: [null] })).toBe(true);
  });
});

test.each<[PathCondition, boolean]>([
  [{ value: "steps.scan.output.how", in: ["patch", "rewrite"] }, true],
  [{ value: "steps.scan.output.how", in: ["rewrite"] }, false],
  [{ value: "steps.scan.output.how", notIn: ["rewrite"] }, true],
  [{ value: "steps.scan.output.how", notIn: ["patch"] }, false],
  [{ value: "input.map", in: [{ b: [2], a: 1 }] }, true],
  [{ value: "input.one", in: ["1"] }, false],
  [{ value: "errors.lint.code", in: ["EXIT_1"] }, true],
  [{ value: "input.no", in: [] }, false],
])("%j: %s", (condition, expected) => {
  expect(asked(condition)).toBe(expected);
});
