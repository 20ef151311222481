/** Records of working directories that are missing, half, foreign or being taken by somebody else. */
import { existsSync, mkdirSync, readdirSync, readFileSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import {
  ageMsOf,
  claimRecord,
  foldersOf,
  readRecord,
  type WorkspaceRecord,
  workspaceFolder,
} from "../../src/sandbox/workspace-record.js";
import { Workspaces } from "../../src/sandbox/workspaces.js";
import { ALL, aFolder, aProvider } from "./a-tree.js";

test("a directory is claimed by one, and only where it has a record", () => {
  const work = aFolder();
  mkdirSync(join(work, "web"));
  const folder = workspaceFolder(work, "web", "1-1");

  expect(claimRecord(folder)).toBe(false);
  writeFileSync(folder.recordPath, "{}");
  expect([claimRecord(folder), claimRecord(folder)]).toEqual([true, false]);

  expect(readdirSync(join(work, "web"))).toEqual([]);
  expect(ageMsOf(folder)).toBe(Number.POSITIVE_INFINITY);
});

test("a record that is half, of another format or missing is none; one that can't be read is an error", () => {
  const work = aFolder();
  mkdirSync(join(work, "web"));
  const folder = workspaceFolder(work, "web", "1-1");

  expect(readRecord(folder)).toBeNull();
  writeFileSync(folder.recordPath, '{"version":1,"own');
  expect(readRecord(folder)).toBeNull();
  writeFileSync(folder.recordPath, '{"version":2}');
  expect(readRecord(folder)).toBeNull();
  mkdirSync(join(work, "web/1-2.json"));
  expect(() => readRecord(workspaceFolder(work, "web", "1-2"))).toThrow(/EISDIR/);
});

test("where a plan's folder should be is something else: there are no directories, and nothing can be claimed", () => {
  const work = aFolder();
  writeFileSync(join(work, "web"), "a file");

  expect(foldersOf(work, "web")).toEqual([]);
  expect(() => claimRecord(workspaceFolder(work, "web", "1-1"))).toThrow(/ENOTDIR/);
});

test("a directory without a record is left alone until it is old; of another machine likewise", async () => {
  const { workspaces, folder, request, snapshot } = await somePlan();
  const mine = await workspaces.acquire(request(1));
  mine.keep(snapshot);
  const record = JSON.parse(readFileSync(`${mine.path}.json`, "utf8")) as WorkspaceRecord;
  const elsewhere = { ...record, owner: { ...record.owner, process: { ...record.owner.process, machine: "another" } } };
  for (const name of ["1-7", "1-8"]) mkdirSync(join(folder, name));
  writeFileSync(join(folder, "1-8.json"), JSON.stringify(elsewhere));
  writeFileSync(join(folder, "1-9.json"), JSON.stringify(elsewhere));

  expect(workspaces.leftBehind("web")).toMatchObject({ path: mine.path });
  expect(await workspaces.prune(new Set(), { dryRun: true })).toEqual({ directories: 1 });
  const longAgo = new Date(1_000);
  for (const name of ["1-7", "1-8.json"]) utimesSync(join(folder, name), longAgo, longAgo);
  expect(await workspaces.prune(new Set(), { dryRun: false })).toEqual({ directories: 3 });

  // What belongs to no directory is young still.
  expect(readdirSync(folder)).toEqual(["1-9.json"]);
});

test("an attempt that is over can't say any more that its directory is prepared", async () => {
  const { workspaces, request } = await somePlan();
  const first = await workspaces.acquire(request(1));
  first.discard();
  first.prepared();

  const second = await workspaces.acquire(request(2));

  expect(second).toMatchObject({ path: first.path, fresh: true });
  expect(existsSync(second.path)).toBe(true);
});

async function somePlan() {
  const { provider, dataDir, at } = aProvider();
  mkdirSync(at("tree"));
  const snapshot = await provider.snapshot(at("tree"), ALL);
  return {
    workspaces: new Workspaces({ dataDir, workerId: "w1", provider: () => provider }),
    folder: join(dataDir, "sandboxes/work/web"),
    snapshot,
    request: (fence: number) => ({ planId: "web", epoch: 1, fence, snapshot, mode: "write", rules: ALL }) as const,
  };
}
