/** What the compiler leaves out of dist: the Lua scripts, and the right to execute the command. */
import { chmodSync, copyFileSync, mkdirSync, readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("..", import.meta.url));

for (const path of readdirSync(join(ROOT, "src"), { recursive: true, encoding: "utf8" })) {
  if (!path.endsWith(".lua")) continue;
  const copy = join(ROOT, "dist/src", path);
  mkdirSync(dirname(copy), { recursive: true });
  copyFileSync(join(ROOT, "src", path), copy);
}
const bin = join(ROOT, "dist/src/cli/bin.js");
chmodSync(bin, 0o755);
