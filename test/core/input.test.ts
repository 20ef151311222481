// biome-ignore-all lint/suspicious/noThenProperty: a keyword of JSON Schema
import { describe, expect, test } from "vitest";
import { InvalidInputError, UsageError } from "../../src/core/errors.js";
import { checkInputSchema, parseInputPairs, validateInput } from "../../src/core/input.js";
import type { JsonObject } from "../../src/core/json.js";

function aSchema(properties: JsonObject): JsonObject {
  const required = Object.entries(properties)
    .filter(([, schema]) => !Object.hasOwn(schema as object, "default"))
    .map(([name]) => name);
  return { type: "object", properties, required };
}

async function issuesOf(properties: JsonObject, input: unknown) {
  try {
    await validateInput(aSchema(properties), input);
  } catch (error) {
    expect(error).toBeInstanceOf(InvalidInputError);
    return (error as InvalidInputError).issues;
  }
  return [];
}

describe("an input", () => {
  test("that fits is returned", async () => {
    const input = { tag: "v1", depth: 3 };

    expect(
      await validateInput(aSchema({ tag: { type: "string", pattern: "^v" }, depth: { type: "integer" } }), input),
    ).toEqual(input);
  });

  test("gets the defaults of what it leaves out, in objects too, and is not changed itself", async () => {
    const schema = aSchema({
      tag: { type: "string", default: "v0" },
      deploy: { type: "object", properties: { region: { default: "eu" }, count: { type: "integer" } } },
      toString: { type: "string", default: "inherited" },
      anything: true,
    });
    const input = { deploy: { count: 2 }, anything: 1 };

    expect(await validateInput(schema, input)).toEqual({
      tag: "v0",
      deploy: { region: "eu", count: 2 },
      toString: "inherited",
      anything: 1,
    });
    expect(input).toEqual({ deploy: { count: 2 }, anything: 1 });
  });

  test("may be left out where everything has a default", async () => {
    expect(await validateInput(aSchema({ tag: { default: "v0" } }), undefined)).toEqual({ tag: "v0" });
  });

  test("is taken as it is where the definition says nothing about it", async () => {
    expect(await validateInput(null, [1])).toEqual([1]);
    expect(await validateInput(null, undefined)).toEqual({});
  });

  test.each([
    [null, "must be an object, not null"],
    [[1], "must be an object, not a list"],
    ["x", "must be an object, not a string"],
  ])("of %j is refused", async (input, message) => {
    expect(await issuesOf({}, input)).toEqual([{ path: "", message }]);
  });

  test("shows all its issues at once, each with its path", async () => {
    const properties: JsonObject = {
      tag: { type: "string", pattern: "^v" },
      missing: { type: "number" },
      env: { enum: ["staging", "production"] },
      fixed: { const: 1 },
      list: {
        type: "array",
        items: { type: "object", additionalProperties: false, properties: { "a/b": { type: "integer" } } },
      },
      on: { format: "date" },
    };

    const issues = await issuesOf(properties, {
      tag: "1",
      env: "prod",
      fixed: 2,
      list: [{}, { "a/b": "x", more: 1 }],
      on: "tomorrow",
      tga: 1,
    });

    expect(issues).toHaveLength(8);
    expect(issues).toEqual(
      expect.arrayContaining([
        { path: "tga", message: 'there is no such input; did you mean "tag"?' },
        { path: "missing", message: "is required" },
        { path: "tag", message: 'must match pattern "^v"' },
        { path: "env", message: 'must be one of "staging", "production"' },
        { path: "fixed", message: "must be 1" },
        { path: 'list[1]["a/b"]', message: "must be integer" },
        { path: "list[1].more", message: "is not known" },
        { path: "on", message: 'must match format "date"' },
      ]),
    );
  });

  test.each(["constructor", "toString", "hasOwnProperty"])("needs %s of its own, not Object's", async (name) => {
    const properties = { [name]: { type: "string" } };

    expect(await issuesOf(properties, {})).toEqual([{ path: name, message: "is required" }]);
    expect(await issuesOf(properties, { [name]: "x" })).toEqual([]);
    expect(await issuesOf({}, { [name]: "x" })).toEqual([{ path: name, message: "there is no such input" }]);
  });

  test.each([
    ["date", "2026-02-28", "2026-13-01"],
    ["date-time", "2026-02-28T10:00:00Z", "2026-02-28 10:00"],
    ["email", "a.b+c@example.org", "a@b@c"],
    ["ipv4", "192.0.2.255", "192.0.2.256"],
    ["uri", "https://example.org/x?y=1", "example.org"],
    ["uuid", "123e4567-e89b-12d3-a456-426614174000", "123e4567"],
  ])("of the format %s is checked", async (format, good, bad) => {
    expect(await issuesOf({ x: { format } }, { x: good })).toEqual([]);
    expect(await issuesOf({ x: { format } }, { x: bad })).toEqual([
      { path: "x", message: `must match format "${format}"` },
    ]);
  });
});

