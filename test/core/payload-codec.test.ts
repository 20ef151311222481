import { randomBytes } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { PayloadKeyError, UsageError } from "../../src/core/errors.js";
import { aesPayloads, PLAIN_PAYLOADS } from "../../src/core/payload-codec.js";

const first = randomBytes(32).toString("base64");
const second = randomBytes(32);
const PLACE = "The output of step build of plan web-42";

describe("AES payloads", () => {
  test("open as they were, show nothing of it, and are never the same twice", () => {
    const codec = aesPayloads({ k1: first });
    fc.assert(
      fc.property(fc.string({ unit: "grapheme", minLength: 8 }), (text) => {
        const sealed = codec.seal(text, PLACE);
        expect(codec.open(sealed, PLACE)).toBe(text);
        expect(sealed).toMatch(/^~k1~[A-Za-z0-9_-]+$/);
        expect(sealed).not.toContain(text);
        expect(codec.seal(text, PLACE)).not.toBe(sealed);
      }),
    );
  });

  test("are sealed with the first key, and opened with each, so that keys can change", () => {
    const old = aesPayloads({ k1: first }).seal("{}", PLACE);
    const both = aesPayloads({ k2: second, k1: first });

    expect(both.open(old, PLACE)).toBe("{}");
    expect(both.seal("{}", PLACE)).toMatch(/^~k2~/);
    expect(() => aesPayloads({ k2: second }).open(old, PLACE)).toThrow(
      new PayloadKeyError(PLACE, "is encrypted with key k1; known are k2"),
    );
  });

  test("open nowhere but in their place", () => {
    const codec = aesPayloads({ k1: first });
    const sealed = codec.seal('{"amount":1}', PLACE);

    expect(() => codec.open(sealed, "The output of step build of plan web-43")).toThrow(PayloadKeyError);
  });

  test("that were changed, in whatever place, don't open", () => {
    const codec = aesPayloads({ k1: first, k2: first });
    const sealed = codec.seal('{"amount":1}', PLACE);
    const [, , text] = sealed.split("~");
    const bytes = Buffer.from(text!, "base64url");
    for (let i = 0; i < bytes.length; i++) {
      const changed = Buffer.from(bytes);
      changed[i]! ^= 1;
      expect(() => codec.open(`~k1~${changed.toString("base64url")}`, PLACE)).toThrow(PayloadKeyError);
    }
    expect(() => codec.open(`~k2~${text}`, PLACE)).toThrow(PayloadKeyError);
    expect(() => codec.open("~k1~", PLACE)).toThrow(PayloadKeyError);
  });

  test("another key of the same id is one clear error, which says nothing of either", () => {
    const sealed = aesPayloads({ k1: first }).seal("{}", PLACE);

    expect(() => aesPayloads({ k1: second }).open(sealed, PLACE)).toThrow(
      new PayloadKeyError(PLACE, "does not open with key k1: that is another key, or the payload was changed"),
    );
  });

  test("in plain are refused: whoever can write to the store could have left them", () => {
    expect(() => aesPayloads({ k1: first }).open('{"amount":1}', PLACE)).toThrow(PayloadKeyError);
  });

  test.each<[string, Record<string, string>, string]>([
    ["none", {}, "No payload key is given"],
    ["one that is too short", { k1: "c2hvcnQ=" }, "The payload key k1 has 5 bytes; it needs 32, in base64"],
    ["an id that can't be told apart", { "k~1": first }, 'The id "k~1" of a payload key'],
  ])("with %s are refused", (_, keys, message) => {
    expect(() => aesPayloads(keys)).toThrow(UsageError);
    expect(() => aesPayloads(keys)).toThrow(message);
  });
});

test("without a key, what is encrypted is refused and never taken for data", () => {
  const sealed = aesPayloads({ k1: first }).seal("{}", PLACE);

  expect(PLAIN_PAYLOADS.open(PLAIN_PAYLOADS.seal("{}", PLACE), PLACE)).toBe("{}");
  expect(() => PLAIN_PAYLOADS.open(sealed, PLACE)).toThrow(
    new PayloadKeyError(PLACE, "is encrypted with key k1, and no key is given"),
  );
});
