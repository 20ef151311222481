/** A plan of one step, for workers that are killed while it runs. */
import { type AnyPlan, definePlan } from "waymark";
import { z } from "zod";
import type { Run } from "./plans.js";

export const HELD_PLAN = "held";

export function heldPlan(run: Run): AnyPlan {
  return definePlan(HELD_PLAN, { version: 1, input: z.object({}) }).step("held", run as () => Promise<null>);
}
