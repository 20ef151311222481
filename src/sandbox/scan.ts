/**
 * Lists what counts of a directory, without reading a file, in the order of a manifest. Refuses what can't be kept.
 *
 * Directories are looked up level by level: those of one level don't depend on each other, so that threads may take some.
 */
import { constants } from "node:fs";
import { SandboxUnsupportedError } from "../core/errors.js";
import type { Beneath } from "./beneath.js";
import { type BytePath, join, toText } from "./byte-path.js";
import type { FileRules } from "./file-rules.js";
import { type FileStat, type Listing, lookUp, statIn, typeOf } from "./look-up.js";
import type { LookUpReply, LookUpThreads } from "./look-up-threads.js";
import type { DirectoryEntry, LinkEntry } from "./manifest.js";
import type { TimeSlices } from "./time-slices.js";

export type Found = DirectoryEntry | LinkEntry | FoundFile;

export interface FoundFile {
  readonly kind: "file";
  readonly path: BytePath;
  readonly mode: number;
  readonly stat: FileStat;
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
  /** Not part of the snapshot, and a restore removes them. */
  readonly excluded: readonly BytePath[];
}

/** How many directories a thread is asked for at once. */
const DIRECTORIES_PER_REQUEST = 4;

/** @param threads where there are some that may help */
export async function scan(
  beneath: Beneath,
  rules: FileRules,
  limits: SandboxLimits,
  slices: TimeSlices,
  threads: LookUpThreads | null = null,
): Promise<Scan> {
  const excluded: BytePath[] = [];
  const foundIn = new Map<BytePath, readonly Found[]>();
  const count = new Count(limits);
  for (let level: BytePath[] = [""]; level.length > 0; ) {
    const below: BytePath[] = [];
    for await (const { directory, listing } of lookUpAll(level, beneath, slices, threads)) {
      const found = keptOf(directory, listing, rules, excluded);
      for (const entry of found) {
        count.add(entry);
        if (entry.kind === "directory") below.push(entry.path);
      }
      foundIn.set(directory, found);
      if (slices.isOver) await slices.next();
    }
    level = below;
  }
  threads?.expect(count.entries);
  return { found: inOrder(foundIn), excluded };
}

/** In the order in which they are named. */
async function* lookUpAll(
  directories: readonly BytePath[],
  beneath: Beneath,
  slices: TimeSlices,
  threads: LookUpThreads | null,
): AsyncGenerator<{ directory: BytePath; listing: Listing }> {
  const replies = threads?.areReady ? askFor(directories, beneath, threads) : null;
  for (const [i, directory] of directories.entries()) {
    const reply = await replies?.[Math.floor(i / DIRECTORIES_PER_REQUEST)];
    const listing = reply?.[i % DIRECTORIES_PER_REQUEST] ?? (await lookUp(beneath, directory, slices));
    yield { directory, listing };
  }
}

function askFor(directories: readonly BytePath[], beneath: Beneath, threads: LookUpThreads): Promise<LookUpReply>[] {
  const { root, rootStat } = beneath;
  const replies: Promise<LookUpReply>[] = [];
  for (let i = 0; i < directories.length; i += DIRECTORIES_PER_REQUEST) {
    const some = directories.slice(i, i + DIRECTORIES_PER_REQUEST);
    replies.push(threads.ask({ root, dev: rootStat.dev, ino: rootStat.ino, directories: some }));
  }
  return replies;
}

/** What counts of one directory. */
function keptOf(directory: BytePath, listing: Listing, rules: FileRules, excluded: BytePath[]): Found[] {
  const found: Found[] = [];
  listing.names.forEach((name, place) => {
    const path = join(directory, name);
    const stat = statIn(listing, place);
    const verdict = rules.verdict(path, typeOf(stat) === constants.S_IFDIR);
    if (verdict === "excluded") excluded.push(path);
    if (verdict === "kept") found.push(entryOf(path, stat, listing.targets.get(place)));
  });
  return found;
}

/** @param target of a link */
function entryOf(path: BytePath, stat: FileStat, target: BytePath | undefined): Found {
  const mode = stat.mode & 0o7777;
  if (target !== undefined) return { kind: "link", path, target };
  switch (typeOf(stat)) {
    case constants.S_IFREG:
      return { kind: "file", path, mode, stat };
    case constants.S_IFDIR:
      return { kind: "directory", path, mode };
    case constants.S_IFSOCK:
      throw new SandboxUnsupportedError(toText(path), "is a socket");
    case constants.S_IFIFO:
      throw new SandboxUnsupportedError(toText(path), "is a named pipe");
    default:
      throw new SandboxUnsupportedError(toText(path), "is a device");
  }
}

class Count {
  entries = 0;
  private bytes = 0;

  constructor(private readonly limits: SandboxLimits) {}

  add(entry: Found): void {
    const { limits } = this;
    this.entries += 1;
    if (entry.kind === "file") this.bytes += entry.stat.size;
    if (entry.path.length > limits.pathBytes) {
      refuse(entry, `has a path of ${entry.path.length} bytes; the limit is ${limits.pathBytes}`);
    }
    if (this.entries > limits.entries) {
      refuse(entry, `is one too many: a sandbox holds at most ${limits.entries} entries`);
    }
    if (this.bytes > limits.bytes) refuse(entry, `exceeds the limit: a sandbox holds at most ${limits.bytes} bytes`);
  }
}

function refuse({ path }: Found, reason: string): never {
  throw new SandboxUnsupportedError(toText(path), reason);
}

/** As a walk meets them: what is in a directory follows it. */
function inOrder(foundIn: ReadonlyMap<BytePath, readonly Found[]>): Found[] {
  const all: Found[] = [];
  const visit = (directory: BytePath) => {
    for (const entry of foundIn.get(directory)!) {
      all.push(entry);
      if (entry.kind === "directory") visit(entry.path);
    }
  };
  visit("");
  return all;
}
