/** `concurrency` and `rate` of a step: what it shares with the steps of all plans that name the same key. */
import { WAITING_HANDLERS } from "../definition.js";
import { type ConcurrencyLimit, type Limits, MOST_STARTS, type RateLimit } from "../limits.js";
import { checkKeys } from "./keys.js";
import type { Field, LocatedDocument } from "./located.js";
import { readDurationMs, readId } from "./values.js";

type Fields = ReadonlyMap<string, Field>;

export function readLimits(document: LocatedDocument, fields: Fields, uses: string): Limits {
  const concurrencyAt = fields.get("concurrency");
  const rateAt = fields.get("rate");
  // Of a map, a number says how many of its items run at once: see `readMap`.
  const isOfMap = concurrencyAt && fields.has("map") && document.scalar(concurrencyAt) !== undefined;
  for (const at of isOfMap ? [rateAt] : [concurrencyAt, rateAt]) {
    if (at && WAITING_HANDLERS.has(uses)) document.fault(at, `${uses} only waits: it needs no ${at.key}`);
  }
  const concurrency = concurrencyAt && !isOfMap ? readConcurrency(document, concurrencyAt) : null;
  const rate = rateAt ? readRate(document, rateAt) : null;
  return { ...(concurrency && { concurrency }), ...(rate && { rate }) };
}

function readConcurrency(document: LocatedDocument, at: Field): ConcurrencyLimit | null {
  const fields = document.fields(at);
  if (fields === null) return null;
  checkKeys(document, at, fields, ["key", "limit"], []);
  const key = readKey(document, at, fields);
  const limit = readCount(document, at, fields, "limit");
  return key === null || limit === null ? null : { key, limit };
}

function readRate(document: LocatedDocument, at: Field): RateLimit | null {
  const fields = document.fields(at);
  if (fields === null) return null;
  checkKeys(document, at, fields, ["key", "max", "per"], []);
  const key = readKey(document, at, fields);
  const max = readCount(document, at, fields, "max");
  const perMs = readPerMs(document, at, fields);
  if (max !== null && max > MOST_STARTS) {
    document.fault(fields.get("max")!, `${at.path}.max is ${max}; the limit is ${MOST_STARTS}`);
  }
  return key === null || max === null || perMs === null ? null : { key, max, perMs };
}

function readKey(document: LocatedDocument, at: Field, fields: Fields): string | null {
  const key = required(document, at, fields, "key");
  return key ? readId(document, key) : null;
}

function readCount(document: LocatedDocument, at: Field, fields: Fields, name: string): number | null {
  const count = required(document, at, fields, name);
  return count ? document.count(count) : null;
}

function readPerMs(document: LocatedDocument, at: Field, fields: Fields): number | null {
  const per = required(document, at, fields, "per");
  const perMs = per ? readDurationMs(document, per) : null;
  if (perMs === 0) document.fault(per!, `${per!.path} must be longer than 0`);
  return perMs;
}

function required(document: LocatedDocument, at: Field, fields: Fields, name: string): Field | undefined {
  const field = fields.get(name);
  if (!field) document.fault({ offset: at.keyOffset, path: at.path }, `${at.path} has no ${name}`);
  return field;
}
