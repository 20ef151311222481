/** What a provider on a directory promises, on the trees that people have. */
import { execFileSync, spawnSync } from "node:child_process";
import {
  appendFileSync,
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import {
  SandboxCorruptError,
  SandboxMissingError,
  SandboxUnavailableError,
  SandboxUnsupportedError,
} from "../../src/core/errors.js";
import { ALL, aFolder, aProvider, aTreeOfOddities, listing, wreck } from "./a-tree.js";

describe("a restore equals the snapshot", () => {
  test("for every kind of thing that a directory may hold", async () => {
    const { provider, at } = aProvider();
    const tree = at("tree");
    aTreeOfOddities(tree);

    const snapshot = await provider.snapshot(tree, ALL);
    await provider.restore(snapshot, at("copy"), ALL);

    expect(listing(at("copy"))).toEqual(listing(tree));
    expect(await provider.compare(snapshot, at("copy"), ALL)).toEqual({
      changed: [],
      added: [],
      removed: [],
      digest: snapshot.digest,
    });
    await provider.verify(snapshot);
  });

  test("onto a directory that has become something else", async () => {
    const { provider, at } = aProvider();
    aTreeOfOddities(at("tree"));
    const snapshot = await provider.snapshot(at("tree"), ALL);
    const before = listing(at("tree"));
    wreck(at("tree"));

    await provider.restore(snapshot, at("tree"), ALL);

    expect(listing(at("tree"))).toEqual(before);
  });

  test.each([
    ["is missing, and its parents too", () => {}],
    ["is a file", (path: string) => writeFileSync(path, "not a directory")],
    ["is a link to a directory elsewhere", (path: string) => symlinkSync(aFolder(), path)],
  ])("where the directory %s", async (_, prepare) => {
    const { provider, at } = aProvider();
    mkdirSync(at("tree"));
    writeFileSync(join(at("tree"), "a"), "1");
    const snapshot = await provider.snapshot(at("tree"), ALL);
    mkdirSync(at("deep"));
    prepare(at("deep/er"));

    await provider.restore(snapshot, at("deep/er"), ALL);

    expect(lstatSync(at("deep/er")).isDirectory()).toBe(true);
    expect(listing(at("deep/er"))).toEqual(listing(at("tree")));
  });

  test("and what is equal already isn't written again", async () => {
    const { provider, at } = aProvider();
    mkdirSync(at("tree"));
    writeFileSync(join(at("tree"), "same"), "same");
    writeFileSync(join(at("tree"), "other"), "before");
    const snapshot = await provider.snapshot(at("tree"), ALL);
    const { ino } = statSync(join(at("tree"), "same"));
    writeFileSync(join(at("tree"), "other"), "after!");

    await provider.restore(snapshot, at("tree"), ALL);

    expect(statSync(join(at("tree"), "same")).ino).toBe(ino);
    expect(readFileSync(join(at("tree"), "other"), "utf8")).toBe("before");
  });
});

describe("a snapshot", () => {
  test("is the same for the same tree, wherever and whenever it was taken", async () => {
    const [here, there] = [aProvider(), aProvider()];
    aTreeOfOddities(here.at("tree"));
    aTreeOfOddities(there.at("other"));
    utimesSync(join(there.at("other"), "README"), 1, 1);

    const snapshot = await here.provider.snapshot(here.at("tree"), ALL);

    expect(await there.provider.snapshot(there.at("other"), ALL)).toEqual(snapshot);
    expect(snapshot).toMatchObject({ provider: "directory", digest: expect.stringMatching(/^sha256:[0-9a-f]{64}$/) });
  });

  test("sees every change of content, mode, type, target and name, and compare says which", async () => {
    const { provider, at } = aProvider();
    const tree = at("tree");
    mkdirSync(join(tree, "gone"), { recursive: true });
    for (const name of ["content", "mode", "type", "same", "gone/file"]) writeFileSync(join(tree, name), "text");
    symlinkSync("same", join(tree, "link"));
    const before = await provider.snapshot(tree, ALL);

    writeFileSync(join(tree, "content"), "TEXT");
    chmodSync(join(tree, "mode"), 0o755);
    rmSync(join(tree, "type"));
    symlinkSync("same", join(tree, "type"));
    rmSync(join(tree, "link"));
    symlinkSync("mode", join(tree, "link"));
    rmSync(join(tree, "gone"), { recursive: true });
    mkdirSync(join(tree, "new"));
    const compared = await provider.compare(before, tree, ALL);

    expect(compared).toEqual({
      changed: ["content", "link", "mode", "type"],
      added: ["new"],
      removed: ["gone", "gone/file"],
      digest: (await provider.snapshot(tree, ALL)).digest,
    });
  });

  test("sees a change that leaves size and mtime as they were", async () => {
    const { provider, at } = aProvider();
    mkdirSync(at("tree"));
    const file = join(at("tree"), "file");
    writeFileSync(file, "one");
    utimesSync(file, 1_000, 1_000);
    const before = await provider.snapshot(at("tree"), ALL);

    writeFileSync(file, "two");
    utimesSync(file, 1_000, 1_000);

    expect((await provider.snapshot(at("tree"), ALL)).digest).not.toBe(before.digest);
  });

  test("sees a change in the same instant as the last snapshot, every time", async () => {
    const { provider, at } = aProvider();
    mkdirSync(at("tree"));
    const digests = new Set<string>();
    for (let i = 100; i < 150; i++) {
      writeFileSync(join(at("tree"), "file"), String(i));
      digests.add((await provider.snapshot(at("tree"), ALL)).digest);
    }
    expect(digests.size).toBe(50);
  });

  test("keeps equal content once", async () => {
    const { provider, at, store } = aProvider();
    mkdirSync(at("tree"));
    for (let i = 0; i < 20; i++) writeFileSync(join(at("tree"), `copy-${i}`), "the same");

    const snapshot = await provider.snapshot(at("tree"), ALL);

    expect(snapshot).toMatchObject({ files: 20, bytes: 160 });
    expect(filesIn(join(store, "blobs"))).toHaveLength(1);
  });

  test("of an empty directory is one, too", async () => {
    const { provider, at } = aProvider();
    mkdirSync(at("tree"));
    const snapshot = await provider.snapshot(at("tree"), ALL);
    wreck(at("tree"));

    await provider.restore(snapshot, at("tree"), ALL);

    expect(readdirSync(at("tree"))).toEqual([]);
    expect(snapshot).toMatchObject({ files: 0, bytes: 0 });
  });

  test("of a large file never has it in memory as a whole", async () => {
    const { provider, at } = aProvider();
    mkdirSync(at("tree"));
    writeFileSync(join(at("tree"), "large"), "");
    truncateSync(join(at("tree"), "large"), 160 * 1024 * 1024);
    appendFileSync(join(at("tree"), "large"), "end");
    const before = process.memoryUsage().rss;

    const snapshot = await provider.snapshot(at("tree"), ALL);
    await provider.restore(snapshot, at("copy"), ALL);

    expect(process.memoryUsage().rss - before).toBeLessThan(100 * 1024 * 1024);
    execFileSync("cmp", [join(at("tree"), "large"), join(at("copy"), "large")]);
    await provider.verify(snapshot);
  }, 120_000);
});

describe("what can't be kept is refused, with the path", () => {
  test.each([
    ["a named pipe", "is a named pipe", (path: string) => execFileSync("mkfifo", [path])],
    [
      "a socket",
      "is a socket",
      (path: string) =>
        spawnSync("python3", ["-c", "import socket,sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])", path]),
    ],
  ])("%s", async (_, reason, make) => {
    const { provider, at } = aProvider();
    mkdirSync(at("tree/in/it"), { recursive: true });
    make(at("tree/in/it/odd"));

    const refused = provider.snapshot(at("tree"), ALL);

    await expect(refused).rejects.toThrow(SandboxUnsupportedError);
    await expect(refused).rejects.toMatchObject({ code: "SANDBOX_UNSUPPORTED", path: "in/it/odd", reason });
  });

  test("a device, where one can be made", async (context) => {
    const { provider, at } = aProvider();
    mkdirSync(at("tree"));
    if (spawnSync("mknod", [at("tree/null"), "c", "1", "3"]).status !== 0) return context.skip();

    await expect(provider.snapshot(at("tree"), ALL)).rejects.toMatchObject({ path: "null", reason: "is a device" });
  });

  test.each([
    ["too many entries", { entries: 3 }, /at most 3 entries/],
    ["too many bytes", { bytes: 20 }, /at most 20 bytes/],
    ["too long a path", { pathBytes: 5 }, /"deep\/file" .* path of 9 bytes; the limit is 5/],
  ])("%s, before anything is written", async (_, limits, message) => {
    const { provider, at, store } = aProvider({ limits });
    mkdirSync(at("tree/deep"), { recursive: true });
    for (const name of ["a", "b", "c", "deep/file"]) writeFileSync(at(`tree/${name}`), "ten bytes!");

    await expect(provider.snapshot(at("tree"), ALL)).rejects.toThrow(message);

    expect(existsSync(store)).toBe(false);
  });

  test("a directory that is a link, or none", async () => {
    const { provider, at } = aProvider();
    symlinkSync(aFolder(), at("link"));
    writeFileSync(at("file"), "");

    await expect(provider.snapshot(at("link"), ALL)).rejects.toThrow(/is no directory/);
    await expect(provider.snapshot(at("file"), ALL)).rejects.toThrow(/is no directory/);
  });

  test("directories in directories without end", async () => {
    const { provider, at } = aProvider();
    mkdirSync(at(`tree/${"d/".repeat(300)}`), { recursive: true });

    await expect(provider.snapshot(at("tree"), ALL)).rejects.toThrow(/more than 200 directories deep/);
  });
});

describe("exclude, ignore and include", () => {
  test("what is ignored stays where it is, what is excluded goes, and neither is in the snapshot", async () => {
    const { provider, at } = aProvider();
    const rules = { exclude: ["dist"], ignore: ["node_modules/"], include: [] };
    for (const folder of ["dist", "node_modules/x", "src/node_modules"])
      mkdirSync(at(`tree/${folder}`), { recursive: true });
    for (const file of ["dist/out", "node_modules/x/y", "src/node_modules/z", "src/a"])
      writeFileSync(at(`tree/${file}`), "1");

    const snapshot = await provider.snapshot(at("tree"), rules);
    writeFileSync(at("tree/src/a"), "2");
    const compared = await provider.compare(snapshot, at("tree"), rules);
    await provider.restore(snapshot, at("tree"), rules);

    expect(snapshot.files).toBe(1);
    expect(compared).toMatchObject({ changed: ["src/a"], added: ["dist"], removed: [] });
    expect(filesIn(at("tree"))).toEqual(["node_modules/x/y", "src/a", "src/node_modules/z"]);
    expect(readFileSync(at("tree/src/a"), "utf8")).toBe("1");
  });

  test("files of secrets are treated as ignored, unless they are included", async () => {
    const { provider, at } = aProvider();
    const secrets = [".env", ".env.local", "key.pem", "id_rsa", "id_ed25519.pub", ".npmrc", ".netrc"];
    mkdirSync(at("tree/config/.env"), { recursive: true });
    for (const name of [...secrets, "id_card.ts", "config/.env/data", "config/.env.test"])
      writeFileSync(at(`tree/${name}`), "1");
    const rules = { exclude: [], ignore: [], include: [".npmrc", "config/"] };

    const snapshot = await provider.snapshot(at("tree"), rules);
    await provider.restore(snapshot, at("copy"), rules);
    const left = listing(at("tree"));
    await provider.restore(snapshot, at("tree"), rules);

    expect(filesIn(at("copy"))).toEqual([".npmrc", "config/.env.test", "config/.env/data", "id_card.ts"]);
    expect(listing(at("tree"))).toEqual(left);
  });

  test("a repository's own files count, whatever they are called", async () => {
    const { provider, at } = aProvider();
    const rules = { exclude: ["build"], ignore: ["*.log", ".git/fsmonitor"], include: [] };
    const git = (...args: string[]) =>
      execFileSync("git", ["-c", "user.name=a", "-c", "user.email=a@b", ...args], {
        cwd: at("tree"),
        encoding: "utf8",
      });
    mkdirSync(at("tree"));
    git("init", "-q", "-b", "main");
    writeFileSync(at("tree/a"), "1");
    git("add", "a");
    git("commit", "-qm", "one");
    git("branch", "id_rsa");
    git("branch", "build");
    writeFileSync(at("tree/.git/fsmonitor"), "");

    const snapshot = await provider.snapshot(at("tree"), rules);
    await provider.restore(snapshot, at("copy"), rules);

    expect(execFileSync("git", ["branch"], { cwd: at("copy"), encoding: "utf8" })).toBe("  build\n  id_rsa\n* main\n");
    expect(existsSync(at("copy/.git/fsmonitor"))).toBe(false);
  });

  test("a directory that isn't in the snapshot goes with what is ignored in it", async () => {
    const { provider, at } = aProvider();
    const rules = { exclude: [], ignore: ["*.log"], include: [] };
    mkdirSync(at("tree"));
    const snapshot = await provider.snapshot(at("tree"), rules);
    mkdirSync(at("tree/new"));
    for (const name of ["new/a.log", "b.log"]) writeFileSync(at(`tree/${name}`), "1");

    await provider.restore(snapshot, at("tree"), rules);

    expect(filesIn(at("tree"))).toEqual(["b.log"]);
  });
});

describe("a store that isn't what it was", () => {
  test("a missing manifest and a missing blob are said", async () => {
    const { provider, at, store } = await aSnapshot();

    rmSync(onlyFile(join(store, "blobs")));
    await expect(provider.restore(at.snapshot, at("copy"), ALL)).rejects.toThrow(
      /content of "a", blob [0-9a-f]{64}, is gone/,
    );
    await expect(provider.verify(at.snapshot)).rejects.toThrow(SandboxMissingError);

    rmSync(onlyFile(join(store, "manifests")));
    await expect(provider.restore(at.snapshot, at("copy"), ALL)).rejects.toThrow(/its manifest in .* is gone/);
    await expect(provider.verify(at.snapshot)).rejects.toThrow(SandboxMissingError);
    await expect(provider.compare(at.snapshot, at("tree"), ALL)).rejects.toThrow(SandboxMissingError);
  });

  test.each([
    ["of the same size", "CONTENT"],
    ["of another size", "more content"],
    ["that is cut off", "cont"],
  ])("a blob %s is found out, and leaves no file", async (_, content) => {
    const { provider, at, store } = await aSnapshot();
    writeFileSync(onlyFile(join(store, "blobs")), content);

    await expect(provider.restore(at.snapshot, at("copy"), ALL)).rejects.toThrow(SandboxCorruptError);
    await expect(provider.verify(at.snapshot)).rejects.toThrow(SandboxCorruptError);

    expect(existsSync(at("copy/a"))).toBe(false);
  });

  test("a manifest with another byte is found out", async () => {
    const { provider, at, store } = await aSnapshot();
    const manifest = onlyFile(join(store, "manifests"));
    writeFileSync(manifest, readFileSync(manifest, "utf8").replace("644 7", "755 7"));

    await expect(provider.restore(at.snapshot, at("copy"), ALL)).rejects.toThrow(/its manifest has another digest/);
  });

  test("a digest that is a path leads nowhere", async () => {
    const { provider, at } = await aSnapshot();
    const forged = { ...at.snapshot, digest: "sha256:../../../../etc/passwd" };

    await expect(provider.restore(forged, at("copy"), ALL)).rejects.toThrow(/is no digest of a snapshot/);
  });

  test("a blob that vanished is written again by the next snapshot after prune", async () => {
    const { provider, at, store } = await aSnapshot();
    const removed = await provider.prune(new Set(), { dryRun: false, minAgeMs: 0 });
    expect(removed).toMatchObject({ snapshots: 1, files: 1 });
    expect(filesIn(join(store, "blobs"))).toEqual([]);

    expect(await provider.snapshot(at("tree"), ALL)).toEqual(at.snapshot);

    await provider.verify(at.snapshot);
  });

  test("that can't be written is said to be so", async () => {
    const { at } = await aSnapshot();
    const { provider } = aProvider({ storeDir: at("tree/a/store") });

    await expect(provider.snapshot(at("tree"), ALL)).rejects.toThrow(SandboxUnavailableError);
  });
});

describe("prune", () => {
  test("removes what nobody names and is old, and says the same beforehand", async () => {
    const { provider, at, store } = aProvider();
    mkdirSync(at("tree"));
    const take = async (content: string) => {
      writeFileSync(at("tree/file"), content);
      return provider.snapshot(at("tree"), ALL);
    };
    const [first, second] = [await take("one"), await take("two, longer")];
    age(store, 26);
    const third = await take("three");
    const before = listing(store);

    const foreseen = await provider.prune(new Set([second.digest]), { dryRun: true });
    expect(listing(store)).toEqual(before);
    const removed = await provider.prune(new Set([second.digest]), { dryRun: false });

    expect(removed).toEqual(foreseen);
    expect(removed).toMatchObject({ snapshots: 1, files: 1 });
    await expect(provider.verify(first)).rejects.toThrow(SandboxMissingError);
    await provider.verify(second);
    await provider.verify(third);
  });

  test("keeps for a day what a snapshot found there, however old it is", async () => {
    const { provider, at, store } = await aSnapshot();
    age(store, 1_000);
    const { provider: another } = aProvider({ storeDir: store });

    await another.snapshot(at("tree"), ALL);
    await provider.prune(new Set(), { dryRun: false });

    await provider.verify(at.snapshot);
  });

  test("keeps what the cache said was there an hour and more ago", async () => {
    const { provider, at, store } = await aSnapshot();
    age(store, 24.9);
    await provider.prune(new Set(), { dryRun: false });
    await provider.verify(at.snapshot);
  });

  test("removes what a writer that died has left", async () => {
    const { provider, at, store } = await aSnapshot();
    writeFileSync(join(store, "temporary", "left"), "half");
    age(join(store, "temporary"), 30);

    await provider.prune(new Set([at.snapshot.digest]), { dryRun: false });

    expect(readdirSync(join(store, "temporary"))).toEqual([]);
  });

  test("takes back what was touched while it was being removed", async () => {
    const { provider, at, store } = await aSnapshot();
    const blob = onlyFile(join(store, "blobs"));
    renameSync(blob, `${blob}.condemned`);

    await provider.restore(at.snapshot, at("copy"), ALL);
    await provider.prune(new Set([at.snapshot.digest]), { dryRun: false });

    expect(onlyFile(join(store, "blobs"))).toBe(blob);
    await provider.verify(at.snapshot);
  });
});

test("an abort ends a snapshot and a restore, with its reason", async () => {
  const { provider, at } = aProvider();
  mkdirSync(at("tree"));
  for (let i = 0; i < 2_000; i++) writeFileSync(at(`tree/${i}`), String(i % 10));
  const reason = new Error("lost");

  await expect(provider.snapshot(at("tree"), ALL, AbortSignal.abort(reason))).rejects.toBe(reason);
  const snapshot = await provider.snapshot(at("tree"), ALL);
  await expect(provider.restore(snapshot, at("copy"), ALL, AbortSignal.abort(reason))).rejects.toBe(reason);

  await provider.restore(snapshot, at("copy"), ALL);
  expect(listing(at("copy"))).toEqual(listing(at("tree")));
});

test("a directory of 100,000 entries is kept, and the event loop gets its turns meanwhile", async () => {
  const { provider, at } = aProvider();
  mkdirSync(at("tree"));
  execFileSync("sh", ["-c", "seq 100000 | xargs touch"], { cwd: at("tree") });
  let turns = 0;
  let isOver = false;
  const turn = () => {
    turns += 1;
    if (!isOver) setImmediate(turn);
  };
  setImmediate(turn);

  const snapshot = await provider.snapshot(at("tree"), ALL);
  isOver = true;

  expect(snapshot).toMatchObject({ files: 100_000, bytes: 0 });
  expect(turns).toBeGreaterThan(50);
}, 240_000);

async function aSnapshot() {
  const { provider, at, store } = aProvider();
  mkdirSync(at("tree"));
  writeFileSync(at("tree/a"), "content");
  const snapshot = await provider.snapshot(at("tree"), ALL);
  return { provider, store, at: Object.assign(at, { snapshot }) };
}

/** Makes everything in it as old as that. */
function age(folder: string, hours: number): void {
  const then = Date.now() / 1000 - hours * 3_600;
  for (const file of filesIn(folder)) utimesSync(join(folder, file), then, then);
}

function filesIn(folder: string): string[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((path) => !lstatSync(join(folder, path)).isDirectory())
    .sort();
}

function onlyFile(folder: string): string {
  const files = filesIn(folder);
  expect(files).toHaveLength(1);
  return join(folder, files[0]!);
}
