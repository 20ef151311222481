/** SIGKILL at every named point of writing: whoever comes next finds exact snapshots, or makes them. */
import { execFileSync, spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { CRASH_POINTS } from "../../src/sandbox/crash-points.js";
import { createGitProvider, gitRepositoryIn } from "../../src/sandbox/git-provider.js";
import { ALL, aProvider, listing } from "./a-tree.js";
import type { CrashingProcessOptions } from "./crashing-process.js";

const PROCESS = fileURLToPath(new URL("./crashing-process.ts", import.meta.url));
/** Passed for each of several files, so that it matters which. */
const SEVERAL = /^(store|restore\.(removed|file))/;

/** What the other one doesn't pass, or passes with other files. */
const POINTS = {
  directory: CRASH_POINTS.filter((point) => !point.startsWith("git.")),
  git: CRASH_POINTS.filter((point) => /^(git|snapshot)\.|^restore\.file-written/.test(point)),
};

test.each(
  (["directory", "git"] as const).flatMap((keeper) =>
    POINTS[keeper].flatMap((point) =>
      (SEVERAL.test(point) ? [1, 3] : [1]).map((time) => [keeper, point, time] as const),
    ),
  ),
)("%s: a crash at %s, time %d", async (keeper, point, time) => {
  const { provider: onDirectory, dataDir, store, at } = aProvider();
  const provider = keeper === "git" ? createGitProvider({ dataDir }) : onDirectory;
  const [tree, target] = [at("tree"), at("target")];
  makeTree(tree);
  const earlier = await provider.snapshot(tree, ALL);
  const seenEarlier = listing(tree);
  editTree(tree);
  const seen = listing(tree);
  await provider.snapshot(tree, ALL);
  mkdirSync(join(tree, "new"));
  for (let i = 0; i < 4; i++) writeFileSync(join(tree, `new/${i}`), `only in the snapshot that is cut off: ${i}`);
  await provider.restore(earlier, target, ALL);
  editTree(target);

  const options: CrashingProcessOptions = { keeper, dataDir, tree, target, earlier, point, time };
  const { signal, stderr } = spawnSync(process.execPath, ["--import", "tsx", PROCESS, JSON.stringify(options)], {
    encoding: "utf8",
  });
  expect([signal, stderr]).toEqual(["SIGKILL", ""]);

  rmSync(join(tree, "new"), { recursive: true });
  const later = await provider.snapshot(tree, ALL);
  await provider.verify(later);
  await provider.verify(earlier);
  await provider.restore(later, at("copy"), ALL);
  expect(listing(at("copy"))).toEqual(seen);
  await provider.restore(earlier, target, ALL);
  expect(listing(target)).toEqual(seenEarlier);

  await provider.prune(new Set([later.digest]), { dryRun: false, minAgeMs: 0 });
  await provider.verify(later);
  await expect(provider.verify(earlier)).rejects.toMatchObject({ code: "SANDBOX_MISSING" });
  if (keeper === "git") {
    const repository = gitRepositoryIn(store);
    expect(execFileSync("git", ["fsck", "--full"], { cwd: repository, encoding: "utf8", stdio: "pipe" })).toBe("");
    expect(readdirSync(repository, { recursive: true }).filter((name) => /crash|tmp_/.test(String(name)))).toEqual([]);
    return;
  }
  expect(readdirSync(join(store, "temporary"))).toEqual([]);
  expect(readdirSync(store, { recursive: true }).filter((name) => String(name).endsWith(".condemned"))).toEqual([]);
});

function makeTree(tree: string): void {
  for (const folder of ["empty", "modes", "deep/er"]) mkdirSync(join(tree, folder), { recursive: true });
  for (let i = 0; i < 6; i++) writeFileSync(join(tree, `deep/${i}`), `content ${i}`);
  writeFileSync(join(tree, "large"), Buffer.alloc(5 * 1024 * 1024, "large"));
  symlinkSync("deep", join(tree, "link"));
  chmodSync(join(tree, "modes"), 0o500);
}

function editTree(tree: string): void {
  for (let i = 0; i < 4; i++) writeFileSync(join(tree, `deep/${i}`), `other content ${i}`);
  writeFileSync(join(tree, "deep/er/added"), "added");
  rmSync(join(tree, "empty"), { recursive: true });
  writeFileSync(join(tree, "empty"), "a file now");
  rmSync(join(tree, "link"));
  mkdirSync(join(tree, "link/now/a/directory"), { recursive: true });
  writeFileSync(join(tree, "large"), Buffer.alloc(5 * 1024 * 1024 + 1, "other"));
  chmodSync(join(tree, "modes"), 0o750);
  if (!existsSync(join(tree, "more"))) mkdirSync(join(tree, "more"));
}
