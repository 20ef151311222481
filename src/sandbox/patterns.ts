/**
 * Patterns in the syntax of gitignore(5), the last match deciding. As git does, they match bytes: `?` is one byte, not
 * one letter. A test holds them to what git itself answers.
 */
import { type BytePath, fromText } from "./byte-path.js";

export class Patterns {
  private readonly rules: readonly Rule[];

  constructor(lines: readonly string[]) {
    this.rules = lines.flatMap((line) => compile(fromText(line)) ?? []);
  }

  get isEmpty(): boolean {
    return this.rules.length === 0;
  }

  /** Whether they match this very path, with `/` between names. That a directory above is matched is for the caller to know. */
  match(path: BytePath, isDirectory: boolean): boolean {
    for (let i = this.rules.length - 1; i >= 0; i--) {
      const rule = this.rules[i]!;
      if ((isDirectory || !rule.directoriesOnly) && rule.expression.test(path)) return !rule.negated;
    }
    return false;
  }

  /** Whether they match it or a directory that it is in. */
  cover(path: BytePath, isDirectory: boolean): boolean {
    for (let end = path.indexOf("/"); end !== -1; end = path.indexOf("/", end + 1)) {
      if (this.match(path.slice(0, end), true)) return true;
    }
    return this.match(path, isDirectory);
  }
}

interface Rule {
  readonly negated: boolean;
  readonly directoriesOnly: boolean;
  readonly expression: RegExp;
}

/** Null for what holds no pattern. What git can never match, such as an open bracket, can't here either. */
function compile(line: string): Rule | null {
  let pattern = line.replace(/\r$/, "").replace(/(?<!\\)((?:\\\\)*) +$/, "$1");
  if (pattern === "" || pattern.startsWith("#")) return null;
  const negated = pattern.startsWith("!");
  if (negated) pattern = pattern.slice(1);
  const directoriesOnly = pattern.endsWith("/");
  if (directoriesOnly) pattern = pattern.slice(0, -1);
  const anchored = pattern.includes("/");
  if (pattern.startsWith("/")) pattern = pattern.slice(1);
  if (pattern === "") return null;
  const body = translate(pattern);
  if (body === null) return null;
  return { negated, directoriesOnly, expression: new RegExp(`${anchored ? "^" : "(?:^|/)"}${body}$`, "s") };
}

/** A regular expression's source, or null where the pattern is malformed. */
function translate(pattern: string): string | null {
  let source = "";
  for (let i = 0; i < pattern.length; ) {
    const rest = pattern.slice(i);
    const atStart = i === 0 || pattern[i - 1] === "/";
    const stars = /^\*+/.exec(rest)?.[0].length ?? 0;
    if (stars >= 2 && atStart && (rest[stars] === "/" || rest.length === stars)) {
      // `**/` is any number of directories, `/**` at the end everything inside.
      source += rest.length === stars ? ".+" : "(?:.*/)?";
      i += stars + (rest.length === stars ? 0 : 1);
    } else if (stars > 0) {
      source += "[^/]*";
      i += stars;
    } else if (rest[0] === "?") {
      source += "[^/]";
      i += 1;
    } else if (rest[0] === "[") {
      const bracket = translateBracket(rest);
      if (bracket === null) return null;
      source += bracket.source;
      i += bracket.length;
    } else if (rest[0] === "\\") {
      if (rest.length === 1) return null;
      source += literal(rest[1]!);
      i += 2;
    } else {
      source += literal(rest[0]!);
      i += 1;
    }
  }
  return source;
}

/** `[a-z]`, `[!a-z]`, `[[:digit:]]`; a bracket never matches a slash. */
function translateBracket(rest: string): { source: string; length: number } | null {
  const negated = rest[1] === "!" || rest[1] === "^";
  const first = negated ? 2 : 1;
  let set = "";
  let i = first;
  while (rest[i] !== "]" || i === first) {
    const named = /^\[:(\w+):\]/.exec(rest.slice(i));
    if (named) {
      const known = CLASSES[named[1]!];
      if (known === undefined) return null;
      set += known;
      i += named[0].length;
      continue;
    }
    const from = characterAt(rest, i);
    i += from.length;
    const isRange = rest[i] === "-" && rest[i + 1] !== "]" && rest[i + 1] !== undefined;
    const to = isRange ? characterAt(rest, i + 1) : from;
    if (isRange) i += 1 + to.length;
    if (i >= rest.length) return null;
    const [low, high] = [from.at(-1)!, to.at(-1)!];
    // Of a range that runs backwards git matches the first character.
    set += low < high ? `${literal(low)}-${literal(high)}` : literal(low);
  }
  return { source: `(?!/)[${negated ? "^" : ""}${set}]`, length: i + 1 };
}

/** One character, with the backslash before it if there is one. */
function characterAt(text: string, index: number): string {
  return text.slice(index, index + (text[index] === "\\" ? 2 : 1));
}

const CLASSES: Readonly<Record<string, string>> = {
  alnum: "0-9A-Za-z",
  alpha: "A-Za-z",
  blank: " \\t",
  digit: "0-9",
  lower: "a-z",
  space: "\\s",
  upper: "A-Z",
  xdigit: "0-9A-Fa-f",
};

function literal(character: string): string {
  return /[\\^$.*+?()[\]{}|/-]/.test(character) ? `\\${character}` : character;
}
