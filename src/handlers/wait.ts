/** `wait`: waits, without holding a worker, for a signal; its data becomes the output. */
import type { StepHandler } from "../core/handler.js";
import { checkFields, type Fields, field, isObject, refuseFaults } from "./check-fields.js";

const FIELDS: Fields = {
  required: [],
  checks: new Map([["schema", field("a JSON Schema object", isObject)]]),
};

/** `with: { schema? }`: a JSON Schema that the signal's data must fit. Without one, any data does. */
export const waitHandler: StepHandler = {
  name: "wait",
  check: (input) => checkFields(input, FIELDS, "declared"),
  run: async (call) => {
    refuseFaults(call, checkFields(call.with, FIELDS, "resolved"));
    return {
      kind: "parked",
      wait: "signal",
      dueInMs: null,
      ask: {
        question: `Signal to ${call.stepId}`,
        options: [],
        onReject: "continue",
        schema: call.with.schema ?? null,
      },
    };
  },
};
