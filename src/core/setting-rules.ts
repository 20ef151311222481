/** What settings may be, wherever they are given: as flags, in the environment or a file, or as options of the library. */

export const MOST_SHARDS = 1_024;
export const MOST_CONCURRENCY = 10_000;

export const PREFIXES = '1 to 64 letters, digits, ".", "_" or "-"';

/** Braces would change the hash tag that keeps a plan's keys together; a colon separates the parts of a key. */
export function isPrefix(value: unknown): value is string {
  return typeof value === "string" && /^[A-Za-z0-9._-]{1,64}$/.test(value);
}

export function isCount(value: unknown, most = Number.MAX_SAFE_INTEGER): value is number {
  return Number.isSafeInteger(value) && Number(value) >= 1 && Number(value) <= most;
}
