import fc from "fast-check";
import { expect, test } from "vitest";
import { InvalidInputError, PayloadTooLargeError } from "../../src/core/errors.js";
import { canonicalJson, digestOf, parseJson, toJson, toStoredJson } from "../../src/core/json.js";

test("any JSON value is stored as itself", () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      expect(JSON.parse(toJson(value, "Output"))).toEqual(JSON.parse(JSON.stringify(value)));
    }),
  );
});

test("nothing is stored as null, and a property without a value is left out", () => {
  expect(toJson(undefined, "Output")).toBe("null");
  expect(toJson({ a: undefined, b: 1 }, "Output")).toBe('{"b":1}');
});

class Account {
  balance = 1;
}

test.each([
  [{ a: [1, Number.NaN] }, "a[1]", "NaN is not a JSON number"],
  [{ a: { b: () => 1 } }, "a.b", "a function is not JSON"],
  [[10n], "[0]", "a bigint is not JSON"],
  [Symbol("x"), "", "a symbol is not JSON"],
  [{ at: new Date(0) }, "at", "a Date is not plain JSON"],
  [{ list: [new Map()] }, "list[0]", "a Map is not plain JSON"],
  [new Account(), "", "a Account is not plain JSON"],
  [{ x: -Infinity }, "x", "-Infinity is not a JSON number"],
])("what JSON can't hold is refused with its path (case %#)", (value, path, message) => {
  expect(() => toJson(value, "Output")).toThrow(new InvalidInputError("Output", [{ path, message }]));
});

test("a value that contains itself is refused, one that is shared is not", () => {
  const circle: Record<string, unknown> = {};
  circle.self = { circle };
  const shared = { a: 1 };

  expect(() => toJson(circle, "Output")).toThrow("self.circle: it contains itself");
  expect(toJson([shared, shared], "Output")).toBe('[{"a":1},{"a":1}]');
});

test("an object without a prototype is plain", () => {
  const bare = Object.assign(Object.create(null), { a: 1 }) as unknown;

  expect(toJson(bare, "Output")).toBe('{"a":1}');
});

test("the limit counts bytes, not characters", () => {
  expect(toStoredJson("é".repeat(4), "Output", 10)).toBe('"éééé"');
  expect(() => toStoredJson("é".repeat(5), "Output", 10)).toThrow(new PayloadTooLargeError("Output", 12, 10));
});

test("whole numbers that would be rounded are read as text, wherever they stand", () => {
  const text = `{"id":12345678901234567890,"ids":[-9007199254740993,1],"in 1234567890123456789":"9007199254740993 \\" 9007199254740993"}`;

  expect(parseJson(text)).toEqual({
    id: "12345678901234567890",
    ids: ["-9007199254740993", 1],
    "in 1234567890123456789": '9007199254740993 " 9007199254740993',
  });
  expect(parseJson("9007199254740991")).toBe(9007199254740991);
  expect(parseJson("100000000000000000000")).toBe(1e20);
  expect(parseJson("1.2345678901234567890")).toBe(1.2345678901234567);
  expect(parseJson("1e300")).toBe(1e300);
  expect(() => parseJson("{12345678901234567890")).toThrow(SyntaxError);
});

test("reading any JSON gives what JSON.parse gives, but for such numbers", () => {
  fc.assert(
    fc.property(fc.jsonValue(), fc.maxSafeInteger(), (value, number) => {
      const text = JSON.stringify([value, number, JSON.stringify(value)]);
      expect(parseJson(text)).toEqual(JSON.parse(text));
    }),
  );
});

test("equal values have one canonical text and digest, whatever the order of their keys", () => {
  fc.assert(
    fc.property(fc.dictionary(fc.string(), fc.jsonValue()), (value) => {
      const reversed = Object.fromEntries(Object.entries(value).reverse());

      expect(canonicalJson(reversed)).toBe(canonicalJson(value));
      expect(digestOf(reversed)).toBe(digestOf(value));
      expect(JSON.parse(canonicalJson(value))).toEqual(JSON.parse(JSON.stringify(value)));
    }),
  );
});

test("different values have different digests", () => {
  const values = [null, 0, "0", "", [], {}, [[]], { a: null }, { a: 0 }, [0], ["0"], false];

  expect(new Set(values.map(digestOf)).size).toBe(values.length);
  expect(digestOf({ a: undefined })).toBe(digestOf({}));
  expect(digestOf([undefined])).toBe(digestOf([null]));
  expect(digestOf(undefined)).toBe(digestOf(null));
});
