/** Builds what users install: the sources under a banner, and a manifest without what only developers need. */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";

const { VERSION } = process.env;
const folder = "out/build";
const { private: _, ...manifest } = JSON.parse(readFileSync("project/package.json", "utf8"));

// From nothing: an attempt that was killed may have left half of it.
rmSync(folder, { recursive: true, force: true });
mkdirSync(`${folder}/src`, { recursive: true });
for (const file of readdirSync("project/src")) {
  const banner = `// ${manifest.name} ${VERSION}, ${manifest.license} license\n`;
  writeFileSync(`${folder}/src/${file}`, banner + readFileSync(`project/src/${file}`, "utf8"));
}
writeFileSync(`${folder}/package.json`, `${JSON.stringify(manifest, null, 2)}\n`);
console.log(JSON.stringify({ folder, module: `${folder}/src/pace.js` }));
