import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { expect, test } from "vitest";
import { identify, identifyByPs, isRunning } from "../../src/embedded/process-identity.js";
import { until } from "../support/until.js";

test("a process is itself, and nobody once it has ended", async () => {
  const child = spawn("sleep", ["60"]);
  await once(child, "spawn");
  const identity = identify(child.pid!)!;
  expect(isRunning(identity)).toBe(true);

  child.kill();
  await once(child, "close");

  expect(isRunning(identity)).toBe(false);
});

test("a pid that was taken over by a later process, or belongs to an earlier boot, is somebody else", () => {
  const own = identify(process.pid)!;

  expect(isRunning({ ...own, startedAt: "0" })).toBe(false);
  expect(isRunning({ ...own, boot: "another" })).toBe(false);
});

test.skipIf(!existsSync("/proc/self/stat"))("a zombie is nobody", async () => {
  // The shell starts a child and then becomes a program that never reaps it.
  const parent = spawn("sh", ["-c", "sleep 0 & echo $!; exec sleep 60"], { stdio: ["ignore", "pipe", "inherit"] });
  const [chunk] = (await once(parent.stdout, "data")) as [Buffer];

  await until("the child to be a zombie", () => identify(Number(chunk.toString())) === null);

  parent.kill();
});

test.skipIf(!existsSync("/bin/ps"))("where there is no /proc, ps tells the same process from another", () => {
  const own = identifyByPs(process.pid);

  expect(own).toEqual({ pid: process.pid, startedAt: expect.stringMatching(/\d\d:\d\d:\d\d/), boot: "" });
  expect(identifyByPs(process.pid)).toEqual(own);
  expect(identifyByPs(2 ** 22 + 1)).toBeNull();
});
