/** `wait`: waits, without holding a worker, for a signal; its data becomes the output. */
import { formatDurationMs, parseDurationMs } from "../core/duration.js";
import { NonRetryableError } from "../core/errors.js";
import type { StepHandler } from "../core/handler.js";
import { checkValueSchema } from "../core/input.js";
import type { JsonObject } from "../core/json.js";
import {
  type CheckMode,
  checkFields,
  type FieldFault,
  type Fields,
  field,
  hasExpression,
  isObject,
  isWait,
  refuseFaults,
} from "./check-fields.js";

const FIELDS: Fields = {
  required: [],
  checks: new Map([
    ["schema", checkSchema],
    ["timeout", field('a duration above 0 such as 90000 or "30m", 10 years at most', isTimeout)],
    ["onTimeout", field("fail or continue", (value) => value === "fail" || value === "continue")],
  ]),
};

/**
 * `with: { schema?, timeout?, onTimeout? }`: a JSON Schema that the signal's data must fit, and how long the step waits
 * before it fails, or goes on with null for its output.
 */
export const waitHandler: StepHandler = {
  name: "wait",
  check: (input) => checkWait(input, "declared"),
  run: async (call) => {
    refuseFaults(call, checkWait(call.with, "resolved"));
    const timeoutMs = parseDurationMs(call.with.timeout);
    if (timeoutMs !== null && call.woken !== null) {
      if (call.with.onTimeout === "continue") return { kind: "completed", output: null };
      throw new NonRetryableError(`no signal came within ${formatDurationMs(timeoutMs)}`);
    }
    return {
      kind: "parked",
      wait: "signal",
      dueInMs: timeoutMs,
      ask: {
        question: `Signal to ${call.stepId}`,
        options: [],
        onReject: "continue",
        schema: call.with.schema ?? null,
      },
    };
  },
};

function checkWait(input: JsonObject, mode: CheckMode): readonly FieldFault[] {
  const faults = checkFields(input, FIELDS, mode);
  if (!Object.hasOwn(input, "onTimeout") || Object.hasOwn(input, "timeout")) return faults;
  return [...faults, { path: "onTimeout", message: "onTimeout says what a timeout does, and there is no timeout" }];
}

/** The same for every run, because whoever sends a signal checks it before the step waits. */
function checkSchema(value: JsonObject[string], path: string): readonly FieldFault[] {
  if (!isObject(value)) return [{ path, message: `${path} must be a JSON Schema object` }];
  if (hasExpression(JSON.stringify(value))) return [{ path, message: `${path} can't hold an expression` }];
  return checkValueSchema(value, path);
}

function isTimeout(value: JsonObject[string]): boolean {
  return isWait(value) && parseDurationMs(value) !== 0;
}
