/** Plans of any size in one shape, for producers and workers alike: their definitions have to be equal. */
import { randomBytes } from "node:crypto";
import { type AnyPlan, type Context, definePlan } from "waymark";
import { z } from "zod";

export type Shape =
  /** Each step needs the one before it. `lastQueue` is where the last one waits, if not with the others. */
  | { readonly kind: "chain"; readonly steps: number; readonly lastQueue?: string }
  /** One step, `width` that need it, and one that needs all of these. */
  | { readonly kind: "fan-out"; readonly width: number };

export type Run = (context: Context) => Promise<unknown>;

/** The builder as a loop sees it: types that grow with every step are of no use there. */
interface LoopPlan extends AnyPlan {
  step(id: string, options: { readonly needs?: readonly string[]; readonly queue?: string }, run: Run): LoopPlan;
}

export const PLAN_NAME = "bench";
export const INPUT = { customer: "c-1" };

/** 200 bytes as they are stored. */
export const OUTPUT = { blob: randomBytes(94).toString("hex") };

export function planOf(shape: Shape, run: Run): AnyPlan {
  const empty = definePlan(PLAN_NAME, { version: 1, input: z.object({ customer: z.string() }) }) as unknown as LoopPlan;
  switch (shape.kind) {
    case "chain":
      return chain(empty, shape, run);
    case "fan-out":
      return fanOut(empty, shape.width, run);
    default:
      return shape satisfies never;
  }
}

export function stepsOf(shape: Shape): number {
  return shape.kind === "chain" ? shape.steps : shape.width + 2;
}

function chain(empty: LoopPlan, { steps, lastQueue }: Shape & { kind: "chain" }, run: Run): AnyPlan {
  let plan = empty;
  for (let i = 1; i <= steps; i++) {
    plan = plan.step(`s${i}`, i === steps && lastQueue !== undefined ? { queue: lastQueue } : {}, run);
  }
  return plan;
}

function fanOut(empty: LoopPlan, width: number, run: Run): AnyPlan {
  let plan = empty.step("root", {}, run);
  const branches = Array.from({ length: width }, (_, i) => `b${i + 1}`);
  for (const id of branches) plan = plan.step(id, { needs: ["root"] }, run);
  return plan.step("join", { needs: branches }, run);
}
