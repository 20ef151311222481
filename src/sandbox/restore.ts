/**
 * Makes a directory equal to a snapshot, by difference: what is equal stays, with its inode; the rest is removed, and
 * written from the store, verified while it is.
 *
 * It may be cut off at any moment. What it has written is either complete or differs from the snapshot, so that the next
 * one finishes the work. Nothing outside of the directory is touched, whatever the manifest says and whoever replaces a
 * directory by a link meanwhile: every name is reached through directories that were opened without following links, and
 * files are created where there is nothing.
 */
import { createHash } from "node:crypto";
import {
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  lstatSync,
  mkdirSync,
  openSync,
  readlinkSync,
  type Stats,
  symlinkSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { dirname, resolve } from "node:path";
import { SandboxCorruptError, SandboxMissingError, SandboxUnsupportedError } from "../core/errors.js";
import type { SandboxRules } from "../core/sandbox.js";
import { Beneath } from "./beneath.js";
import type { ContentStore } from "./blob-store.js";
import { type BytePath, forFileSystem, join, parentOf, toText } from "./byte-path.js";
import type { AtPoint } from "./crash-points.js";
import { FileRules } from "./file-rules.js";
import { namesIn } from "./look-up.js";
import type { DirectoryEntry, Entry, FileEntry, LinkEntry } from "./manifest.js";
import { readManifest } from "./read-manifest.js";
import { readSteadily, SMALL_BYTES } from "./read-steadily.js";
import { removeTree } from "./remove-tree.js";
import type { StatCache, StatCaches } from "./stat-cache.js";
import { TimeSlices } from "./time-slices.js";

const CREATE_FILE = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
const OPEN_FILE = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
const OWNER_ALL = 0o700;

export interface RestoreTools {
  readonly store: ContentStore;
  readonly caches: StatCaches;
  readonly atPoint: AtPoint;
}

/** @throws SandboxMissingError, SandboxCorruptError */
export async function restoreSnapshot(
  digest: string,
  path: string,
  rules: SandboxRules,
  { store, caches, atPoint }: RestoreTools,
  signal: AbortSignal | undefined,
): Promise<void> {
  signal?.throwIfAborted();
  const entries = await readManifest(store, digest);
  makeRoot(path);
  const beneath = new Beneath(path);
  const cache = caches.open(beneath.rootStat, true);
  try {
    const slices = new TimeSlices(signal);
    await new Restore(digest, entries, beneath, cache, store, new FileRules(rules), slices, atPoint).run();
    // What was written came from blobs that prune may take for old.
    cache.save(cache.hasWritten ? null : cache.confirmation);
    atPoint("restore.complete");
  } finally {
    cache.close();
    beneath.close();
  }
}

/** A file or a link in its place is removed; what the link leads to is not looked at. */
function makeRoot(path: string): void {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (stat?.isDirectory()) return;
  if (stat !== undefined) unlinkSync(path);
  mkdirSync(dirname(resolve(path)), { recursive: true, mode: OWNER_ALL });
  mkdirSync(path, { mode: OWNER_ALL });
}

class Restore {
  private readonly children = new Map<BytePath, Entry[]>();

  constructor(
    private readonly digest: string,
    entries: readonly Entry[],
    private readonly beneath: Beneath,
    private readonly cache: StatCache,
    private readonly store: ContentStore,
    private readonly rules: FileRules,
    private readonly slices: TimeSlices,
    private readonly atPoint: AtPoint,
  ) {
    for (const entry of entries) {
      const parent = parentOf(entry.path);
      const siblings = this.children.get(parent);
      if (siblings === undefined) this.children.set(parent, [entry]);
      else siblings.push(entry);
    }
  }

  run(): Promise<void> {
    return this.fill("");
  }

  private async fill(directory: BytePath): Promise<void> {
    const wanted = this.children.get(directory) ?? [];
    const wantedPaths = new Set(wanted.map(({ path }) => path));
    for (const name of namesIn(this.beneath.enter(directory))) {
      const path = join(directory, name);
      if (!wantedPaths.has(path)) await this.removeUnlessIgnored(path);
    }
    for (const entry of wanted) {
      if (this.slices.isOver) await this.slices.next();
      if (entry.kind === "file") await this.file(entry);
      else if (entry.kind === "link") await this.link(entry);
      else await this.directory(entry);
    }
  }

  private async directory({ path, mode }: DirectoryEntry): Promise<void> {
    const stat = this.statOf(path);
    if (stat?.isDirectory()) {
      this.beneath.openUp(path);
    } else {
      if (stat !== undefined) await this.remove(path);
      mkdirSync(this.beneath.at(path), OWNER_ALL);
      this.atPoint("restore.directory-made");
    }
    await this.fill(path);
    // Last, because the mode may forbid to write into it.
    this.beneath.enter(path);
    setMode(this.beneath.fd, mode, path);
  }

  private async link({ path, target }: LinkEntry): Promise<void> {
    const stat = this.statOf(path);
    if (stat?.isSymbolicLink() && readlinkSync(this.beneath.at(path), "latin1") === target) return;
    if (stat !== undefined) await this.remove(path);
    symlinkSync(forFileSystem(target), this.beneath.at(path));
    this.atPoint("restore.link-made");
  }

  private async file(entry: FileEntry): Promise<void> {
    const stat = this.statOf(entry.path);
    if (stat?.isFile() && stat.size === entry.size && (await this.isKept(entry, stat))) return;
    const content = entry.size <= SMALL_BYTES ? await this.smallContent(entry) : null;
    if (stat !== undefined) await this.remove(entry.path);
    await this.write(entry, content);
  }

  /** Whether the file that is there has the content, and has or was given the mode. */
  private async isKept({ path, mode, digest }: FileEntry, stat: Stats): Promise<boolean> {
    if (this.cache.digestOf(path, stat) !== digest) {
      const read = await readSteadily(this.beneath, path, this.slices).catch(nullIfUnreadable);
      if (read?.digest !== digest) return false;
    }
    if ((stat.mode & 0o7777) === mode) {
      this.cache.noteRead(path, stat, digest);
      return true;
    }
    // A file with another name, which may be outside of the directory, would change its mode with this one.
    if (stat.nlink > 1) return false;
    const fd = openSync(this.beneath.at(path), OPEN_FILE);
    try {
      const opened = fstatSync(fd);
      if (opened.ino !== stat.ino || opened.dev !== stat.dev) return false;
      setMode(fd, mode, path);
      return true;
    } finally {
      closeSync(fd);
    }
  }

  /** @param content verified, or null where it is too large to be in memory */
  private async write(entry: FileEntry, content: Buffer | null): Promise<void> {
    const { path, mode, digest } = entry;
    const fd = openSync(this.beneath.at(path), CREATE_FILE, mode & 0o777);
    let isComplete = false;
    try {
      this.atPoint("restore.file-opened");
      if (content !== null) writeAll(fd, content);
      else await this.copyVerified(entry, fd);
      this.atPoint("restore.file-written");
      setMode(fd, mode, path);
      this.cache.noteWritten(path, fstatSync(fd), digest);
      isComplete = true;
    } finally {
      closeSync(fd);
      // Of a corrupt blob nothing is left behind that looks like a file.
      if (!isComplete) unlinkSync(this.beneath.at(path));
    }
  }

  private async smallContent({ path, size, digest }: FileEntry): Promise<Buffer> {
    const found = this.store.read("blobs", digest);
    const content = found instanceof Promise ? await found : found;
    if (content === null) throw this.missing(path, digest);
    if (content.length !== size || createHash("sha256").update(content).digest("hex") !== digest)
      throw this.corrupt(path, digest);
    return content;
  }

  private async copyVerified({ path, size, digest }: FileEntry, fd: number): Promise<void> {
    const source = await this.store.stream("blobs", digest);
    if (source === null) throw this.missing(path, digest);
    const hash = createHash("sha256");
    let bytes = 0;
    for await (const chunk of source) {
      if (this.slices.isOver) await this.slices.next();
      bytes += chunk.length;
      // Ends before a blob that grows without end fills the disk.
      if (bytes > size) throw this.corrupt(path, digest);
      hash.update(chunk);
      writeAll(fd, chunk);
    }
    if (bytes !== size || hash.digest("hex") !== digest) throw this.corrupt(path, digest);
  }

  private async removeUnlessIgnored(path: BytePath): Promise<void> {
    const stat = this.statOf(path);
    if (stat === undefined || this.rules.verdict(path, stat.isDirectory()) === "ignored") return;
    await this.remove(path);
  }

  /** Whatever it is, with all that is in it: a directory that isn't part of the snapshot goes with what is ignored there. */
  private async remove(path: BytePath): Promise<void> {
    await removeTree(this.beneath, path, this.slices);
    this.atPoint("restore.removed");
  }

  private statOf(path: BytePath): Stats | undefined {
    return lstatSync(this.beneath.at(path), { throwIfNoEntry: false });
  }

  private missing(path: BytePath, digest: string): SandboxMissingError {
    return new SandboxMissingError(this.digest, `the content of ${JSON.stringify(toText(path))}, blob ${digest},`);
  }

  private corrupt(path: BytePath, digest: string): SandboxCorruptError {
    return new SandboxCorruptError(
      this.digest,
      `the content of ${JSON.stringify(toText(path))}, blob ${digest}, has other bytes`,
    );
  }
}

/** Whether a file can be read decides only whether it is replaced. */
function nullIfUnreadable(error: unknown): null {
  if (error instanceof SandboxUnsupportedError) return null;
  throw error;
}

function setMode(fd: number, mode: number, path: BytePath): void {
  if ((fstatSync(fd).mode & 0o7777) === mode) return;
  fchmodSync(fd, mode);
  const given = fstatSync(fd).mode & 0o7777;
  // Such as setgid, where the process isn't of that group.
  if (given !== mode) {
    const reason = `can't have mode ${mode.toString(8)} here, only ${given.toString(8)}`;
    throw new SandboxUnsupportedError(toText(path), reason);
  }
}

function writeAll(fd: number, content: Buffer): void {
  for (let written = 0; written < content.length; ) written += writeSync(fd, content, written);
}
