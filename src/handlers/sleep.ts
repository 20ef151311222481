/** `sleep`: a durable timer. The step is parked until it is over, so no worker is held and a restart loses nothing. */
import { parseDurationMs } from "../core/duration.js";
import { NonRetryableError } from "../core/errors.js";
import type { StepHandler } from "../core/handler.js";
import type { Json, JsonObject } from "../core/json.js";
import {
  type CheckMode,
  checkFields,
  type FieldFault,
  type Fields,
  field,
  isWait,
  LONGEST_WAIT_MS,
  refuseFaults,
} from "./check-fields.js";

const FIELDS: Fields = {
  required: [],
  checks: new Map([
    ["for", field('a duration such as 90000 or "90s", 10 years at most', isWait)],
    [
      "until",
      field(
        'a date such as "2027-01-31" (UTC) or "2027-01-31T09:30:00+02:00"',
        (value) => parseInstant(value) !== null,
      ),
    ],
  ]),
};

/** `with: { for: duration }` counts from the first attempt, `{ until: date }` doesn't wait at all once it is past. */
export const sleepHandler: StepHandler = {
  name: "sleep",
  check: (input) => checkSleep(input, "declared"),
  run: async (call) => {
    refuseFaults(call, checkSleep(call.with, "resolved"));
    const dueInMs = parseDurationMs(call.with.for) ?? parseInstant(call.with.until)! - Date.now();
    if (call.woken !== null || dueInMs <= 0) return { kind: "completed", output: null };
    if (dueInMs > LONGEST_WAIT_MS)
      throw new NonRetryableError(`Step ${call.stepId} can't sleep for more than 10 years`);
    return { kind: "parked", wait: "timer", dueInMs, ask: null };
  },
};

function checkSleep(input: JsonObject, mode: CheckMode): readonly FieldFault[] {
  const faults = checkFields(input, FIELDS, mode);
  const given = ["for", "until"].filter((key) => Object.hasOwn(input, key)).length;
  return given === 1 ? faults : [{ path: "", message: "exactly one of for and until must be there" }, ...faults];
}

const ISO_DATE = /^(\d{4}-\d{2}-\d{2})(?:T\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:Z|[+-]\d{2}:\d{2}))?$/;

/** Milliseconds since 1970, or null. A time without a zone would mean another moment on each worker. */
function parseInstant(value: Json | undefined): number | null {
  const day = typeof value === "string" ? ISO_DATE.exec(value)?.[1] : undefined;
  // Date.parse turns the 30th of February into a day of March.
  if (day === undefined || !isCalendarDay(day)) return null;
  const instant = Date.parse(value as string);
  return Number.isNaN(instant) ? null : instant;
}

function isCalendarDay(day: string): boolean {
  const parsed = Date.parse(day);
  return !Number.isNaN(parsed) && new Date(parsed).toISOString().startsWith(day);
}
