/** Lists what counts of a directory, without reading a file, in the order of a manifest. Refuses what can't be kept. */
import { lstatSync, readdirSync, readlinkSync, type Stats } from "node:fs";
import { SandboxUnsupportedError } from "../core/errors.js";
import type { Beneath } from "./beneath.js";
import { type BytePath, forFileSystem, join, toText } from "./byte-path.js";
import type { FileRules } from "./file-rules.js";
import type { DirectoryEntry, LinkEntry } from "./manifest.js";
import type { TimeSlices } from "./time-slices.js";

export type Found = DirectoryEntry | LinkEntry | FoundFile;

export interface FoundFile {
  readonly kind: "file";
  readonly path: BytePath;
  readonly mode: number;
  readonly stat: Stats;
}

/** What a snapshot may be of. Everything is counted before anything is written. */
export interface SandboxLimits {
  /** Of files, directories and links together. */
  readonly entries: number;
  /** Of all regular files together. */
  readonly bytes: number;
  /** Of a path relative to the sandbox. */
  readonly pathBytes: number;
}

export interface Scan {
  readonly found: readonly Found[];
  readonly files: number;
  readonly bytes: number;
  /** Not part of the snapshot, and a restore removes them. */
  readonly excluded: readonly BytePath[];
}

export async function scan(
  beneath: Beneath,
  rules: FileRules,
  limits: SandboxLimits,
  slices: TimeSlices,
): Promise<Scan> {
  const found: Found[] = [];
  const excluded: BytePath[] = [];
  let files = 0;
  let bytes = 0;
  await visit("");
  return { found, files, bytes, excluded };

  async function visit(directory: BytePath): Promise<void> {
    const base = beneath.enter(directory);
    for (const name of namesIn(base)) {
      if (slices.isOver) await slices.next();
      const path = join(directory, name);
      const location = forFileSystem(`${base}/${name}`);
      const stat = lstatSync(location, { throwIfNoEntry: false });
      if (stat === undefined) continue;
      const verdict = rules.verdict(path, stat.isDirectory());
      if (verdict === "excluded") excluded.push(path);
      if (verdict !== "kept") continue;
      add(path, stat, location);
      if (stat.isDirectory()) await visit(path);
    }
  }

  function add(path: BytePath, stat: Stats, location: string | Buffer): void {
    const mode = stat.mode & 0o7777;
    if (stat.isFile()) found.push({ kind: "file", path, mode, stat });
    else if (stat.isDirectory()) found.push({ kind: "directory", path, mode });
    else if (stat.isSymbolicLink()) found.push({ kind: "link", path, target: readlinkSync(location, "latin1") });
    else throw new SandboxUnsupportedError(toText(path), `is ${kindOf(stat)}`);

    if (stat.isFile()) {
      files += 1;
      bytes += stat.size;
    }
    if (path.length > limits.pathBytes) {
      throw new SandboxUnsupportedError(
        toText(path),
        `has a path of ${path.length} bytes; the limit is ${limits.pathBytes}`,
      );
    }
    if (found.length > limits.entries) {
      throw new SandboxUnsupportedError(
        toText(path),
        `is one too many: a sandbox holds at most ${limits.entries} entries`,
      );
    }
    if (bytes > limits.bytes) {
      throw new SandboxUnsupportedError(
        toText(path),
        `exceeds the limit: a sandbox holds at most ${limits.bytes} bytes`,
      );
    }
  }
}

/** Sorted by their bytes. */
export function namesIn(base: BytePath): BytePath[] {
  return readdirSync(forFileSystem(base), "latin1").sort();
}

function kindOf(stat: Stats): string {
  if (stat.isSocket()) return "a socket";
  if (stat.isFIFO()) return "a named pipe";
  return "a device";
}
