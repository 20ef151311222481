/** `ask`: waits, without holding a worker, until a person chooses one of the options. */
import type { HandlerResult, StepHandler } from "../core/handler.js";
import type { JsonObject } from "../core/json.js";
import {
  type CheckMode,
  checkFields,
  type FieldFault,
  type Fields,
  field,
  hasExpression,
  isText,
  listOf,
  refuseFaults,
} from "./check-fields.js";

const FIELDS: Fields = {
  required: ["options"],
  checks: new Map([
    ["question", field("a non-empty string", isText)],
    ["message", field("a non-empty string", isText)],
    ["options", listOf("non-empty strings", field("a non-empty string", isText))],
  ]),
};

/** `with: { question, options }`; `message` is another word for the question, as in `approve`. */
export const askHandler: StepHandler = {
  name: "ask",
  check: (input) => checkAsk(input, "declared"),
  run: async (call) => {
    refuseFaults(call, checkAsk(call.with, "resolved"));
    const { question, message, options } = call.with;
    return askPerson((question ?? message) as string, options as readonly string[]);
  },
};

/** What a person is asked. Any answer lets the plan go on. */
export function askPerson(question: string, options: readonly string[]): HandlerResult {
  return {
    kind: "parked",
    wait: "choice",
    dueInMs: null,
    ask: { question, options, onReject: "continue", schema: null },
  };
}

/** What a person is asked to approve. */
export function askApproval(question: string, onReject: "cancel" | "continue"): HandlerResult {
  const options = ["approve", "reject"];
  return { kind: "parked", wait: "approval", dueInMs: null, ask: { question, options, onReject, schema: null } };
}

function checkAsk(input: JsonObject, mode: CheckMode): readonly FieldFault[] {
  const faults = checkFields(input, FIELDS, mode);
  const asked = ["question", "message"].filter((key) => Object.hasOwn(input, key)).length;
  const { options } = input;
  const twice = Array.isArray(options)
    ? options.find((option, i) => !hasExpression(option) && options.indexOf(option) < i)
    : undefined;
  return [
    ...(asked === 1 ? [] : [{ path: "", message: "exactly one of question and message must be there" }]),
    ...faults,
    ...(twice === undefined ? [] : [{ path: "options", message: `options names ${JSON.stringify(twice)} twice` }]),
  ];
}
