/** The other baseline: BullMQ jobs that were all added before the clock starts and have nothing to do with each other. */
import { Worker } from "bullmq";
import { Redis } from "ioredis";
import { Meter, type MeterOptions } from "../support/meter.js";
import { config, obey, say } from "../support/parent.js";
import { OUTPUT } from "../support/plans.js";

export interface JobsConfig extends MeterOptions {
  readonly queue: string;
  readonly concurrency: number;
}

const { queue, concurrency, ...metered } = config<JobsConfig>();
const meter = new Meter(metered);
const connection = new Redis(metered.url, { maxRetriesPerRequest: null });
const worker = new Worker(
  queue,
  async () => {
    meter.tick();
    return OUTPUT;
  },
  { connection, concurrency, autorun: false },
);

await worker.waitUntilReady();
void meter.measured.then(say);
obey({
  start: () => worker.run(),
  async stop() {
    await worker.close();
    meter.close();
    connection.disconnect();
  },
});
