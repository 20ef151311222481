/** Who keeps the snapshots of which plan, by what a process was told and what the plan declares. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { SandboxUnavailableError } from "../../src/core/errors.js";
import type { SandboxProvider } from "../../src/core/sandbox.js";
import { Sandboxes, type SandboxesOptions } from "../../src/sandbox/sandboxes.js";
import { aFolder } from "../support/sandboxes.js";

function someSandboxes(changes: Partial<SandboxesOptions> = {}): Sandboxes {
  return new Sandboxes({ dataDir: join(aFolder(), "data"), store: null, providers: [], ...changes });
}

test("the data directory keeps them unless something else is said", () => {
  const sandboxes = someSandboxes();

  expect(sandboxes.keeper("directory")).toBe(sandboxes.provider("directory"));
  expect(sandboxes.places).toHaveLength(1);
});

test("a bucket keeps those of plans that name nobody; what a directory had kept before is still found", () => {
  const sandboxes = someSandboxes({ store: "s3://bucket/some/prefix/" });

  expect(sandboxes.keeper("directory").name).toBe("s3");
  expect(sandboxes.provider("directory").name).toBe("directory");
  expect(sandboxes.keeps("s3")).toBe(true);
  expect(sandboxes.places).toHaveLength(1);
});

test("a shared directory keeps them; what a step works in stays in the data directory", () => {
  const [dataDir, store] = [join(aFolder(), "data"), aFolder()];
  const sandboxes = someSandboxes({ dataDir, store });

  expect(sandboxes.keeper("directory").name).toBe("directory");
  expect(sandboxes.keeps("directory")).toBe(true);
  expect(sandboxes.places).toEqual([dataDir, store]);
});

test("a plan's own provider keeps its snapshots where the process has it, and nobody does elsewhere", () => {
  const own = { name: "vault" } as SandboxProvider;

  expect(someSandboxes({ providers: [own] }).keeper("vault")).toBe(own);
  expect(() => someSandboxes().keeper("vault")).toThrow(SandboxUnavailableError);
  expect(() => someSandboxes().provider("vault")).toThrow(/no such provider; it has directory/);
  expect(someSandboxes().keeps("vault")).toBe(false);
});

test("git keeps those of plans that name it, beside the others; of nothing it holds nothing", () => {
  const sandboxes = someSandboxes();
  const own = { name: "git" } as SandboxProvider;

  expect(sandboxes.keeper("git").name).toBe("git");
  expect(sandboxes.keeps("git")).toBe(false);
  expect(someSandboxes({ providers: [own] }).keeps("git")).toBe(true);
});

test("who only looks makes nothing", () => {
  const dataDir = join(aFolder(), "data");
  const sandboxes = someSandboxes({ dataDir });

  expect(sandboxes.keeps("directory")).toBe(false);
  expect(sandboxes.workspaces.leftBehind("p")).toBeNull();
  expect(existsSync(dataDir)).toBe(false);

  sandboxes.begin();
  expect(existsSync(dataDir)).toBe(true);
});
