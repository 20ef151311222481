import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { expandGlobs } from "../../src/cli/expand-globs.js";

let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "waymark-globs-"));
  for (const name of ["plans/deep/er", "plans/node_modules/x", "plans/.hidden"])
    mkdirSync(join(folder, name), { recursive: true });
  for (const name of ["a.ts", "b.ts", "b.js", "deep/c.ts", "deep/er/d.ts", "node_modules/x/e.ts", ".hidden/f.ts"]) {
    writeFileSync(join(folder, "plans", name), "");
  }
});

afterAll(() => rmSync(folder, { recursive: true }));

const names = (paths: readonly string[]) => paths.map((path) => path.slice(folder.length + 1));

test("a star stands for a name, two for any folders; hidden ones and node_modules are left out", async () => {
  expect(names(await expandGlobs(["plans/*.ts"], folder))).toEqual(["plans/a.ts", "plans/b.ts"]);
  expect(names(await expandGlobs(["plans/*/c.*"], folder))).toEqual(["plans/deep/c.ts"]);
  expect(names(await expandGlobs([`${folder}/plans/**/*.ts`], "/"))).toEqual([
    "plans/a.ts",
    "plans/b.ts",
    "plans/deep/c.ts",
    "plans/deep/er/d.ts",
  ]);
  expect(names(await expandGlobs(["plans/b.*", "plans/b.ts"], folder))).toEqual(["plans/b.js", "plans/b.ts"]);
});

test("a pattern that matches nothing is refused; a plain name is taken as it is", async () => {
  await expect(expandGlobs(["nosuch/*.ts"], folder)).rejects.toMatchObject({ code: "USAGE" });
  expect(names(await expandGlobs(["plain.ts"], folder))).toEqual(["plain.ts"]);
});

test("two stars at the end stand for every file below", async () => {
  expect(names(await expandGlobs(["plans/deep/**"], folder))).toEqual(["plans/deep/c.ts", "plans/deep/er/d.ts"]);
});

test("a file is no folder to look into, and a folder that can't be read is named", async () => {
  await expect(expandGlobs(["plans/a.ts/*.ts"], folder)).rejects.toThrow("No file matches plans/a.ts/*.ts");
  symlinkSync("loop", join(folder, "loop"));
  await expect(expandGlobs(["loop/*.ts"], folder)).rejects.toMatchObject({ code: "USAGE", message: /loop: ELOOP/ });
});
