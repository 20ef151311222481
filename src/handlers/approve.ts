/** `approve`: waits, without holding a worker, until a person approves or rejects. */
import type { StepHandler } from "../core/handler.js";
import { askApproval } from "./ask.js";
import { checkFields, type Fields, field, isText, refuseFaults } from "./check-fields.js";

const FIELDS: Fields = {
  required: ["message"],
  checks: new Map([
    ["message", field("a non-empty string", isText)],
    ["onReject", field("cancel or continue", (value) => value === "cancel" || value === "continue")],
  ]),
};

/** `with: { message, onReject? }`. A rejection cancels the plan unless `onReject` is `continue`. */
export const approveHandler: StepHandler = {
  name: "approve",
  check: (input) => checkFields(input, FIELDS, "declared"),
  run: async (call) => {
    refuseFaults(call, checkFields(call.with, FIELDS, "resolved"));
    return askApproval(call.with.message as string, call.with.onReject === "continue" ? "continue" : "cancel");
  },
};
