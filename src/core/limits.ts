/** Limits that steps of all plans share by a key: how many of their attempts run at once, and how many start within a window. */
import { formatDurationMs } from "./duration.js";
import { StoreUnsuitableError } from "./errors.js";

/** `concurrency` of a step: at most so many attempts run at once of all steps that name the key. */
export interface ConcurrencyLimit {
  readonly key: string;
  readonly limit: number;
}

/** `rate` of a step: at most `max` attempts start within any `perMs` of all steps that name the key. */
export interface RateLimit {
  readonly key: string;
  readonly max: number;
  readonly perMs: number;
}

export interface Limits {
  readonly concurrency?: ConcurrencyLimit;
  readonly rate?: RateLimit;
}

/** What a step waits for. */
export type AwaitedLimit =
  | ({ readonly kind: "concurrency" } & ConcurrencyLimit)
  | ({ readonly kind: "rate" } & RateLimit);

/** The store keeps the time of each start that a window may hold. */
export const MOST_STARTS = 100_000;

/** The part of a number that one of several shards has: each lets so many through, and all together no more than there are. */
export function shareOf(most: number, shard: number, shards: number): number {
  return Math.floor(most / shards) + (shard < most % shards ? 1 : 0);
}

/** Refuses what leaves a shard without a share: its plans would wait forever. @throws StoreUnsuitableError */
export function requireShares(steps: Iterable<Limits & { readonly id: string }>, shards: number): void {
  if (shards === 1) return;
  for (const { id, concurrency, rate } of steps) {
    const refuse = (what: string, most: number) => {
      const facts = `Step ${id} has ${what} of ${most}, and the store has ${shards} shards, which divide it`;
      throw new StoreUnsuitableError(`${facts}: it must be at least ${shards}`, { step: id, shards });
    };
    if (concurrency && concurrency.limit < shards) refuse(`the concurrency ${concurrency.key}`, concurrency.limit);
    if (rate && rate.max < shards) refuse(`the rate ${rate.key}`, rate.max);
  }
}

/** @param inUse how many places of a concurrency are taken */
export function describeLimit(awaited: AwaitedLimit, inUse: number): string {
  if (awaited.kind === "concurrency") return `the limit ${awaited.key} (${inUse} of ${awaited.limit} in use)`;
  return `the rate ${awaited.key} (${awaited.max} in ${formatDurationMs(awaited.perMs)})`;
}
