/** Which directory an attempt gets, and that nobody meets a zombie in it. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, describe, expect, test } from "vitest";
import { SandboxMissingError } from "../../src/core/errors.js";
import { type WorkspaceRequest, Workspaces } from "../../src/sandbox/workspaces.js";
import { until } from "../support/until.js";
import { aProvider, listing } from "./a-tree.js";
import type { WorkspaceProcessOptions } from "./workspace-process.js";

const RULES = { exclude: [], ignore: ["installed"], include: [] };
const PROCESS = fileURLToPath(new URL("./workspace-process.ts", import.meta.url));
const NOBODY: ReadonlySet<string> = new Set();

describe("consecutive steps", () => {
  test("have one directory, and nothing is copied where the snapshot is in force", async () => {
    const { workspaces, request, provider } = await somePlan();
    const first = await workspaces.acquire(request(1));
    expect(first.fresh).toBe(true);
    writeFileSync(join(first.path, "a"), "2");
    writeFileSync(join(first.path, "installed"), "packages");
    const snapshot = await provider.snapshot(first.path, RULES);
    first.keep(snapshot);
    rmSync(provider.store, { recursive: true });

    const second = await workspaces.acquire({ ...request(2), snapshot });

    expect(second).toMatchObject({ path: first.path, fresh: false });
    expect(contents(second.path)).toEqual({ a: "2", installed: "packages" });
  });

  test("start from the snapshot in force whatever a failed attempt left, ignored files aside", async () => {
    const { workspaces, request } = await somePlan();
    const first = await workspaces.acquire(request(1));
    first.prepared();
    writeFileSync(join(first.path, "a"), "half");
    writeFileSync(join(first.path, "added"), "");
    writeFileSync(join(first.path, "installed"), "packages");
    first.discard();

    const second = await workspaces.acquire(request(2));

    expect(second).toMatchObject({ path: first.path, fresh: false });
    expect(contents(second.path)).toEqual({ a: "1", installed: "packages" });
  });

  test("find the directory fresh until an attempt was kept in it or has prepared it", async () => {
    const { workspaces, request, snapshot } = await somePlan();
    const fresh: boolean[] = [];
    for (const fence of [1, 2, 3, 4]) {
      const workspace = await workspaces.acquire(request(fence));
      fresh.push(workspace.fresh);
      if (fence === 3) workspace.keep(snapshot);
      else workspace.discard();
    }
    expect(fresh).toEqual([true, true, true, false]);
  });

  test("make a directory anew that somebody removed", async () => {
    const { workspaces, request, snapshot } = await somePlan();
    const first = await workspaces.acquire(request(1));
    first.keep(snapshot);
    rmSync(first.path, { recursive: true });

    const second = await workspaces.acquire(request(2));

    expect(contents(second.path)).toEqual({ a: "1" });
  });
});

describe("attempts at the same time", () => {
  test("readers of one snapshot share a directory; a writer never does", async () => {
    const { workspaces, request } = await somePlan();
    const [one, two] = [await workspaces.acquire(request(1, "read")), await workspaces.acquire(request(2, "read"))];
    const writer = await workspaces.acquire(request(3));
    const another = await workspaces.acquire(request(4, "read"));

    expect(two.path).toBe(one.path);
    expect(another.path).toBe(one.path);
    expect(writer.path).not.toBe(one.path);
  });

  test("what a reader wrote is gone for the next step", async () => {
    const { workspaces, request, snapshot } = await somePlan();
    const reader = await workspaces.acquire(request(1, "read"));
    writeFileSync(join(reader.path, "a"), "scribbled");
    reader.keep(snapshot);

    const writer = await workspaces.acquire(request(2));

    expect(writer.path).toBe(reader.path);
    expect(contents(writer.path)).toEqual({ a: "1" });
  });

  test("a directory is free only when its last reader has ended", async () => {
    const { workspaces, request, snapshot } = await somePlan();
    const readers = [await workspaces.acquire(request(1, "read")), await workspaces.acquire(request(2, "read"))];
    readers[0]!.keep(snapshot);
    readers[0]!.discard();

    const writer = await workspaces.acquire(request(3));
    expect(writer.path).not.toBe(readers[1]!.path);

    readers[1]!.discard();
    expect((await workspaces.acquire(request(4))).path).toBe(readers[0]!.path);
  });

  test("two that are acquired in the same instant are two", async () => {
    const { workspaces, request } = await somePlan();

    const [one, two] = await Promise.all([workspaces.acquire(request(1)), workspaces.acquire(request(2))]);

    expect(one.path).not.toBe(two.path);
    expect(contents(one.path)).toEqual(contents(two.path));
  });

  test("an abandoned directory is never handed out again", async () => {
    const { workspaces, request, snapshot } = await somePlan();
    const lost = await workspaces.acquire(request(1));
    lost.abandon();
    lost.keep(snapshot);
    const sharedOnce = await workspaces.acquire(request(2, "read"));
    const sharedTwice = await workspaces.acquire(request(3, "read"));
    sharedOnce.abandon();
    sharedTwice.discard();

    const paths = [];
    for (const fence of [4, 5]) paths.push((await workspaces.acquire(request(fence, "read"))).path);

    expect(paths).not.toContain(lost.path);
    expect(paths).not.toContain(sharedOnce.path);
    expect(workspaces.leftBehind("web")).toBeNull();
  });
});

test("a restore that fails leaves the directory to the next attempt", async () => {
  const { workspaces, request, snapshot } = await somePlan();
  const missing = { ...snapshot, digest: `sha256:${"0".repeat(64)}` };

  await expect(workspaces.acquire({ ...request(1), snapshot: missing })).rejects.toThrow(SandboxMissingError);
  const aborted = workspaces.acquire({ ...request(2), signal: AbortSignal.abort(new Error("lost")) });
  await expect(aborted).rejects.toThrow("lost");
  const workspace = await workspaces.acquire(request(3));

  expect(workspace.fresh).toBe(true);
  expect(contents(workspace.path)).toEqual({ a: "1" });
});

describe("a directory that a killed process left", () => {
  test("is taken over, and made equal to the snapshot by difference", async () => {
    const { workspaces, request, dataDir, snapshot } = await somePlan();
    const left = await killed({ dataDir, snapshot, fence: 1, end: "keep" });

    const workspace = await workspaces.acquire(request(2));

    expect(workspace).toMatchObject({ path: left.path, fresh: false });
    expect(contents(workspace.path)).toEqual({ a: "1", installed: "by the other" });
  });

  test("in the middle of an attempt is fresh still, and what it left is there to be looked at first", async () => {
    const { workspaces, request, dataDir, snapshot, provider } = await somePlan();
    const left = await killed({ dataDir, snapshot, fence: 7, end: "none" });

    const found = workspaces.leftBehind("web")!;
    const before = listing(dataDir);
    const compared = await provider.compare(snapshot, found.path, RULES);
    expect(listing(dataDir)).toEqual(before);
    const workspace = await workspaces.acquire(request(8));

    expect(found).toEqual({ path: left.path, epoch: 1, fence: 7, snapshot });
    expect(compared).toMatchObject({ changed: [], added: ["half"], removed: [] });
    expect(workspace).toMatchObject({ path: left.path, fresh: true });
    expect(contents(workspace.path)).toEqual({ a: "1", installed: "by the other" });
  });

  test("is left alone while a child of the killed one works in it", async () => {
    const { workspaces, request, dataDir, snapshot } = await somePlan();
    const left = await killed({ dataDir, snapshot, fence: 1, end: "child" });

    const workspace = await workspaces.acquire(request(2));
    process.kill(left.child!, "SIGKILL");

    expect(workspace.path).not.toBe(left.path);
  });

  test("is taken over by one only", async () => {
    const { anotherWorker, request, dataDir, snapshot } = await somePlan();
    const left = await killed({ dataDir, snapshot, fence: 1, end: "keep" });

    const workspaces = await Promise.all([2, 3, 4].map((fence) => anotherWorker().acquire(request(fence))));

    expect(workspaces.filter(({ path }) => path === left.path)).toHaveLength(1);
    expect(new Set(workspaces.map(({ path }) => path)).size).toBe(3);
  });

  test("is not taken from a living process", async () => {
    const { workspaces, anotherWorker, request, snapshot } = await somePlan();
    const mine = await workspaces.acquire(request(1));
    mine.keep(snapshot);

    const theirs = await anotherWorker().acquire(request(2));

    expect(theirs.path).not.toBe(mine.path);
    expect(workspaces.leftBehind("web")).toMatchObject({ path: mine.path, snapshot });
  });
});

describe("prune", () => {
  test("removes what ended plans have left, and nothing that somebody is in", async () => {
    const { workspaces, anotherWorker, request, dataDir, snapshot } = await somePlan();
    const gone = await killed({ dataDir, snapshot, fence: 1, end: "none" });
    const busy = await anotherWorker().acquire({ ...request(2), planId: "busy" });
    const idle = await anotherWorker().acquire({ ...request(3), planId: "idle" });
    idle.keep(snapshot);

    expect(await workspaces.prune(new Set(["web", "busy", "idle"]), { dryRun: false })).toEqual({ directories: 0 });
    const before = listing(dataDir);
    expect(await workspaces.prune(NOBODY, { dryRun: true })).toEqual({ directories: 2 });
    expect(listing(dataDir)).toEqual(before);
    expect(await workspaces.prune(NOBODY, { dryRun: false })).toEqual({ directories: 2 });

    expect([gone, busy, idle].map(({ path }) => existsSync(path))).toEqual([false, true, false]);
    expect(readdirSync(join(dataDir, "sandboxes", "work"))).toEqual(["busy"]);
  });

  test("removes what nobody has used for a week, and what half is left of", async () => {
    const { workspaces, dataDir, snapshot } = await somePlan();
    const gone = await killed({ dataDir, snapshot, fence: 1, end: "none" });
    const folder = join(dataDir, "sandboxes", "work", "web");
    mkdirSync(join(folder, "1-5.going/deep"), { recursive: true });
    writeFileSync(join(folder, "1-6.json"), "{}");
    mkdirSync(join(folder, "1-7"));
    const weekAgo = Date.now() / 1000 - 8 * 86_400;
    for (const name of readdirSync(folder)) utimesSync(join(folder, name), weekAgo, weekAgo);

    const removed = await workspaces.prune(new Set(["web"]), { dryRun: false });

    expect(removed).toEqual({ directories: 2 });
    expect(existsSync(gone.path)).toBe(false);
    expect(existsSync(folder)).toBe(false);
  });

  test("of one plan removes its directories at once", async () => {
    const { workspaces, request, snapshot } = await somePlan();
    const [idle, busy] = [await workspaces.acquire(request(1)), await workspaces.acquire(request(2))];
    idle.keep(snapshot);

    await workspaces.removePlan("web");
    expect([idle, busy].map(({ path }) => existsSync(path))).toEqual([false, true]);
    busy.discard();
    await workspaces.removePlan("web");
    await workspaces.removePlan("web");

    expect(existsSync(busy.path)).toBe(false);
  });
});

const children: number[] = [];

afterEach(() => {
  for (const pid of children.splice(0)) {
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // It has ended, as it should have.
    }
  }
});

async function somePlan() {
  const { provider, dataDir, at, store } = aProvider();
  mkdirSync(at("tree"));
  writeFileSync(at("tree/a"), "1");
  const snapshot = await provider.snapshot(at("tree"), RULES);
  const aWorker = (workerId: string) => new Workspaces({ dataDir, workerId, provider: () => provider });
  return {
    provider: Object.assign(provider, { store }),
    dataDir,
    snapshot,
    workspaces: aWorker("w1"),
    anotherWorker: () => aWorker("w2"),
    request: (fence: number, mode: WorkspaceRequest["mode"] = "write"): WorkspaceRequest => ({
      planId: "web",
      epoch: 1,
      fence,
      snapshot,
      mode,
      rules: RULES,
    }),
  };
}

/** Where a process had a workspace, and its child, after it was killed. */
async function killed(options: WorkspaceProcessOptions): Promise<{ path: string; child: number | null }> {
  const child = spawn(process.execPath, ["--import", "tsx", PROCESS, JSON.stringify(options)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let said = "";
  child.stdout.on("data", (data: Buffer) => {
    said += String(data);
  });
  await until("the process to have a workspace", () => said.endsWith("\n"), 25_000);
  child.kill("SIGKILL");
  await once(child, "close");
  const answer = JSON.parse(said) as { path: string; child: number | null };
  if (answer.child !== null) children.push(answer.child);
  return answer;
}

function contents(path: string): Record<string, string> {
  return Object.fromEntries(readdirSync(path).map((name) => [name, readFileSync(join(path, name), "utf8")]));
}
