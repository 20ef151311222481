/**
 * Keeps objects in a bucket that speaks S3's protocol, with the official client, which is loaded only here: who doesn't
 * use it need not install it.
 *
 * An object's key is its digest, and a put is refused where there is one already, so that two writers don't pay twice.
 * Up to PUT_BYTES an object is one put, above that a multipart upload. The age of an object is that of its last write;
 * to touch one is to copy it onto itself, which is done only where it is older than an hour.
 */
import { randomUUID } from "node:crypto";
import type { S3Client, S3ClientConfig } from "@aws-sdk/client-s3";
import { SandboxUnavailableError, UsageError } from "../core/errors.js";
import type { BlobStore, BlobUpload, BlobWriter, ObjectKind, StoredObject } from "./blob-store.js";

type Sdk = typeof import("@aws-sdk/client-s3");

export interface S3StoreOptions {
  readonly bucket: string;
  /** Before every key, such as `waymark/`. */
  readonly prefix?: string;
  /** Region, endpoint, credentials, as the client takes them; what isn't given it finds as it always does. */
  readonly client?: S3ClientConfig;
}

const PUT_BYTES = 8 * 1024 * 1024;
/** S3 takes 10,000 parts: of this size, 80 GiB. */
const PART_BYTES = 8 * 1024 * 1024;
const MAX_REQUESTS = 16;
const FRESH_MS = 60 * 60 * 1000;
const DIGEST = /^[0-9a-f]{64}$/;

export class S3Store implements BlobStore {
  readonly location: string;
  private readonly prefix: string;
  private opened: Promise<{ readonly sdk: Sdk; readonly client: S3Client }> | null = null;

  constructor(private readonly options: S3StoreOptions) {
    this.prefix = options.prefix ?? "";
    this.location = `s3://${options.bucket}/${this.prefix}`;
  }

  async generation(): Promise<string> {
    const key = `${this.prefix}generation`;
    const found = await this.get(key);
    if (found !== null) return Buffer.from(await found.transformToByteArray()).toString("latin1");
    await this.putIfAbsent(key, Buffer.from(randomUUID()));
    const made = await this.get(key);
    if (made === null) throw new SandboxUnavailableError(this.location, `${key} isn't there after it was written`);
    return Buffer.from(await made.transformToByteArray()).toString("latin1");
  }

  async touch(kind: ObjectKind, digest: string): Promise<boolean> {
    const key = this.keyOf(kind, digest);
    const ageMs = await this.ageMs(key);
    if (ageMs === null) return false;
    if (ageMs < FRESH_MS) return true;
    const { bucket } = this.options;
    const copied = await this.send((sdk, client) =>
      client.send(
        new sdk.CopyObjectCommand({
          Bucket: bucket,
          Key: key,
          CopySource: encodeURIComponent(`${bucket}/${key}`),
          // Without other metadata S3 refuses to copy an object onto itself.
          MetadataDirective: "REPLACE",
          Metadata: { touched: String(Date.now()) },
        }),
      ),
    );
    return copied !== null;
  }

  async read(kind: ObjectKind, digest: string): Promise<Buffer | null> {
    const body = await this.get(this.keyOf(kind, digest));
    return body === null ? null : Buffer.from(await this.guarded(() => body.transformToByteArray()));
  }

  async stream(kind: ObjectKind, digest: string): Promise<AsyncIterable<Buffer> | null> {
    const body = await this.get(this.keyOf(kind, digest));
    return body === null ? null : (body as unknown as AsyncIterable<Buffer>);
  }

  writer(): BlobWriter {
    return new S3Writer(this);
  }

  async *list(kind: ObjectKind): AsyncIterable<StoredObject> {
    const prefix = `${this.prefix}${kind}/`;
    const nowMs = Date.now();
    for (let token: string | undefined, more = true; more; more = token !== undefined) {
      const page = await this.send((sdk, client) =>
        client.send(
          new sdk.ListObjectsV2Command({ Bucket: this.options.bucket, Prefix: prefix, ContinuationToken: token }),
        ),
      );
      for (const { Key = "", Size = 0, LastModified } of page?.Contents ?? []) {
        const digest = Key.slice(Key.lastIndexOf("/") + 1);
        if (!DIGEST.test(digest) || LastModified === undefined) continue;
        yield { digest, bytes: Size, ageMs: nowMs - LastModified.getTime() };
      }
      token = page?.NextContinuationToken;
    }
  }

