/** Redis and workers that go away at the worst moment. */
import { afterEach, expect, test } from "vitest";
import { ACT_RUN, Workplace } from "../support/cli.js";
import { type PrivateRedis, startPrivateRedis } from "../support/private-redis.js";
import { until } from "../support/until.js";

let place: Workplace;
let redis: PrivateRedis | null = null;

afterEach(async () => {
  await place.endCommands();
  expect(await place.violations()).toEqual([]);
  await place.close();
  await redis?.stop();
  redis = null;
});

test("a worker that dies with its commit on the wire has done the step: it is never run again", async () => {
  await onRedis();
  // Silent: what a step writes is stored before its commit is sent.
  place.write("plan.yaml", chain("one", "two", "three").replaceAll(ACT_RUN, `${ACT_RUN} >/dev/null`));
  place.hold("two");
  const run = place.start(["run", "plan.yaml", "--id", "p1", "--debug"]);
  await place.untilBegun("two");

  redis!.pause();
  place.free("two");
  await until("the worker to be done with two", () => run.said.split("step ended: complete").length === 3);
  await untilWritten(run.pid, redis!.port);
  await place.kill(run);
  redis!.resume();

  await place.plan("resume", "p1", "--here", "--allow-shell");
  expect(await place.json("get", "p1")).toMatchObject({ state: "completed" });
  expect(place.count("one")).toBe(1);
  expect(place.count("two")).toBe(1);
});

test("a plan survives the death and the restart of its Redis while it runs", async () => {
  await onRedis();
  place.write("plan.yaml", chain("one", "two", "three"));
  place.hold("two");
  const run = place.start(["run", "plan.yaml", "--id", "p1"]);
  await place.untilBegun("two");

  await redis!.kill();
  place.free("two");
  await until("two to end", () => place.count("two", "end") === 1);
  await redis!.start();

  expect((await run.finished).code).toBe(0);
  for (const step of ["one", "two", "three"]) expect(place.count(step, "end"), step).toBe(1);
});

test("commands that share the embedded store share its plans, and the last one out stops the server", async () => {
  place = new Workplace();
  place.write("plan.yaml", chain("one"));
  place.hold("one");

  const runs = Array.from({ length: 6 }, (_, i) => place.start(["run", "plan.yaml", "--id", `p${i}`]));
  await place.untilBegun("one", 6);
  const servers = new Set([place.serverPid()]);
  const listed = await Promise.all(Array.from({ length: 4 }, () => place.json<unknown[]>("list")));
  servers.add(place.serverPid());
  expect(listed.map((plans) => plans.length)).toEqual([6, 6, 6, 6]);
  expect(servers.size).toBe(1);

  place.free("one");
  for (const run of runs) expect((await run.finished).code).toBe(0);
  await until("the server to stop", () => place.serverPid() === null);
});

test("plans survive kill -9 of everything, the embedded server included", async () => {
  place = new Workplace();
  place.write("plan.yaml", chain("one", "two"));
  place.hold("two");
  for (const id of ["p1", "p2", "p3"]) place.start(["run", "plan.yaml", "--id", id]);
  await place.untilBegun("two", 3);

  await place.killEverything();
  place.free("two");

  const listed = await place.json<{ plan_id: string; state: string }[]>("list");
  expect(listed.map((plan) => plan.state)).toEqual(["interrupted", "interrupted", "interrupted"]);
  const resumed = await place.plan("resume", "--all", "--yes");
  expect(resumed.code, resumed.stderr).toBe(0);
  expect(place.count("one")).toBe(3);
  expect(place.count("two", "end")).toBe(3);
});

async function onRedis(): Promise<void> {
  place = new Workplace();
  redis = await startPrivateRedis({ appendfsync: "always" });
  place.env.WAYMARK_REDIS_URL = redis.url;
}

/** Until the process has handed something to its connections that the server, which stands still, has not read. */
async function untilWritten(pid: number, port: number): Promise<void> {
  const { readFileSync, readdirSync, readlinkSync } = await import("node:fs");
  const inodes = () =>
    new Set(
      readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
        try {
          return /socket:\[(\d+)\]/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`))?.[1] ?? [];
        } catch {
          return [];
        }
      }),
    );
  const portHex = port.toString(16).toUpperCase().padStart(4, "0");
  await until("the commit to be on the wire", () => {
    const mine = inodes();
    // The server's side of the connection holds what it has not read: the second number of `tx_queue:rx_queue`.
    const rows = readFileSync("/proc/net/tcp", "utf8")
      .trim()
      .split("\n")
      .slice(1)
      .map((row) => row.trim().split(/\s+/));
    const ports = new Set(rows.filter((row) => mine.has(row[9]!)).map((row) => row[1]!.split(":")[1]));
    return rows.some(
      (row) =>
        row[1]!.endsWith(`:${portHex}`) &&
        ports.has(row[2]!.split(":")[1]) &&
        Number.parseInt(row[4]!.split(":")[1]!, 16) > 0 &&
        row[3] === "01",
    );
  });
}

function chain(...ids: string[]): string {
  return `plan: chain\nsteps:\n${ids.map((id) => `  - { id: ${id}, run: "${ACT_RUN}" }\n`).join("")}`;
}
