/** Plans that wait to be resumed: all their steps are done but the last one, which no worker serves. */
import { createClient } from "waymark";
import { until } from "../../test/support/until.js";
import { INPUT, planOf, type Shape } from "./plans.js";
import { measure, withChild } from "./runs.js";

/** @returns its id */
export async function anInterruptedPlan(url: string, doneSteps: number): Promise<string> {
  const planId = `interrupted-after-${doneSteps}`;
  const shape: Shape = { kind: "chain", steps: doneSteps + 1, lastQueue: "unserved" };
  const settings = { url, shape, output: "nothing", concurrency: 1, warmUpSteps: 0, totalSteps: doneSteps };
  const client = createClient({ redis: url });
  try {
    await client.submit(
      planOf(shape, async () => null),
      INPUT,
      { planId },
    );
    await withChild("plans", settings, measure);
    await until(`${doneSteps} steps to be done`, async () => {
      const { state, lastCompletedStep } = await client.summary(planId);
      return state === "interrupted" && lastCompletedStep === `s${doneSteps}`;
    });
    return planId;
  } finally {
    await client.close();
  }
}