  async announceRemoval(): Promise<void> {
    await this.send((sdk, client) =>
      client.send(
        new sdk.PutObjectCommand({ Bucket: this.options.bucket, Key: `${this.prefix}generation`, Body: randomUUID() }),
      ),
    );
  }

  // S3 has no removal that depends on an object's age. Between the look and the removal lies one round trip, in which a
  // snapshot may touch a blob that nobody has needed for a day: then the blob's absence shows when it is restored.
  async remove(kind: ObjectKind, digest: string, minAgeMs: number): Promise<boolean> {
    const key = this.keyOf(kind, digest);
    const ageMs = await this.ageMs(key);
    if (ageMs === null || ageMs < minAgeMs) return false;
    await this.send((sdk, client) =>
      client.send(new sdk.DeleteObjectCommand({ Bucket: this.options.bucket, Key: key })),
    );
    return true;
  }

  /** Gives up multipart uploads that nobody will finish: they cost, and no listing shows them. */
  async sweep(minAgeMs: number): Promise<void> {
    const { bucket } = this.options;
    const page = await this.send((sdk, client) =>
      client.send(new sdk.ListMultipartUploadsCommand({ Bucket: bucket, Prefix: this.prefix })),
    );
    for (const { Key, UploadId, Initiated } of page?.Uploads ?? []) {
      if (Initiated === undefined || Date.now() - Initiated.getTime() < minAgeMs) continue;
      await this.send((sdk, client) =>
        client.send(new sdk.AbortMultipartUploadCommand({ Bucket: bucket, Key, UploadId })),
      );
    }
  }

  /** Lets go of the client's connections. */
  async close(): Promise<void> {
    const opened = await this.opened;
    this.opened = null;
    opened?.client.destroy();
  }

  keyOf(kind: ObjectKind, digest: string): string {
    return `${this.prefix}${kind}/${digest.slice(0, 2)}/${digest}`;
  }

  async putIfAbsent(key: string, content: Buffer): Promise<void> {
    await this.send(
      (sdk, client) =>
        client.send(
          new sdk.PutObjectCommand({ Bucket: this.options.bucket, Key: key, Body: content, IfNoneMatch: "*" }),
        ),
      // Somebody else wrote the same content first, or is just doing so.
      ["PreconditionFailed", "ConditionalRequestConflict"],
    );
  }

  /** @throws SandboxUnavailableError. Null for what is said not to be there, or for one of the `accepted` refusals */
  async send<T>(
    request: (sdk: Sdk, client: S3Client) => Promise<T>,
    accepted: readonly string[] = [],
  ): Promise<T | null> {
    const { sdk, client } = await this.open();
    return this.guarded(async () => {
      try {
        return await request(sdk, client);
      } catch (error) {
        const { name } = error as Error;
        if (name === "NoSuchKey" || name === "NotFound" || accepted.includes(name)) return null;
        throw error;
      }
    });
  }

  get bucket(): string {
    return this.options.bucket;
  }

  private async get(key: string) {
    const found = await this.send((sdk, client) =>
      client.send(new sdk.GetObjectCommand({ Bucket: this.options.bucket, Key: key })),
    );
    return found?.Body ?? null;
  }

  /** Null where there is none. */
  private async ageMs(key: string): Promise<number | null> {
    const head = await this.send((sdk, client) =>
      client.send(new sdk.HeadObjectCommand({ Bucket: this.options.bucket, Key: key })),
    );
    return head === null ? null : Date.now() - (head.LastModified?.getTime() ?? 0);
  }

  private async guarded<T>(action: () => Promise<T>): Promise<T> {
    try {
      return await action();
    } catch (error) {
      const { name, message } = error as Error;
      throw new SandboxUnavailableError(this.location, `${name}: ${message}`, { cause: error });
    }
  }

