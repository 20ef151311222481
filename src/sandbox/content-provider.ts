/** A provider on a store of content-addressed objects: what it promises is said at the port in core. */
import type { SandboxChanges, SandboxProvider, SandboxRules, SandboxSnapshot } from "../core/sandbox.js";
import type { BlobStore } from "./blob-store.js";
import { compareWithSnapshot } from "./compare.js";
import type { AtPoint } from "./crash-points.js";
import { LookUpThreads } from "./look-up-threads.js";
import { pruneStore } from "./prune.js";
import { restoreSnapshot } from "./restore.js";
import type { SandboxLimits } from "./scan.js";
import { CONFIRMED_FOR_MS, type SnapshotTools, takeSnapshot } from "./snapshot.js";
import { StatCaches } from "./stat-cache.js";
import { verifySnapshot } from "./verify.js";

export const DEFAULT_LIMITS: SandboxLimits = {
  entries: 200_000,
  bytes: 10 * 1024 ** 3,
  pathBytes: 1_024,
};

const DAY_MS = 24 * 60 * 60 * 1000;

export interface ContentProviderOptions {
  readonly name: string;
  readonly store: BlobStore;
  /** For what is remembered of directories; on the file system that they are on, else nothing is. */
  readonly cacheFolder: string;
  readonly limits?: Partial<SandboxLimits>;
  /** For tests. */
  readonly atPoint?: AtPoint;
}

export class ContentProvider implements SandboxProvider {
  readonly name: string;
  private readonly tools: SnapshotTools;

  constructor({ name, store, cacheFolder, limits, atPoint = () => {} }: ContentProviderOptions) {
    this.name = name;
    this.tools = {
      store,
      caches: new StatCaches(cacheFolder),
      limits: { ...DEFAULT_LIMITS, ...limits },
      threads: new LookUpThreads(),
      atPoint,
    };
  }

  async snapshot(path: string, rules: SandboxRules, signal?: AbortSignal): Promise<SandboxSnapshot> {
    return { provider: this.name, ...(await takeSnapshot(path, rules, this.tools, signal)) };
  }

  async restore({ digest }: SandboxSnapshot, path: string, rules: SandboxRules, signal?: AbortSignal): Promise<void> {
    await restoreSnapshot(digest, path, rules, this.tools, signal);
  }

  async compare(
    { digest }: SandboxSnapshot,
    path: string,
    rules: SandboxRules,
  ): Promise<SandboxChanges & { readonly digest: string }> {
    return compareWithSnapshot(digest, path, rules, this.tools);
  }

  async verify({ digest }: SandboxSnapshot): Promise<void> {
    await verifySnapshot(digest, this.tools.store);
  }

  async prune(
    kept: ReadonlySet<string>,
    { dryRun, minAgeMs }: { readonly dryRun: boolean; readonly minAgeMs?: number },
  ): Promise<{ readonly snapshots: number; readonly files: number; readonly bytes: number }> {
    const pruned = await pruneStore(this.tools.store, kept, {
      dryRun,
      minAgeMs: minAgeMs ?? DAY_MS + CONFIRMED_FOR_MS,
    });
    if (!dryRun) this.tools.caches.sweep(DAY_MS);
    return pruned;
  }
}
