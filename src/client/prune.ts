/** Prune, for library and command line alike: plans that are over for long, then definitions and snapshots that no plan names any more. */
import { type Duration, parseDurationMs } from "../core/duration.js";
import { UsageError } from "../core/errors.js";
import type { PlanStore } from "../core/ports.js";
import type { OpenSandboxes } from "./sandboxes.js";

export interface PruneOptions {
  /** How long a plan must be completed or cancelled: 30 days unless given. */
  readonly olderThan?: Duration;
  /** Whether snapshots go as well: true unless given. */
  readonly files?: boolean;
  readonly dryRun?: boolean;
}

/** What was removed, or with `dryRun` would be. */
export interface PruneReport {
  readonly olderThanMs: number;
  readonly plans: readonly string[];
  /** What they took in Redis. */
  readonly storeBytes: number;
  /** Definitions that no plan has any more. */
  readonly definitions: number;
  readonly snapshots: number;
  /** Contents of files that no snapshot has any more, and their bytes with those of the snapshots. */
  readonly files: number;
  readonly bytes: number;
  readonly dryRun: boolean;
}

const DEFAULT_OLDER_THAN: Duration = "30d";

/**
 * Safe beside everything else, and to be repeated where it was cut off: a plan goes whole or not at all, and what is named
 * or young stays.
 */
export async function prunePlans(
  store: PlanStore,
  { olderThan = DEFAULT_OLDER_THAN, files = true, dryRun = false }: PruneOptions,
  openSandboxes: OpenSandboxes,
): Promise<PruneReport> {
  const olderThanMs = parseDurationMs(olderThan);
  if (olderThanMs === null) {
    throw new UsageError(`${JSON.stringify(olderThan)} is no duration, such as "30d"`, { details: { olderThan } });
  }
  const plans: string[] = [];
  let storeBytes = 0;
  for await (const { planId, bytes } of store.prunablePlans(olderThanMs)) {
    if (!dryRun && !(await store.removePlan(planId, olderThanMs))) continue;
    plans.push(planId);
    storeBytes += bytes;
  }
  const definitions = await store.pruneDefinitions(new Set(plans), dryRun);
  const removed = { snapshots: 0, files: 0, bytes: 0 };
  if (files) {
    // Only now, so that whatever names a snapshot of a plan that is gone has done so.
    const named = await store.namedSnapshots(new Set(plans));
    for (const provider of (await openSandboxes()).present) {
      const pruned = await provider.prune(named, { dryRun });
      removed.snapshots += pruned.snapshots;
      removed.files += pruned.files;
      removed.bytes += pruned.bytes;
    }
  }
  return { olderThanMs, plans, storeBytes, definitions, ...removed, dryRun };
}
