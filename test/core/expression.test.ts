// biome-ignore-all lint/suspicious/noTemplateCurlyInString: that is what an expression looks like
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { InvalidInputError } from "../../src/core/errors.js";
import {
  type Expression,
  type ExpressionScope,
  findExpressions,
  formatExpression,
  parsePath,
  resolve,
  resolveTexts,
  stepReferences,
} from "../../src/core/expression.js";
import type { Json } from "../../src/core/json.js";

function aScope(changes: Partial<ExpressionScope> = {}): ExpressionScope {
  return {
    input: { tag: "v1", count: 3, nested: { list: [10, { deep: true }], "odd key": 1, empty: {} }, none: null },
    errors: new Map(),
    outputs: new Map<string, Json>([
      ["build", { files: ["a.js", "b.js"] }],
      ["a.b", "dotted"],
      ["constructor", { ok: true }],
    ]),
    plan: { id: "web-42", name: "web", version: 7 },
    secret: (name) => (name === "NPM" ? "s3cret" : null),
    ...changes,
  };
}

function parsed(text: string): Expression | string {
  const [found] = findExpressions(text);
  return found!.kind === "expression" ? found!.expression : found!.message;
}

describe("a path", () => {
  test.each<[string, Expression]>([
    ["${{ input }}", { root: "input", path: [] }],
    ["${{input.tag}}", { root: "input", path: ["tag"] }],
    ["${{  input.a-b.c_d[0]  }}", { root: "input", path: ["a-b", "c_d", 0] }],
    ["${{\n  input\n}}", { root: "input", path: [] }],
    ["${{ steps.build.output }}", { root: "steps", step: "build", path: [] }],
    ["${{ steps.step-1.output.x }}", { root: "steps", step: "step-1", path: ["x"] }],
    ['${{ steps["a.b"].output[ 2 ] }}', { root: "steps", step: "a.b", path: [2] }],
    ["${{ steps['a.b'].output['x y'] }}", { root: "steps", step: "a.b", path: ["x y"] }],
    ['${{ input["}}"].x }}', { root: "input", path: ["}}", "x"] }],
    ['${{ input["\\u00e9\\""] }}', { root: "input", path: ['é"'] }],
    ["${{ plan.id }}", { root: "plan", field: "id" }],
    ["${{ plan.version }}", { root: "plan", field: "version" }],
    ["${{ secrets.NPM_TOKEN }}", { root: "secrets", name: "NPM_TOKEN" }],
  ])("%s is understood", (text, expression) => {
    expect(parsed(text)).toEqual(expression);
  });

  test.each([
    ["${{ }}", "the expression is empty"],
    ["${{ input.tag", "the expression has no closing }}"],
    ["${{ input.tag }", "the expression has no closing }}"],
    ["${{", "the expression has no closing }}"],
    ["${{ input.a || 1 }}", '"||" can\'t stand in an expression'],
    ["${{ input.count + 1 }}", '"+" can\'t stand'],
    ["${{ input.f() }}", '"()" can\'t stand'],
    ["${{ input[-1] }}", '"[-1]" can\'t stand'],
    ["${{ input..x }}", '"..x" can\'t stand'],
    ["${{ 'text' }}", "\"'text'\" can't stand"],
    ['${{ input["\\q"] }}', '"\\q" is not a string that JSON knows'],
    ["${{ inptu.x }}", 'not "inptu"; did you mean "input"?'],
    ["${{ process.env }}", 'not "process"'],
    ["${{ steps }}", "steps needs a step's id"],
    ["${{ steps[0].output }}", "steps needs a step's id"],
    ["${{ steps.build }}", "steps.build is followed by .output"],
    ["${{ steps.build.outputs.x }}", "steps.build is followed by .output"],
    ["${{ plan }}", "plan has only id, name and version"],
    ["${{ plan.state }}", "plan has only id, name and version"],
    ["${{ plan.id.x }}", "plan has only id, name and version"],
    ["${{ secrets }}", "secrets needs one name"],
    ["${{ secrets.A.B }}", "secrets needs one name"],
  ])("%s is refused", (text, message) => {
    expect(parsed(text)).toContain(message);
  });

  test("every expression of a text is found with its place, wrong ones too", () => {
    const text = "a ${{ input.x }} $${{ not.this }} ${{ ? }}${{ plan.id }}";

    const found = findExpressions(text);

    expect(found.map(({ start, end, kind }) => [text.slice(start, end), kind])).toEqual([
      ["${{ input.x }}", "expression"],
      ["${{ ? }}", "fault"],
      ["${{ plan.id }}", "expression"],
    ]);
  });

  const SEGMENTS = fc.array(fc.oneof(fc.string({ unit: "binary" }), fc.nat(1_000_000)), { maxLength: 5 });
  const EXPRESSIONS: fc.Arbitrary<Expression> = fc.oneof(
    SEGMENTS.map((path) => ({ root: "input", path }) as const),
    fc.tuple(fc.string(), SEGMENTS).map(([step, path]) => ({ root: "steps", step, path }) as const),
    fc.constantFrom("id", "name", "version").map((field) => ({ root: "plan", field }) as const),
    fc.string().map((name) => ({ root: "secrets", name }) as const),
  );

  test("any expression survives being written and read", () => {
    fc.assert(
      fc.property(EXPRESSIONS, fc.constantFrom("", " ", "\n  "), (expression, space) => {
        const text = `\${{${space}${formatExpression(expression)}${space}}}`;

        expect(findExpressions(text)).toEqual([{ start: 0, end: text.length, kind: "expression", expression }]);
      }),
    );
  });

  test("any text at all is read without throwing, and what is found covers what it says", () => {
    const pieces = fc.constantFrom("${{", "}}", "$", "input", ".", "[0]", '["', '"]', " ", "x", "\\", "steps.a.output");
    fc.assert(
      fc.property(fc.array(pieces, { maxLength: 30 }), (parts) => {
        const text = parts.join("");
        let last = 0;
        for (const { start, end } of findExpressions(text)) {
          expect(start).toBeGreaterThanOrEqual(last);
          expect(text.startsWith("${{", start)).toBe(true);
          expect(end).toBeGreaterThan(start);
          last = end;
        }
        expect(last).toBeLessThanOrEqual(text.length);
      }),
    );
  });
});

