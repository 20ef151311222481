/** `concurrency` and `rate` of a step that is written in code. */
import { isId } from "../core/ids.js";
import { type ConcurrencyLimit, type Limits, MOST_STARTS, type RateLimit } from "../core/limits.js";
import { durationMs, type Refuse, refuseUnknownKeys, show } from "./define-plan.js";
import type { RateOptions } from "./typed-plan.js";

/** @throws InvalidDefinitionError */
export function limitOptions(
  concurrency: ConcurrencyLimit | undefined,
  rate: RateOptions | undefined,
  refuse: Refuse,
): Limits {
  return {
    ...(concurrency !== undefined && { concurrency: concurrencyLimit(concurrency, refuse) }),
    ...(rate !== undefined && { rate: rateLimit(rate, refuse) }),
  };
}

function concurrencyLimit(options: ConcurrencyLimit, refuse: Refuse): ConcurrencyLimit {
  const refuseIn: Refuse = (fault) => refuse(`has a concurrency that ${fault}`);
  refuseUnknownKeys(options, ["key", "limit"], refuseIn);
  const { key, limit } = options;
  checkKey(key, refuseIn);
  checkCount(limit, "limit", refuseIn);
  return { key, limit };
}

function rateLimit(options: RateOptions, refuse: Refuse): RateLimit {
  const refuseIn: Refuse = (fault) => refuse(`has a rate that ${fault}`);
  refuseUnknownKeys(options, ["key", "max", "per"], refuseIn);
  const { key, max, per } = options;
  checkKey(key, refuseIn);
  checkCount(max, "max", refuseIn);
  if (max > MOST_STARTS) throw refuseIn(`has the max ${max}; the limit is ${MOST_STARTS}`);
  const perMs = durationMs(per, "per", refuseIn);
  if (perMs === undefined) throw refuseIn("has no `per`");
  return { key, max, perMs };
}

function checkKey(key: unknown, refuse: Refuse): void {
  if (!isId(key)) throw refuse(`has the key ${show(key)}, which is no id`);
}

function checkCount(count: unknown, name: string, refuse: Refuse): void {
  if (Number.isSafeInteger(count) && Number(count) >= 1) return;
  throw refuse(`has the ${name} ${show(count)}, which is not a whole number from 1`);
}
