/** Whether a value is a plan. By structure: whoever made it may have loaded another copy of this library. */
import type { AnyPlan } from "./typed-plan.js";

export function isPlan(value: unknown): value is AnyPlan {
  const plan = value as Partial<AnyPlan> | null;
  return typeof plan === "object" && plan !== null && plan.code instanceof Map && typeof plan.name === "string";
}
