/** A worker of durable plans, on the published library. */
import { createWorker } from "waymark";
import { Meter, type MeterOptions } from "../support/meter.js";
import { config, obey, say } from "../support/parent.js";
import { OUTPUT, PLAN_NAME, planOf, type Shape } from "../support/plans.js";

export interface PlansConfig extends MeterOptions {
  readonly shape: Shape;
  readonly concurrency: number;
  /** What a step records. */
  readonly output: "200 bytes" | "nothing";
}

const { shape, concurrency, output, ...metered } = config<PlansConfig>();
const meter = new Meter(metered);
const result = output === "nothing" ? null : OUTPUT;
const plan = planOf(shape, async () => {
  meter.tick();
  return result;
});
const worker = createWorker({
  redis: metered.url,
  plans: [plan],
  queues: [PLAN_NAME],
  services: {} as never,
  concurrency,
  autorun: false,
});

void meter.measured.then(say);
obey({
  start: () => worker.start(),
  async stop() {
    await worker.close();
    meter.close();
  },
});
