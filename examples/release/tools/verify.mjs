/** Unpacks the archive as a user would, and uses what is in it. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const { ARCHIVE, SHA256, EXPORTS } = process.env;
assert.equal(createHash("sha256").update(readFileSync(ARCHIVE)).digest("hex"), SHA256);
const folder = mkdtempSync(join(tmpdir(), "pace-"));
try {
  execFileSync("tar", ["-xzf", ARCHIVE, "-C", folder]);
  const { exports: entry } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  const installed = await import(pathToFileURL(join(folder, entry)).href);
  assert.deepEqual(Object.keys(installed).sort(), EXPORTS.split(","));
} finally {
  rmSync(folder, { recursive: true, force: true });
}
console.log(JSON.stringify({ verified: ARCHIVE }));
