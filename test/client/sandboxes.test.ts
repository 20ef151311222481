/** What a plan with files starts from. */
import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { firstSnapshot, sandboxesOf } from "../../src/client/sandboxes.js";
import { UsageError } from "../../src/core/errors.js";
import { A_SANDBOX, aDefinition } from "../support/plans.js";
import { aFolder, readTree, writeTree } from "../support/sandboxes.js";

const files = aDefinition([{ id: "a" }], { sandbox: { ...A_SANDBOX, from: "project" } });

test("is a directory beside the plan's file: one that is missing, is a file, or of a file that nobody named, is refused", async () => {
  const folder = aFolder();
  const open = sandboxesOf({ dataDir: join(folder, "data") });

  await expect(firstSnapshot(files, null, open)).rejects.toThrow(
    /starts from project, beside a file that was not named/,
  );
  await expect(firstSnapshot(files, folder, open)).rejects.toThrow(/project, which is not there/);
  writeFileSync(join(folder, "project"), "");
  await expect(firstSnapshot(files, folder, open)).rejects.toThrow(UsageError);
  await expect(firstSnapshot(files, folder, open)).rejects.toThrow(/project, which is no directory/);
});

test("leaves out what is kept about plans, wherever that lies among its files", async () => {
  const folder = aFolder();
  const project = join(folder, "project");
  writeTree(project, { "a.txt": "a", "kept/b.txt": "b" });
  const open = sandboxesOf({ dataDir: join(project, "da[t]a"), store: join(project, "kept/snapshots") });

  const snapshot = await firstSnapshot(files, folder, open);
  const again = await firstSnapshot(files, folder, open);

  expect(again).toEqual(snapshot);
  expect(existsSync(join(project, "kept/snapshots/blobs"))).toBe(true);
  const copy = join(aFolder(), "copy");
  await (await open()).provider("directory").restore(snapshot, copy, A_SANDBOX);
  expect(readTree(copy)).toEqual({ "a.txt": "a", "kept/b.txt": "b" });
});

test("is nothing where the plan names nothing, and then nothing is left of making that", async () => {
  const dataDir = join(aFolder(), "data");
  mkdirSync(dataDir);

  const snapshot = await firstSnapshot(
    aDefinition([{ id: "a" }], { sandbox: A_SANDBOX }),
    null,
    sandboxesOf({ dataDir }),
  );

  expect(snapshot).toMatchObject({ files: 0, bytes: 0 });
  expect(readdirSync(dataDir).filter((name) => name.startsWith("empty-"))).toEqual([]);
});
