/** `noop`: does nothing. Joins branches, and stands in for a step while a plan is being written. */
import type { StepHandler } from "../core/handler.js";

/** Takes anything; its output is `with.output`, else null. */
export const noopHandler: StepHandler = {
  name: "noop",
  check: () => [],
  run: async (call) => ({ kind: "completed", output: call.with.output ?? null }),
};
