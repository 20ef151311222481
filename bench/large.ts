/** Plans of the largest size, over plans of ten steps: what a step takes shall not depend on how many there are. */
import { type Figure, figure, ratios } from "./support/figure.js";
import type { Measured } from "./support/meter.js";
import { type Shape, stepsOf } from "./support/plans.js";
import { onServer, runPlans } from "./support/runs.js";
import type { Scenario, Size } from "./support/scenario.js";

const SMALL: Shape = { kind: "chain", steps: 10 };
const SIZES = {
  full: { rounds: 3, chain: 100_000, width: 10_000, smallPlans: 1_000 },
  tiny: { rounds: 1, chain: 100, width: 50, smallPlans: 10 },
} as const satisfies Record<Size, object>;

export const large: Scenario = {
  name: "large",
  about: "a chain of 100,000 steps, and a fan-out of 10,000 with its join",
  async run(size, talk) {
    const { rounds, chain, width, smallPlans } = SIZES[size];
    // A chain has one step to run at a time, so that its measure is a single slot with plans enough to be busy.
    const pairs: { shape: Shape; name: string; concurrency: number }[] = [
      { shape: { kind: "chain", steps: chain }, name: `chain of ${chain}`, concurrency: 1 },
      { shape: { kind: "fan-out", width }, name: `fan-out of ${width} and its join`, concurrency: 50 },
    ];
    const figures: Figure[] = [];
    for (const { shape, name, concurrency } of pairs) {
      const small: number[] = [];
      const big: number[] = [];
      for (let round = 0; round < rounds; round++) {
        small.push(await microsPerStep(SMALL, smallPlans, concurrency));
        big.push(await microsPerStep(shape, 1, concurrency));
        talk(
          `${name}, round ${round + 1} of ${rounds}: ${big.at(-1)!.toFixed(0)} µs a step, small plans ${small.at(-1)!.toFixed(0)}`,
        );
      }
      figures.push(
        figure(`10-step plans, ${concurrency} at once`, "µs/step", small),
        figure(name, "µs/step", big),
        figure(`${name} over 10-step plans`, "×", ratios(big, small), { atMost: 1.5 }),
      );
    }
    return figures;
  },
};

/** Completes them all; the first twentieth is warm-up. */
async function microsPerStep(shape: Shape, plans: number, concurrency: number): Promise<number> {
  const totalSteps = plans * stepsOf(shape);
  const warmUpSteps = Math.ceil(totalSteps / 20);
  const run = (url: string): Promise<Measured> =>
    runPlans({ url, shape, concurrency, warmUpSteps, totalSteps, output: "nothing" });
  const { ms, steps } = await onServer(run);
  return (ms * 1_000) / steps;
}
