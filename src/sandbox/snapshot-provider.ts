/** What every provider of ours does with a store: what it promises is said at the port in core. */
import type { SandboxChanges, SandboxProvider, SandboxRules, SandboxSnapshot } from "../core/sandbox.js";
import type { ContentStore } from "./blob-store.js";
import { compareWithSnapshot } from "./compare.js";
import type { AtPoint } from "./crash-points.js";
import { LookUpThreads } from "./look-up-threads.js";
import type { Pruned } from "./prune.js";
import { restoreSnapshot } from "./restore.js";
import type { SandboxLimits } from "./scan.js";
import { DAY_MS, type SnapshotTools, takeSnapshot } from "./snapshot.js";
import { StatCaches } from "./stat-cache.js";
import { verifySnapshot } from "./verify.js";

export const DEFAULT_LIMITS: SandboxLimits = {
  entries: 200_000,
  bytes: 10 * 1024 ** 3,
  pathBytes: 1_024,
};

export interface SnapshotProviderOptions {
  readonly name: string;
  readonly store: ContentStore;
  /** For what is remembered of directories; on the file system that they are on, else nothing is. */
  readonly cacheFolder: string;
  readonly limits?: Partial<SandboxLimits>;
  /** For tests. */
  readonly atPoint?: AtPoint;
}

export abstract class SnapshotProvider implements SandboxProvider {
  readonly name: string;
  protected readonly tools: SnapshotTools;

  constructor({ name, store, cacheFolder, limits, atPoint = () => {} }: SnapshotProviderOptions) {
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

  /** Forgets directories of which no snapshot was taken for a day: they cost time, should they come again. */
  protected sweepCaches(): void {
    this.tools.caches.sweep(DAY_MS);
  }

  abstract prune(
    kept: ReadonlySet<string>,
    options: { readonly dryRun: boolean; readonly minAgeMs?: number },
  ): Promise<Pruned>;
}
