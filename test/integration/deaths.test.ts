/** Workers of a fleet that stop, are killed by the dozen, or are replaced under load: what was in flight is done, once. */
import { afterEach, expect, inject, test } from "vitest";
import { Fleet, type FleetProcess } from "../support/fleet.js";
import { held, long, writers } from "../support/fleet-plans.mjs";
import { aPrefix } from "../support/store.js";
import { until } from "../support/until.js";

/** Where nobody is to be missed by silence alone. */
const UNMISSED_MS = 30_000;

let fleet: Fleet;

afterEach(() => fleet.close());

function aFleet(deadAfterMs: number): void {
  fleet = new Fleet(inject("redisUrl"), aPrefix(), deadAfterMs);
}

test("a worker that stood still while others did its steps: all it writes is refused, its steps are told, and it goes on", {
  timeout: 90_000,
}, async () => {
  aFleet(4_000);
  fleet.put("hold");
  const zombie = await fleet.start({ plans: [writers, held] });
  const plan = await fleet.submit(writers);
  const steps = ["commits", "decides", "listens", "saves"];
  await until("its steps to be in flight", () => fleet.ledger("begin").length === steps.length);
  zombie.signal("SIGSTOP");
  const heir = await fleet.start({ plans: [writers, held] });
  await until("the others to have them", () => begunBy(heir).length === steps.length, 30_000);
  fleet.take("hold");
  await fleet.untilCompleted([plan]);
  const history = await fleet.client.history(plan);
  fleet.put("listen");

  zombie.signal("SIGCONT");
  await until("it to be known again", async () => {
    const ids = [...(await fleet.beats()).keys()];
    return ids.length === 2 && !ids.includes(zombie.workerId);
  });
  const whatItDid = () =>
    fleet.ledger().flatMap(({ what, pid }) => (pid === zombie.pid && what !== "begin" ? [what] : []));
  await until("its steps to end", () => whatItDid().length === steps.length);

  expect(whatItDid().sort()).toEqual(["aborted", "decide-refused", "effect", "save-refused"]);
  expect(await fleet.client.history(plan)).toEqual(history);
  heir.signal("SIGTERM");
  expect(await heir.exited()).toBe(0);
  const more = await fleet.submit(held);
  await fleet.untilCompleted([more]);
  expect(await fleet.violations([plan, more])).toEqual([]);
});

test("ten of twelve workers that fall silent at once are not taken over before everybody had time to be heard", {
  timeout: 240_000,
}, async () => {
  aFleet(4_000);
  fleet.put("hold");
  const victims = await fleet.startMany(10, { concurrency: 2, plans: [held] });
  const plans = await fleet.submitMany(20, held);
  await until("all to be in flight", () => fleet.ledger("begin").length === 20, 20_000);
  const survivors = await fleet.startMany(2, { plans: [held] });
  await fleet.moveElsewhere(victims);
  const { redis, keys } = await fleet.store();

  for (const victim of victims) victim.signal("SIGKILL");
  await until("the brake", async () => (await redis.hget(keys.sweep, "brake")) === "1", 15_000);
  expect(await fleet.events(plans, "step.crashed")).toEqual([]);
  expect((await fleet.beats()).size).toBe(12);
  await until("their steps to be in flight again", () => fleet.ledger("begin").length === 40, 30_000);
  fleet.take("hold");
  await fleet.untilCompleted(plans);

  expect((await fleet.beats()).size).toBe(2);
  expect(survivors.flatMap((worker) => worker.said("took over from dead workers")).length).toBeGreaterThan(0);
  expect(await fleet.events(plans, "step.crashed")).toHaveLength(20);
  expect(fleet.ledger("effect")).toHaveLength(40);
  expect(await fleet.violations(plans)).toEqual([]);
});

test("a fleet of five that is replaced three times under load, one worker after the other, loses no step and counts no attempt", {
  timeout: 300_000,
}, async () => {
  aFleet(UNMISSED_MS);
  let workers = await fleet.startMany(5, { concurrency: 2, plans: [long] });
  const plans = await fleet.submitMany(10, long, { stepMs: 1_000 });

  for (let round = 1; round <= 3; round++) {
    const leaving: Promise<number | null>[] = [];
    const next: FleetProcess[] = [];
    for (const worker of workers) {
      next.push(await fleet.start({ concurrency: 2, plans: [long] }));
      worker.signal("SIGTERM");
      leaving.push(worker.exited());
    }
    expect(await Promise.all(leaving)).toEqual(Array(5).fill(0));
    workers = next;
    await until("the new ones to be busy", () => workers.every((worker) => begunBy(worker).length > 0), 20_000);
    expect(await unfinished(plans)).toBeGreaterThan(0);
  }
  fleet.put("stop");
  await fleet.untilCompleted(plans);

  expect(await fleet.events(plans, "step.failed", "step.crashed", "step.released")).toEqual([]);
  const effects = fleet.ledger("effect").map(({ planId, step }) => `${planId}/${step}`);
  expect(effects).toHaveLength(10 * long.compiled.steps.size);
  expect(new Set(effects).size).toBe(effects.length);
  expect(await fleet.violations(plans)).toEqual([]);
});

test("sixty steps in flight on three workers, one is killed, and the one that reruns its steps is killed too: every plan completes", {
  timeout: 240_000,
}, async () => {
  aFleet(UNMISSED_MS);
  fleet.put("hold");
  const [first, ...others] = await fleet.startMany(3, { concurrency: 20, plans: [held] });
  const plans = await fleet.submitMany(60, held);
  await until("all to be in flight", () => fleet.ledger("begin").length === 60, 20_000);
  expect(begunBy(first!)).toHaveLength(20);

  first!.signal("SIGKILL");
  await first!.exited();
  const second = await fleet.start({ concurrency: 20, plans: [held] });
  await until("the lost steps to run again", () => begunBy(second).length === 20, 20_000);
  second.signal("SIGKILL");
  await second.exited();
  fleet.take("hold");
  await fleet.untilCompleted(plans);

  expect(await fleet.events(plans, "step.crashed")).toHaveLength(40);
  expect(fleet.ledger("effect")).toHaveLength(120);
  expect(others.map(({ errors }) => errors).join()).not.toContain("refused a result");
  expect(await fleet.violations(plans)).toEqual([]);
});

function begunBy(worker: FleetProcess): unknown[] {
  return fleet.ledger("begin").filter(({ pid }) => pid === worker.pid);
}

async function unfinished(plans: readonly string[]): Promise<number> {
  const summaries = await Promise.all(plans.map((planId) => fleet.client.summary(planId)));
  return summaries.filter(({ state }) => state !== "completed").length;
}
