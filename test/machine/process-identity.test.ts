import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { expect, test } from "vitest";
import { identify, identifyByPs, isProcessGone, isRunning, thisProcess } from "../../src/machine/process-identity.js";
import { until } from "../support/until.js";

const HAS_PROC = existsSync("/proc/self/stat");

test("a process is itself, and nobody once it has ended", async () => {
  const child = spawn("sleep", ["60"]);
  await once(child, "spawn");
  const identity = identify(child.pid!)!;
  expect([isRunning(identity), isProcessGone(identity)]).toEqual([true, false]);

  child.kill();
  await once(child, "close");

  expect(isRunning(identity)).toBe(false);
  expect(isProcessGone(identity)).toBe(HAS_PROC);
});

test("this process is the one with its own pid, and runs", () => {
  const own = thisProcess();

  expect(own).toEqual(identify(process.pid));
  expect(own.machine).not.toMatch(/\s/);
  expect([isRunning(own), isProcessGone(own)]).toEqual([true, false]);
});

test.skipIf(!HAS_PROC)("a pid that was taken over by a later process is somebody else", () => {
  const earlier = { ...thisProcess(), processStart: "0" };

  expect([isRunning(earlier), isProcessGone(earlier)]).toEqual([false, true]);
});

test.each([
  ["of another machine", { machine: "another" }],
  ["of a machine that doesn't tell which it is", { machine: "" }],
  ["whose start nobody noted", { processStart: "" }],
])("a process %s is not seen to run, and not known to be gone", (_, change) => {
  const elsewhere = { ...thisProcess(), pid: 2 ** 22 + 1, ...change };

  expect([isRunning(elsewhere), isProcessGone(elsewhere)]).toEqual([false, false]);
});

test.skipIf(!HAS_PROC)("a zombie is nobody", async () => {
  // The shell starts a child and then becomes a program that never reaps it.
  const parent = spawn("sh", ["-c", "sleep 0 & echo $!; exec sleep 60"], { stdio: ["ignore", "pipe", "inherit"] });
  const [chunk] = (await once(parent.stdout, "data")) as [Buffer];

  await until("the child to be a zombie", () => identify(Number(chunk.toString())) === null);

  parent.kill();
});

test.skipIf(!existsSync("/bin/ps"))("where there is no /proc, ps tells the same process from another", () => {
  const own = identifyByPs(process.pid);

  expect(own).toEqual({ machine: "", pid: process.pid, processStart: expect.stringMatching(/\d\d:\d\d:\d\d/) });
  expect(identifyByPs(process.pid)).toEqual(own);
  expect(identifyByPs(2 ** 22 + 1)).toBeNull();
});