  private open() {
    this.opened ??= loadSdk().then((sdk) => ({ sdk, client: new sdk.S3Client(this.options.client ?? {}) }));
    return this.opened;
  }
}

class S3Writer implements BlobWriter {
  private readonly putting = new Set<Promise<void>>();
  private failure: unknown = null;

  constructor(private readonly store: S3Store) {}

  async add(kind: ObjectKind, digest: string, content: Buffer): Promise<void> {
    while (this.putting.size >= MAX_REQUESTS) await Promise.race(this.putting);
    if (this.failure !== null) throw this.failure;
    const done = this.store
      .putIfAbsent(this.store.keyOf(kind, digest), content)
      .catch((error: unknown) => {
        this.failure ??= error;
      })
      .finally(() => this.putting.delete(done));
    this.putting.add(done);
  }

  async upload(kind: ObjectKind, digest: string, bytes: number): Promise<BlobUpload> {
    const key = this.store.keyOf(kind, digest);
    return bytes <= PUT_BYTES ? new WholeUpload(this.store, key) : MultipartUpload.begin(this.store, key);
  }

  async finish(): Promise<void> {
    await Promise.all(this.putting);
    if (this.failure !== null) throw this.failure;
  }

  /** What was put stays: it is what its key says, and prune finds it. */
  async abandon(): Promise<void> {
    await Promise.all(this.putting);
  }
}

class WholeUpload implements BlobUpload {
  private readonly chunks: Buffer[] = [];

  constructor(
    private readonly store: S3Store,
    private readonly key: string,
  ) {}

  write(chunk: Buffer): void {
    this.chunks.push(Buffer.from(chunk));
  }

  complete(): Promise<void> {
    return this.store.putIfAbsent(this.key, Buffer.concat(this.chunks));
  }

  async abort(): Promise<void> {}
}

/** Appears under its key only when it is complete. */
class MultipartUpload implements BlobUpload {
  private chunks: Buffer[] = [];
  private size = 0;
  private readonly parts: { ETag: string | undefined; PartNumber: number }[] = [];

  private constructor(
    private readonly store: S3Store,
    private readonly upload: { readonly Bucket: string; readonly Key: string; readonly UploadId: string | undefined },
  ) {}

  static async begin(store: S3Store, key: string): Promise<MultipartUpload> {
    const object = { Bucket: store.bucket, Key: key };
    const begun = await store.send((sdk, client) => client.send(new sdk.CreateMultipartUploadCommand(object)));
    return new MultipartUpload(store, { ...object, UploadId: begun?.UploadId });
  }

  async write(chunk: Buffer): Promise<void> {
    this.chunks.push(Buffer.from(chunk));
    this.size += chunk.length;
    if (this.size >= PART_BYTES) await this.sendPart();
  }

  async complete(): Promise<void> {
    if (this.size > 0) await this.sendPart();
    await this.store.send(
      (sdk, client) =>
        client.send(
          new sdk.CompleteMultipartUploadCommand({
            ...this.upload,
            MultipartUpload: { Parts: this.parts },
            IfNoneMatch: "*",
          }),
        ),
      ["PreconditionFailed", "ConditionalRequestConflict"],
    );
  }

  async abort(): Promise<void> {
    await this.store.send((sdk, client) => client.send(new sdk.AbortMultipartUploadCommand(this.upload)));
  }

  private async sendPart(): Promise<void> {
    const PartNumber = this.parts.length + 1;
    const Body = Buffer.concat(this.chunks);
    this.chunks = [];
    this.size = 0;
    const sent = await this.store.send((sdk, client) =>
      client.send(new sdk.UploadPartCommand({ ...this.upload, PartNumber, Body })),
    );
    this.parts.push({ ETag: sent?.ETag, PartNumber });
  }
}

async function loadSdk(): Promise<Sdk> {
  try {
    return await import("@aws-sdk/client-s3");
  } catch (error) {
    throw new UsageError("Snapshots in S3 need the package @aws-sdk/client-s3, which isn't installed", {
      try: "npm install @aws-sdk/client-s3",
      cause: error,
    });
  }
}
