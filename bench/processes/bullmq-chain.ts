/**
 * The baseline: a chain as one writes it with BullMQ alone. Each job adds the next one, nothing is recorded, and a crash
 * between the two loses or repeats what is left. Stock settings, but for `removeOnComplete`, which saves memory.
 */
import { Queue, Worker } from "bullmq";
import { Redis } from "ioredis";
import { Meter, type MeterOptions } from "../support/meter.js";
import { config, obey, say } from "../support/parent.js";
import { OUTPUT } from "../support/plans.js";

export interface ChainConfig extends MeterOptions {
  readonly queue: string;
  readonly steps: number;
  readonly concurrency: number;
}

export interface ChainJob {
  readonly chain: number;
  readonly step: number;
}

const { queue: name, steps, concurrency, ...metered } = config<ChainConfig>();
const meter = new Meter(metered);
const producer = new Redis(metered.url, { maxRetriesPerRequest: null });
const consumer = new Redis(metered.url, { maxRetriesPerRequest: null });
const queue = new Queue<ChainJob>(name, { connection: producer });
const worker = new Worker<ChainJob>(
  name,
  async (job) => {
    meter.tick();
    const { chain, step } = job.data;
    if (step < steps) await queue.add("step", { chain, step: step + 1 }, { removeOnComplete: true });
    return OUTPUT;
  },
  { connection: consumer, concurrency, autorun: false },
);

await Promise.all([queue.waitUntilReady(), worker.waitUntilReady()]);
void meter.measured.then(say);
obey({
  start: () => worker.run(),
  async stop() {
    await worker.close();
    await queue.close();
    meter.close();
    producer.disconnect();
    consumer.disconnect();
  },
});
