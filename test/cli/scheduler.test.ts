/** `plan scheduler` as a process, next to a worker: a plan whose own process was killed goes on. */
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
