/**
 * Keeps the secrets that an attempt was given out of what it leaves behind: its log, its output, its errors. It finds
 * them as they are, as JSON writes them, and line by line; a command that encodes one otherwise is beyond it.
 */
import type { Json } from "../core/json.js";

const HIDDEN = "***";
/** Hiding every place where a shorter one stands would spoil the text and protect nothing. */
const LEAST_CHARS = 4;
const LEAST_LINE_CHARS = 8;

export class Redactor {
  /** The longest first: one may be part of another. */
  private patterns: readonly string[] = [];

  /** From now on hidden. */
  hide(secret: string): void {
    const lines = secret.split(/\r?\n/).map((line) => line.trim());
    const found = [
      ...[secret, JSON.stringify(secret).slice(1, -1)].filter((text) => text.length >= LEAST_CHARS),
      ...lines.filter((line) => line.length >= LEAST_LINE_CHARS),
    ];
    this.patterns = [...new Set([...this.patterns, ...found])].sort((a, b) => b.length - a.length);
  }

  text(text: string): string {
    return this.patterns.reduce((rest, pattern) => rest.replaceAll(pattern, HIDDEN), text);
  }

  /** The same for every text in a value, the keys of objects included. */
  json(value: Json): Json {
    if (typeof value === "string") return this.text(value);
    if (value === null || typeof value !== "object") return value;
    if (Array.isArray(value)) return value.map((item) => this.json(item));
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [this.text(key), this.json(item)]));
  }

  /** How many characters at the end of a text may be the beginning of a secret that goes on in the next piece. */
  undecided(text: string): number {
    return Math.max(0, ...this.patterns.map((pattern) => overlap(text, pattern)));
  }
}

/** The length of the longest end of `text` that `pattern` begins with, short of all of it. */
function overlap(text: string, pattern: string): number {
  for (let length = Math.min(text.length, pattern.length - 1); length > 0; length--) {
    if (text.endsWith(pattern.slice(0, length))) return length;
  }
  return 0;
}
