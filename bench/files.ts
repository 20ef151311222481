/** How many steps of plans with files run where these aren't, and so have to restore them, on a fleet of three workers. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type AnyPlan, type Client, createClient, createWorker, definePlan } from "waymark";
import { z } from "zod";
import { type Figure, figure } from "./support/figure.js";
import { onServer } from "./support/runs.js";
import type { Scenario, Size } from "./support/scenario.js";

const WORKERS = 3;
const BAR = { atMost: 10 };
const SIZES = {
  full: { plans: 40, rounds: 5 },
  tiny: { plans: 6, rounds: 1 },
} as const satisfies Record<Size, { plans: number; rounds: number }>;

export const files: Scenario = {
  name: "files",
  about: "steps of plans with files that run where these aren't, on three workers",
  async run(size) {
    const folder = mkdtempSync(join(tmpdir(), "waymark-bench-"));
    try {
      return await onServer((url) => measure(url, folder, SIZES[size]));
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  },
};

async function measure(url: string, folder: string, { plans, rounds }: (typeof SIZES)[Size]): Promise<Figure[]> {
  const store = join(folder, "store");
  const client = createClient({ redis: url, sandboxes: { store, dataDir: folder } });
  const workers = Array.from({ length: WORKERS }, (_, i) =>
    createWorker({
      redis: url,
      plans: SHAPES,
      services: {} as never,
      concurrency: 4,
      sandboxes: { store, dataDir: join(folder, `worker-${i}`) },
    }),
  );
  await Promise.all(workers.map((worker) => worker.start()));
  const figures: Figure[] = [];
  for (const shape of SHAPES) {
    const samples: number[] = [];
    for (let round = 0; round < rounds; round++) samples.push(await movedPercent(client, shape, plans));
    figures.push(figure(`plans that ${shape.name}`, "% of steps", samples, BAR));
  }
  await Promise.all(workers.map((worker) => worker.close()));
  await client.close();
  return figures;
}

/** Of all steps with files but the first of each plan: those that began on another worker than the one before. */
async function movedPercent(client: Client, plan: AnyPlan, plans: number): Promise<number> {
  const submitted = await Promise.all(Array.from({ length: plans }, () => client.submit(plan, {})));
  await Promise.all(submitted.map((handle) => handle.result()));
  let [steps, moved] = [0, 0];
  for (const { planId } of submitted) {
    let at: string | null = null;
    for (const event of await client.history(planId)) {
      if (event.type !== "step.started" || plan.compiled.steps.get(event.step)!.sandbox === "none") continue;
      if (at !== null) steps += 1;
      if (at !== null && at !== event.workerId) moved += 1;
      at = event.workerId;
    }
  }
  return (100 * moved) / steps;
}

interface Call {
  readonly sandbox: { readonly path: string };
  readonly attempt: number;
}

const write = async ({ sandbox }: Call) => {
  await work();
  writeFileSync(join(sandbox.path, "note"), String(Math.random()));
};
const work = () => sleep(5 + Math.random() * 15);
const head = { version: 1, input: z.object({}), sandbox: {} };
const WRITES = { sandbox: "write" } as const;

/** What makes the next step free: the commit before it, the end of the later of two branches, the delay of a retry. */
const SHAPES = [
  definePlan("chain", head).step("a", WRITES, write).step("b", WRITES, write).step("c", WRITES, write),
  definePlan("join", head)
    .step("a", WRITES, write)
    .step("b", { needs: ["a"] }, work)
    .step("c", { needs: ["a"] }, work)
    .step("d", { needs: ["b", "c"], ...WRITES }, write),
  definePlan("retry", head)
    .step("a", WRITES, write)
    .step("b", { ...WRITES, retry: { attempts: 2, delay: 10 } }, async (call) => {
      if (call.attempt === 1) throw new Error("the first attempt fails");
      return write(call);
    }),
] as const;
