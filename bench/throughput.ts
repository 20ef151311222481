/** Steps a second of one worker process: chains of BullMQ jobs, BullMQ jobs that were all added before, durable plans. */
import { type Bar, type Figure, figure, ratios } from "./support/figure.js";
import type { Measured } from "./support/meter.js";
import { onServer, type RunOptions, runChain, runJobs, runPlans } from "./support/runs.js";
import { rotated, type Scenario, type Size } from "./support/scenario.js";

const STEPS = 10;
const SIZES = {
  full: { rounds: 7, plans: 2_000, warmUpPlans: 400 },
  tiny: { rounds: 1, plans: 20, warmUpPlans: 5 },
} as const satisfies Record<Size, object>;

type Kind = "chain" | "jobs" | "plans";
const KINDS: readonly Kind[] = ["chain", "jobs", "plans"];
const NAMES: Readonly<Record<Kind, string>> = {
  chain: "raw BullMQ chain",
  jobs: "independent BullMQ jobs",
  plans: "durable plans",
};
const RUNS: Readonly<Record<Kind, (options: RunOptions) => Promise<Measured>>> = {
  chain: (options) => runChain({ ...options, steps: STEPS }),
  jobs: runJobs,
  plans: (options) => runPlans({ ...options, shape: { kind: "chain", steps: STEPS } }),
};

export const throughput: Scenario = {
  name: "throughput",
  about: "steps a second of 10-step plans, 50 at once, one worker process",
  async run(size, talk) {
    const figures: Figure[] = [];
    for (const fsync of ["everysec", "always"] as const) {
      const samples = await measureAll(SIZES[size], fsync, talk);
      figures.push(...figuresOf(samples, fsync));
    }
    return figures;
  },
};

async function measureAll(
  { rounds, plans, warmUpPlans }: { rounds: number; plans: number; warmUpPlans: number },
  fsync: "everysec" | "always",
  talk: (line: string) => void,
): Promise<Record<Kind, Measured[]>> {
  const samples: Record<Kind, Measured[]> = { chain: [], jobs: [], plans: [] };
  for (let round = 0; round < rounds; round++) {
    for (const kind of rotated(KINDS, round)) {
      const options = { concurrency: 50, warmUpSteps: warmUpPlans * STEPS, totalSteps: plans * STEPS };
      const sample = await onServer((url) => RUNS[kind]({ ...options, url }), fsync);
      samples[kind].push(sample);
      talk(
        `appendfsync ${fsync}, round ${round + 1} of ${rounds}: ${NAMES[kind]}, ${perSecond(sample).toFixed(0)} steps/s`,
      );
    }
  }
  return samples;
}

function figuresOf(samples: Record<Kind, Measured[]>, fsync: "everysec" | "always"): Figure[] {
  const per = (kind: Kind) => samples[kind].map(perSecond);
  const overChain: Bar = { atLeast: fsync === "everysec" ? 1.8 : 1.5 };
  const overJobs: Bar | null = fsync === "everysec" ? { atLeast: 1.2 } : null;
  return [
    ...KINDS.map((kind) => figure(`${NAMES[kind]}, ${fsync}`, "steps/s", per(kind))),
    figure(`durable plans over the raw chain, ${fsync}`, "×", ratios(per("plans"), per("chain")), overChain),
    figure(`durable plans over independent jobs, ${fsync}`, "×", ratios(per("plans"), per("jobs")), overJobs),
    ...KINDS.map((kind) => figure(`${NAMES[kind]}, ${fsync}: Node`, "CPU µs/step", samples[kind].map(nodeMicros))),
    ...KINDS.map((kind) => figure(`${NAMES[kind]}, ${fsync}: Redis`, "CPU µs/step", samples[kind].map(redisMicros))),
  ];
}

function perSecond({ steps, ms }: Measured): number {
  return (steps * 1_000) / ms;
}

function nodeMicros({ nodeCpuMs, steps }: Measured): number {
  return (nodeCpuMs * 1_000) / steps;
}

function redisMicros({ redisCpuMs, steps }: Measured): number {
  return (redisCpuMs * 1_000) / steps;
}
