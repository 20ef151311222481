/** Manifests that somebody forged, directories that change under our hands, disks that are full. */
import { execFileSync, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { SandboxCorruptError, SandboxUnavailableError, SandboxUnsupportedError } from "../../src/core/errors.js";
import { Beneath } from "../../src/sandbox/beneath.js";
import type { CrashPoint } from "../../src/sandbox/crash-points.js";
import { lookUp } from "../../src/sandbox/look-up.js";
import { readOnce, readSteadily, SMALL_BYTES } from "../../src/sandbox/read-steadily.js";
import { TimeSlices } from "../../src/sandbox/time-slices.js";
import { ALL, aFolder, aProvider, listing } from "./a-tree.js";

const BLOB = sha256("content");

describe("a forged manifest is refused, and nothing is written anywhere", () => {
  test.each([
    ["that climbs out", [`f 644 7 ${BLOB} ../outside`]],
    ["that climbs out from below", ["d 755 a", `f 644 7 ${BLOB} a/../../outside`]],
    ["with an absolute path", [`f 644 7 ${BLOB} /outside`]],
    ["that writes through its own link", ["l a", "..", `f 644 7 ${BLOB} a/outside`]],
    ["that names a thing twice", [`f 644 7 ${BLOB} a`, `f 644 7 ${BLOB} a`]],
    ["that makes a link of a directory with files in it", ["d 755 a", `f 644 7 ${BLOB} a/b`, "l a", ".."]],
    ["out of order", [`f 644 7 ${BLOB} b`, `f 644 7 ${BLOB} a`]],
    ["with a directory that isn't named", [`f 644 7 ${BLOB} a/b`]],
    ["with an empty name", ["d 755 a", `f 644 7 ${BLOB} a//b`]],
    ["with the directory itself", ["d 755 ."]],
    ["with a mode that is none", [`f 100644 7 ${BLOB} a`]],
    ["with a size that is none", [`f 644 -7 ${BLOB} a`]],
    ["with a digest that is a path", ["f 644 7 ../../../etc/passwd a"]],
    ["with a link to nothing", ["l a", ""]],
    ["with a kind that nobody knows", ["c 644 a"]],
  ])("%s", async (_, lines) => {
    const { provider, store, at } = await aStoreWithContent();
    const snapshot = forge(store, `waymark-manifest 1\n${lines.map((line) => `${line}\0`).join("")}`);
    const before = outside(at);

    await expect(provider.restore(snapshot, at("copy"), ALL)).rejects.toThrow(SandboxCorruptError);
    await expect(provider.verify(snapshot)).rejects.toThrow(SandboxCorruptError);

    expect(outside(at)).toEqual(before);
  });

  test.each([
    ["of another format", "waymark-manifest 2\nd 755 a\0"],
    ["that is cut off", "waymark-manifest 1\nd 755 a"],
    ["that is empty", ""],
  ])("%s", async (_, text) => {
    const { provider, store, at } = await aStoreWithContent();

    await expect(provider.restore(forge(store, text), at("copy"), ALL)).rejects.toThrow(SandboxCorruptError);
  });

  test("but one with a link to anywhere is restored, and the link not followed", async () => {
    const { provider, store, at } = await aStoreWithContent();
    const elsewhere = aFolder();
    const snapshot = forge(store, `waymark-manifest 1\nl a\0${elsewhere}\0f 644 7 ${BLOB} b\0`);

    await provider.restore(snapshot, at("copy"), ALL);
    rmSync(at("copy/b"));
    symlinkSync(join(elsewhere, "b"), at("copy/b"));
    await provider.restore(snapshot, at("copy"), ALL);

    expect(readdirSync(elsewhere)).toEqual([]);
    expect(listing(at("copy"))).toContain(`a|l|777|${elsewhere}`);
  });
});

describe("a directory that becomes a link meanwhile leads nowhere", () => {
  test.each<CrashPoint>(["restore.directory-made", "restore.file-opened", "restore.file-written"])(
    "while it is restored, at %s",
    async (point) => {
      const elsewhere = aFolder();
      writeFileSync(join(elsewhere, "1"), "not ours");
      const before = listing(elsewhere);
      let times = 0;
      const { provider, at } = aProvider({
        atPoint: (passed) => {
          if (passed !== point || ++times !== 2) return;
          renameSync(at("copy/d"), at("moved"));
          symlinkSync(elsewhere, at("copy/d"));
        },
      });
      mkdirSync(at("tree/d/e"), { recursive: true });
      for (const name of ["d/1", "d/2", "d/3", "d/e/4"]) writeFileSync(at(`tree/${name}`), name);
      const snapshot = await provider.snapshot(at("tree"), ALL);

      // Whether it finishes in the directory that it had or refuses is the same to everybody else.
      await provider.restore(snapshot, at("copy"), ALL).catch((error: unknown) => {
        expect(error).toBeInstanceOf(SandboxUnsupportedError);
      });
      expect(times).toBeGreaterThanOrEqual(2);
      expect(listing(elsewhere)).toEqual(before);

      await provider.restore(snapshot, at("copy"), ALL);
      expect(listing(at("copy"))).toEqual(listing(at("tree")));
      expect(listing(elsewhere)).toEqual(before);
    },
  );

  test.each([
    ["a file", "d/secret"],
    ["its directory", "d"],
  ])("while it is read: %s", async (_, replaced) => {
    const elsewhere = aFolder();
    writeFileSync(join(elsewhere, "secret"), "not for us");
    const { provider, store, at } = aProvider({
      atPoint: (passed) => {
        if (passed !== "snapshot.scanned") return;
        rmSync(at(`tree/${replaced}`), { recursive: true });
        symlinkSync(replaced === "d" ? elsewhere : join(elsewhere, "secret"), at(`tree/${replaced}`));
      },
    });
    mkdirSync(at("tree/d"), { recursive: true });
    writeFileSync(at("tree/d/secret"), "ours");

    // That a file is gone is no fault; that something else has its name is.
    const taken = await provider.snapshot(at("tree"), ALL).catch((error: unknown) => error);

    if (replaced === "d") expect(taken).toMatchObject({ files: 0 });
    else expect(taken).toBeInstanceOf(SandboxUnsupportedError);
    const stored = readdirSync(store, { recursive: true, encoding: "utf8" });
    expect(stored.join()).not.toContain(sha256("not for us"));
  });
});

test("a directory that becomes a link while its files are looked up is refused", async () => {
  const folder = aFolder();
  const [tree, elsewhere] = [join(folder, "tree"), aFolder()];
  mkdirSync(join(tree, "d"), { recursive: true });
  for (const name of ["1", "2"]) {
    writeFileSync(join(tree, "d", name), "ours");
    writeFileSync(join(elsewhere, name), "not for us");
  }
  class Swapping extends TimeSlices {
    override get isOver(): boolean {
      if (existsSync(join(folder, "moved"))) return false;
      renameSync(join(tree, "d"), join(folder, "moved"));
      symlinkSync(elsewhere, join(tree, "d"));
      return false;
    }
  }
  const beneath = new Beneath(tree);

  const looking = lookUp(beneath, "d", new Swapping(undefined));

  await expect(looking).rejects.toThrow('"d" can\'t be part of a snapshot: it was replaced while it was read');
  beneath.close();
});

test("links that lead outside are kept as links, and what they lead to is neither read nor removed", async () => {
  const { provider, store, at } = aProvider();
  const elsewhere = aFolder();
  mkdirSync(join(elsewhere, "d"));
  for (const name of ["a", "d/b"]) writeFileSync(join(elsewhere, name), "not for us");
  const before = listing(elsewhere);
  mkdirSync(at("tree"));
  const targets = { passwd: "/etc/passwd", root: "/", up: "../..", elsewhere, "elsewhere-file": join(elsewhere, "a") };
  for (const [name, target] of Object.entries(targets)) symlinkSync(target, at(`tree/${name}`));

  const snapshot = await provider.snapshot(at("tree"), ALL);
  await provider.restore(snapshot, at("copy"), ALL);
  mkdirSync(at("tree/a"));
  symlinkSync(elsewhere, at("tree/a/link"));
  await provider.restore(snapshot, at("tree"), ALL);

  expect(snapshot).toMatchObject({ files: 0, bytes: 0 });
  expect(listing(at("copy"))).toEqual(
    Object.entries(targets)
      .map(([name, to]) => `${name}|l|777|${to}`)
      .concat("")
      .sort(),
  );
  expect(listing(at("tree"))).toEqual(listing(at("copy")));
  expect(readdirSync(store, { recursive: true, encoding: "utf8" }).join()).not.toContain(sha256("not for us"));
  expect(listing(elsewhere)).toEqual(before);
});

describe("a file that is written to while it is read", () => {
  test("is seen to have changed", async () => {
    const { path, beneath } = aFile(1_000_000);
    const changing = () => appendFileSync(path, "more");

    expect(await readOnce(beneath, "file", new TimeSlices(undefined), changing)).toBe("changed");

    expect(await readSteadily(beneath, "file", new TimeSlices(undefined))).not.toBeNull();
    beneath.close();
  });

  test("without end is refused", async () => {
    const { path, beneath } = aFile(SMALL_BYTES + 1);
    class Changing extends TimeSlices {
      override get isOver(): boolean {
        appendFileSync(path, "more");
        return false;
      }
    }

    const read = readSteadily(beneath, "file", new Changing(undefined));

    await expect(read).rejects.toThrow(
      '"file" can\'t be part of a snapshot: it changes while it is read; tried 5 times',
    );
    beneath.close();
  });
});

test("a disk that is full is said to be, leaves nothing behind, and can be gone on with", async (context) => {
  const { at } = aProvider();
  const disk = at("disk");
  mkdirSync(disk);
  if (spawnSync("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", disk]).status !== 0) return context.skip();
  try {
    const { provider } = aProvider({ storeDir: join(disk, "store") });
    mkdirSync(at("tree"));
    writeFileSync(at("tree/small"), "small");
    for (let i = 0; i < 3; i++) writeFileSync(at(`tree/${i}`), Buffer.alloc(600_000, String(i)));

    await expect(provider.snapshot(at("tree"), ALL)).rejects.toThrow(SandboxUnavailableError);
    expect(readdirSync(join(disk, "store/temporary"))).toEqual([]);
    writeFileSync(at("tree/large"), Buffer.alloc(SMALL_BYTES + 1));
    await expect(provider.snapshot(at("tree"), ALL)).rejects.toThrow(/ENOSPC/);
    expect(readdirSync(join(disk, "store/temporary"))).toEqual([]);

    execFileSync("mount", ["-o", "remount,size=50m", disk]);
    const snapshot = await provider.snapshot(at("tree"), ALL);
    await provider.verify(snapshot);
  } finally {
    execFileSync("umount", [disk]);
  }
});

async function aStoreWithContent() {
  const made = aProvider();
  mkdirSync(made.at("tree"));
  writeFileSync(made.at("tree/a"), "content");
  await made.provider.snapshot(made.at("tree"), ALL);
  return made;
}

/** A manifest under the digest that it has. */
function forge(store: string, text: string) {
  const hex = sha256(text);
  mkdirSync(join(store, "manifests", hex.slice(0, 2)), { recursive: true });
  writeFileSync(join(store, "manifests", hex.slice(0, 2), hex), text);
  return { provider: "directory", digest: `sha256:${hex}`, files: 1, bytes: 7 };
}

/** What a restore to `copy` must not add to. */
function outside(at: (name: string) => string): string[] {
  return readdirSync(at(".")).filter((name) => name !== "copy");
}

function aFile(bytes: number) {
  const folder = aFolder();
  const path = join(folder, "file");
  writeFileSync(path, "");
  truncateSync(path, bytes);
  return { path, beneath: new Beneath(folder) };
}

function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}