describe("resolving", () => {
  test.each<[string, Json]>([
    ["plain", "plain"],
    ["${{ input.count }}", 3],
    ["${{ input.nested.list }}", [10, { deep: true }]],
    ["${{ input.nested.list[1].deep }}", true],
    ['${{ input.nested["odd key"] }}', 1],
    ["${{ input.none }}", null],
    ["${{ steps.build.output.files[1] }}", "b.js"],
    ['${{ steps["a.b"].output }}', "dotted"],
    ["${{ steps.constructor.output.ok }}", true],
    ["${{ plan.version }}", 7],
    ["${{ plan.name }}/${{ plan.id }}", "web/web-42"],
    [" ${{ input.count }}", " 3"],
    ["n=${{ input.none }} l=${{ input.nested.list }}", 'n=null l=[10,{"deep":true}]'],
    ["${{ input.tag }}${{ input.tag }}", "v1v1"],
    ["$${{ input.tag }}", "${{ input.tag }}"],
    ["$$${{ input.tag }}", "$${{ input.tag }}"],
    ["$${{ ${{ input.tag }}", "${{ v1"],
    ["${{ input.tag }}$${{", "v1${{"],
    ["Bearer ${{ secrets.NPM }}", "Bearer s3cret"],
    ["$ {{ x }} $5", "$ {{ x }} $5"],
  ])("%s", (text, value) => {
    expect(resolve(text, aScope())).toEqual(value);
  });

  test("goes to any depth, leaves keys and other values alone, and changes nothing in place", () => {
    const template = { "${{ input.tag }}": [1, null, true, { a: "${{ input.count }}" }] };

    expect(resolve(template, aScope())).toEqual({ "${{ input.tag }}": [1, null, true, { a: 3 }] });
    expect(template["${{ input.tag }}"][3]).toEqual({ a: "${{ input.count }}" });
  });

  test("a value that looks like an expression is never resolved again", () => {
    const scope = aScope({ input: { a: "${{ secrets.NPM }}" } });

    expect(resolve("${{ input.a }}!", scope)).toBe("${{ secrets.NPM }}!");
  });

  test("a key named __proto__ stays a key", () => {
    const template = JSON.parse('{"__proto__": {"polluted": "${{ input.tag }}"}}') as Json;

    expect(JSON.stringify(resolve(template, aScope()))).toBe('{"__proto__":{"polluted":"v1"}}');
    expect(({} as Record<string, unknown>).polluted).toBeUndefined();
  });

  test.each([
    ["${{ input.nope }}", "input.nope", "it does not exist; input is an object with the keys tag, count, nested, none"],
    ["${{ input.tag.x }}", "input.tag.x", "it does not exist; input.tag is a string"],
    ["${{ input.none.x }}", "input.none.x", "it does not exist; input.none is null"],
    ["${{ input.nested.list[2].x }}", "input.nested.list[2].x", "it does not exist; input.nested.list is a list of 2"],
    [
      "${{ input.nested.list.length }}",
      "input.nested.list.length",
      "it does not exist; input.nested.list is a list of 2",
    ],
    ["${{ input.nested.empty.x }}", "input.nested.empty.x", "it does not exist; input.nested.empty is an empty object"],
    [
      "${{ input.constructor }}",
      "input.constructor",
      "it does not exist; input is an object with the keys tag, count, nested, none",
    ],
    [
      "${{ input.__proto__ }}",
      "input.__proto__",
      "it does not exist; input is an object with the keys tag, count, nested, none",
    ],
    [
      "${{ steps.build.output.files[7] }}",
      "steps.build.output.files[7]",
      "it does not exist; steps.build.output.files is a list of 2",
    ],
    ["${{ steps.toString.output }}", "steps.toString.output", 'step "toString" has no output'],
    ["${{ secrets.OTHER }}", "secrets.OTHER", "this worker has no such secret; it is read from WAYMARK_SECRET_OTHER"],
  ])("%s is an error that says how far the path led", (text, path, message) => {
    const error = thrownBy(() => resolve(text, aScope()));

    expect(error.issues).toHaveLength(1);
    expect(error.issues[0]!.path).toBe(path);
    expect(error.issues[0]!.message).toBe(message);
  });

  test("a malformed expression is an error with its text", () => {
    const error = thrownBy(() => resolve("x ${{ a b }} y", aScope()));

    expect(error.issues[0]!.path).toBe("${{ a b }}");
    expect(error.issues[0]!.message).toContain('"b" can\'t stand in an expression');
  });

  test("long objects are named by their first keys only", () => {
    const input = Object.fromEntries(Array.from({ length: 10 }, (_, i) => [`k${i}`, i]));

    const error = thrownBy(() => resolve("${{ input.x }}", aScope({ input })));

    expect(error.issues[0]!.message).toMatch(/k0, k1, k2, k3, k4, k5, k6, k7 and 2 more$/);
  });

  test("every path that leads nowhere is reported at once, under the name of the whole", () => {
    const error = thrownBy(() =>
      resolve({ a: "${{ input.x }}", b: ["${{ input.y }}"] }, aScope(), "with of step push"),
    );

    expect(error.issues.map((issue) => issue.path)).toEqual(["input.x", "input.y"]);
    expect(error.message).toMatch(/^with of step push is not valid: /);
  });

  test("in a map of texts every value stays a text", () => {
    const texts = resolveTexts({ N: "${{ input.count }}", J: "${{ input.nested.list }}", S: "x" }, aScope());

    expect(texts).toEqual({ N: "3", J: '[10,{"deep":true}]', S: "x" });
  });

  test("texts without an expression come back as they went in, escapes aside", () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        const escaped = text.replaceAll("${{", "$${{");
        if (escaped.includes("$$${{")) return;
        expect(resolve(escaped, aScope())).toBe(text);
      }),
    );
  });

  test("any value inserted alone keeps its type", () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const json = JSON.parse(JSON.stringify(value)) as Json;
        expect(resolve("${{ input }}", aScope({ input: json }))).toEqual(json);
      }),
    );
  });
});

