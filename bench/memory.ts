/** What a completed 10-step plan costs Redis, its payloads left out: its steps record nothing. */
import { Redis } from "ioredis";
import { Keys } from "../src/store/keys.js";
import { type Figure, figure } from "./support/figure.js";
import type { Shape } from "./support/plans.js";
import { measure, onServer, submitPlans, untilCompleted, withChild } from "./support/runs.js";
import type { Scenario, Size } from "./support/scenario.js";

const SHAPE = { kind: "chain", steps: 10 } as const satisfies Shape;
/** Those before fill what is trimmed, such as the stream of events, and load the scripts. */
const SIZES = {
  full: { before: 2_000, counted: 1_000 },
  tiny: { before: 20, counted: 20 },
} as const satisfies Record<Size, { before: number; counted: number }>;
const BAR = { atMost: 2_048 };

export const memory: Scenario = {
  name: "memory",
  about: "bytes in Redis of a completed 10-step plan without payloads",
  run: (size) => onServer((url) => measureMemory(url, SIZES[size])),
};

async function measureMemory(url: string, { before, counted }: { before: number; counted: number }): Promise<Figure[]> {
  const redis = new Redis(url, { protocol: 2 } as never);
  try {
    await completePlans(url, "before", before);
    const used = await usedMemory(redis);
    const planIds = await completePlans(url, "counted", counted);
    const perPlan = ((await usedMemory(redis)) - used) / counted;
    const sizes: { own: number; payloads: number }[] = [];
    for (const planId of planIds) sizes.push(await sizeOf(redis, planId));
    return [
      figure(
        "keys of the plan, by MEMORY USAGE",
        "bytes/plan",
        sizes.map(({ own }) => own),
        BAR,
      ),
      figure(
        "input and outputs, of which there are none",
        "bytes/plan",
        sizes.map(({ payloads }) => payloads),
      ),
      figure("all that a plan leaves, with its share of indexes, by used_memory", "bytes/plan", [perPlan]),
    ];
  } finally {
    redis.disconnect();
  }
}

async function completePlans(url: string, prefix: string, count: number): Promise<string[]> {
  const totalSteps = count * SHAPE.steps;
  const settings = { url, shape: SHAPE, output: "nothing", concurrency: 50, warmUpSteps: 0, totalSteps };
  return withChild("plans", settings, async (child) => {
    const planIds = await submitPlans(url, SHAPE, count, prefix);
    await measure(child);
    await untilCompleted(url);
    return planIds;
  });
}

async function usedMemory(redis: Redis): Promise<number> {
  const info = await redis.info("memory");
  return Number(/^used_memory:(\d+)/m.exec(info)![1]);
}

async function sizeOf(redis: Redis, planId: string): Promise<{ own: number; payloads: number }> {
  const keys = new Keys("waymark");
  const payloads = keys.planPart(planId, "out");
  let own = 0;
  for (const key of keys.planKeys(planId).filter((key) => key.startsWith(keys.plan(planId)) && key !== payloads)) {
    own += (await redis.memory("USAGE", key, "SAMPLES", 0)) ?? 0;
  }
  return { own, payloads: (await redis.memory("USAGE", payloads, "SAMPLES", 0)) ?? 0 };
}
