/** Reads a whole snapshot and checks every byte of it. */
import { createHash } from "node:crypto";
import { SandboxCorruptError, SandboxMissingError } from "../core/errors.js";
import type { ContentStore } from "./blob-store.js";
import { toText } from "./byte-path.js";
import type { FileEntry } from "./manifest.js";
import { readManifest } from "./read-manifest.js";
import { SMALL_BYTES } from "./read-steadily.js";
import { TimeSlices } from "./time-slices.js";

/** @throws SandboxMissingError, SandboxCorruptError */
export async function verifySnapshot(digest: string, store: ContentStore): Promise<void> {
  const slices = new TimeSlices(undefined);
  const verified = new Map<string, number>();
  for (const entry of await readManifest(store, digest)) {
    if (entry.kind !== "file") continue;
    const bytes = verified.get(entry.digest) ?? (await verifyBlob(digest, entry, store, slices));
    if (bytes !== entry.size) throw corrupt(digest, entry);
    verified.set(entry.digest, bytes);
  }
}

/** @returns its size */
async function verifyBlob(digest: string, entry: FileEntry, store: ContentStore, slices: TimeSlices): Promise<number> {
  const content = await contentOf(entry, store);
  if (content === null) {
    throw new SandboxMissingError(
      digest,
      `the content of ${JSON.stringify(toText(entry.path))}, blob ${entry.digest},`,
    );
  }
  const hash = createHash("sha256");
  let bytes = 0;
  for await (const chunk of content) {
    if (slices.isOver) await slices.next();
    hash.update(chunk);
    bytes += chunk.length;
  }
  if (hash.digest("hex") !== entry.digest) throw corrupt(digest, entry);
  return bytes;
}

/** Null where it is missing. What should be small needn't be opened as a stream. */
async function contentOf(
  { size, digest }: FileEntry,
  store: ContentStore,
): Promise<AsyncIterable<Buffer> | Buffer[] | null> {
  if (size > SMALL_BYTES) return store.stream("blobs", digest);
  const content = await store.read("blobs", digest);
  return content && [content];
}

function corrupt(digest: string, { path, digest: blob }: FileEntry): SandboxCorruptError {
  return new SandboxCorruptError(
    digest,
    `the content of ${JSON.stringify(toText(path))}, blob ${blob}, has other bytes`,
  );
}
