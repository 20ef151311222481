/** Random trees, random edits: a restore equals its snapshot, byte for byte and mode for mode, as find(1) and sha256sum(1) see it. */
import {
  chmodSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import fc from "fast-check";
import { expect, test } from "vitest";
import { decodeManifest, digestOf, type Entry, encodeManifest } from "../../src/sandbox/manifest.js";
import { ALL, aProvider, listing } from "./a-tree.js";

/** Few names, so that edits meet: also as prefixes of each other, and with bytes that sort before and after a slash. */
const NAMES = ["a", "a.b", "a b", "b", "-", "é", "\n", "\u{1F600}"]
  .map((name) => Buffer.from(name))
  .concat(Buffer.from([0xff]));

const name = fc.constantFrom(...NAMES);
const path = fc.array(name, { minLength: 1, maxLength: 3 });
const edit = fc.oneof(
  fc.record({ kind: fc.constant("file" as const), path, content: fc.uint8Array({ maxLength: 40 }) }),
  fc.record({ kind: fc.constant("directory" as const), path }),
  fc.record({ kind: fc.constant("link" as const), path, target: path }),
  fc.record({ kind: fc.constant("hard-link" as const), path, target: path }),
  fc.record({ kind: fc.constant("mode" as const), path, mode: fc.constantFrom(0o700, 0o755, 0o777, 0o500, 0o750) }),
  fc.record({ kind: fc.constant("rename" as const), path, target: path }),
  fc.record({ kind: fc.constant("remove" as const), path }),
);
type Edit = typeof edit extends fc.Arbitrary<infer T> ? T : never;

test("a restore equals its snapshot, whatever happened to the directory in between", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.array(edit, { maxLength: 12 }), { minLength: 2, maxLength: 4 }), async (rounds) => {
      const { provider, at } = aProvider();
      const tree = at("tree");
      mkdirSync(tree);
      const taken = [];
      for (const edits of rounds) {
        for (const one of edits) apply(tree, one);
        const seen = listing(tree);
        taken.push({ snapshot: await provider.snapshot(tree, ALL), seen });
        expect(listing(tree)).toEqual(seen);
      }
      for (const { snapshot, seen } of taken) {
        const compared = await provider.compare(snapshot, tree, ALL);
        await provider.restore(snapshot, tree, ALL);
        expect(listing(tree)).toEqual(seen);
        const { changed, added, removed } = compared;
        expect(changed.length + added.length + removed.length === 0).toBe(compared.digest === snapshot.digest);
        expect(await provider.snapshot(tree, ALL)).toEqual(snapshot);
        await provider.restore(snapshot, at("elsewhere"), ALL);
        expect(listing(at("elsewhere"))).toEqual(seen);
      }
    }),
    { numRuns: 40 },
  );
}, 120_000);

const byteName = fc
  .uint8Array({ minLength: 1, maxLength: 4, min: 1 })
  .map((bytes) => Buffer.from(bytes).toString("latin1").replaceAll("/", "_"))
  .filter((text) => text !== "." && text !== "..");
const mode = fc.integer({ min: 0, max: 0o7777 });
const digest = fc.constantFrom("0".repeat(64), "0123456789abcdef".repeat(4));

/** Entries as a walk finds them. */
const walked: fc.Arbitrary<Entry[]> = fc
  .uniqueArray(
    fc.record({
      name: byteName,
      make: fc.oneof(
        fc.record({ kind: fc.constant("file" as const), mode, size: fc.nat(), digest }),
        fc.record({ kind: fc.constant("link" as const), target: byteName }),
        fc.record({ kind: fc.constant("directory" as const), mode, child: fc.option(byteName) }),
      ),
    }),
    { selector: (item) => item.name, maxLength: 8 },
  )
  .map((items) =>
    items
      .sort((a, b) => (a.name < b.name ? -1 : 1))
      .flatMap(({ name, make }): Entry[] => {
        if (make.kind !== "directory") return [{ path: name, ...make }];
        const { child, mode } = make;
        const inside: Entry[] = child === null ? [] : [{ kind: "link", path: `${name}/${child}`, target: "x" }];
        return [{ kind: "directory", path: name, mode }, ...inside];
      }),
  );

test("a manifest is read as it was written", () => {
  fc.assert(
    fc.property(walked, (entries) => {
      const bytes = encodeManifest(entries);
      expect(decodeManifest(bytes, digestOf(bytes))).toEqual(entries);
    }),
  );
});

test("a manifest with any byte changed is refused, or is another manifest that is well formed", () => {
  fc.assert(
    fc.property(walked, fc.nat(), fc.integer({ min: 0, max: 255 }), (entries, index, byte) => {
      const bytes = encodeManifest(entries);
      bytes[index % bytes.length] = byte;
      let read: Entry[];
      try {
        read = decodeManifest(bytes, digestOf(bytes));
      } catch (error) {
        expect(error).toMatchObject({ code: "SANDBOX_CORRUPT" });
        return;
      }
      expect(encodeManifest(read)).toEqual(bytes);
      for (const { path } of read) expect(path.split("/")).not.toContain("..");
    }),
    { numRuns: 2_000 },
  );
});

/** As a shell would: what can't be done isn't. */
function apply(tree: string, one: Edit): void {
  const at = (names: readonly Buffer[]) =>
    Buffer.concat([Buffer.from(tree), ...names.flatMap((part) => [Buffer.from("/"), part])]);
  try {
    switch (one.kind) {
      case "file":
        writeFileSync(at(one.path), one.content);
        return;
      case "directory":
        mkdirSync(at(one.path), { recursive: true });
        return;
      case "link":
        symlinkSync(Buffer.concat(one.target), at(one.path));
        return;
      case "hard-link":
        linkSync(at(one.target), at(one.path));
        return;
      case "mode":
        // Not through a link, which may lead out of the tree.
        if (!lstatSync(at(one.path)).isSymbolicLink()) chmodSync(at(one.path), one.mode);
        return;
      case "rename":
        renameSync(at(one.path), at(one.target));
        return;
      case "remove":
        rmSync(at(one.path), { recursive: true });
        return;
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === undefined) throw error;
  }
}

test("the random edits do make trees", () => {
  const { at } = aProvider();
  mkdirSync(at("tree"));
  const kinds = new Set<string>();
  for (const edits of fc.sample(fc.array(edit, { maxLength: 12 }), { numRuns: 200, seed: 1 })) {
    for (const one of edits) apply(at("tree"), one);
    for (const entry of readdirSync(at("tree"), { withFileTypes: true })) {
      kinds.add(entry.isDirectory() ? "directory" : entry.isSymbolicLink() ? "link" : "file");
    }
  }
  expect([...kinds].sort()).toEqual(["directory", "file", "link"]);
});
