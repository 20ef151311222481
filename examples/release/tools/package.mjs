/** Packs the build into the archive that is published. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";

const { FOLDER, VERSION } = process.env;
const archive = `out/pace-${VERSION}.tgz`;
execFileSync("tar", ["-czf", archive, "-C", FOLDER, "."]);
const bytes = readFileSync(archive);
const sha256 = createHash("sha256").update(bytes).digest("hex");
console.log(JSON.stringify({ archive, bytes: bytes.length, sha256 }));
