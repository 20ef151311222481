/** How long a step takes where one plan runs alone: from its start to the start of the next. A chain of BullMQ jobs first. */
import { type Figure, figure, quantile, ratios } from "./support/figure.js";
import type { Measured } from "./support/meter.js";
import { type AloneOptions, onServer, runChainAlone, runPlansAlone } from "./support/runs.js";
import { rotated, type Scenario, type Size } from "./support/scenario.js";

const SIZES = {
  full: { rounds: 9, plans: 150, warmUpPlans: 50 },
  tiny: { rounds: 1, plans: 10, warmUpPlans: 2 },
} as const satisfies Record<Size, object>;

type Kind = "chain" | "plans";
const KINDS: readonly Kind[] = ["chain", "plans"];
const RUNS: Readonly<Record<Kind, (options: AloneOptions) => Promise<Measured>>> = {
  chain: runChainAlone,
  plans: runPlansAlone,
};
/** What a worker has where nothing else is said. */
const CONCURRENCY = 10;

export const latency: Scenario = {
  name: "latency",
  about: "ms a step of one 10-step plan alone",
  async run(size, talk) {
    const { rounds, ...plans } = SIZES[size];
    const figures: Figure[] = [];
    for (const fsync of ["everysec", "always"] as const) {
      const samples: Record<Kind, number[]> = { chain: [], plans: [] };
      for (let round = 0; round < rounds; round++) {
        for (const kind of rotated(KINDS, round)) {
          const options = { concurrency: CONCURRENCY, steps: 10, ...plans };
          const { gapsMs } = await onServer((url) => RUNS[kind]({ ...options, url }), fsync);
          samples[kind].push(quantile(gapsMs, 0.5));
        }
        talk(
          `appendfsync ${fsync}, round ${round + 1} of ${rounds}: ${KINDS.map((kind) => `${kind} ${samples[kind].at(-1)!.toFixed(3)} ms`).join(", ")}`,
        );
      }
      const bar = fsync === "everysec" ? { atMost: 0.6 } : null;
      figures.push(
        figure(`raw BullMQ chain, ${fsync}, p50`, "ms/step", samples.chain),
        figure(`durable plan, ${fsync}, p50`, "ms/step", samples.plans),
        figure(`durable plan over the raw chain, ${fsync}`, "×", ratios(samples.plans, samples.chain), bar),
      );
    }
    return figures;
  },
};
