/** Workers as processes: stopped, killed, with a wrong clock, with the store gone. */
import { afterEach, beforeEach, describe, expect, inject, test } from "vitest";
import { checkInvariants } from "../support/invariants.js";
import { aChain, aDefinition, aStore, type TestStore } from "../support/plans.js";
import { type PrivateRedis, startPrivateRedis } from "../support/private-redis.js";
import { until } from "../support/until.js";
import { spawnWorker, type WorkerProcess } from "../support/worker-processes.js";

const HOUR_MS = 3_600_000;

let t: TestStore;
let workers: WorkerProcess[] = [];
let own: PrivateRedis | null = null;

beforeEach(async () => {
  // More than two beats: on a busy machine a beat may be late.
  t = await aStore(inject("redisUrl"), { deadAfterMs: 2_500 });
});

afterEach(async () => {
  await Promise.all(workers.map((worker) => worker.end()));
  workers = [];
  if (own) {
    t.redis.disconnect();
    await own.stop();
    own = null;
    return;
  }
  await t.redis.del(`${t.prefix}:open`, `${t.prefix}:ledger`, `${t.prefix}:asked`);
  await t.drop();
});

test("a zombie's step is run once more elsewhere, never a third time, and what it writes is refused", {
  timeout: 60_000,
}, async () => {
  const zombie = await start();
  const plan = await t.submit(aChain(["hold", "next"]));
  await until("the step to start", async () => (await ledger()).length === 1);
  zombie.signal("SIGSTOP");
  const other = await start();
  await until("the takeover", () => other.lines.includes("hold 2"), 15_000);
  expect(await t.redis.get(`${t.keys.base}work:${plan}/hold/1:lock`)).toMatch(new RegExp(`^${other.workerId}\\.`));
  await t.redis.set(`${t.prefix}:open`, "1");
  await until("the plan to complete", async () => (await t.state(plan)) === "completed");
  const before = await t.dumpPlan(plan);

  zombie.signal("SIGCONT");
  // It wakes, commits, is refused, and goes on under a new name.
  await until(
    "the zombie to register again",
    async () => {
      const ids = await t.redis.zrange(t.keys.workers, "0", "-1");
      return ids.length === 2 && !ids.includes(zombie.workerId);
    },
    20_000,
  );

  const after = new Map([...(await t.dumpPlan(plan))].filter(([key]) => !key.endsWith(":logs")));
  expect(after).toEqual(before);
  expect(await ledger()).toEqual([`${plan}/hold/1`, `${plan}/hold/2`, `${plan}/next/1`]);
  expect(await t.redis.lrange(`${t.keys.base}work:active`, 0, -1)).toEqual([]);
  const more = await t.submit(aDefinition([{ id: "hold-on" }, { id: "and-on" }]));
  await until("work to go on", async () => (await t.state(more)) === "completed");
  expect(await checkInvariants(t.store, plan)).toEqual([]);
});

test("a killed worker of this machine loses its steps to the others at once, not after DEAD_AFTER", {
  timeout: 60_000,
}, async () => {
  await t.drop();
  t = await aStore(inject("redisUrl"), { deadAfterMs: 30_000 });
  const victim = await start();
  const other = await start();
  // Neighbours are met with the first beats.
  await until("both to be known", async () => (await t.redis.zcard(t.keys.workers)) === 2);
  await until("both to have beaten", async () => {
    const beats = await t.redis.zrange(t.keys.workers, "0", "-1", "WITHSCORES");
    return Number(beats[1]) > 0 && (await t.redis.hget(t.keys.sweep, "at")) !== null;
  });
  const plan = await t.submit(aDefinition([{ id: "hold-a" }, { id: "hold-b" }]));
  await until("both to run", () => victim.lines.length === 2 && other.lines.length === 2);

  const mine = victim.lines[1]!.split(" ")[0]!;
  const killedAt = Date.now();
  victim.signal("SIGKILL");
  await t.redis.set(`${t.prefix}:open`, "1");
  await until("its step to run elsewhere", () => other.lines.includes(`${mine} 2`));

  expect(Date.now() - killedAt).toBeLessThan(4_000);
  await until("the plan to complete", async () => (await t.state(plan)) === "completed");
  expect(await checkInvariants(t.store, plan)).toEqual([]);
});

