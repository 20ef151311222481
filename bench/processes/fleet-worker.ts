/** One worker process of several, on the published library. */
import { createWorker } from "waymark";
import type { Message } from "../support/child.js";
import { config, obey, say } from "../support/parent.js";
import { OUTPUT, PLAN_NAME, planOf, type Shape } from "../support/plans.js";

export interface FleetWorkerConfig {
  readonly url: string;
  readonly prefix: string;
  readonly shards: number;
  readonly shape: Shape;
  readonly concurrency: number;
}

/** Said at the end. */
export interface Ran extends Message {
  readonly kind: "ran";
  readonly steps: number;
}

const { url, prefix, shards, shape, concurrency } = config<FleetWorkerConfig>();
let steps = 0;
const plan = planOf(shape, async () => {
  steps++;
  return OUTPUT;
});
const worker = createWorker({
  redis: url,
  prefix,
  shards,
  plans: [plan],
  queues: [PLAN_NAME],
  services: {} as never,
  concurrency,
  autorun: false,
});

obey({
  start: () => worker.start(),
  async stop() {
    await worker.close();
    const ran: Ran = { kind: "ran", steps };
    say(ran);
  },
});
