/** Takes a snapshot of a directory: what changed since the last one is read and stored, then a manifest names it all. */
import type { SandboxRules } from "../core/sandbox.js";
import { Beneath } from "./beneath.js";
import type { BlobWriter, ContentStore } from "./blob-store.js";
import type { BytePath } from "./byte-path.js";
import type { AtPoint } from "./crash-points.js";
import { FileRules } from "./file-rules.js";
import type { LookUpThreads } from "./look-up-threads.js";
import { digestOf, type Entry, encodeManifest, type FileEntry } from "./manifest.js";
import { readOnce, readSteadily, type SteadyContent } from "./read-steadily.js";
import { type FoundFile, type SandboxLimits, scan } from "./scan.js";
import type { Confirmation, StatCache, StatCaches } from "./stat-cache.js";
import { TimeSlices } from "./time-slices.js";

/**
 * How long a blob that was found in the store counts as found. Prune keeps a blob for a day and this long after it was
 * touched, so that a commit has a whole day to name it.
 */
export const CONFIRMED_FOR_MS = 60 * 60 * 1000;

export const DAY_MS = 24 * 60 * 60 * 1000;

/** For how long prune lets be what nobody names yet. */
export const KEPT_FOR_MS = DAY_MS + CONFIRMED_FOR_MS;

export interface SnapshotTools {
  readonly store: ContentStore;
  readonly caches: StatCaches;
  readonly limits: SandboxLimits;
  readonly threads: LookUpThreads;
  readonly atPoint: AtPoint;
}

export interface TakenSnapshot {
  readonly digest: string;
  readonly files: number;
  readonly bytes: number;
}

export async function takeSnapshot(
  path: string,
  rules: SandboxRules,
  tools: SnapshotTools,
  signal: AbortSignal | undefined,
): Promise<TakenSnapshot> {
  const { store, caches, limits, threads, atPoint } = tools;
  signal?.throwIfAborted();
  const slices = new TimeSlices(signal);
  const beneath = new Beneath(path);
  const cache = caches.open(beneath.rootStat, true);
  const writer = store.writer();
  try {
    const { found } = await scan(beneath, new FileRules(rules), limits, slices, threads);
    atPoint("snapshot.scanned");
    const confirmation = await confirm(store, cache);
    const files = new FileKeeper(beneath, cache, store, writer, slices, confirmation.isStanding);
    const entries: Entry[] = [];
    for (const item of found) {
      if (slices.isOver) await slices.next();
      const entry = item.kind === "file" ? (files.unchanged(item) ?? (await files.keep(item))) : item;
      if (entry !== null) entries.push(entry);
    }
    await writer.finish();
    atPoint("snapshot.blobs-durable");

    const manifest = encodeManifest(entries);
    const digest = digestOf(manifest);
    const name = digest.slice("sha256:".length);
    if (!(await store.touch("manifests", name))) {
      await writer.add("manifests", name, manifest);
      await writer.finish();
    }
    atPoint("snapshot.manifest-durable");
    cache.save(confirmation.next);
    atPoint("snapshot.cache-saved");
    return { digest, ...sumOf(entries) };
  } catch (error) {
    await writer.abandon();
    throw error;
  } finally {
    cache.close();
    beneath.close();
  }
}

/** Whether the blobs of remembered files need no look, and what to note once all of this snapshot's are there. */
async function confirm(store: ContentStore, cache: StatCache): Promise<{ isStanding: boolean; next: Confirmation }> {
  const nowMs = Date.now();
  const generation = await store.generation();
  const last = cache.confirmation;
  const isStanding =
    last !== null &&
    last.location === store.location &&
    last.generation === generation &&
    nowMs - last.atMs < CONFIRMED_FOR_MS &&
    last.atMs <= nowMs;
  return { isStanding, next: isStanding ? last : { location: store.location, generation, atMs: nowMs } };
}

class FileKeeper {
  /** What is in the store, or will be when the writer has finished. */
  private readonly present = new Set<string>();

  constructor(
    private readonly beneath: Beneath,
    private readonly cache: StatCache,
    private readonly store: ContentStore,
    private readonly writer: BlobWriter,
    private readonly slices: TimeSlices,
    private readonly isConfirmed: boolean,
  ) {}

  /** Null where it has to be looked at. Without a promise: nearly all files are unchanged. */
  unchanged({ path, mode, stat }: FoundFile): FileEntry | null {
    if (!this.isConfirmed) return null;
    const digest = this.cache.digestOf(path, stat);
    if (digest === null) return null;
    this.cache.noteRead(path, stat, digest);
    return { kind: "file", path, mode, size: stat.size, digest };
  }

  /** @returns null where the file is gone by now */
  async keep({ path, mode, stat }: FoundFile): Promise<FileEntry | null> {
    const digest = this.isConfirmed ? null : this.cache.digestOf(path, stat);
    if (digest !== null && (await this.isPresent(digest))) {
      this.cache.noteRead(path, stat, digest);
      return { kind: "file", path, mode, size: stat.size, digest };
    }
    const read = await this.readAndStore(path);
    if (read === null) return null;
    this.cache.noteRead(path, read.stat, read.digest);
    return { kind: "file", path, mode: read.stat.mode & 0o7777, size: read.stat.size, digest: read.digest };
  }

  private async readAndStore(path: BytePath): Promise<SteadyContent | null> {
    for (;;) {
      const read = await readSteadily(this.beneath, path, this.slices);
      if (read === null || (await this.isPresent(read.digest))) return read;
      if (read.content !== null) {
        await this.writer.add("blobs", read.digest, read.content);
        this.present.add(read.digest);
        return read;
      }
      // It was too large to be held, so it is read a second time, and may have changed in between.
      const upload = await this.writer.upload("blobs", read.digest, read.stat.size);
      const again = await readOnce(this.beneath, path, this.slices, (chunk) => upload.write(chunk)).catch(
        async (error: unknown) => {
          await upload.abort();
          throw error;
        },
      );
      if (again !== null && again !== "changed" && again.digest === read.digest) {
        await upload.complete();
        this.present.add(read.digest);
        return again;
      }
      await upload.abort();
    }
  }

  private async isPresent(digest: string): Promise<boolean> {
    if (this.present.has(digest)) return true;
    const touched = this.store.touch("blobs", digest);
    const isThere = typeof touched === "boolean" ? touched : await touched;
    if (isThere) this.present.add(digest);
    return isThere;
  }
}

export function sumOf(entries: readonly Entry[]): { files: number; bytes: number } {
  let [files, bytes] = [0, 0];
  for (const entry of entries) {
    if (entry.kind !== "file") continue;
    files += 1;
    bytes += entry.size;
  }
  return { files, bytes };
}
