/** Whether the project can be released under this tag, and what is in it. */
import { existsSync, readFileSync } from "node:fs";

const { TAG } = process.env;
const { name, version } = JSON.parse(readFileSync("project/package.json", "utf8"));
if (TAG !== `v${version}`) fail(`the tag is ${TAG}, and project/package.json says ${version}`);
if (existsSync(`out/registry/${name}-${version}.tgz`)) fail(`${name} ${version} is published already`);

const exported = Object.keys(await import("../project/src/pace.js"));
console.log(JSON.stringify({ version, exports: exported.sort().join(",") }));

function fail(reason) {
  console.error(reason);
  process.exit(1);
}
