/**
 * The gate between data and the terminal: ids, messages, logs and everything else that came from outside pass
 * through here, so that no escape sequence in them can move the cursor, change a title or hide text.
 */

/** C0 and C1 controls, DEL, line and paragraph separators, and the marks that reorder text. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it looks for
const UNSAFE = /[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g;
const UNSAFE_IN_TEXT =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the same, without newline and tab
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g;
/** Colours and titles as tools write them: CSI and OSC sequences, and two-character escapes. */
const ANSI =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: escape sequences are what it looks for
  /(?:\u001b\[|\u009b)[0-?]*[ -/]*[@-~]|(?:\u001b\]|\u009d)[^\u0007\u001b\u009c]*(?:\u0007|\u001b\\|\u009c)|\u001b[@-Z\\-_]/g;

/** One line: control characters are shown as escapes such as `\n` or `\x1b`. */
export function printable(value: unknown): string {
  return asText(value).replace(UNSAFE, escapeCharacter);
}

/** Text of several lines, such as a log: newlines and tabs stay, colour sequences go, the rest is escaped. */
export function printableText(text: string): string {
  return text
    .replace(ANSI, "")
    .replace(/\r+\n?/g, "\n")
    .replace(UNSAFE_IN_TEXT, escapeCharacter);
}

/** JSON that is safe on a terminal as well: what JSON leaves as it is gets its \u escape. */
export function printableJson(value: unknown, indent?: number): string {
  return JSON.stringify(value, null, indent).replace(UNSAFE, (c) =>
    c === "\n" ? c : `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

function asText(value: unknown): string {
  return typeof value === "string" ? value : (JSON.stringify(value) ?? String(value));
}

const SHORT: ReadonlyMap<string, string> = new Map([
  ["\n", "\\n"],
  ["\r", "\\r"],
  ["\t", "\\t"],
]);

function escapeCharacter(c: string): string {
  const code = c.charCodeAt(0);
  return (
    SHORT.get(c) ??
    (code < 0x100 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u${code.toString(16).padStart(4, "0")}`)
  );
}
