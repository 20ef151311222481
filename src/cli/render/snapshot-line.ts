/** Snapshots of sandboxes, for people. */
import { printable } from "./printable.js";

/** `sha256:9f2c41d7… 212 files` */
export function snapshotLine({ digest, files }: { readonly digest: string; readonly files: number }): string {
  return `${shortDigest(digest)} ${files} ${files === 1 ? "file" : "files"}`;
}

/** `sha256:9f2c41d7…`: enough to tell two of one plan apart. */
export function shortDigest(digest: string): string {
  return printable(digest.replace(/^(\w+:.{8}).*$/, "$1…"));
}
