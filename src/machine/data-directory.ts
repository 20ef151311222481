/** Makes the directory in which Waymark keeps its things: readable by its owner only, and invisible to git. */
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, realpathSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

const IGNORE_EVERYTHING = "*\n";

/**
 * Creates the data directory, or tightens it. A directory that holds other people's things (somebody pointed at /tmp
 * or at a home) is left as it is; what Waymark makes inside is private all the same.
 * @returns its real path
 */
export function ensureDataDir(dataDir: string): string {
  makeDirectories(dataDir);
  const path = realpathSync(dataDir);
  const entries = readdirSync(path);
  if (entries.length === 0) writeFileSync(join(path, ".gitignore"), IGNORE_EVERYTHING);
  else if (!entries.includes(".gitignore") || !isOurs(join(path, ".gitignore"))) return path;
  chmodSync(path, 0o700);
  return path;
}

// Not `recursive`: Node 20 never returns where an existing parent, such as /proc, answers that it does not exist.
function makeDirectories(path: string): void {
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "EEXIST") return;
    if (code !== "ENOENT" || existsSync(dirname(path))) throw error;
    makeDirectories(dirname(path));
    makeDirectories(path);
  }
}

function isOurs(path: string): boolean {
  const text = readFileSync(path, "utf8");
  // Empty for the instant between its creation and its first byte.
  return text === IGNORE_EVERYTHING || text === "";
}
