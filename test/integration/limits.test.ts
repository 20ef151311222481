/** Limits while worker processes are killed and drained, and plans are paused, resumed and cancelled under them. */
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, expect, inject, test } from "vitest";
import { resumePlan } from "../../src/client/resume.js";
import { timeOf } from "../../src/store/scripts.js";
import { checkInvariants } from "../support/invariants.js";
import { aDefinition, aStore, type TestStore } from "../support/plans.js";
import { until } from "../support/until.js";
import { spawnWorker, type WorkerProcess } from "../support/worker-processes.js";

/** Who is killed is missed by its process; nobody is to be missed by silence, which would leave a zombie beside its heir. */
const UNMISSED_MS = 30_000;
const LIMIT = 3;
const WORKERS = 5;
/** Of plans, how many, and what each of them has to do. */
const PLANS = 6;
const STEPS = 80;

let t: TestStore;
let workers: Fleeting[];

/** A worker process, and when it ended, by the store's clock. */
interface Fleeting {
  readonly process: WorkerProcess;
  endedAt: number | null;
}

beforeEach(async () => {
  t = await aStore(inject("redisUrl"), { deadAfterMs: UNMISSED_MS });
  workers = [];
});

afterEach(async () => {
  await Promise.all(workers.map(({ process }) => process.end()));
  await t.drop();
});

test("no more attempts run than may, whatever happens to workers and plans, and everything is done", {
  timeout: 180_000,
}, async () => {
  const step = { concurrency: { key: "api", limit: LIMIT } };
  const steps = Array.from({ length: STEPS }, (_, i) => ({
    id: `counts${i}`,
    needs: i % 8 === 0 ? [] : [`counts${i - 1}`],
    ...step,
  }));
  const plans: string[] = [];
  for (let i = 0; i < WORKERS; i++) workers.push(await aWorker());
  for (let i = 0; i < PLANS; i++) plans.push(await t.submit(aDefinition(steps)));
  const [cancelled, ...others] = plans as [string, ...string[]];

  const seed = Date.now() % 10_000;
  console.log(`seed ${seed}`);
  const next = chances(seed);
  for (let round = 0; round < 8; round++) {
    const begun = (await ledger()).length;
    await until("some more to begin", async () => (await ledger()).length > begun + 6, 20_000);
    const alive = workers.filter(({ endedAt }) => endedAt === null);
    const victim = alive[next(alive.length)]!;
    const plan = others[next(others.length)]!;
    if (round % 4 === 0) await end(victim, "SIGKILL");
    if (round % 4 === 1) await end(victim, "SIGTERM");
    if (round % 4 === 2) await t.store.pause(plan, "ada", null, next(2) === 0);
    if (round === 3) await t.store.cancel(cancelled, "ada", null);
    await sleep(next(150));
    for (const paused of others) {
      if ((await t.state(paused)) === "paused") await resumePlan(t.store, paused, { actor: "ada" });
    }
  }

  for (const plan of others) {
    await until(
      `plan ${plan} to complete`,
      async () => {
        const state = await t.state(plan);
        if (state === "paused") await resumePlan(t.store, plan, { actor: "ada" });
        return state === "completed";
      },
      60_000,
    );
  }
  const intervals = await attempts();
  expect(mostAtOnce(intervals)).toBe(LIMIT);
  expect(intervals.length).toBeGreaterThanOrEqual((PLANS - 1) * STEPS);
  for (const plan of plans) expect(await checkInvariants(t.store, plan)).toEqual([]);
  await until("every place to be free", async () => (await t.redis.exists(`${t.keys.base}limit:api:held`)) === 0);
});

async function aWorker(): Promise<Fleeting> {
  const { url, prefix } = t;
  const process = await spawnWorker({ url, prefix, deadAfterMs: t.store.deadAfterMs, concurrency: 4, graceMs: 500 });
  return { process, endedAt: null };
}

async function end(worker: Fleeting, signal: NodeJS.Signals): Promise<void> {
  worker.process.signal(signal);
  await worker.process.exited();
  worker.endedAt = await timeOf(t.redis, t.keys);
}

/** What attempts said: begin or end, job and attempt, process, time by the store's clock. */
async function ledger(): Promise<string[]> {
  return t.redis.lrange(`${t.prefix}:counted`, 0, -1);
}

/** When each attempt began and ended. One that was killed ended with its process. */
async function attempts(): Promise<(readonly [number, number])[]> {
  const lines = (await ledger()).map((line) => line.split(" ") as [string, string, string, string]);
  const ends = new Map(lines.flatMap(([what, id, , at]) => (what === "end" ? [[id, Number(at)] as const] : [])));
  return lines.flatMap(([what, id, worker, at]) => {
    if (what !== "begin") return [];
    const killed = workers.find(({ process }) => process.workerId === worker)?.endedAt;
    return [[Number(at), ends.get(id) ?? killed ?? Number.POSITIVE_INFINITY] as const];
  });
}

function mostAtOnce(intervals: readonly (readonly [number, number])[]): number {
  return Math.max(...intervals.map(([at]) => intervals.filter(([begun, ended]) => begun <= at && at < ended).length));
}

/** Whole numbers below a limit, the same ones for the same seed. */
function chances(seed: number): (below: number) => number {
  let state = seed + 1;
  return (below) => {
    state = (state * 48_271) % 2_147_483_647;
    return state % below;
  };
}
