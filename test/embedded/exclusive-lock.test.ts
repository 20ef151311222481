import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setImmediate as turn } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import { withLock } from "../../src/embedded/exclusive-lock.js";

let directory: string;
let path: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "waymark-test-"));
  path = join(directory, "lock");
});

afterEach(() => rmSync(directory, { recursive: true }));

test.each([
  "a note that nobody understands",
  "7",
  JSON.stringify({ pid: 2 ** 22 + 1, machine: "x", processStart: "1", token: "of a process that is gone" }),
])("only one action at a time runs under a lock, although %s was left behind", async (left) => {
  symlinkSync(left, path);
  let inside = 0;
  let most = 0;
  const actions = Array.from({ length: 20 }, () =>
    withLock(path, 20_000, async () => {
      inside++;
      most = Math.max(most, inside);
      await turn();
      inside--;
    }),
  );

  await Promise.all(actions);

  expect(most).toBe(1);
  expect(readdirSync(directory)).toEqual([]);
});

test("an action that fails gives the lock back", async () => {
  const failed = withLock(path, 1_000, () => Promise.reject(new Error("no luck")));

  await expect(failed).rejects.toThrow("no luck");
  expect(await withLock(path, 1_000, async () => "next")).toBe("next");
});

test("a lock that was deleted with its directory is not missed", async () => {
  await withLock(path, 1_000, async () => rmSync(directory, { recursive: true }));

  mkdirSync(directory);
});

test("a file that is no lock is left alone", async () => {
  writeFileSync(path, "somebody's notes");

  await expect(withLock(path, 1_000, async () => "never")).rejects.toMatchObject({ code: "EINVAL" });

  expect(readFileSync(path, "utf8")).toBe("somebody's notes");
});

test("waiting for a live holder ends with its pid and the time", async () => {
  const waited = withLock(path, 10_000, () => withLock(path, 50, async () => "never"));

  await expect(waited).rejects.toMatchObject({
    code: "STORE_UNAVAILABLE",
    message: expect.stringContaining(`process ${process.pid} has held the lock for more than 50 ms`),
  });
});

test("a lock in a directory that doesn't exist is an error of the file system", async () => {
  await expect(withLock(join(directory, "no/lock"), 50, async () => "never")).rejects.toMatchObject({ code: "ENOENT" });
});
