/** Tells an outage of Redis, and a Redis that refuses what plans need, from everything else that can go wrong in a call. */
import { StoreUnavailableError, StoreUnsuitableError, WaymarkError } from "../core/errors.js";

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
const FOUND_NO_CLUSTER = "ClusterAllFailedError";
/** It has no class for a cluster that went on changing. */
const CLUSTER_GAVE_UP = "Too many Cluster redirections";
/** First words of what a server answers while it is starting, or its cluster is changing. */
const PASSING = new Set(["LOADING", "CLUSTERDOWN", "MASTERDOWN", "TRYAGAIN"]);

/** Whether the store may answer again if it is asked again. */
export function isStoreOutage(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  if (error instanceof WaymarkError) return error.code === "STORE_UNAVAILABLE";
  if (error.name === GAVE_UP || error.name === FOUND_NO_CLUSTER) return true;
  if (error.message.startsWith(CLUSTER_GAVE_UP)) return true;
  if (error.name === "ReplyError") return PASSING.has(firstWord(error));
  const { code, syscall } = error as NodeJS.ErrnoException;
  return OUTAGE_CODES.has(code) && (syscall === "connect" || syscall === "read" || syscall === "write");
}

/** What a server answers begins with a word. These stand for a server, or a user, that is not the right one. */
const REFUSALS: Readonly<Record<string, string>> = {
  NOPERM: "This user of Redis may not do that; docs/operating.md has the rights that Waymark needs",
  READONLY: "This Redis is a replica, which refuses writes; give the address of its primary",
  MOVED: "This Redis is one node of a cluster; give several of its nodes, separated by commas",
};

/** The error that a person should see. */
export function asStoreError(error: unknown): unknown {
  if (error instanceof WaymarkError) return error;
  if (!isStoreOutage(error)) return asRefusal(error) ?? error;
  // ioredis's own sentence is about its settings.
  const { name, message } = error as Error;
  const reason = name === GAVE_UP ? "the connection was lost and did not come back" : message;
  return new StoreUnavailableError("the configured store", reason, { cause: error });
}

/** The same store, all of whose failures are errors of ours: what ioredis throws has no code that a caller could know. */
export function withOwnErrors<S extends object>(store: S): S {
  return new Proxy(store, {
    get(_, name) {
      const value: unknown = Reflect.get(store, name);
      if (name === "schedules") return withOwnErrors(value as object);
      return typeof value !== "function" ? value : (...given: unknown[]) => inOwnErrors(value.apply(store, given));
    },
  });
}

function inOwnErrors(answer: unknown): unknown {
  if (answer instanceof Promise) return answer.catch(throwOwn);
  if (typeof answer === "object" && answer !== null && Symbol.asyncIterator in answer) {
    return eachInOwnErrors(answer as AsyncIterable<unknown>);
  }
  return answer;
}

async function* eachInOwnErrors(items: AsyncIterable<unknown>): AsyncGenerator<unknown, void, undefined> {
  try {
    yield* items;
  } catch (error) {
    throwOwn(error);
  }
}

function throwOwn(error: unknown): never {
  throw asStoreError(error);
}

function asRefusal(error: unknown): StoreUnsuitableError | null {
  if (!(error instanceof Error) || error.name !== "ReplyError") return null;
  const refusal = REFUSALS[firstWord(error)];
  return refusal === undefined ? null : new StoreUnsuitableError(`${refusal} (${error.message})`);
}

function firstWord({ message }: Error): string {
  return message.split(" ", 1)[0]!;
}
