import type { StandardSchemaV1 } from "@standard-schema/spec";
import { expect, test } from "vitest";
import { z } from "zod";
import { InvalidInputError } from "../../src/core/errors.js";
import { isStandardSchema, parseInput } from "../../src/define/parse-input.js";

test("a stored date is text, and a Date again for whoever reads it", async () => {
  const schema = z.object({ repo: z.string(), since: z.coerce.date(), depth: z.number().default(1) });
  const stored: unknown = JSON.parse('{"repo":"acme/web","since":"2026-01-01"}');

  const parsed = await parseInput(schema, stored);

  expect(parsed).toEqual({ repo: "acme/web", since: new Date("2026-01-01"), depth: 1 });
  expect(await parseInput(schema, stored)).toEqual(parsed);
});

test("a refusal names every issue by its path", async () => {
  const schema = z.object({ repo: z.string(), list: z.array(z.object({ id: z.number() })) });

  const refusal = await refusalOf(parseInput(schema, { repo: 1, list: [{ id: 1 }, { id: "2" }] }));

  expect(refusal.code).toBe("INVALID_INPUT");
  expect(refusal.issues.map((issue) => issue.path)).toEqual(["repo", "list[1].id"]);
  expect(refusal.message).toMatch(/^Input is not valid: repo: .+; list\[1\]\.id: .+/);
});

test("a refusal of the whole value has the empty path, and says what was refused", async () => {
  const refusal = await refusalOf(parseInput(z.string(), 5, "The data of signal ci"));

  expect(refusal.issues.map((issue) => issue.path)).toEqual([""]);
  expect(refusal.message).toContain("The data of signal ci is not valid: (root): ");
});

test("a schema may take its time, and may be of any library", async () => {
  const even: StandardSchemaV1<number, string> = {
    "~standard": {
      version: 1,
      vendor: "by hand",
      validate: async (value) =>
        typeof value === "number" && value % 2 === 0
          ? { value: `${value}` }
          : { issues: [{ message: "odd", path: [{ key: "a" }, 0, Symbol("s")] }] },
    },
  };

  expect(await parseInput(even, 4)).toBe("4");
  expect((await refusalOf(parseInput(even, 3))).issues).toEqual([{ path: "a[0].Symbol(s)", message: "odd" }]);
});

test("a Standard Schema is told from what isn't one", () => {
  const callable = Object.assign(() => {}, {
    "~standard": { version: 1, vendor: "x", validate: () => ({ value: 1 }) },
  });

  expect([z.string(), callable].map(isStandardSchema)).toEqual([true, true]);
  expect([null, undefined, "string", {}, { "~standard": {} }, () => {}].map(isStandardSchema)).toEqual(
    Array(6).fill(false),
  );
});

async function refusalOf(promise: Promise<unknown>): Promise<InvalidInputError> {
  const error = await promise.then(
    () => null,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(InvalidInputError);
  return error as InvalidInputError;
}
