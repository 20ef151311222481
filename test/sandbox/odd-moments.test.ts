/** Stores and directories that change between two looks of ours, and stores that break in the middle. */
import { createHash } from "node:crypto";
import {
  appendFileSync,
  chmodSync,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { SandboxCorruptError, SandboxMissingError, SandboxUnavailableError } from "../../src/core/errors.js";
import { ContentProvider } from "../../src/sandbox/content-provider.js";
import { DirectoryStore } from "../../src/sandbox/directory-store.js";
import { SMALL_BYTES } from "../../src/sandbox/read-steadily.js";
import { ALL, aFolder, aProvider, listing } from "./a-tree.js";

const LARGE_BYTES = SMALL_BYTES + 1;

describe("a restore", () => {
  test("of another mode leaves the file alone that has a second name outside", async () => {
    const { provider, at } = aProvider();
    mkdirSync(at("tree"));
    writeFileSync(at("tree/file"), "content", { mode: 0o644 });
    const snapshot = await provider.snapshot(at("tree"), ALL);
    linkSync(at("tree/file"), at("outside"));
    chmodSync(at("outside"), 0o600);

    await provider.restore(snapshot, at("tree"), ALL);

    expect(statSync(at("outside")).mode & 0o777).toBe(0o600);
    expect(statSync(at("tree/file"))).toMatchObject({ nlink: 1, mode: 0o100644 });
  });

  test.each([
    ["is gone", (blob: string) => rmSync(blob), SandboxMissingError],
    ["has grown", (blob: string) => appendFileSync(blob, "more"), SandboxCorruptError],
    ["is cut off", (blob: string) => truncateSync(blob, SMALL_BYTES), SandboxCorruptError],
    ["has another byte", (blob: string) => writeFileSync(blob, Buffer.alloc(LARGE_BYTES, "b")), SandboxCorruptError],
  ])("of a large file whose content %s says so, and leaves no file", async (_, harm, error) => {
    const { provider, at, store } = aProvider();
    mkdirSync(at("tree"));
    writeFileSync(at("tree/large"), Buffer.alloc(LARGE_BYTES, "a"));
    const snapshot = await provider.snapshot(at("tree"), ALL);
    harm(onlyBlob(store));

    await expect(provider.restore(snapshot, at("copy"), ALL)).rejects.toThrow(error);

    expect(readdirSync(at("copy"))).toEqual([]);
  });

  test("finds out a manifest that lies about the size of a content", async () => {
    const { provider, at, store } = aProvider();
    mkdirSync(at("tree"));
    writeFileSync(at("tree/a"), "content");
    await provider.snapshot(at("tree"), ALL);
    const blob = createHash("sha256").update("content").digest("hex");
    const text = `waymark-manifest 1\nf 644 8 ${blob} a\0`;
    const hex = createHash("sha256").update(text).digest("hex");
    mkdirSync(join(store, "manifests", hex.slice(0, 2)), { recursive: true });
    writeFileSync(join(store, "manifests", hex.slice(0, 2), hex), text);
    const forged = { provider: "directory", digest: `sha256:${hex}`, files: 1, bytes: 8 };

    await expect(provider.verify(forged)).rejects.toThrow(SandboxCorruptError);
    await expect(provider.restore(forged, at("copy"), ALL)).rejects.toThrow(SandboxCorruptError);
  });
});

test("compared with a directory that is missing, a snapshot has lost everything", async () => {
  const { provider, at } = aProvider();
  mkdirSync(at("tree/d"), { recursive: true });
  writeFileSync(at("tree/d/a"), "a");
  const snapshot = await provider.snapshot(at("tree"), ALL);

  expect(await provider.compare(snapshot, at("nowhere"), ALL)).toMatchObject({
    changed: [],
    added: [],
    removed: ["d", "d/a"],
  });
});

test("a large file that changes between its digest and its copy is read again", async () => {
  let isChanged = false;
  const { provider, at } = aProvider({
    atPoint: (point) => {
      if (point !== "store.temporary-opened" || isChanged) return;
      isChanged = true;
      writeFileSync(at("tree/large"), Buffer.alloc(LARGE_BYTES, "b"));
    },
  });
  mkdirSync(at("tree"));
  writeFileSync(at("tree/large"), Buffer.alloc(LARGE_BYTES, "a"));

  const snapshot = await provider.snapshot(at("tree"), ALL);
  await provider.restore(snapshot, at("copy"), ALL);

  expect(readFileSync(at("copy/large")).equals(Buffer.alloc(LARGE_BYTES, "b"))).toBe(true);
});

describe("a store that breaks in the middle", () => {
  test.each([
    ["at the end of a small snapshot", 3],
    ["in the middle of a large one", 200],
  ])("stops the snapshot, %s", async (_, files) => {
    const { provider, at, store } = aProvider();
    mkdirSync(at("tree"));
    for (let i = 0; i < files; i++) writeFileSync(at(`tree/${i}`), `content ${i}`);
    mkdirSync(store, { recursive: true });
    symlinkSync("nowhere", join(store, "blobs"));

    await expect(provider.snapshot(at("tree"), ALL)).rejects.toThrow(SandboxUnavailableError);

    expect(readdirSync(join(store, "temporary"))).toEqual([]);
    rmSync(join(store, "blobs"));
    await provider.verify(await provider.snapshot(at("tree"), ALL));
  });

  test("and can't even tell whether it has a content, says so", async () => {
    const { provider, at, store } = aProvider();
    mkdirSync(at("tree"));
    writeFileSync(at("tree/a"), "a");
    mkdirSync(store, { recursive: true });
    writeFileSync(join(store, "blobs"), "a file");

    await expect(provider.snapshot(at("tree"), ALL)).rejects.toThrow(/ENOTDIR/);
  });

  test("with an error that is not the disk's passes it on as it is", async () => {
    const { provider, at } = aProvider({
      atPoint: (point) => {
        if (point === "store.renamed") throw new RangeError("not the disk's");
      },
    });
    mkdirSync(at("tree"));
    writeFileSync(at("tree/a"), "a");

    await expect(provider.snapshot(at("tree"), ALL)).rejects.toThrow(RangeError);
  });
});

describe("prune", () => {
  test("of a store in which nothing was ever kept removes nothing", async () => {
    const { provider, store } = aProvider();

    const removed = await provider.prune(new Set(), { dryRun: false, minAgeMs: 0 });

    expect(removed).toEqual({ snapshots: 0, files: 0, bytes: 0 });
    expect(existsSync(store)).toBe(false);
  });

  test("leaves what was touched after it was listed, and what a writer has just begun", async () => {
    const { provider, at, store } = aProvider({
      atPoint: (point) => {
        if (point === "prune.generation-changed") utimesSync(onlyBlob(store), new Date(), new Date());
      },
    });
    mkdirSync(at("tree"));
    writeFileSync(at("tree/a"), "a");
    await provider.snapshot(at("tree"), ALL);
    utimesSync(onlyBlob(store), 1, 1);
    writeFileSync(join(store, "temporary/begun"), "half");

    const removed = await provider.prune(new Set(), { dryRun: false, minAgeMs: 60_000 });

    expect(removed).toEqual({ snapshots: 0, files: 0, bytes: 0 });
    expect(existsSync(onlyBlob(store))).toBe(true);
    expect(readdirSync(join(store, "temporary"))).toEqual(["begun"]);
    expect(await new DirectoryStore(store).remove("blobs", "0".repeat(64), 0)).toBe(false);
  });

  test("goes on where a kept snapshot is gone, and removes nothing where what one needs can't be read", async () => {
    const { provider, at, store } = aProvider();
    mkdirSync(at("tree"));
    writeFileSync(at("tree/a"), "a");
    const { digest } = await provider.snapshot(at("tree"), ALL);
    const before = listing(store);

    expect(
      await provider.prune(new Set([`sha256:${"0".repeat(64)}`, digest]), { dryRun: true, minAgeMs: 0 }),
    ).toMatchObject({ files: 0 });
    const hex = digest.slice("sha256:".length);
    writeFileSync(join(store, "manifests", hex.slice(0, 2), hex), "no manifest");
    await expect(provider.prune(new Set([digest]), { dryRun: false, minAgeMs: 0 })).rejects.toThrow(
      SandboxCorruptError,
    );

    expect(listing(store)).toHaveLength(before.length);
    expect(existsSync(onlyBlob(store))).toBe(true);
  });
});

describe("what is remembered of a directory", () => {
  test.each([
    ["is empty", () => ""],
    ["is no line of ours", () => "garbage\n"],
    ["is of another format", (text: string) => text.replace(/"version":\d+/, '"version":999')],
    [
      "is of another machine or an earlier start of it",
      (text: string) => text.replace(/"machine":"[^"]*"/, '"machine":"m"'),
    ],
    ["is cut off", (text: string) => text.slice(0, -3)],
  ])("isn't believed where it %s", async (_, harmed) => {
    const { provider, at, dataDir } = aProvider();
    mkdirSync(at("tree"));
    for (let i = 0; i < 20; i++) {
      writeFileSync(at(`tree/${i}`), `content ${i}`);
      utimesSync(at(`tree/${i}`), 1_000, 1_000);
    }
    const snapshot = await provider.snapshot(at("tree"), ALL);
    const seen = join(dataDir, "sandboxes/seen");
    for (const name of readdirSync(seen)) {
      const text = readFileSync(join(seen, name), "latin1");
      rmSync(join(seen, name));
      writeFileSync(join(seen, name), harmed(text), "latin1");
    }

    expect(await provider.compare(snapshot, at("tree"), ALL)).toMatchObject({ digest: snapshot.digest });
    expect(await provider.snapshot(at("tree"), ALL)).toEqual(snapshot);
  });

  test("is nothing where the directory is on another file system", async (context) => {
    const there = mkdtempSync(join(tmpdir(), "waymark-other-"));
    onTestFinished(() => rmSync(there, { recursive: true, force: true }));
    const folder = aFolder();
    if (statSync(there).dev === statSync(folder).dev) return context.skip();
    const store = new DirectoryStore(join(folder, "store"));
    const provider = new ContentProvider({ name: "directory", store, cacheFolder: join(folder, "seen") });
    writeFileSync(join(there, "a"), "a");

    const snapshot = await provider.snapshot(there, ALL);
    expect(await provider.snapshot(there, ALL)).toEqual(snapshot);

    expect(readdirSync(join(folder, "seen"))).toEqual([]);
  });

  test("of many directories is right for each, and swept when it is old", async () => {
    const { provider, at, dataDir } = aProvider();
    const names = Array.from({ length: 12 }, (_, i) => `tree-${i}`);
    const take = () => Promise.all(names.map((name) => provider.snapshot(at(name), ALL)));
    for (const name of names) {
      mkdirSync(at(name));
      writeFileSync(at(`${name}/a`), name);
    }
    const first = await take();
    expect(await take()).toEqual(first);
    expect(new Set(first.map(({ digest }) => digest)).size).toBe(12);

    const seen = join(dataDir, "sandboxes/seen");
    const [old] = readdirSync(seen);
    utimesSync(join(seen, old!), 1, 1);
    await provider.prune(new Set(first.map(({ digest }) => digest)), { dryRun: false });

    expect(readdirSync(seen)).toHaveLength(11);
    expect(await take()).toEqual(first);
  });
});

function onlyBlob(store: string): string {
  const [blob, ...others] = readdirSync(join(store, "blobs"), { recursive: true, withFileTypes: true }).filter(
    (entry) => entry.isFile(),
  );
  expect(others).toEqual([]);
  return join(blob!.parentPath, blob!.name);
}
