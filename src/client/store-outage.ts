/** Tells an outage of Redis from everything else that can go wrong in a call. */
import { StoreUnavailableError, WaymarkError } from "../core/errors.js";

const OUTAGE_CODES: ReadonlySet<unknown> = new Set([
  "ECONNREFUSED",
  "ECONNRESET",
  "ENOENT",
  "EPIPE",
  "ETIMEDOUT",
  "EHOSTUNREACH",
  "ENOTFOUND",
]);

/** What ioredis gives up with, after its own retries. */
const GAVE_UP = "MaxRetriesPerRequestError";

/** Whether the store may answer again if it is asked again. */
export function isStoreOutage(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  if (error instanceof WaymarkError) return error.code === "STORE_UNAVAILABLE";
  if (error.name === GAVE_UP) return true;
  const { code, syscall } = error as NodeJS.ErrnoException;
  return OUTAGE_CODES.has(code) && (syscall === "connect" || syscall === "read" || syscall === "write");
}

/** The error that a person should see. */
export function asStoreUnavailable(error: unknown): unknown {
  if (error instanceof WaymarkError || !isStoreOutage(error)) return error;
  // ioredis's own sentence is about its settings.
  const { name, message } = error as Error;
  const reason = name === GAVE_UP ? "the connection was lost and did not come back" : message;
  return new StoreUnavailableError("the configured store", reason, { cause: error });
}