test("a decision is asked for once, though its step's worker is killed twenty times after it", {
  timeout: 300_000,
}, async () => {
  const kills = 20;
  let worker = await start();
  const plan = await t.submit(aChain(["decide", "next"]));
  const said: string[] = [];
  for (let attempt = 1; attempt <= kills + 1; attempt++) {
    const line = await until(`attempt ${attempt} to decide`, () => worker.lines.find((one) => one.includes("chose")));
    said.push(line);
    if (attempt > kills) break;
    const heir = await start();
    worker.signal("SIGKILL");
    worker = heir;
  }
  await t.redis.set(`${t.prefix}:open`, "1");
  await until("the plan to complete", async () => (await t.state(plan)) === "completed");

  expect(await t.redis.lrange(`${t.prefix}:asked`, 0, -1)).toEqual([`${plan}/decide/1`]);
  expect(said).toEqual(
    Array.from({ length: kills + 1 }, (_, i) => `decide chose patch, saved before ${i === 0 ? null : i}`),
  );
  expect((await t.store.decisions(plan)).map(({ choice }) => choice)).toEqual(["test", "patch"]);
  expect(await checkInvariants(t.store, plan)).toEqual([]);
});

describe.each([HOUR_MS, -HOUR_MS])("a worker whose clock is off by %d ms", (clockAheadMs) => {
  test("runs timers and retries neither early nor late", { timeout: 60_000 }, async () => {
    await start({ clockAheadMs });
    const plan = await t.submit(
      aDefinition([
        { id: "sleeps" },
        { id: "retries", retry: { attempts: 2, backoff: "fixed", delayMs: 300, maxMs: 300 } },
      ]),
    );
    await until("the plan to complete", async () => (await t.state(plan)) === "completed");

    const events = await t.store.history(plan);
    const at = (type: string, step: string, nth: number) =>
      events.filter((event) => event.type === type && "step" in event && event.step === step)[nth]!.at;
    const slept = at("step.started", "sleeps", 1) - at("step.waiting", "sleeps", 0);
    const delayed = at("step.started", "retries", 1) - at("step.failed", "retries", 0);
    expect(slept).toBeGreaterThanOrEqual(400);
    expect(slept).toBeLessThan(1_400);
    // The delay of a retry is spread by half to either side.
    expect(delayed).toBeGreaterThanOrEqual(150);
    expect(delayed).toBeLessThan(1_450);
    expect(await checkInvariants(t.store, plan)).toEqual([]);
  });
});

describe("on SIGTERM", () => {
  test.each([
    ["is stopped", async (redis: PrivateRedis) => redis.pause()],
    ["was killed", async (redis: PrivateRedis) => redis.kill()],
  ])("a worker whose store %s exits within its grace, with status 0", { timeout: 60_000 }, async (_, breakStore) => {
    own = await startPrivateRedis();
    await t.drop();
    t = await aStore(own.url);
    const worker = await start({ graceMs: 2_000 });
    await t.submit(aDefinition([{ id: "hold" }]));
    await until("the step to start", () => worker.lines.includes("hold 1"));
    await breakStore(own);

    const startedAt = Date.now();
    worker.signal("SIGTERM");
    const code = await worker.exited();

    expect(Date.now() - startedAt).toBeLessThan(2_500);
    expect(code).toBe(0);
  });

  test("past its deadline hands its step back at once, without an attempt counted as failed", {
    timeout: 60_000,
  }, async () => {
    const worker = await start({ graceMs: 1_000 });
    const plan = await t.submit(aChain(["hold", "next"]));
    await until("the step to start", () => worker.lines.includes("hold 1"));
    worker.signal("SIGTERM");
    const code = await worker.exited();

    expect(code).toBe(0);
    expect((await t.store.view(plan)).open[0]).toMatchObject({ kind: "queued", failures: 0, crashes: 0, attempts: 1 });
    expect((await t.store.history(plan)).at(-1)).toMatchObject({ type: "step.released", reason: "drain" });
    expect(await t.redis.zcard(t.keys.workers)).toBe(0);
    expect(await checkInvariants(t.store, plan)).toEqual([]);
  });

  test("a second one hands the step back now", { timeout: 60_000 }, async () => {
    const worker = await start({ graceMs: 60_000 });
    const plan = await t.submit(aDefinition([{ id: "hold" }]));
    await until("the step to start", () => worker.lines.includes("hold 1"));
    worker.signal("SIGTERM");
    await until("the drain", async () => (await t.redis.hget(t.keys.worker(worker.workerId), "state")) === "draining");

    const startedAt = Date.now();
    worker.signal("SIGTERM");
    const code = await worker.exited();

    expect(Date.now() - startedAt).toBeLessThan(2_000);
    expect(code).toBe(0);
    expect((await t.store.view(plan)).open[0]).toMatchObject({ kind: "queued", failures: 0 });
  });
});

async function start(options: { clockAheadMs?: number; graceMs?: number } = {}): Promise<WorkerProcess> {
  const worker = await spawnWorker({ url: t.url, prefix: t.prefix, deadAfterMs: t.store.deadAfterMs, ...options });
  workers.push(worker);
  return worker;
}

function ledger(): Promise<string[]> {
  return t.redis.lrange(`${t.prefix}:ledger`, 0, -1);
}
