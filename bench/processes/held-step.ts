/**
 * A worker whose steps don't end by themselves: they go on, deaf to their signal, until the process is killed. SIGTERM
 * drains, with a grace that is too short for them.
 */
import { createWorker } from "waymark";
import { HELD_PLAN, heldPlan } from "../support/held-plan.js";
import { config, obey, say } from "../support/parent.js";

export interface HeldConfig {
  readonly url: string;
  readonly prefix: string;
  readonly graceMs: number;
  /** Which attempts don't end. */
  readonly holds: "first" | "all" | "none";
  /** They do end after this time, through which they block the event loop. */
  readonly blockMs?: number;
}

const { url, prefix, graceMs, holds, blockMs } = config<HeldConfig>();
const plan = heldPlan(async ({ attempt }) => {
  say({ kind: "started" });
  if (holds === "none" || (holds === "first" && attempt > 1)) return null;
  if (blockMs === undefined) return new Promise(() => {});
  const endMs = performance.now() + blockMs;
  while (performance.now() < endMs);
  return null;
});
const worker = createWorker({
  redis: url,
  prefix,
  plans: [plan],
  queues: [HELD_PLAN],
  services: {} as never,
  concurrency: 10,
  autorun: false,
});

process.once("SIGTERM", () => void worker.drain({ grace: graceMs }).then(() => process.exit(0)));
await worker.start();
obey({ stop: () => worker.close() });
