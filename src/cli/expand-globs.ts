/** File patterns, where the shell has not expanded them: `*` within a name, `**` for any folders. */
import { readdir } from "node:fs/promises";
import { join, resolve } from "node:path";
import { UsageError } from "../core/errors.js";

/** Absolute paths in order. A pattern without a star is a file's name. @throws UsageError where nothing matches */
export async function expandGlobs(patterns: readonly string[], cwd: string): Promise<string[]> {
  const found = new Set<string>();
  for (const pattern of patterns) {
    const matches = pattern.includes("*") ? await expand(pattern, cwd) : [resolve(cwd, pattern)];
    if (matches.length === 0) throw new UsageError(`No file matches ${pattern}`, { details: { pattern } });
    for (const match of matches) found.add(match);
  }
  return [...found];
}

async function expand(pattern: string, cwd: string): Promise<string[]> {
  const parts = pattern.split("/");
  const fixed = parts.findIndex((part) => part.includes("*"));
  const root = pattern.startsWith("/") ? "/" : cwd;
  const paths = await walk(resolve(root, ...parts.slice(0, fixed).filter(Boolean)), parts.slice(fixed));
  return paths.sort();
}

async function walk(folder: string, parts: readonly string[]): Promise<string[]> {
  // A pattern that ends with ** means every file below.
  const [part = "*", ...rest] = parts;
  const entries = await readdir(folder, { withFileTypes: true }).catch((error: NodeJS.ErrnoException) => {
    // A folder that isn't there matches nothing; the caller says so.
    if (error.code === "ENOENT" || error.code === "ENOTDIR") return [];
    throw new UsageError(`Can't read the folder ${folder}: ${error.code}`, { details: { folder }, cause: error });
  });
  const visible = entries.filter((entry) => !entry.name.startsWith(".") && entry.name !== "node_modules");
  if (part === "**") {
    const below = visible.filter((entry) => entry.isDirectory()).map((entry) => walk(join(folder, entry.name), parts));
    return [...(await walk(folder, rest)), ...(await Promise.all(below)).flat()];
  }
  const name = new RegExp(`^${part.replace(/[.+?^${}()|[\]\\]/g, "\\$&").replaceAll("*", "[^/]*")}$`);
  const matches = visible.filter((entry) => name.test(entry.name));
  if (rest.length === 0)
    return matches.filter((entry) => !entry.isDirectory()).map((entry) => join(folder, entry.name));
  const folders = matches.filter((entry) => entry.isDirectory());
  return (await Promise.all(folders.map((entry) => walk(join(folder, entry.name), rest)))).flat();
}
