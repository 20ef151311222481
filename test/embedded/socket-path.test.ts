import { chmodSync, mkdirSync, mkdtempSync, realpathSync, rmSync, statSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import {
  chooseSocketPath,
  isUsableSocketPath,
  SOCKET_PATH_LIMIT_BYTES,
  socketNamePrefix,
} from "../../src/embedded/socket-path.js";

let home: string;

beforeEach(() => {
  home = realpathSync(mkdtempSync(join(tmpdir(), "waymark-test-")));
});

afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(home, { recursive: true });
});

test("paths of one data directory share a prefix, those of another don't", () => {
  const [a, b] = [chooseSocketPath("/a", null), chooseSocketPath("/b", null)];

  expect(basename(a).startsWith(socketNamePrefix("/a"))).toBe(true);
  expect(basename(b).startsWith(socketNamePrefix("/a"))).toBe(false);
  expect(isUsableSocketPath(a)).toBe(true);
});

test("a runtime directory that others can enter, or that is missing, is passed over", () => {
  const open = join(home, "open");
  mkdirSync(open);
  chmodSync(open, 0o755);

  for (const runtimeDir of [open, join(home, "missing")]) {
    expect(chooseSocketPath("/a", runtimeDir).startsWith(home)).toBe(false);
  }
});

test("a runtime or temporary directory with too long a path is passed over", () => {
  const long = join(home, "x".repeat(100));
  mkdirSync(long, { mode: 0o700 });
  vi.stubEnv("TMPDIR", long);

  const path = chooseSocketPath("/a", long);

  expect(Buffer.byteLength(path)).toBeLessThanOrEqual(SOCKET_PATH_LIMIT_BYTES);
  expect(path.startsWith("/tmp/")).toBe(true);
});

test("without any place for a socket there is an error of the file system", () => {
  vi.stubEnv("TMPDIR", join(home, "missing"));

  expect(() => chooseSocketPath("/a", null)).toThrow(/ENOENT/);
});

test("a directory prepared by somebody else in the shared place is not used", () => {
  vi.stubEnv("TMPDIR", home);
  mkdirSync(join(home, "theirs"), { mode: 0o700 });
  symlinkSync(join(home, "theirs"), join(home, `waymark-${process.getuid!()}`));

  const path = chooseSocketPath("/a", null);

  expect(dirname(path)).toMatch(/waymark-\w{6}$/);
  expect(statSync(dirname(path)).mode & 0o777).toBe(0o700);
});
