/**
 * Keeps objects as files of a directory, which may be a network share.
 *
 *     blobs/ab/ab12…  manifests/cd/cd34…     named by digest, complete from the moment they have that name
 *     temporary/                             being written; left behind by a process that died
 *     generation                             replaced before anything is removed
 *
 * A file is written under a temporary name, synced, renamed, and then its folder is synced: with `finish` everything is
 * on disk. Syncs of different files overlap, because most of their time is waiting for the same journal.
 */
import { randomUUID } from "node:crypto";
import {
  closeSync,
  constants,
  createReadStream,
  fsync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { SandboxUnavailableError } from "../core/errors.js";
import type { BlobStore, BlobUpload, BlobWriter, ObjectKind, StoredObject } from "./blob-store.js";
import type { AtPoint } from "./crash-points.js";

const syncFile = promisify(fsync);
/** Open files that wait for the disk. libuv works on four at a time. */
const MAX_SYNCS = 32;
const DIGEST = /^[0-9a-f]{64}$/;
/** Of an object that prune is about to remove. Readers still find it. */
const CONDEMNED = ".condemned";
const CREATE = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL;

export class DirectoryStore implements BlobStore {
  private readonly temporary: string;
  private readonly generationFile: string;

  constructor(
    readonly location: string,
    private readonly atPoint: AtPoint = () => {},
  ) {
    this.temporary = join(location, "temporary");
    this.generationFile = join(location, "generation");
  }

  async generation(): Promise<string> {
    return this.guarded(() => {
      const found = readIfThere(this.generationFile);
      if (found !== null) return found.toString("latin1");
      this.newGeneration();
      return readFileSync(this.generationFile, "latin1");
    });
  }

  touch(kind: ObjectKind, digest: string): boolean {
    return this.guarded(() => {
      const now = new Date();
      try {
        utimesSync(this.pathOf(kind, digest), now, now);
        return true;
      } catch (error) {
        if (isMissing(error)) return false;
        throw error;
      }
    });
  }

  read(kind: ObjectKind, digest: string): Buffer | null {
    return this.guarded(() => {
      const path = this.pathOf(kind, digest);
      return readIfThere(path) ?? readIfThere(path + CONDEMNED) ?? readIfThere(path);
    });
  }

  async stream(kind: ObjectKind, digest: string): Promise<AsyncIterable<Buffer> | null> {
    return this.guarded(() => {
      const path = this.pathOf(kind, digest);
      const fd = openIfThere(path) ?? openIfThere(path + CONDEMNED) ?? openIfThere(path);
      return fd === null ? null : createReadStream("", { fd, highWaterMark: 256 * 1024 });
    });
  }

  writer(): BlobWriter {
    return new DirectoryWriter(
      this.location,
      this.temporary,
      (kind, digest) => this.pathOf(kind, digest),
      this.atPoint,
    );
  }

  async *list(kind: ObjectKind): AsyncIterable<StoredObject> {
    const nowMs = Date.now();
    for (const shard of namesIfThere(join(this.location, kind))) {
      for (const digest of namesIfThere(join(this.location, kind, shard)).filter((name) => DIGEST.test(name))) {
        const stat = statSync(this.pathOf(kind, digest), { throwIfNoEntry: false });
        if (stat !== undefined) yield { digest, bytes: stat.size, ageMs: nowMs - stat.mtimeMs };
      }
    }
  }

  async announceRemoval(): Promise<void> {
    this.guarded(() => this.newGeneration());
    this.atPoint("prune.generation-changed");
  }

  // Between the look at its age and its removal it can be touched by a snapshot that is about to name it. So it is
  // renamed first, and looked at again: whoever comes after the rename finds nothing to touch and writes it anew.
  async remove(kind: ObjectKind, digest: string, minAgeMs: number): Promise<boolean> {
    return this.guarded(() => {
      const path = this.pathOf(kind, digest);
      if (!isOlder(path, minAgeMs) || !renamed(path, path + CONDEMNED)) return false;
      this.atPoint("prune.condemned");
      const removed = this.settle(path, minAgeMs);
      this.atPoint("prune.removed");
      return removed;
    });
  }

  async sweep(minAgeMs: number): Promise<void> {
    this.guarded(() => {
      for (const name of namesIfThere(this.temporary)) {
        const path = join(this.temporary, name);
        if (isOlder(path, minAgeMs)) removeIfThere(path);
      }
      for (const kind of ["blobs", "manifests"] as const) {
        for (const shard of namesIfThere(join(this.location, kind))) {
          const folder = join(this.location, kind, shard);
          const condemned = namesIfThere(folder).filter((name) => name.endsWith(CONDEMNED));
          for (const name of condemned) this.settle(join(folder, name.slice(0, -CONDEMNED.length)), minAgeMs);
        }
      }
    });
  }

  /** Removes what is condemned, or takes the sentence back where it was touched in the last moment. */
  private settle(path: string, minAgeMs: number): boolean {
    if (isOlder(path + CONDEMNED, minAgeMs)) return removeIfThere(path + CONDEMNED);
    renamed(path + CONDEMNED, path);
    return false;
  }

  private newGeneration(): void {
    makeFolder(this.temporary);
    const path = join(this.temporary, randomUUID());
    writeFileSync(path, randomUUID(), { mode: 0o600, flush: true });
    renameSync(path, this.generationFile);
  }

  private pathOf(kind: ObjectKind, digest: string): string {
    return join(this.location, kind, digest.slice(0, 2), digest);
  }

  private guarded<T>(action: () => T): T {
    try {
      return action();
    } catch (error) {
      throw unavailable(this.location, error);
    }
  }
}

class DirectoryWriter implements BlobWriter {
  private readonly syncing = new Set<Promise<void>>();
  private readonly temporaries = new Set<string>();
  /** Folders with names that aren't known to be on disk. */
  private readonly folders = new Set<string>();
  private failure: unknown = null;

  constructor(
    private readonly location: string,
    private readonly temporary: string,
    private readonly pathOf: (kind: ObjectKind, digest: string) => string,
    private readonly atPoint: AtPoint,
  ) {}

  async add(kind: ObjectKind, digest: string, content: Buffer): Promise<void> {
    const upload = await this.upload(kind, digest);
    try {
      upload.write(content);
    } catch (error) {
      await upload.abort();
      throw error;
    }
    await upload.complete();
  }

  async upload(kind: ObjectKind, digest: string): Promise<BlobUpload & { write(chunk: Buffer): void }> {
    while (this.syncing.size >= MAX_SYNCS) await Promise.race(this.syncing);
    if (this.failure !== null) throw unavailable(this.location, this.failure);
    const path = join(this.temporary, randomUUID());
    const fd = this.guarded(() => {
      makeFolder(this.temporary);
      return openSync(path, CREATE, 0o600);
    });
    this.temporaries.add(path);
    this.atPoint("store.temporary-opened");
    return {
      write: (chunk) => this.guarded(() => writeAll(fd, chunk)),
      complete: async () => {
        this.atPoint("store.temporary-written");
        this.sync(fd, path, this.pathOf(kind, digest));
      },
      abort: async () => {
        closeSync(fd);
        this.drop(path);
      },
    };
  }

  async finish(): Promise<void> {
    await Promise.all(this.syncing);
    if (this.failure !== null) throw unavailable(this.location, this.failure);
    try {
      await Promise.all([...this.folders].map(syncFolder));
    } catch (error) {
      throw unavailable(this.location, error);
    }
    this.folders.clear();
  }

  async abandon(): Promise<void> {
    await Promise.all(this.syncing);
    for (const path of this.temporaries) this.drop(path);
  }

  /** Goes on in the background; a failure stops the next `upload`, or `finish`. */
  private sync(fd: number, from: string, to: string): void {
    const done = syncFile(fd)
      .finally(() => closeSync(fd))
      .then(() => {
        this.atPoint("store.temporary-synced");
        this.makeFolderOf(to);
        renameSync(from, to);
        this.temporaries.delete(from);
        this.atPoint("store.renamed");
      })
      .catch((error: unknown) => {
        this.failure ??= error;
      })
      .finally(() => this.syncing.delete(done));
    this.syncing.add(done);
  }

  private makeFolderOf(path: string): void {
    const folder = dirname(path);
    if (this.folders.has(folder)) return;
    // Its own name, too, has to be on disk, and that of its parent.
    if (makeFolder(folder))
      for (const above of [dirname(folder), this.location, dirname(this.location)]) this.folders.add(above);
    this.folders.add(folder);
  }

  private drop(path: string): void {
    this.temporaries.delete(path);
    try {
      unlinkSync(path);
    } catch {
      // What can't be removed now is swept by prune.
    }
  }

  private guarded<T>(action: () => T): T {
    try {
      return action();
    } catch (error) {
      throw unavailable(this.location, error);
    }
  }
}

/** An error of the file system as one of ours: it is the store that is in trouble, not the sandbox. */
function unavailable(location: string, error: unknown): unknown {
  const { syscall, message } = error as NodeJS.ErrnoException;
  if (syscall === undefined) return error;
  return new SandboxUnavailableError(location, message, { cause: error });
}

function writeAll(fd: number, chunk: Buffer): void {
  for (let written = 0; written < chunk.length; ) written += writeSync(fd, chunk, written);
}

async function syncFolder(folder: string): Promise<void> {
  const fd = openSync(folder, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await syncFile(fd);
  } finally {
    closeSync(fd);
  }
}

/** Whether it was made now. */
function makeFolder(folder: string): boolean {
  return mkdirSync(folder, { recursive: true, mode: 0o700 }) !== undefined;
}

function readIfThere(path: string): Buffer | null {
  return ifThere(() => readFileSync(path));
}

function openIfThere(path: string): number | null {
  return ifThere(() => openSync(path, "r"));
}

function namesIfThere(folder: string): string[] {
  return ifThere(() => readdirSync(folder).sort()) ?? [];
}

function removeIfThere(path: string): boolean {
  return ifThere(() => unlinkSync(path)) !== null;
}

function renamed(from: string, to: string): boolean {
  return ifThere(() => renameSync(from, to)) !== null;
}

function isOlder(path: string, minAgeMs: number): boolean {
  const stat = statSync(path, { throwIfNoEntry: false });
  return stat !== undefined && Date.now() - stat.mtimeMs >= minAgeMs;
}

function ifThere<T>(action: () => T): T | null {
  try {
    return action();
  } catch (error) {
    if (isMissing(error)) return null;
    throw error;
  }
}

function isMissing(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === "ENOENT";
}
