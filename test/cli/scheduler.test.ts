/** `plan scheduler` as a process, next to a worker: a plan whose own process was killed goes on, and recurring plans are submitted. */
import { afterEach, beforeEach, expect, test } from "vitest";
import { ACT_RUN, Workplace } from "../support/cli.js";
import { type PrivateRedis, startPrivateRedis } from "../support/private-redis.js";
import { until } from "../support/until.js";

let place: Workplace;
let redis: PrivateRedis;

beforeEach(async () => {
  redis = await startPrivateRedis();
  place = new Workplace();
  place.env.WAYMARK_REDIS_URL = redis.url;
});

afterEach(async () => {
  await place.close();
  await redis.stop();
});

test("a plan that says `resume: auto` goes on in the fleet; one that doesn't waits for a person", {
  timeout: 90_000,
}, async () => {
  const steps = `steps:\n  - { id: one, run: "${ACT_RUN}" }\n  - { id: two, run: "${ACT_RUN}" }\n`;
  place.write("auto.yaml", `plan: auto\nresume: auto\n${steps}`);
  place.write("manual.yaml", `plan: manual\n${steps}`);
  place.hold("two");
  const runs = [place.start(["run", "auto.yaml", "--id", "a1"]), place.start(["run", "manual.yaml", "--id", "m1"])];
  await place.untilBegun("two", 2);
  for (const run of runs) await place.kill(run);
  place.free("two");

  const worker = place.start(["worker", "--allow-shell"]);
  const scheduler = place.start(["scheduler", "--actor", "night-shift"]);
  await until("the plan to complete", async () => (await place.json("get", "a1")).state === "completed", 40_000);

  expect((await place.json("get", "m1")).state).toBe("interrupted");
  const history = await place.json<{ type: string; actor?: string }[]>("history", "a1");
  expect(history.filter((event) => event.type === "plan.resumed")).toMatchObject([{ actor: "night-shift" }]);
  expect(place.count("one")).toBe(2);
  scheduler.signal("SIGTERM");
  expect((await scheduler.finished).code).toBe(0);
  worker.signal("SIGTERM");
  expect((await worker.finished).code).toBe(0);
  expect(await place.violations()).toEqual([]);
});

test("of three schedulers one is killed, and no due time is lost or submitted twice", { timeout: 90_000 }, async () => {
  place.write("noop.yaml", "plan: noop\nsteps: [{ uses: noop }]\n");
  const schedulers = [1, 2, 3].map(() => place.start(["scheduler"]));
  for (const scheduler of schedulers) await scheduler.untilSaid("looking for recurring");
  expect((await place.plan("schedule", "tick", "noop.yaml", "--every", "1s")).code).toBe(0);
  const times = async () => {
    const plans = await place.json<{ plan_id: string }[]>("list");
    return plans.map(({ plan_id }) => secondOf(plan_id)).sort((a, b) => a - b);
  };

  await until("two plans", async () => (await times()).length >= 2, 30_000);
  await place.kill(schedulers[0]!);
  await until("three more plans", async () => (await times()).length >= 5, 30_000);
  await place.plan("schedule", "tick", "--remove");
  for (const scheduler of schedulers.slice(1)) scheduler.signal("SIGTERM");
  for (const scheduler of schedulers.slice(1)) expect((await scheduler.finished).code).toBe(0);

  const all = await times();
  expect(all).toEqual(all.map((_, i) => all[0]! + i));
  expect(await place.json("schedules")).toEqual([]);
});

/** The due time in the id of a plan, in seconds. */
function secondOf(planId: string): number {
  const [, date, h, m, s] = /^tick-(\d{8})T(\d\d)(\d\d)(\d\d)Z$/.exec(planId)!;
  return Date.parse(`${date!.replace(/(....)(..)(..)/, "$1-$2-$3")}T${h}:${m}:${s}Z`) / 1_000;
}
