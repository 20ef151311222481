/**
 * Where snapshots are kept: the port behind which a directory or an S3 bucket stands. An object is named by the SHA-256
 * of its content, so that it never changes, and writing it twice is harmless.
 *
 * What can answer at once may do so without a promise: a restore reads ten thousand small blobs.
 */

/** Manifests are kept apart from blobs, so that they can be listed. */
export type ObjectKind = "blobs" | "manifests";

/** What snapshots are taken into and restored from. */
export interface ContentStore {
  /** For people, in messages. */
  readonly location: string;
  /** Another one than before once something may have been removed: what was found earlier has to be looked for again. */
  generation(): Promise<string>;
  /** Whether it is there; if so, prune takes it for new from now on. */
  touch(kind: ObjectKind, digest: string): boolean | Promise<boolean>;
  /** @returns null where it is missing. Its content is whatever is stored: the caller compares the digest */
  read(kind: ObjectKind, digest: string): Buffer | null | Promise<Buffer | null>;
  /** The same, chunk by chunk. */
  stream(kind: ObjectKind, digest: string): Promise<AsyncIterable<Buffer> | null>;
  writer(): BlobWriter;
}

/** A store that doesn't know what its objects are for: what nobody needs any more is found and removed one by one. */
export interface BlobStore extends ContentStore {
  list(kind: ObjectKind): AsyncIterable<StoredObject>;
  /** Once before any `remove`: changes the generation. */
  announceRemoval(): Promise<void>;
  /** Removes it unless it was written or touched within `minAgeMs`, however close together that and this happen. */
  remove(kind: ObjectKind, digest: string, minAgeMs: number): Promise<boolean>;
  /** Removes what writers that were cut off have left, and mends what a `remove` that was cut off has left. */
  sweep(minAgeMs: number): Promise<void>;
}

/** Writes many objects. None is sure to be there before `finish` resolves; then all are, and they survive a power loss. */
export interface BlobWriter {
  /** `content` must not change until `finish` resolves. */
  add(kind: ObjectKind, digest: string, content: Buffer): Promise<void>;
  /** For content that is too large to be in memory at once. */
  upload(kind: ObjectKind, digest: string, bytes: number): Promise<BlobUpload>;
  finish(): Promise<void>;
  /** Instead of `finish`: leaves no trace of what isn't finished. Doesn't throw. */
  abandon(): Promise<void>;
}

export interface BlobUpload {
  /** The chunk may be overwritten once this has resolved. */
  write(chunk: Buffer): void | Promise<void>;
  /** The content was the one that the digest promises. */
  complete(): Promise<void>;
  abort(): Promise<void>;
}

export interface StoredObject {
  readonly digest: string;
  readonly bytes: number;
  /** Since it was written or touched. */
  readonly ageMs: number;
}
