/** Files of plans for tests: a place of its own for snapshots and working directories, and trees written in a line. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { onTestFinished } from "vitest";
import { firstSnapshot, sandboxesOf } from "../../src/client/sandboxes.js";
import type { CompiledDefinition } from "../../src/core/definition.js";
import { aPlanId, type TestStore } from "./plans.js";
import type { Act } from "./step-workers.js";

/** A directory that is gone after the test. */
export function aFolder(): string {
  const path = mkdtempSync(join(tmpdir(), "waymark-test-"));
  onTestFinished(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** Contents by path. */
export type Tree = Readonly<Record<string, string>>;

export function writeTree(folder: string, tree: Tree): string {
  for (const [path, content] of Object.entries(tree)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), content);
  }
  return folder;
}

export function readTree(folder: string): Tree {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const paths = files.map((entry) => join(entry.parentPath, entry.name)).sort();
  return Object.fromEntries(paths.map((path) => [relative(folder, path), readFileSync(path, "utf8")]));
}

/** Submits a plan whose sandbox starts as a copy of `tree`. */
export async function submitWithFiles(
  t: TestStore,
  compiled: CompiledDefinition,
  tree: Tree,
  dataDir: string,
): Promise<string> {
  const planId = aPlanId();
  const { sandbox } = compiled.definition;
  const folder = aFolder();
  if (sandbox?.from != null) writeTree(join(folder, sandbox.from), tree);
  const files = () => firstSnapshot(compiled, folder, sandboxesOf({ dataDir }));
  const request = { planId, compiled, input: "{}", actor: "tester", privateQueue: null, workdir: null };
  await t.store.submit({ ...request, sandbox: files });
  return planId;
}

/**
 * Steps that write a file of their name and the file `last`, and remove one of two files that were there at first. They
 * note each run in a list of the test.
 */
export function changeFiles(t: TestStore, atPoint: (point: "begun" | "half" | "ended") => void = () => {}): Act {
  return async ({ stepId, sandbox }) => {
    atPoint("begun");
    await t.redis.rpush(`${t.prefix}:ledger`, stepId);
    const path = (name: string) => join(sandbox!.path, name);
    mkdirSync(path(`of-${stepId}`));
    writeFileSync(path(`of-${stepId}/${stepId}`), stepId);
    rmSync(path(stepId === "s1" ? "first" : "second"), { force: true });
    atPoint("half");
    writeFileSync(path("last"), stepId);
    atPoint("ended");
  };
}

/** The files of each checkpoint of a plan, by step. */
export async function filesOfCheckpoints(t: TestStore, planId: string, dataDir: string): Promise<Record<string, Tree>> {
  const sandboxes = await sandboxesOf({ dataDir })();
  const { snapshots } = await t.store.eventBase(planId);
  const rules = { exclude: [], ignore: [], include: [] };
  const trees: [string, Tree][] = [];
  for (const { step, sandbox } of await t.store.checkpoints(planId)) {
    const snapshot = snapshots.find(({ digest }) => digest === sandbox)!;
    const folder = aFolder();
    await sandboxes.provider(snapshot.provider).restore(snapshot, folder, rules);
    trees.push([step, readTree(folder)]);
  }
  return Object.fromEntries(trees);
}
