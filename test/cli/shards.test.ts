/** The command line over several shards: nobody sees them, but whoever names another number of them. */
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { shardNumber } from "../../src/store/sharded-plan-store.js";
import { ACT_RUN, Workplace } from "../support/cli.js";
import { type PrivateRedis, startPrivateRedis } from "../support/private-redis.js";
import { until } from "../support/until.js";

// On a busy machine servers and processes take their time to start.
vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

const SHARDS = 3;
const IDS = ["plan-1", "plan-2", "plan-3", "plan-4", "plan-5"];

let server: PrivateRedis;
let place: Workplace;

beforeEach(async () => {
  server = await startPrivateRedis();
  place = new Workplace();
  place.env.WAYMARK_REDIS_URL = server.url;
  place.env.WAYMARK_SHARDS = String(SHARDS);
  place.write(
    "plan.yaml",
    `plan: orders\nsteps:\n  - { id: one, run: "${ACT_RUN}" }\n  - { id: two, run: "${ACT_RUN}" }\n`,
  );
});

afterEach(async () => {
  expect(await place.violations()).toEqual([]);
  await place.close();
  await server.stop();
});

test("plans of all shards are run, listed, interrupted and resumed together", async () => {
  expect(new Set(IDS.map((id) => shardNumber(id, SHARDS)))).toEqual(new Set([0, 1, 2]));
  place.hold("two");
  const runs = IDS.map((id) => place.start(["run", "plan.yaml", "--id", id]));
  await place.untilBegun("two", IDS.length);
  for (const run of runs) await place.kill(run);
  place.free("two");
  const interrupted = await place.json<object[]>("list", "--state", "interrupted");
  expect(interrupted).toHaveLength(IDS.length);
  const worker = place.start(["worker", "--plans", "plan.yaml"]);
  await until("the worker", async () => (await place.json<object[]>("workers")).length > 0);

  const resumed = await place.plan("resume", "--all", "--yes");

  expect(resumed.code, resumed.stderr).toBe(0);
  await until(
    "all to be completed",
    async () => (await place.json<object[]>("list", "--state", "completed")).length === IDS.length,
  );
  expect(await place.json("workers")).toMatchObject([{ state: "accepting" }]);
  worker.signal("SIGTERM");
  expect((await worker.finished).code).toBe(0);
});

test("another number of shards is refused, to read as to write", async () => {
  expect((await place.plan("run", "plan.yaml", "--id", "plan-1")).code).toBe(0);
  place.env.WAYMARK_SHARDS = "4";

  for (const command of [["list"], ["get", "plan-1"], ["submit", "plan.yaml"], ["doctor"]]) {
    const { code, stderr } = await place.plan(...command);
    expect(code, command.join(" ")).toBe(6);
    expect(stderr).toContain("STORE_UNSUITABLE: This store has 3 shards, and 4 are configured: set WAYMARK_SHARDS=3");
  }
  place.env.WAYMARK_SHARDS = "3";
});
