/** Our reading of gitignore patterns, next to git's own. */
import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import fc from "fast-check";
import { expect, test } from "vitest";
import { fromText } from "../../src/sandbox/byte-path.js";
import { Patterns } from "../../src/sandbox/patterns.js";
import { aFolder } from "./a-tree.js";

const PATHS = [
  "a", "b", "ab", "abc", "a.log", "b.log", "a b", "a ", "#a", "!a", "a[b]", "a*b", "é", "x/a", "x/b", "x/a.log", "x/y/a",
  "x/y/z/a.log", "doc/a", "doc/x/a", "build/a", "x/build/a", "\\a", "]", "-", "^", "a-b", "A", "1", "x/1/b",
]; // biome-ignore format: a table

const PATTERNS = [
  "a", "*.log", "/a", "x/", "/x", "x/a", "x/*", "x/**", "**/a", "**/y/a", "x/**/a", "x/**/a.log", "a*", "*a", "?", "a?",
  "[ab]", "[!a]", "[^a]", "[a-c]", "[[:digit:]]", "[[:alpha:]]", "[]]", "[]-]", "[a", "\\#a", "#a", "\\!a", "!a", "a\\[b\\]",
  "a\\*b", "a ", "a\\ ", "", "/", "**", "*", "**/", "/**", "a**", "x**a", "build", "build/", "/build/", "doc/*", "!doc/a",
  "\\\\a", "é", "[é]", "***", "x/***", "[!]a]", "[a-]", "[z-a]", "a\\", "x//a", "./a", "[[:nope:]]", "[a\\-c]", "[\\]-a]", "[a-\\]]", "[--1]", "[ -~]",
]; // biome-ignore format: a table

test("each pattern alone, and pairs of them, match what git check-ignore says", () => {
  const repository = aRepository();
  const lists = [
    ...PATTERNS.map((pattern) => [pattern]),
    ...fc.sample(fc.array(fc.constantFrom(...PATTERNS), { minLength: 2, maxLength: 4 }), { numRuns: 60, seed: 7 }),
  ];
  for (const lines of lists) {
    expect([lines, ignoredByUs(lines)]).toEqual([lines, ignoredByGit(repository, lines)]);
  }
}, 120_000);

function aRepository(): string {
  const folder = aFolder();
  execFileSync("git", ["init", "-q", folder]);
  for (const path of PATHS) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), "");
  }
  return folder;
}

function ignoredByUs(lines: readonly string[]): string[] {
  const patterns = new Patterns(lines);
  return PATHS.filter((path) => patterns.cover(fromText(path), false)).sort();
}

/** Of an untracked file, `git ls-files --ignored` says whether a pattern covers it. */
function ignoredByGit(repository: string, lines: readonly string[]): string[] {
  writeFileSync(join(repository, ".git/patterns"), lines.map((line) => `${line}\n`).join(""));
  return execFileSync(
    "git",
    ["ls-files", "-z", "--others", "--ignored", "--exclude-from", join(repository, ".git/patterns")],
    {
      cwd: repository,
      encoding: "utf8",
    },
  )
    .split("\0")
    .filter((path) => path !== "")
    .sort();
}