test("a step refers to the steps that its arguments and environment name, each once", () => {
  const references = stepReferences({
    with: {
      a: ["${{ steps.x.output }} ${{ steps.y.output.z }}"],
      n: 1,
      b: { c: "${{ input.q }}" },
      d: "$${{ steps.no.output }}",
    },
    env: { A: '${{ steps["a.b"].output }}', B: "${{ steps.x.output.again }}" },
  });

  expect(references).toEqual({ outputs: ["x", "y", "a.b"], errors: [] });
});

function thrownBy(action: () => unknown): InvalidInputError {
  try {
    action();
  } catch (error) {
    expect(error).toBeInstanceOf(InvalidInputError);
    return error as InvalidInputError;
  }
  throw new Error("nothing was thrown");
}

test("a step refers to the errors that it names, and to what its condition looks at", () => {
  const env = { A: "${{ errors.lint.code }} ${{ errors.lint.message }}", B: "${{ errors.test }}" };

  expect(stepReferences({ with: {}, env, when: { value: "steps.scan.output.n" } })).toEqual({
    outputs: ["scan"],
    errors: ["lint", "test"],
  });
  expect(stepReferences({ with: {}, env: {}, when: { value: "errors.lint" } }).errors).toEqual(["lint"]);
  expect(stepReferences({ with: {}, env: {}, when: "code" })).toEqual({ outputs: [], errors: [] });
});

test("the error of a step is code and message, and null where it has not failed", () => {
  const scope = aScope({ errors: new Map([["lint", { code: "EXIT_1", message: "two faults" }]]) });
  const template = ["${{ errors.lint }}", "${{ errors.lint.code }}", "${{ errors.ok }}", "${{ errors.ok.message }}"];

  expect(resolve(template, scope)).toEqual([{ code: "EXIT_1", message: "two faults" }, "EXIT_1", null, null]);
  expect(formatExpression({ root: "errors", step: "a.b", field: "code" })).toBe('errors["a.b"].code');
  expect(formatExpression({ root: "errors", step: "a", field: null })).toBe("errors.a");
});

test("a path may stand alone, with or without braces", () => {
  const found = { root: "steps", step: "scan", path: ["n"] };

  expect(parsePath(" steps.scan.output.n ")).toEqual(found);
  expect(parsePath("${{ steps.scan.output.n }}")).toEqual(found);
  expect(parsePath("")).toBe("the expression is empty");
  expect(parsePath("${{ input.a }} ${{ input.b }}")).toMatch(/can't stand in an expression/);
  expect(parsePath("input.a }} x")).toMatch(/can't stand in an expression/);
});
