/**
 * How a file of a sandbox is called in git's tree. Git refuses entries called `.git`, however that is written; they get a
 * `%` at their end there, as does whatever already has one.
 */
import type { BytePath } from "./byte-path.js";

const REFUSED = /^\.git%*$/i;

export function treePath(path: BytePath): string {
  const names = path.split("/").map((name) => (REFUSED.test(name) ? `${name}%` : name));
  return `files/${names.join("/")}`;
}

/** As `git fast-import` reads it. */
export function quoted(path: string): string {
  return `"${path.replace(/["\\]/g, "\\$&").replaceAll("\n", "\\n")}"`;
}
