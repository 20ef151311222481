/** What only the provider on git does: commits that git's tools read, a repository that others may have touched. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { env } from "node:process";
import { expect, test } from "vitest";
import { SandboxCorruptError, SandboxMissingError, SandboxUnavailableError } from "../../src/core/errors.js";
import type { SandboxSnapshot } from "../../src/core/sandbox.js";
import type { CrashPoint } from "../../src/sandbox/crash-points.js";
import { Git } from "../../src/sandbox/git-command.js";
import { GitObjects } from "../../src/sandbox/git-objects.js";
import { createGitProvider, GitProvider } from "../../src/sandbox/git-provider.js";
import { GitStore } from "../../src/sandbox/git-store.js";
import { ALL, aFolder, listing } from "./a-tree.js";

const MIB = 1024 * 1024;

test("a snapshot is a commit that git can list, compare and fetch", async () => {
  const { provider, git, take, at } = aRepository();
  symlinkSync("a", at("tree/link"));
  writeFileSync(at("tree/run"), "#!/bin/sh\n");
  chmodSync(at("tree/run"), 0o755);
  const first = refOf(await take("one\n"));
  rmSync(at("tree/link"));
  const second = refOf(await provider.snapshot(at("tree"), ALL));

  expect(
    git("ls-tree", `${first}:files`)
      .split("\n")
      .map((line) => line.replace(/ \w+ [0-9a-f]+\t/, " ")),
  ).toEqual(["100644 a", "120000 link", "100755 run"]);
  expect(git("diff", "--name-status", `${first}:files`, `${second}:files`)).toBe("D\tlink");
  expect(git("log", "--format=%an %s", first)).toBe("waymark Snapshot of a sandbox with 2 files");
  execFileSync("git", ["init", "-q", at("clone")]);
  execFileSync("git", ["fetch", "-q", at("snapshots.git"), `${first}:refs/heads/first`], { cwd: at("clone") });
  expect(execFileSync("git", ["show", "first:files/a"], { cwd: at("clone"), encoding: "utf8" })).toBe("one\n");
});

test("nothing that a repository, a user or a sandbox has configured is run or changes a byte", async () => {
  const { provider, git, take, at } = aRepository();
  await take("one\n");
  const evil = `sh -c 'touch ${at("harm")}'`;
  mkdirSync(at("snapshots.git/hooks"));
  for (const hook of ["reference-transaction", "post-update", "pre-auto-gc"]) {
    writeFileSync(at(`snapshots.git/hooks/${hook}`), `#!/bin/sh\ntouch ${at("harm")}\n`, { mode: 0o755 });
  }
  for (const [name, value] of [
    ["core.fsmonitor", evil],
    ["core.alternateRefsCommand", evil],
    ["filter.evil.clean", evil],
    ["filter.evil.smudge", evil],
    ["core.autocrlf", "true"],
    ["remote.origin.url", `ext::${evil}`],
    ["remote.origin.promisor", "true"],
    ["protocol.ext.allow", "always"],
  ]) {
    git("config", name!, value!);
  }
  writeFileSync(at("tree/.gitattributes"), "* filter=evil text eol=crlf\n");

  const snapshot = await take("two\n");
  await provider.restore(snapshot, at("copy"), ALL);
  rmSync(at(`snapshots.git/${refOf(snapshot)}`));
  await expect(provider.verify(snapshot)).rejects.toThrow(SandboxMissingError);
  await provider.prune(new Set(), { dryRun: false, minAgeMs: 0 });

  expect(listing(at("copy"))).toEqual(listing(at("tree")));
  expect(existsSync(at("harm"))).toBe(false);
});

test("the sandbox's own repository is never written to by git", async () => {
  const { provider, at } = aRepository();
  execFileSync("git", ["init", "-q", at("tree")]);
  writeFileSync(at("tree/file"), "not added");
  const rules = { ...ALL, ignore: [".git"] };
  const snapshot = await provider.snapshot(at("tree"), rules);
  const before = listing(at("tree/.git"));
  writeFileSync(at("tree/file"), "changed");

  await provider.restore(snapshot, at("tree"), rules);

  expect(listing(at("tree/.git"))).toEqual(before);
  expect(snapshot.files).toBe(1);
});

test("objects that are gone or have other bytes are found out", async () => {
  const { provider, another, git, take, at } = aRepository();
  const snapshot = await take("content\n");
  const objectOf = (path: string) => {
    const id = git("rev-parse", `${refOf(snapshot)}:${path}`);
    return at(`snapshots.git/objects/${id.slice(0, 2)}/${id.slice(2)}`);
  };
  const small = objectOf("files/a");
  renameSync(small, at("kept"));

  await expect(provider.verify(snapshot)).rejects.toThrow(/content of "a".* is gone/);
  await expect(another().restore(snapshot, at("copy"), ALL)).rejects.toThrow(SandboxMissingError);
  for (const other of [readFileSync(objectOf("manifest")), readFileSync(at("kept")).subarray(0, 20)]) {
    writeFileSync(small, other);
    await expect(provider.verify(snapshot)).rejects.toThrow(SandboxCorruptError);
    rmSync(small);
  }
  renameSync(at("kept"), small);
  await provider.verify(snapshot);
});

test("a large object that is gone is said to be", async () => {
  const { provider, git, take, at } = aRepository();
  writeFileSync(at("tree/large"), Buffer.alloc(9 * MIB, "large"));
  rmSync(at("tree/a"), { force: true });
  const snapshot = await take(null);
  const large = git("rev-parse", `${refOf(snapshot)}:files/large`);
  await provider.verify(snapshot);
  for (const pack of packsOf(at)) rmSync(pack);
  rmSync(at(`snapshots.git/objects/${large.slice(0, 2)}/${large.slice(2)}`), { force: true });

  await expect(provider.restore(snapshot, at("copy"), ALL)).rejects.toMatchObject({ code: "SANDBOX_MISSING" });
});

test("a manifest of another snapshot is found out", async () => {
  const { provider, git, take } = aRepository();
  const [first, second] = [await take("one\n"), await take("two\n")];
  git("update-ref", refOf(first), refOf(second));

  await expect(provider.verify(first)).rejects.toThrow(/its manifest has another digest/);
});

test("a manifest that leads outside is refused, however well its commit is made", async () => {
  const { provider, git, take, at } = aRepository();
  const files = git("rev-parse", `${refOf(await take("content"))}:files`);
  const content = createHash("sha256").update("content").digest("hex");
  for (const path of ["../outside", "/outside", "a/../../outside", ".git/../../outside"]) {
    const text = `waymark-manifest 1\nf 644 7 ${content} ${path}\0`;
    const digest = createHash("sha256").update(text).digest("hex");
    const input = (args: string[], given: string) =>
      execFileSync("git", args, {
        cwd: git.repository,
        encoding: "utf8",
        env: { ...env, ...WHO },
        input: given,
      }).trim();
    const manifest = input(["hash-object", "-w", "--stdin"], text);
    const tree = input(["mktree"], `040000 tree ${files}\tfiles\n100644 blob ${manifest}\tmanifest\n`);
    git("update-ref", `refs/waymark/snapshots/${digest}`, input(["commit-tree", tree], ""));
    const forged = { provider: "git", digest: `sha256:${digest}`, files: 1, bytes: 7 };

    await expect(provider.restore(forged, at("copy/deep"), ALL)).rejects.toThrow(SandboxCorruptError);
    await expect(provider.verify(forged)).rejects.toThrow(SandboxCorruptError);
  }
  expect(existsSync(at("outside"))).toBe(false);
  expect(existsSync(at("copy"))).toBe(false);
});

test("where git isn't installed, that is said", async () => {
  const { provider, another, take, at } = aRepository();
  const snapshot = await take("one\n");
  const { PATH } = env;
  env.PATH = at("nowhere");
  try {
    await expect(another().verify(snapshot)).rejects.toThrow(/git can't be started: .* Install git/);
    await expect(provider.snapshot(at("tree"), ALL)).rejects.toThrow(/git can't be started: .* Install git/);
  } finally {
    env.PATH = PATH;
  }
});

test("a repository that can't be written is said to be so, and can be gone on with once it can", async () => {
  const { provider, take, at } = aRepository();
  await take("one\n");
  renameSync(at("snapshots.git/objects"), at("objects"));
  writeFileSync(at("snapshots.git/objects"), "");

  await expect(take("two\n")).rejects.toThrow(SandboxUnavailableError);

  rmSync(at("snapshots.git/objects"));
  renameSync(at("objects"), at("snapshots.git/objects"));
  await provider.verify(await take("two\n"));
});

test("a repository that git won't read is not taken for one with other bytes", async () => {
  const { another, take, at } = aRepository();
  const snapshot = await take("one\n");
  writeFileSync(at("snapshots.git/config"), "[broken");

  await expect(another().verify(snapshot)).rejects.toThrow(
    /^Snapshots can't be kept in .*: git cat-file failed: .*config/s,
  );
});

test("an object that git can't read keeps nobody else from an answer", async () => {
  const { git, take, at } = aRepository();
  const snapshot = await take("content\n");
  const id = git("rev-parse", `${refOf(snapshot)}:files/a`);
  const object = at(`snapshots.git/objects/${id.slice(0, 2)}/${id.slice(2)}`);
  const whole = readFileSync(object);
  rmSync(object);
  writeFileSync(object, whole.subarray(0, 20));
  const objects = new GitObjects(new Git(git.repository));

  const [first, second, third] = await Promise.all(
    [id, `${refOf(snapshot)}:manifest`, "0".repeat(40)].map((name) => objects.read(name)),
  );

  expect(first).toEqual(Buffer.alloc(0));
  expect(second?.toString()).toMatch(/^waymark-manifest 1/);
  expect(third).toBeNull();
});

test("a data directory that is a file is said to be", async () => {
  const { provider, at } = aRepository();
  writeFileSync(at("snapshots.git"), "");

  await expect(provider.snapshot(at("tree"), ALL)).rejects.toThrow(SandboxUnavailableError);
});

test("a snapshot that is taken again is as young as a new one", async () => {
  const { provider, git, take } = aRepository();
  const snapshot = await take("one\n");
  const ref = refOf(snapshot);
  const old = execFileSync("git", ["commit-tree", `${ref}^{tree}`, "-m", "old"], {
    cwd: git.repository,
    env: { ...env, ...WHO, GIT_COMMITTER_DATE: `${Math.floor(Date.now() / 1000) - 30 * 3_600} +0000` },
    encoding: "utf8",
  }).trim();
  git("update-ref", ref, old);
  expect(await provider.prune(new Set(), { dryRun: true })).toMatchObject({ snapshots: 1, files: 1 });

  await take("one\n");

  expect(await provider.prune(new Set(), { dryRun: false })).toEqual({ snapshots: 0, files: 0, bytes: 0 });
  await provider.verify(snapshot);
  expect(git("log", "--format=%s", ref)).toBe("old");
});

test("what a prune removed in the middle of a snapshot is written again", async () => {
  let isDue = false;
  const { provider, another, git, take, at } = aRepository((point) => {
    if (point !== "snapshot.scanned" || !isDue) return;
    isDue = false;
    for (const ref of git("for-each-ref", "--format=%(refname)").split("\n")) git("update-ref", "-d", ref);
    git("gc", "--quiet", "--prune=now");
    writeFileSync(at("snapshots.git/waymark-generation"), "another");
  });
  for (let i = 0; i < 5; i++) writeFileSync(at(`tree/${i}`), `content ${i}`);
  await take("one\n");
  isDue = true;

  const snapshot = await take("two\n");

  expect(isDue).toBe(false);
  await another().restore(snapshot, at("copy"), ALL);
  expect(listing(at("copy"))).toEqual(listing(at("tree")));
  expect(provider.name).toBe("git");
});

test("what is forgotten because there is too much is written again", async () => {
  const folder = aFolder();
  const store = new GitStore(new Git(join(folder, "snapshots.git")), undefined, 15);
  const provider = new GitProvider({ name: "git", store, cacheFolder: join(folder, "seen") });
  for (const tree of ["a", "b"]) {
    mkdirSync(join(folder, tree));
    for (let i = 0; i < 10; i++) writeFileSync(join(folder, tree, String(i)), `${tree} ${i}`);
  }

  const first = await provider.snapshot(join(folder, "a"), ALL);
  await provider.snapshot(join(folder, "b"), ALL);
  expect(await provider.snapshot(join(folder, "a"), ALL)).toEqual(first);
  await provider.verify(first);

  for (let i = 10; i < 30; i++) writeFileSync(join(folder, "a", String(i)), `a ${i}`);
  await expect(provider.snapshot(join(folder, "a"), ALL)).rejects.toThrow(/was forgotten meanwhile/);
});

test("content that changes while it is written, or is given up, leaves the rest whole", async () => {
  const store = new GitStore(new Git(join(aFolder(), "snapshots.git")));
  await store.generation();
  const writer = store.writer();
  const grown = await writer.upload("blobs", "grown", 3);
  await grown.write(Buffer.from("more than three"));
  await grown.abort();
  const short = await writer.upload("blobs", "short", 2 * MIB + 7);
  await short.write(Buffer.from("too little"));
  await short.abort();
  await writer.add("blobs", "whole", Buffer.from("whole"));
  await writer.finish();

  expect((await store.read("blobs", "whole"))?.toString()).toBe("whole");
  expect(await store.read("blobs", "grown")).toBeNull();
  expect(await store.stream("blobs", "short")).toBeNull();

  const another = store.writer();
  await another.add("blobs", "abandoned", Buffer.from("abandoned"));
  await another.abandon();
  expect(store.touch("blobs", "abandoned")).toBe(false);
});

test("prune says nothing of a repository that isn't there, and makes none", async () => {
  const { provider, at } = aRepository();

  expect(await provider.prune(new Set(), { dryRun: false })).toEqual({ snapshots: 0, files: 0, bytes: 0 });
  expect(existsSync(at("snapshots.git"))).toBe(false);
});

const WHO = {
  GIT_AUTHOR_NAME: "a",
  GIT_AUTHOR_EMAIL: "a@b",
  GIT_COMMITTER_NAME: "a",
  GIT_COMMITTER_EMAIL: "a@b",
};

/** A provider on a repository of its own, and a sandbox at `tree` with one file, `a`. */
function aRepository(atPoint?: (point: CrashPoint) => void) {
  const folder = aFolder();
  const repository = join(folder, "snapshots.git");
  const at = (path: string) => join(folder, path);
  mkdirSync(at("tree"));
  let processes = 0;
  const another = () =>
    createGitProvider({ dataDir: at(`data-${processes++}`), repository, ...(atPoint && { atPoint }) });
  const provider = another();
  const run = (...args: string[]) =>
    execFileSync("git", args, { cwd: repository, encoding: "utf8", stdio: "pipe" }).trim();
  const git = Object.assign(run, { repository });
  const take = async (content: string | null): Promise<SandboxSnapshot> => {
    if (content !== null) writeFileSync(at("tree/a"), content);
    return provider.snapshot(at("tree"), ALL);
  };
  return { provider, another, git, take, at };
}

function refOf({ digest }: SandboxSnapshot): string {
  return digest.replace("sha256:", "refs/waymark/snapshots/");
}

function packsOf(at: (path: string) => string): string[] {
  const folder = at("snapshots.git/objects/pack");
  return existsSync(folder) ? readdirSync(folder).map((name) => join(folder, name)) : [];
}
