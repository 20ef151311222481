import { expect, test } from "vitest";
import { printable, printableJson, printableText } from "../../src/cli/render/printable.js";

test("no control character of data reaches a terminal in one line", () => {
  const hostile = `${Array.from({ length: 0xa0 }, (_, code) => String.fromCharCode(code)).join("")}\u202e\u2066\u2028\ufeff`;

  const shown = printable(hostile);

  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what must not be there
  expect(shown).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u202e\u2066\u2028\ufeff]/);
  expect(shown).toContain("\\x1b");
  expect(shown).toContain("\\n");
  expect(shown).toContain("\\u202e");
});

test("ordinary text, accents and emoji included, is shown as it is", () => {
  expect(printable("Größe 名前 🚀 'x'")).toBe("Größe 名前 🚀 'x'");
  expect(printable({ a: 1 })).toBe('{"a":1}');
  expect(printable(undefined)).toBe("undefined");
});

test("a log keeps its lines and loses its colours, titles and cursor moves", () => {
  const log = "\u001b[31mred\u001b[0m\r\n\u001b]0;title\u0007ok\tdone\u001b[2J\u0008!\rnext";

  expect(printableText(log)).toBe("red\nok\tdone\\x08!\nnext");
});

test("JSON for a terminal is JSON with the same value", () => {
  const value = { text: "\u009b31m\u202e\u007f", lines: ["a\nb"] };

  const shown = printableJson(value, 2);

  expect(JSON.parse(shown)).toEqual(value);
  expect(shown).not.toMatch(/[\u007f-\u009f\u202e]/);
});
