/** On systems without /proc, such as macOS: paths are checked when they are entered, and what can't be told is assumed. */
import { chmodSync, mkdirSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test, vi } from "vitest";
import { SandboxUnsupportedError } from "../../src/core/errors.js";
import { Beneath } from "../../src/sandbox/beneath.js";
import { mayBeInUse } from "../../src/sandbox/processes-beneath.js";
import { ALL, aFolder, aProvider, listing } from "./a-tree.js";

vi.mock("node:fs", async (original) => {
  const fs = await original<typeof import("node:fs")>();
  return { ...fs, existsSync: (path: string) => !path.startsWith("/proc/") && fs.existsSync(path) };
});

test("a restore equals the snapshot, through directories that nobody may enter", async () => {
  const { provider, at } = aProvider();
  mkdirSync(at("tree/deep/er"), { recursive: true });
  for (const path of ["tree/a", "tree/deep/b", "tree/deep/er/c"]) writeFileSync(at(path), path);
  symlinkSync("a", at("tree/link"));
  const snapshot = await provider.snapshot(at("tree"), ALL);
  const before = listing(at("tree"));
  writeFileSync(at("tree/deep/er/c"), "changed");
  mkdirSync(at("tree/added/below"), { recursive: true });
  chmodSync(at("tree/added"), 0o000);
  chmodSync(at("tree/deep/er"), 0o500);

  await provider.restore(snapshot, at("tree"), ALL);

  expect(listing(at("tree"))).toEqual(before);
});

test("a link in the place of a directory is not entered, and its target's mode stays", () => {
  const folder = aFolder();
  mkdirSync(join(folder, "outside"), { mode: 0o500 });
  mkdirSync(join(folder, "root"));
  symlinkSync("../outside", join(folder, "root/link"));
  const beneath = new Beneath(join(folder, "root"));

  beneath.openUp("link");
  expect(() => beneath.enter("link")).toThrow(SandboxUnsupportedError);
  beneath.close();

  expect(statSync(join(folder, "outside")).mode & 0o777).toBe(0o500);
});

test("any directory may be in use", () => {
  expect(mayBeInUse(aFolder())).toBe(true);
});
