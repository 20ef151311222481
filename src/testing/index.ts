/** `waymark/testing`: what the tests of a plan import. */

export { type Difference, NotCrashSafeError } from "../core/errors.js";
export type { AnsweredWait, RecordedDecision } from "./memory-plan.js";
export type { Call, Crash, PersonsAnswer } from "./run-in-memory.js";
export {
  type CrashAt,
  type FakeContext,
  type PlanRun,
  type StepFakes,
  type StepRun,
  type TestedPlan,
  type TestPlanOptions,
  testPlan,
} from "./test-plan.js";
