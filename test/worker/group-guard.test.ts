/** The guard of shell steps' process groups, with real groups. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { afterEach, beforeEach, expect, test } from "vitest";
import { GroupGuard } from "../../src/worker/group-guard.js";
import { until } from "../support/until.js";

let guard: GroupGuard;
let groups: ChildProcess[] = [];

beforeEach(() => {
  guard = new GroupGuard();
});

afterEach(() => {
  guard.end();
  for (const group of groups) if (isAlive(group)) process.kill(-group.pid!, "SIGKILL");
  groups = [];
});

test("ends every group that it still knows, and no other", async () => {
  const [kept, removed, stranger] = [aGroup(), aGroup(), aGroup()];
  guard.prepare();
  guard.add(kept.pid!);
  guard.add(removed.pid!);
  guard.remove(removed.pid!);

  guard.end();

  await once(kept, "exit");
  expect(kept.signalCode).toBe("SIGTERM");
  expect([removed, stranger].map(isAlive)).toEqual([true, true]);
});

test("a command that ignores SIGTERM is killed two seconds later, with what it started", async () => {
  const stubborn = aGroup("trap '' TERM; sleep 600 & echo ready; while :; do sleep 0.1; done");
  await once(stubborn.stdout!, "data");
  guard.prepare();
  guard.add(stubborn.pid!);

  guard.end();

  await once(stubborn, "exit");
  expect(stubborn.signalCode).toBe("SIGKILL");
  await until("its group to be gone", () => !groupExists(stubborn.pid!));
});

test("after an end the next group has a guard again", async () => {
  const [first, second] = [aGroup(), aGroup()];
  guard.prepare();
  guard.add(first.pid!);
  guard.end();
  await once(first, "exit");
  guard.prepare();
  guard.add(second.pid!);
  guard.end();
  await once(second, "exit");
  expect(second.signalCode).toBe("SIGTERM");
});

test("a guard that was killed is followed by one that knows all groups", async () => {
  const [first, second] = [aGroup(), aGroup()];
  guard.prepare();
  guard.add(first.pid!);
  const shell = await until("the guard to run", guardOf);
  process.kill(shell, "SIGKILL");
  await until("it to be missed", () => guardOf() === null);
  guard.prepare();
  guard.add(second.pid!);

  guard.end();

  await Promise.all([once(first, "exit"), once(second, "exit")]);
  expect([first.signalCode, second.signalCode]).toEqual(["SIGTERM", "SIGTERM"]);
});

function aGroup(command = "sleep 600"): ChildProcess {
  const group = spawn("/bin/sh", ["-c", command], { detached: true, stdio: ["ignore", "pipe", "ignore"] });
  groups.push(group);
  return group;
}

function isAlive(group: ChildProcess): boolean {
  return group.exitCode === null && group.signalCode === null;
}

function groupExists(group: number): boolean {
  try {
    return process.kill(-group, 0);
  } catch {
    return false;
  }
}

function guardOf(): number | null {
  return (guard as unknown as { shell: ChildProcess | null }).shell?.pid ?? null;
}
