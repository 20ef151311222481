/** One measured run of each kind of worker, alone in a process and on a server of its own: what is to be done is there before it starts. */
import { Queue } from "bullmq";
import { Redis } from "ioredis";
import { type AnyPlan, createClient } from "waymark";
import { Keys } from "../../src/store/keys.js";
import { type PrivateRedis, startPrivateRedis } from "../../test/support/private-redis.js";
import { until } from "../../test/support/until.js";
import type { ChainConfig, ChainJob } from "../processes/bullmq-chain.js";
import type { JobsConfig } from "../processes/bullmq-jobs.js";
import type { PlansConfig } from "../processes/plans.js";
import { type Child, startChild } from "./child.js";
import type { Measured, MeterOptions } from "./meter.js";
import { INPUT, planOf, type Shape, stepsOf } from "./plans.js";

export interface RunOptions {
  readonly url: string;
  /** Steps at once. */
  readonly concurrency: number;
  readonly warmUpSteps: number;
  readonly totalSteps: number;
}

export interface AloneOptions {
  readonly url: string;
  readonly concurrency: number;
  readonly steps: number;
  readonly plans: number;
  readonly warmUpPlans: number;
}

export const QUEUE = "baseline";
const RUN_DEADLINE_MS = 600_000;
const BATCH = 100;
const KEYS = new Keys("waymark");

/** A server for one run. Rewrites of the log are off: they would fall into one run and not into another. */
export function aServer(appendfsync: "always" | "everysec" = "everysec"): Promise<PrivateRedis> {
  return startPrivateRedis({ appendfsync, settings: { "auto-aof-rewrite-percentage": "0" } });
}

/** On a server of its own, which ends with it. */
export async function onServer<T>(
  run: (url: string) => Promise<T>,
  appendfsync: "always" | "everysec" = "everysec",
): Promise<T> {
  const server = await aServer(appendfsync);
  try {
    return await run(server.url);
  } finally {
    await server.stop();
  }
}

/** Plans of a shape, all submitted before the worker starts, until they are completed. */
export async function runPlans(
  options: RunOptions & { readonly shape: Shape; readonly output?: PlansConfig["output"] },
): Promise<Measured> {
  const { url, shape, totalSteps, warmUpSteps, concurrency, output = "200 bytes" } = options;
  const settings: PlansConfig = { url, warmUpSteps, totalSteps, shape, concurrency, output };
  return withChild("plans", settings, async (child) => {
    await submitPlans(url, shape, totalSteps / stepsOf(shape));
    const measured = await measure(child);
    await untilCompleted(url);
    return measured;
  });
}

/** Chains of `steps` BullMQ jobs; the first jobs of all of them are there before the worker starts. */
export async function runChain(options: RunOptions & { readonly steps: number }): Promise<Measured> {
  const { url, totalSteps, warmUpSteps, concurrency, steps } = options;
  const settings: ChainConfig = { url, warmUpSteps, totalSteps, concurrency, steps, queue: QUEUE };
  return withChild("bullmq-chain", settings, async (child) => {
    await addJobs(url, totalSteps / steps);
    return measure(child);
  });
}

/** As many BullMQ jobs as there are steps, all there before the worker starts. */
export async function runJobs(options: RunOptions): Promise<Measured> {
  const { url, totalSteps, warmUpSteps, concurrency } = options;
  const settings: JobsConfig = { url, warmUpSteps, totalSteps, concurrency, queue: QUEUE };
  return withChild("bullmq-jobs", settings, async (child) => {
    await addJobs(url, totalSteps);
    return measure(child);
  });
}

/** The same plans one after the other: each is submitted when the last step of the one before it has started. */
export async function runPlansAlone(options: AloneOptions): Promise<Measured> {
  const { url, steps, plans, warmUpPlans, concurrency } = options;
  const shape: Shape = { kind: "chain", steps };
  const settings: PlansConfig = { ...metered(options), shape, concurrency, output: "200 bytes" };
  const plan = planOf(shape, async () => null);
  const client = createClient({ redis: url });
  try {
    return await withChild("plans", settings, (child) =>
      oneAfterTheOther(child, warmUpPlans + plans, (i) => client.submit(plan, INPUT, { planId: `bench-${i}` })),
    );
  } finally {
    await client.close();
  }
}

export async function runChainAlone(options: AloneOptions): Promise<Measured> {
  const { url, steps, plans, warmUpPlans, concurrency } = options;
  const settings: ChainConfig = { ...metered(options), steps, concurrency, queue: QUEUE };
  const connection = new Redis(url, { maxRetriesPerRequest: null });
  const queue = new Queue<ChainJob>(QUEUE, { connection });
  try {
    return await withChild("bullmq-chain", settings, (child) =>
      oneAfterTheOther(child, warmUpPlans + plans, (i) =>
        queue.add("step", { chain: i, step: 1 }, { removeOnComplete: true }),
      ),
    );
  } finally {
    await queue.close();
    connection.disconnect();
  }
}

function metered({ url, steps, plans, warmUpPlans }: AloneOptions): MeterOptions {
  return { url, aloneSteps: steps, warmUpSteps: warmUpPlans * steps, totalSteps: (warmUpPlans + plans) * steps };
}

async function oneAfterTheOther(
  child: Child,
  count: number,
  submit: (plan: number) => Promise<unknown>,
): Promise<Measured> {
  child.tell({ kind: "start" });
  for (let i = 1; i <= count; i++) {
    await submit(i);
    await child.next("plan ended", RUN_DEADLINE_MS);
  }
  return child.next<Measured>("measured", RUN_DEADLINE_MS);
}

export async function withChild<T>(program: string, settings: object, use: (child: Child) => Promise<T>): Promise<T> {
  const child = await startChild(program, settings);
  try {
    return await use(child);
  } finally {
    await child.stop();
  }
}

export async function measure(child: Child): Promise<Measured> {
  child.tell({ kind: "start" });
  return child.next<Measured>("measured", RUN_DEADLINE_MS);
}

/** @returns their ids */
export async function submitPlans(url: string, shape: Shape, count: number, prefix = "bench"): Promise<string[]> {
  const plan: AnyPlan = planOf(shape, async () => null);
  const client = createClient({ redis: url });
  const ids = Array.from({ length: count }, (_, i) => `${prefix}-${i + 1}`);
  try {
    for (let from = 0; from < count; from += BATCH) {
      await Promise.all(ids.slice(from, from + BATCH).map((planId) => client.submit(plan, INPUT, { planId })));
    }
    return ids;
  } finally {
    await client.close();
  }
}

export async function addJobs(url: string, count: number): Promise<void> {
  const connection = new Redis(url, { maxRetriesPerRequest: null });
  const queue = new Queue<ChainJob>(QUEUE, { connection });
  try {
    for (let from = 0; from < count; from += BATCH) {
      const jobs = Array.from({ length: Math.min(BATCH, count - from) }, (_, i) => ({
        name: "step",
        data: { chain: from + i, step: 1 },
        opts: { removeOnComplete: true },
      }));
      await queue.addBulk(jobs);
    }
  } finally {
    await queue.close();
    connection.disconnect();
  }
}

/** The clock has stopped by then: whether nothing was left over. */
export async function untilCompleted(url: string): Promise<void> {
  const redis = new Redis(url, { protocol: 2 } as never);
  try {
    await until("all plans to be completed", async () => (await redis.zcard(KEYS.openPlans)) === 0, 60_000);
  } finally {
    redis.disconnect();
  }
}