describe("the schema of an input", () => {
  test("may use the keywords of JSON Schema", () => {
    const faults = checkInputSchema({
      a: {
        type: ["string", "null"],
        title: "A",
        description: "d",
        $comment: "c",
        examples: ["x"],
        minLength: 1,
        deprecated: true,
      },
      b: {
        type: "array",
        items: { type: "integer", minimum: 0 },
        uniqueItems: true,
        prefixItems: [true],
        contains: {},
      },
      c: { anyOf: [{ const: 1 }, { not: { enum: [2] } }], default: 1 },
      d: {
        type: "object",
        required: ["x"],
        properties: { x: true },
        patternProperties: { "^y": false },
        additionalProperties: false,
      },
      e: { if: { type: "string" }, then: { format: "date" }, else: { multipleOf: 0.5 } },
      f: { type: "integer", default: 2 },
      g: { type: ["null", "array"], default: null },
      h: { enum: [{ a: 1 }], default: { a: 1 } },
      i: true,
    });

    expect(faults).toEqual([]);
  });

  test.each<[JsonObject, string]>([
    [{ a: "string" }, "a must be a JSON Schema such as { type: string }, not a string"],
    [{ a: null }, "a must be a JSON Schema such as { type: string }, not null"],
    [{ a: [{}] }, "a must be a JSON Schema such as { type: string }, not a list"],
    [
      { a: { type: "strng" } },
      "a.type must be one of string, number, integer, boolean, object, array, null, or a list of them",
    ],
    [
      { a: { type: [] } },
      "a.type must be one of string, number, integer, boolean, object, array, null, or a list of them",
    ],
    [{ a: { patern: "^v" } }, 'a.patern is not a keyword of a schema; did you mean "pattern"?'],
    [{ a: { $ref: "#/b" } }, 'a["$ref"] is not a keyword of a schema'],
    [{ a: { pattern: "(" } }, "a.pattern must be a regular expression"],
    [{ a: { pattern: 1 } }, "a.pattern must be a regular expression"],
    [{ a: { required: true } }, "a.required must be a list of names (an input is required unless it has a default)"],
    [{ a: { enum: [] } }, "a.enum must be a list of at least one value"],
    [{ a: { minLength: -1 } }, "a.minLength must be a whole number of at least 0"],
    [{ a: { minimum: "1" } }, "a.minimum must be a number"],
    [{ a: { multipleOf: 0 } }, "a.multipleOf must be a number above 0"],
    [{ a: { uniqueItems: 1 } }, "a.uniqueItems must be true or false"],
    [{ a: { title: 1 } }, "a.title must be a string"],
    [{ a: { format: "phone" } }, "a.format must be one of date, date-time, email, ipv4, uri, uuid"],
    [{ a: { items: [{}] } }, "a.items must be a JSON Schema such as { type: string }, not a list"],
    [{ a: { anyOf: [] } }, "a.anyOf must be a list of at least one schema"],
    [
      { a: { anyOf: [{ type: "x" }] } },
      "a.anyOf[0].type must be one of string, number, integer, boolean, object, array, null, or a list of them",
    ],
    [{ a: { properties: [] } }, "a.properties must be a mapping of names to schemas"],
    [{ a: { patternProperties: { "[": {} } } }, 'a.patternProperties must be keyed by regular expressions, not "["'],
    [{ a: { type: "integer", default: 1.5 } }, "a.default is 1.5, which is not integer"],
    [{ a: { type: ["string", "null"], default: [] } }, "a.default is [], which is not string or null"],
    [{ a: { enum: ["x", "y"], default: "z" } }, 'a.default is "z", which is not one of "x", "y"'],
    [JSON.parse('{"__proto__": {}}') as JsonObject, "__proto__ can't be the name of an input"],
  ])("with the fault %j is refused", (properties, message) => {
    expect(checkInputSchema(properties).map((fault) => fault.message)).toEqual([message]);
  });

  test("is refused at the place of the fault, at any depth", () => {
    const faults = checkInputSchema({ a: { properties: { b: { oneOf: [{}, { maximum: "x" }] } } }, c: 1 });

    expect(faults.map((fault) => fault.path)).toEqual([["a", "properties", "b", "oneOf", 1, "maximum"], ["c"]]);
  });
});

describe("pairs on the command line", () => {
  const SCHEMA = aSchema({
    tag: { type: "string" },
    count: { type: "integer" },
    either: { type: ["string", "integer"] },
    any: true,
  });

  test.each<[string, unknown]>([
    ["tag=1", "1"],
    ["tag=null", "null"],
    ["tag=v=1", "v=1"],
    ["tag=", ""],
    ["count=1", 1],
    ["count=one", "one"],
    ["either=1", 1],
    ["either=true", "true"],
    ["any=[1,{}]", [1, {}]],
    ["any=0012", "0012"],
    ["any=12345678901234567890", "12345678901234567890"],
    ["other=true", true],
    ["toString=1", 1],
  ])("%s", (pair, value) => {
    expect(Object.values(parseInputPairs([pair], SCHEMA))).toEqual([value]);
  });

  test("are JSON where they parse as it, without a schema", () => {
    expect(parseInputPairs(["a=1", "b=x", 'c={"d":null}'])).toEqual({ a: 1, b: "x", c: { d: null } });
    expect(JSON.stringify(parseInputPairs(["__proto__=1"]))).toBe('{"__proto__":1}');
    expect(parseInputPairs([])).toEqual({});
  });

  test("without a name, or given twice, are refused", () => {
    expect(() => parseInputPairs(["tag"])).toThrow(new UsageError('"tag" is not a pair such as tag=v1'));
    expect(() => parseInputPairs(["=x"])).toThrow(UsageError);
    expect(() => parseInputPairs(["a=1", "a=2"])).toThrow('The input "a" is given twice');
  });
});
