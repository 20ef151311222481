/** What it costs to resume a plan, and to ask what that would do, after few and after very many completed steps. */
import { Redis } from "ioredis";
import { Bench } from "tinybench";
import { type Client, createClient } from "waymark";
import { Keys } from "../src/store/keys.js";
import { countCommands } from "./support/commands.js";
import { type Figure, figure } from "./support/figure.js";
import { anInterruptedPlan } from "./support/interrupted.js";
import { onServer } from "./support/runs.js";
import { rotated, type Scenario, type Size } from "./support/scenario.js";

/** A plan has at most 100,000 steps, and one of them has to be left. */
const DONE: Readonly<Record<Size, readonly number[]>> = { full: [10, 1_000, 99_999], tiny: [3, 30] };
const ROUNDS: Readonly<Record<Size, number>> = { full: 9, tiny: 1 };
const CALLS: Readonly<Record<Size, number>> = { full: 100, tiny: 5 };

const VERBS = ["dry-run", "resume"] as const;
type Verb = (typeof VERBS)[number];

export const resume: Scenario = {
  name: "resume",
  about: "resume and dry-run as library calls after 10, 1,000 and 99,999 completed steps",
  run: (size, talk) => onServer((url) => measureResume(url, size, talk)),
};

async function measureResume(url: string, size: Size, talk: (line: string) => void): Promise<Figure[]> {
  const client = createClient({ redis: url });
  const redis = new Redis(url, { protocol: 2 } as never);
  try {
    const plans = new Map<number, string>();
    for (const done of DONE[size]) {
      plans.set(done, await anInterruptedPlan(url, done));
      talk(`a plan with ${done} completed steps is there`);
    }
    const figures: Figure[] = [];
    for (const verb of VERBS) {
      const p50 = await medians(client, redis, verb, plans, size);
      for (const [done, samples] of p50) figures.push(figure(`${verb} after ${done} steps, p50`, "ms", samples));
      const spreads = [...p50.values()][0]!.map((_, round) => {
        const ofRound = [...p50.values()].map((samples) => samples[round]!);
        return Math.max(...ofRound) / Math.min(...ofRound);
      });
      figures.push(figure(`${verb}: slowest over fastest of these`, "×", spreads, { atMost: 1.5 }));
      for (const [done, planId] of plans) {
        // Not one of those that come at once with the last one measured.
        await redis.hdel(new Keys("waymark").plan(planId), "resumed");
        const sent = await countCommands(url, () => call(client, verb, planId));
        figures.push(figure(`${verb} after ${done} steps`, "round trips", [sent.total], { atMost: 2 }));
      }
    }
    return figures;
  } finally {
    await client.close();
    redis.disconnect();
  }
}

/** For each plan the median call of each round. */
async function medians(
  client: Client,
  redis: Redis,
  verb: Verb,
  plans: ReadonlyMap<number, string>,
  size: Size,
): Promise<Map<number, number[]>> {
  const samples = new Map<number, number[]>([...plans.keys()].map((done) => [done, []]));
  for (let round = 0; round < ROUNDS[size]; round++) {
    const bench = new Bench({ iterations: CALLS[size], time: 0, warmupIterations: 5, warmupTime: 0, throws: true });
    for (const [done, planId] of rotated([...plans], round)) {
      const history = new Keys("waymark").planPart(planId, "history");
      const length = await redis.llen(history);
      // A resume reads the newest events: they shall be those of steps, not of the resumes before it. Nor does it come at once with those.
      const forgetResumes = async () => {
        await redis.ltrim(history, 0, length - 1);
        await redis.hdel(new Keys("waymark").plan(planId), "resumed");
      };
      bench.add(String(done), async () => void (await call(client, verb, planId)), { beforeEach: forgetResumes });
    }
    await bench.run();
    for (const task of bench.tasks) {
      const { result } = task;
      if (!("latency" in result)) throw new Error(`The run of ${verb} after ${task.name} steps is ${result.state}`);
      samples.get(Number(task.name))!.push(result.latency.p50);
    }
  }
  return samples;
}

/** A resumed plan waits for a worker that doesn't exist, and so is there to be resumed again. */
async function call(client: Client, verb: Verb, planId: string): Promise<void> {
  const { eligible, run } = await client.resume(planId, { dryRun: verb === "dry-run" });
  if (!eligible || run.length !== 1)
    throw new Error(`Plan ${planId} is not what it should be: ${run.length} steps to run`);
}
