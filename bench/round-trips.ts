/** What a worker sends for a step, as MONITOR shows it: its start, its beats and its waiting are in the figure. */

import { countCommands } from "./support/commands.js";
import { figure } from "./support/figure.js";
import type { Shape } from "./support/plans.js";
import { addJobs, measure, onServer, QUEUE, submitPlans, withChild } from "./support/runs.js";
import type { Scenario, Size } from "./support/scenario.js";

const SHAPE = { kind: "chain", steps: 10 } as const satisfies Shape;
const PLANS: Readonly<Record<Size, number>> = { full: 500, tiny: 20 };

export const roundTrips: Scenario = {
  name: "round-trips",
  about: "commands sent to Redis for a step",
  async run(size) {
    const plans = PLANS[size];
    const totalSteps = plans * SHAPE.steps;
    const chain = await onServer((url) => {
      const settings = { url, queue: QUEUE, steps: SHAPE.steps, concurrency: 10, warmUpSteps: 0, totalSteps };
      return withChild("bullmq-chain", settings, async (child) => {
        await addJobs(url, plans);
        return countCommands(url, () => measure(child));
      });
    });
    const durable = (concurrency: number) =>
      onServer((url) => {
        const settings = { url, shape: SHAPE, output: "200 bytes", concurrency, warmUpSteps: 0, totalSteps };
        return withChild("plans", settings, async (child) => {
          await submitPlans(url, SHAPE, plans);
          return countCommands(url, () => measure(child));
        });
      });
    const alone = await durable(1);
    const together = await durable(10);
    return [
      figure("raw BullMQ chain", "commands/step", [chain.total / totalSteps]),
      figure("durable plan, one step at a time", "commands/step", [alone.total / totalSteps], { atMost: 1.05 }),
      figure("durable plan, 10 at once, recorded together", "commands/step", [together.total / totalSteps], {
        atMost: 1.05,
      }),
    ];
  },
};
