/** The built module loads, and exports what the sources export. */
import assert from "node:assert/strict";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";

const { MODULE, EXPORTS } = process.env;
const built = await import(pathToFileURL(resolve(MODULE)).href);
assert.deepEqual(Object.keys(built).sort(), EXPORTS.split(","));
console.log(JSON.stringify({ exports: Object.keys(built).length }));
