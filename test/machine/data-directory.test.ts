import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { ensureDataDir } from "../../src/machine/data-directory.js";

let home: string;

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), "waymark-test-"));
});

afterEach(() => rmSync(home, { recursive: true }));

test("a new data directory is private and invisible to git", () => {
  const path = ensureDataDir(join(home, "a/.waymark"));

  expect(modeOf(path)).toBe(0o700);
  expect(readFileSync(join(path, ".gitignore"), "utf8")).toBe("*\n");
});

test("an empty directory, or one that became readable for others, is tightened", () => {
  const path = join(home, ".waymark");
  mkdirSync(path, { mode: 0o755 });
  ensureDataDir(path);
  expect(modeOf(path)).toBe(0o700);

  chmodSync(path, 0o755);
  ensureDataDir(path);
  expect(modeOf(path)).toBe(0o700);
});

test("a directory with other people's things is left as it is", () => {
  const path = join(home, "project");
  mkdirSync(path, { mode: 0o755 });
  writeFileSync(join(path, "theirs.txt"), "");
  ensureDataDir(path);
  expect(existsSync(join(path, ".gitignore"))).toBe(false);

  writeFileSync(join(path, ".gitignore"), "node_modules/\n");
  ensureDataDir(path);

  expect(modeOf(path)).toBe(0o755);
  expect(readFileSync(join(path, ".gitignore"), "utf8")).toBe("node_modules/\n");
});

function modeOf(path: string): number {
  return statSync(path).mode & 0o777;
}

test.skipIf(process.platform !== "linux")("a place where nothing can be made is an error, not a loop", () => {
  expect(() => ensureDataDir("/proc/waymark/deep")).toThrow("ENOENT");
});
