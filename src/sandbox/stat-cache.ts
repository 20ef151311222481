/**
 * Remembers the digests of a directory's files, so that the next snapshot reads only what changed. It stands beside the
 * directory's files, in a folder of its own, named by the directory's inode: it goes along when that is renamed.
 *
 * A file is taken for unchanged when size, inode, mtime and ctime are. That is safe only if a later change is sure to
 * show in ctime, which nobody can set: so a file is remembered only if its ctime is older than the file system's clock was
 * before its content was read. A file that was changed in the same tick of that clock is read again next time (git calls
 * it racy). The clock is the file system's own, taken from a file of the cache's folder; where the directory is on
 * another file system nothing is remembered. Nor is anything believed that was noted before the machine's last start:
 * a power loss can take content whose times are on disk already.
 */
import { randomUUID } from "node:crypto";
import {
  closeSync,
  constants,
  fstatSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  type Stats,
  statSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { thisProcess } from "../machine/process-identity.js";
import type { BytePath } from "./byte-path.js";
import type { FileStat } from "./look-up.js";

/** When the blobs of all remembered files were last known to be in a store, and safe from prune. */
export interface Confirmation {
  readonly location: string;
  readonly generation: string;
  readonly atMs: number;
}

interface Header {
  readonly version: 1;
  readonly machine: string;
  readonly count: number;
  readonly confirmation: Confirmation | null;
}

interface Remembered {
  readonly size: number;
  readonly inode: number;
  readonly mtimeMs: number;
  readonly ctimeMs: number;
  readonly digest: string;
}

const NUMBERS_PER_FILE = 4;
const DIGEST_LENGTH = 64;

/** How many directories' caches are kept in memory. */
const MAX_LOADED = 8;

export class StatCaches {
  private readonly loaded = new Map<string, { readonly stat: Stats; readonly content: Loaded | null }>();

  constructor(private readonly folder: string) {}

  /** What is remembered of the directory. Reads only; with `forUpdate` it can be saved. */
  open(root: Stats, forUpdate: boolean): StatCache {
    const path = join(this.folder, `${root.dev}-${root.ino}`);
    if (forUpdate) mkdirSync(this.folder, { recursive: true, mode: 0o700 });
    const isSameFileSystem = statSync(this.folder, { throwIfNoEntry: false })?.dev === root.dev;
    return new StatCache(
      path,
      isSameFileSystem ? this.load(path) : null,
      forUpdate && isSameFileSystem ? root.dev : null,
    );
  }

  private load(path: string): Loaded | null {
    const stat = statSync(path, { throwIfNoEntry: false });
    if (stat === undefined) return null;
    const known = this.loaded.get(path);
    const isSame = known?.stat.ino === stat.ino && known.stat.ctimeMs === stat.ctimeMs;
    const content = isSame ? known.content : load(path);
    this.loaded.delete(path);
    this.loaded.set(path, { stat, content });
    for (const oldest of this.loaded.keys()) if (this.loaded.size > MAX_LOADED) this.loaded.delete(oldest);
    return content;
  }

  /** Removes those that weren't saved for that long. One that is needed after all costs time, nothing else. */
  sweep(minAgeMs: number): void {
    for (const name of namesIn(this.folder)) {
      const path = join(this.folder, name);
      const stat = statSync(path, { throwIfNoEntry: false });
      if (stat !== undefined && Date.now() - stat.mtimeMs >= minAgeMs) unlinkSync(path);
    }
  }
}

export class StatCache {
  readonly confirmation: Confirmation | null;
  private readonly remembered: ReadonlyMap<BytePath, Remembered>;
  private readonly read: Noted[] = [];
  private readonly written: Noted[] = [];
  private readonly clock: FileSystemClock | null;
  private readonly openedMs: number;
  private hits = 0;

  /** @param device where the directory is, or null where nothing is to be saved */
  constructor(
    private readonly path: string,
    loaded: Loaded | null,
    private readonly device: number | null,
  ) {
    this.confirmation = loaded?.confirmation ?? null;
    this.remembered = loaded?.files ?? new Map();
    this.clock = device === null ? null : new FileSystemClock(path);
    this.openedMs = this.clock?.nowMs() ?? 0;
  }

  /** Null where the file may have changed. */
  digestOf(path: BytePath, stat: FileStat): string | null {
    const known = this.remembered.get(path);
    const isSame =
      known !== undefined &&
      known.size === stat.size &&
      known.mtimeMs === stat.mtimeMs &&
      known.ctimeMs === stat.ctimeMs &&
      known.inode === stat.ino;
    if (!isSame) return null;
    this.hits += 1;
    return known.digest;
  }

  /** Notes a file whose content was read, or looked up here, after the cache was opened. */
  noteRead(path: BytePath, stat: FileStat, digest: string): void {
    this.read.push({ path, stat, digest });
  }

  /** Notes a file that was written just now; nobody else may write to it before the cache is saved. */
  noteWritten(path: BytePath, stat: FileStat, digest: string): void {
    this.written.push({ path, stat, digest });
  }

  get hasWritten(): boolean {
    return this.written.length > 0;
  }

  /** Replaces what was remembered by what was noted; not where so little is new that reading it again costs less. */
  save(confirmation: Confirmation | null): void {
    if (this.clock === null) return;
    const noted = this.read.length + this.written.length;
    if (confirmation === this.confirmation && (noted - this.hits) * 100 <= noted) return;
    const nowMs = this.clock.nowMs();
    const isOlderThan =
      (limitMs: number) =>
      ({ stat }: Noted) =>
        stat.dev === this.device && stat.ctimeMs < limitMs && stat.mtimeMs < limitMs;
    const files = [...this.read.filter(isOlderThan(this.openedMs)), ...this.written.filter(isOlderThan(nowMs))];
    this.clock.become(this.path, encode(files, confirmation));
  }

  /** Without saving, what was remembered before stays. */
  close(): void {
    this.clock?.close();
  }
}

interface Noted {
  readonly path: BytePath;
  readonly stat: FileStat;
  readonly digest: string;
}

interface Loaded {
  readonly confirmation: Confirmation | null;
  readonly files: ReadonlyMap<BytePath, Remembered>;
}

/** Tells a file system's time by writing to a file, which at last becomes the cache itself. */
class FileSystemClock {
  private readonly temporary: string;
  private readonly fd: number;
  private isOpen = true;

  constructor(path: string) {
    this.temporary = `${path}.${randomUUID()}`;
    this.fd = openSync(this.temporary, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o600);
  }

  nowMs(): number {
    writeSync(this.fd, "\n", 0);
    return fstatSync(this.fd).mtimeMs;
  }

  become(path: string, content: Buffer): void {
    ftruncateSync(this.fd);
    for (let written = 0; written < content.length; ) {
      written += writeSync(this.fd, content, written, content.length - written, written);
    }
    closeSync(this.fd);
    renameSync(this.temporary, path);
    this.isOpen = false;
  }

  close(): void {
    if (!this.isOpen) return;
    this.isOpen = false;
    closeSync(this.fd);
    unlinkSync(this.temporary);
  }
}

/**
 * A line of JSON, then the numbers of all files as doubles, then all digests, then all paths with a NUL between: so that
 * ten thousand files are read in a few milliseconds.
 */
function encode(files: readonly Noted[], confirmation: Confirmation | null): Buffer {
  const header: Header = { version: 1, machine: thisProcess().machine, count: files.length, confirmation };
  const numbers = new Float64Array(files.length * NUMBERS_PER_FILE);
  files.forEach(({ stat }, i) => {
    const at = i * NUMBERS_PER_FILE;
    numbers[at] = stat.size;
    numbers[at + 1] = stat.ino;
    numbers[at + 2] = stat.mtimeMs;
    numbers[at + 3] = stat.ctimeMs;
  });
  return Buffer.concat([
    Buffer.from(`${JSON.stringify(header)}\n`),
    Buffer.from(numbers.buffer),
    Buffer.from(files.map(({ digest }) => digest).join(""), "latin1"),
    Buffer.from(files.map(({ path }) => path).join("\0"), "latin1"),
  ]);
}

/** Null where there is none, or none that can be believed. */
function load(path: string): Loaded | null {
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw error;
  }
  const end = bytes.indexOf("\n") + 1;
  const header = parseHeader(bytes.subarray(0, end));
  if (header === null || header.machine !== thisProcess().machine) return null;
  const { count, confirmation } = header;
  const digestsAt = end + count * NUMBERS_PER_FILE * Float64Array.BYTES_PER_ELEMENT;
  const pathsAt = digestsAt + count * DIGEST_LENGTH;
  const paths = count === 0 ? [] : bytes.toString("latin1", pathsAt).split("\0");
  if (bytes.length < pathsAt || paths.length !== count) return null;
  const numbers = new Float64Array(new Uint8Array(bytes.subarray(end, digestsAt)).buffer);
  const digests = bytes.toString("latin1", digestsAt, pathsAt);
  const files = new Map<BytePath, Remembered>();
  paths.forEach((file, i) => {
    const at = i * NUMBERS_PER_FILE;
    const digest = digests.slice(i * DIGEST_LENGTH, (i + 1) * DIGEST_LENGTH);
    files.set(file, {
      size: numbers[at]!,
      inode: numbers[at + 1]!,
      mtimeMs: numbers[at + 2]!,
      ctimeMs: numbers[at + 3]!,
      digest,
    });
  });
  return { confirmation, files };
}

function parseHeader(line: Buffer): Header | null {
  try {
    const header = JSON.parse(line.toString("utf8")) as Header;
    return header.version === 1 ? header : null;
  } catch {
    return null;
  }
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}
