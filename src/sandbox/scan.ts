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
  readonly stat: FileStat;
}

/** What tells whether a file has changed. Ten thousand of Node's own Stats are a burden. */
export type FileStat = Pick<Stats, "size" | "ino" | "dev" | "mtimeMs" | "ctimeMs">;

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
    for (const { path, stat, target } of await lookedUp(beneath, directory, slices)) {
      const verdict = rules.verdict(path, stat.isDirectory());
      if (verdict === "excluded") excluded.push(path);
      if (verdict !== "kept") continue;
      add(path, stat, target);
      if (stat.isDirectory()) await visit(path);
    }
  }

  function add(path: BytePath, stat: Stats, target: BytePath | null): void {
    const mode = stat.mode & 0o7777;
    if (stat.isFile()) {
      const { size, ino, dev, mtimeMs, ctimeMs } = stat;
      found.push({ kind: "file", path, mode, stat: { size, ino, dev, mtimeMs, ctimeMs } });
    } else if (stat.isDirectory()) found.push({ kind: "directory", path, mode });
    else if (target !== null) found.push({ kind: "link", path, target });
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

interface LookedUp {
  readonly path: BytePath;
  readonly stat: Stats;
  /** Of a link. */
  readonly target: BytePath | null;
}

/** What is in one directory, in order. What vanishes meanwhile isn't there. */
async function lookedUp(beneath: Beneath, directory: BytePath, slices: TimeSlices): Promise<LookedUp[]> {
  const names = namesIn(beneath.enter(directory));
  const plain = beneath.plainPath(directory);
  const entries: LookedUp[] = [];
  for (const name of names) {
    if (slices.isOver) await slices.next();
    const location = forFileSystem(`${plain}/${name}`);
    const stat = lstatSync(location, { throwIfNoEntry: false });
    if (stat === undefined) continue;
    const target = stat.isSymbolicLink() ? readlinkSync(location, "latin1") : null;
    entries.push({ path: join(directory, name), stat, target });
  }
  if (!beneath.isStillAt(plain)) throw new SandboxUnsupportedError(toText(directory), "was replaced while it was read");
  return entries;
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
