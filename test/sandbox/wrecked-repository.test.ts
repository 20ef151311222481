/** All at once: a large random tree with a repository in the middle of somebody's work is wrecked, and comes back to the byte. */
import { execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, readdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { ALL, aProvider } from "./a-tree.js";

const FILES = 10_000;
const NAMES = ["plain", "ünïcödé – 文件", "new\nline", " blank ", "-rf", "a'b\"c", "back\\slash", "\u{1F600}", "*?[x]"];

test("ten thousand files and a repository with work in progress, wrecked, are as before, as tar and git see them", async () => {
  const { provider, at } = aProvider();
  const random = randomNumbers(20_260_101);
  const folders = aRandomTree(at("tree"), random);
  const repository = join(at("tree"), "nested repository");
  workInProgress(repository);
  const [before, states] = [tarDigest(at("tree")), statesOf(repository)];

  const snapshot = await provider.snapshot(at("tree"), ALL);
  wreck(at("tree"), folders, random);
  git(repository, "reset", "-q", "--hard");
  git(repository, "stash", "drop", "-q");
  git(repository, "gc", "-q", "--prune=now");
  expect(tarDigest(at("tree"))).not.toBe(before);
  await provider.restore(snapshot, at("tree"), ALL);
  await provider.restore(snapshot, at("copy"), ALL);

  expect(snapshot.files).toBeGreaterThan(FILES);
  expect(tarDigest(at("tree"))).toBe(before);
  expect(statesOf(repository)).toEqual(states);
  // The mode of the directory itself is its owner's.
  chmodSync(at("copy"), 0o755);
  expect(tarDigest(at("copy"))).toBe(before);
}, 240_000);

/** @returns its directories, those of the repository aside */
function aRandomTree(tree: string, random: (below: number) => number): string[] {
  mkdirSync(tree, { mode: 0o755 });
  const folders = [tree];
  const nameOf = (i: number) => `${NAMES[random(NAMES.length)]}${i}`;
  for (let i = 0; i < FILES / 20; i++) {
    const folder = join(folders[random(folders.length)]!, nameOf(i));
    mkdirSync(folder);
    // Some stay empty.
    if (random(5) > 0 && folder.length < 700) folders.push(folder);
  }
  for (let i = 0; i < FILES; i++) {
    const file = join(folders[random(folders.length)]!, `${nameOf(i)}.f`);
    writeFileSync(file, String(random(3_000)).repeat(random(200)));
    chmodSync(file, [0o644, 0o600, 0o755, 0o444, 0o4711][random(5)]!);
    if (random(40) === 0) symlinkSync(["nowhere", "/etc/passwd", "..", file][random(4)]!, `${file} link`);
  }
  for (const folder of folders.slice(1)) chmodSync(folder, [0o755, 0o700, 0o777, 0o1777, 0o750][random(5)]!);
  return folders;
}

function wreck(tree: string, folders: readonly string[], random: (below: number) => number): void {
  for (const folder of folders.slice(1, 200)) {
    for (const entry of readdirSync(folder, { withFileTypes: true })) {
      const path = join(folder, entry.name);
      if (entry.isDirectory() || random(3) > 0) continue;
      rmSync(path);
      if (random(2) === 0) mkdirSync(join(path, "now/a/directory"), { recursive: true });
      else symlinkSync("/etc", path);
    }
    chmodSync(folder, 0o711);
    writeFileSync(join(folder, "added"), "added");
  }
  for (const folder of folders.slice(-20)) rmSync(folder, { recursive: true, force: true });
  const [first] = readdirSync(tree);
  renameSync(join(tree, first!), join(tree, "moved"));
  symlinkSync("/", join(tree, first!));
}

function workInProgress(repository: string): void {
  mkdirSync(repository);
  git(repository, "init", "-q", "-b", "main");
  for (const name of ["a", "b", "c", "d"]) writeFileSync(join(repository, name), `${name}\n`);
  git(repository, "add", ".");
  git(repository, "commit", "-qm", "one");
  git(repository, "branch", "other");
  writeFileSync(join(repository, "a"), "stashed\n");
  git(repository, "stash", "-q");
  writeFileSync(join(repository, "b"), "staged\n");
  git(repository, "add", "b");
  writeFileSync(join(repository, "b"), "and changed\n");
  git(repository, "mv", "c", "renamed");
  rmSync(join(repository, "d"));
  writeFileSync(join(repository, "untracked"), "");
}

function statesOf(repository: string): string[] {
  const questions = [
    ["status", "--porcelain", "-b"],
    ["stash", "list"],
    ["diff", "HEAD"],
    ["log", "--all", "--oneline"],
    ["fsck"],
  ];
  return questions.map((args) => git(repository, ...args));
}

function git(folder: string, ...args: string[]): string {
  const who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "core.autocrlf=false"];
  // Without it a mere look refreshes the index.
  const env = { ...process.env, GIT_OPTIONAL_LOCKS: "0" };
  return execFileSync("git", [...who, ...args], { cwd: folder, encoding: "utf8", env });
}

/** Everything that tar holds but times and owners. */
function tarDigest(folder: string): string {
  const tar = "tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --format=gnu -cf - . | sha256sum";
  return execFileSync("sh", ["-c", `set -e; LC_ALL=C ${tar}`], { cwd: folder, encoding: "utf8" });
}

/** The same numbers each time. */
function randomNumbers(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}
