/**
 * What callers hand to the library, looked at before anything is done with it. The compiler refuses most of it; a caller in
 * plain JavaScript, or one that passes on what it was sent, gets one error that says what is wrong.
 */
import { inspect } from "node:util";
import { UsageError } from "../core/errors.js";
import { isId } from "../core/ids.js";
import { PLAN_STATES } from "../core/plan.js";
import { isCount, isPrefix, MOST_CONCURRENCY, MOST_SHARDS, PREFIXES } from "../core/setting-rules.js";
import { parseStoreUrl } from "../core/store-address.js";
import { isHandler } from "../define/define-handler.js";
import { isPlan } from "../define/is-plan.js";
import type { AnyPlan } from "../define/typed-plan.js";
import type { ListOptions } from "./client.js";
import type { ClientOptions } from "./create-client.js";
import type { WorkerOptions } from "./create-worker.js";

/** @throws UsageError */
export function checkStoreOptions(options: Pick<ClientOptions, "redis" | "prefix" | "shards">): void {
  const { redis, prefix, shards } = options;
  if (redis != null && typeof redis !== "string" && typeof redis !== "object") {
    throw misfit("redis", "an address, ioredis options or a client", redis);
  }
  if (typeof redis === "string") checkAddress(redis);
  if (prefix !== undefined && !isPrefix(prefix)) throw misfit("prefix", PREFIXES, prefix);
  if (shards !== undefined && !isCount(shards, MOST_SHARDS)) {
    throw misfit("shards", `a whole number from 1 to ${MOST_SHARDS}`, shards);
  }
}

/** @throws UsageError that never repeats the address: it may hold a password */
function checkAddress(url: string): void {
  try {
    parseStoreUrl(url);
  } catch (error) {
    throw new UsageError(`redis ${(error as Error).message}`);
  }
}

/** @throws UsageError */
export function checkWorkerOptions(options: WorkerOptions<readonly AnyPlan[]>): void {
  checkStoreOptions(options);
  const { plans, queues, concurrency, handlers = [] } = options;
  if (!Array.isArray(plans) || !plans.every(isPlan)) {
    throw misfit("plans", "a list of plans made with definePlan", plans);
  }
  const names = [...new Set(plans as readonly AnyPlan[])].map(({ name }) => name);
  const twice = names.find((name, index) => names.indexOf(name) < index);
  if (twice !== undefined) throw new UsageError(`plans has two plans ${twice}, and a worker runs one version of each`);
  if (queues !== undefined && (!Array.isArray(queues) || queues.length === 0 || !queues.every(isId))) {
    throw misfit("queues", "a list of names of queues", queues);
  }
  if (concurrency !== undefined && !isCount(concurrency, MOST_CONCURRENCY)) {
    throw misfit("concurrency", `a whole number from 1 to ${MOST_CONCURRENCY}`, concurrency);
  }
  if (!Array.isArray(handlers) || !handlers.every(isHandler)) {
    throw misfit("handlers", "a list of handlers made with defineHandler", handlers);
  }
}

/** @throws UsageError */
export function checkListOptions({ states = [], name, createdSince, limit }: ListOptions): void {
  if (!Array.isArray(states)) throw misfit("states", "a list of states of plans", states);
  const unknown = states.find((state) => !PLAN_STATES.includes(state));
  if (unknown !== undefined) {
    throw new UsageError(`There is no state "${unknown}"; the states are ${PLAN_STATES.join(", ")}`);
  }
  if (name !== undefined && typeof name !== "string") throw misfit("name", "a text", name);
  const isTime = createdSince instanceof Date || typeof createdSince === "number";
  if (createdSince !== undefined && !(isTime && Number.isFinite(Number(createdSince)))) {
    throw misfit("createdSince", "a date, or milliseconds since 1970", createdSince);
  }
  if (limit !== undefined && !isCount(limit)) throw misfit("limit", "a whole number of at least 1", limit);
}

/** @throws UsageError where a text is something else, or empty */
export function checkTexts(options: Readonly<Record<string, unknown>>, names: readonly string[]): void {
  for (const name of names) {
    const value = options[name];
    if (value === undefined || (typeof value === "string" && value !== "")) continue;
    throw misfit(name, "a text that is not empty", value);
  }
}

export function misfit(option: string, wanted: string, given: unknown): UsageError {
  const shown = typeof given === "string" ? JSON.stringify(given) : inspect(given, { depth: 0, breakLength: Infinity });
  return new UsageError(`${option} must be ${wanted}, not ${shown.slice(0, 80)}`, { details: { option } });
}
