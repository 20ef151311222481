/** Identifiers: what people may choose, and what Waymark makes. */
import { randomBytes } from "node:crypto";

/** Ids of plans, steps, phases, handlers and queues. Anything else is refused before it reaches the store. */
export const ID_PATTERN = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;

export function isId(value: unknown): value is string {
  return typeof value === "string" && ID_PATTERN.test(value);
}

/** Of a step of a plan: also of a map's list and of its items, `fix#` and `fix#<key>`. */
export function isStepId(value: unknown): value is string {
  return typeof value === "string" && isId(value.split("#", 1)[0]) && !/[\s|@"\\\p{Cc}]/u.test(value);
}

const CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const WORD = "0123456789abcdefghijklmnopqrstuvwxyz";

/** A plan id nobody chose: sorts by time, short enough to type. */
export function newPlanId(name: string, now: number): string {
  return `${name.slice(0, 96)}-${crockford(now, 10).toLowerCase().slice(2)}${randomWord(4)}`;
}

/** One life of one worker process. A new one is taken whenever the store no longer knows the old one. */
export function newWorkerId(): string {
  return `w${randomWord(9)}`;
}

/**
 * A checkpoint's id follows from its plan and the fence of the attempt that left it, so it is never stored twice:
 * ten digits of time (the fence), sixteen of the plan.
 */
export function checkpointId(planTag: string, fence: number): string {
  return `ckp_${crockford(fence, 10)}${planTag}`;
}

/**
 * A decision's id: the plan's `created` and tag, and its place in the plan's decisions (0 is the root, the submission).
 */
export function decisionId(planTag: string, createdAt: number, ordinal: number): string {
  return `dec_${crockford(createdAt + ordinal, 10)}${planTag}`;
}

/** The place that `decisionId` was made from. */
export function decisionPlace(createdAt: number, id: string): number {
  let at = 0;
  for (const digit of id.slice("dec_".length, "dec_".length + 10)) at = at * 32 + CROCKFORD.indexOf(digit);
  return at - createdAt;
}

/** Sixteen random digits that stand for one plan inside the ids it gives out. */
export function newPlanTag(): string {
  let tag = "";
  for (const byte of randomBytes(16)) tag += CROCKFORD[byte % 32];
  return tag;
}

function crockford(value: number, digits: number): string {
  let text = "";
  let rest = Math.max(0, Math.floor(value));
  for (let i = 0; i < digits; i++) {
    text = CROCKFORD[rest % 32] + text;
    rest = Math.floor(rest / 32);
  }
  return text;
}

function randomWord(length: number): string {
  let word = "";
  for (const byte of randomBytes(length)) word += WORD[byte % 36];
  return word;
}
