/** A provider on a store of objects that are named by their content: a directory, a bucket. */
import type { BlobStore } from "./blob-store.js";
import { type Pruned, pruneStore } from "./prune.js";
import { KEPT_FOR_MS } from "./snapshot.js";
import { SnapshotProvider, type SnapshotProviderOptions } from "./snapshot-provider.js";

export interface ContentProviderOptions extends SnapshotProviderOptions {
  readonly store: BlobStore;
}

export class ContentProvider extends SnapshotProvider {
  private readonly blobs: BlobStore;

  constructor(options: ContentProviderOptions) {
    super(options);
    this.blobs = options.store;
  }

  async prune(
    kept: ReadonlySet<string>,
    { dryRun, minAgeMs = KEPT_FOR_MS }: { readonly dryRun: boolean; readonly minAgeMs?: number },
  ): Promise<Pruned> {
    const pruned = await pruneStore(this.blobs, kept, { dryRun, minAgeMs });
    if (!dryRun) this.sweepCaches();
    return pruned;
  }
}
