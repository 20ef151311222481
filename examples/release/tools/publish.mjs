/** Publishes to a folder. Repeating it with the same archive changes nothing; another archive of the version is refused. */
import { copyFileSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";

const { ARCHIVE, SHA256, VERSION } = process.env;
mkdirSync("out/registry", { recursive: true });
const index = readIndex();
if (index[VERSION] !== undefined && index[VERSION].sha256 !== SHA256) {
  console.error(`${VERSION} is published with the digest ${index[VERSION].sha256}`);
  process.exit(1);
}
const published = `out/registry/pace-${VERSION}.tgz`;
copyFileSync(ARCHIVE, `${published}.tmp`);
renameSync(`${published}.tmp`, published);
writeFileSync(
  "out/registry/index.json.tmp",
  `${JSON.stringify({ ...index, [VERSION]: { sha256: SHA256 } }, null, 2)}\n`,
);
// Whoever reads the index finds it whole, whenever this step is killed.
renameSync("out/registry/index.json.tmp", "out/registry/index.json");
console.log(JSON.stringify({ published }));

function readIndex() {
  try {
    return JSON.parse(readFileSync("out/registry/index.json", "utf8"));
  } catch {
    return {};
  }
}
