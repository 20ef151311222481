/** A Redis that is away while a fleet is busy: nobody is taken for dead, and work goes on when it is back. */
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Fleet, type FleetProcess } from "../support/fleet.js";
import { long } from "../support/fleet-plans.mjs";
import { type PrivateRedis, startPrivateRedis } from "../support/private-redis.js";
import { until } from "../support/until.js";

const WORKERS = 5;
const OUTAGE_MS = 10_000;
/** How soon work goes on. */
const BACK_MS = 5_000;
const BLOCK_MS = 4_000;
const GRACE_MS = 6_000;

let redis: PrivateRedis;
let fleet: Fleet;
let workers: FleetProcess[];
let plans: string[];

beforeEach(async () => {
  redis = await startPrivateRedis({ settings: { "enable-debug-command": "local" } });
  fleet = new Fleet(redis.url, "outages");
  workers = await fleet.startMany(WORKERS, { concurrency: 2, graceMs: GRACE_MS, plans: [long] });
  plans = await fleet.submitMany(2 * WORKERS, long, { stepMs: 1_000 });
  await until("all workers to be busy", () => busyPids(0).size === WORKERS, 20_000);
}, 90_000);

afterEach(async () => {
  await fleet.close();
  await redis.stop();
});

test("stopped, blocked by a script, killed and started again on its data: no takeover, and all go on within seconds", {
  timeout: 300_000,
}, async () => {
  const before = [...(await fleet.beats()).keys()].sort();

  redis.pause();
  await sleep(OUTAGE_MS);
  redis.resume();
  await allBusyAgain();

  // Takes the server's only thread, as a long script does.
  await (await fleet.store()).redis.call("DEBUG", "SLEEP", String(BLOCK_MS / 1_000));
  await allBusyAgain();

  await redis.kill();
  await sleep(OUTAGE_MS);
  await redis.start();
  await allBusyAgain();

  expect([...(await fleet.beats()).keys()].sort()).toEqual(before);
  fleet.put("stop");
  await fleet.untilCompleted(plans);
  expect(workers.flatMap((worker) => worker.said("took over from dead workers"))).toEqual([]);
  expect(await fleet.events(plans, "step.crashed", "step.failed", "step.released")).toEqual([]);
  expect(await fleet.violations(plans)).toEqual([]);
  const done = fleet.ledger("effect").map(({ planId, step }) => `${planId}/${step}`);
  expect(new Set(done).size).toBe(done.length);
});

test("a fleet that is told to end while Redis stands still ends within its grace, and another does its work", {
  timeout: 240_000,
}, async () => {
  redis.pause();
  for (const worker of workers) worker.signal("SIGTERM");
  const codes = await Promise.all(workers.map((worker) => worker.exited()));
  redis.resume();

  expect(codes).toEqual(Array(WORKERS).fill(0));
  for (const worker of workers) {
    const [draining, drained] = ["draining", "drained"].map((message) => Number(worker.said(message)[0]!.time));
    // A timer of a machine that has more to do than it can is late.
    expect(drained! - draining!).toBeLessThan(GRACE_MS + 1_000);
  }
  fleet.put("stop");
  await fleet.start({ plans: [long] });
  await fleet.untilCompleted(plans);
  expect(await fleet.events(plans, "step.failed")).toEqual([]);
  expect(await fleet.violations(plans)).toEqual([]);
});

async function allBusyAgain(): Promise<void> {
  const backAt = Date.now();
  await until("all workers to be busy again", () => busyPids(backAt).size === WORKERS, 30_000);
  const first = Math.min(...fleet.ledger("begin").flatMap(({ atMs }) => (atMs > backAt ? [atMs] : [])));
  expect(first - backAt).toBeLessThan(BACK_MS);
}

/** Of workers that have begun a step since. */
function busyPids(sinceMs: number): Set<number> {
  return new Set(fleet.ledger("begin").flatMap(({ pid, atMs }) => (atMs > sinceMs ? [pid] : [])));
}
