/** Checks of a step's `with`, the same for a document that is validated and for an attempt that begins. */
import { parseDurationMs } from "../core/duration.js";
import { NonRetryableError } from "../core/errors.js";
import { formatPath } from "../core/expression.js";
import type { HandlerCall } from "../core/handler.js";
import type { Json, JsonObject } from "../core/json.js";

export interface FieldFault {
  /** Inside `with`: empty where a key is missing, else such as `allow[0]` or `headers["x-a"]`. */
  readonly path: string;
  readonly message: string;
}

/** `declared` is what a document says, with expressions unresolved; `resolved` is what an attempt gets. */
export type CheckMode = "declared" | "resolved";
export type FieldCheck = (value: Json, path: string, mode: CheckMode) => readonly FieldFault[];

/** What a handler takes: a check for each key, and the keys that must be there. */
export interface Fields {
  readonly required: readonly string[];
  readonly checks: ReadonlyMap<string, FieldCheck>;
}

/** Every fault, in the order of the keys: missing, unknown, wrong. */
export function checkFields(input: JsonObject, fields: Fields, mode: CheckMode): readonly FieldFault[] {
  const faults: FieldFault[] = [];
  for (const key of fields.required) {
    if (!Object.hasOwn(input, key)) faults.push({ path: "", message: `${key} is missing` });
  }
  for (const [key, value] of Object.entries(input)) {
    const check = fields.checks.get(key);
    const path = formatPath("", [key]);
    if (check) faults.push(...check(value, path, mode));
    else faults.push({ path, message: `unknown key ${key}; known are ${[...fields.checks.keys()].join(", ")}` });
  }
  return faults;
}

/** Refuses a resolved `with` that doesn't fit: another attempt would get the same. @throws NonRetryableError */
export function refuseFaults(call: HandlerCall, faults: readonly FieldFault[]): void {
  if (faults.length === 0) return;
  throw new NonRetryableError(`Step ${call.stepId} can't run: ${faults.map((fault) => fault.message).join("; ")}`);
}

/** One value. In a document, a string with an unresolved expression may become anything. */
export function field(rule: string, accepts: (value: Json) => boolean): FieldCheck {
  return (value, path, mode) =>
    (mode === "declared" && hasExpression(value)) || accepts(value)
      ? []
      : [{ path, message: `${path} must be ${rule}` }];
}

/** A list of such values, not empty. */
export function listOf(rule: string, item: FieldCheck): FieldCheck {
  return (value, path, mode) => {
    if (mode === "declared" && hasExpression(value)) return [];
    if (!Array.isArray(value) || value.length === 0) return [{ path, message: `${path} must be a list of ${rule}` }];
    return value.flatMap((entry: Json, index) => item(entry, formatPath(path, [index]), mode));
  };
}

/** What the store's timers can hold. */
export const LONGEST_WAIT_MS = 10 * 365 * 86_400_000;

/** A time that a step waits. */
export function isWait(value: Json): boolean {
  const ms = parseDurationMs(value);
  return ms !== null && ms <= LONGEST_WAIT_MS;
}

export function isText(value: Json): value is string {
  return typeof value === "string" && value.trim() !== "";
}

export function isObject(value: Json): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export function hasExpression(value: Json): boolean {
  return typeof value === "string" && value.includes("${{");
}
