/** What only reads, only reads: seen by MONITOR, by DUMP, and by a user who may do nothing else. */
import { afterEach, beforeEach, expect, test } from "vitest";
import { ACT_RUN, Workplace } from "../support/cli.js";
import { monitor } from "../support/monitor.js";
import { type PrivateRedis, startPrivateRedis } from "../support/private-redis.js";

const READ_ONLY = ["+@read", "+time", "+eval_ro", "+evalsha_ro", "+hello"];

let place: Workplace;
let redis: PrivateRedis;

beforeEach(async () => {
  redis = await startPrivateRedis();
  place = new Workplace();
  place.env.WAYMARK_REDIS_URL = redis.url;
  place.write(
    "plan.yaml",
    `plan: orders\nsteps:\n  - { id: one, run: "${ACT_RUN}" }\n  - { id: two, run: "${ACT_RUN}" }\n`,
  );
  place.hold("two");
  const run = place.start(["run", "plan.yaml", "--id", "p1"]);
  await place.untilBegun("two");
  await place.kill(run);
});

afterEach(async () => {
  expect(await place.violations()).toEqual([]);
  await place.close();
  await redis.stop();
});

test("a dry-run sends no command that writes, and leaves no queue's metadata", async () => {
  const connection = await place.redis();
  const before = await place.dump();
  const writes = new Set(await commandsThatWrite());
  const seen = await monitor(redis.url, connection);

  const preview = await place.plan("resume", "p1", "--dry-run");
  await seen.caughtUp();
  seen.stop();

  expect(preview.code, preview.stderr).toBe(0);
  const names = seen.commands.map(([name]) => name!);
  expect(names.length).toBeGreaterThan(0);
  expect(names.filter((name) => writes.has(name))).toEqual([]);
  expect(
    names.filter((name) => ["eval", "evalsha", "script", "function", "fcall", "client", "info"].includes(name)),
  ).toEqual([]);
  expect(await place.dump()).toEqual(before);
  expect([...before.keys()].filter((key) => key.endsWith(":meta"))).toEqual([]);
});

test("a user who may only read is enough for every command that reads", async () => {
  const connection = await place.redis();
  await connection.call("ACL", "SETUSER", "reader", "on", ">look", "~*", "&*", "-@all", ...READ_ONLY);
  // The scripts aren't in the server's cache for somebody who can't load them.
  await connection.script("FLUSH");
  const before = await place.dump();
  place.env.WAYMARK_REDIS_URL = `redis://reader:look@127.0.0.1:${redis.port}`;

  for (const command of [
    ["resume", "p1", "--dry-run"],
    ["list"],
    ["get", "p1"],
    ["history", "p1"],
    ["logs", "p1"],
    ["checkpoints", "p1"],
    ["decisions", "p1"],
    ["workers"],
    ["get", "@latest"],
    ["resume", "p1", "--from-step", "one", "--dry-run"],
    ["fork", "p1", "--from-step", "one", "--id", "p2", "--dry-run"],
    ["verify", "p1"],
    ["verify", "--all"],
  ]) {
    const { code, stderr } = await place.plan(...command, "-o", "json");
    expect(code, `${command.join(" ")}: ${stderr}`).toBe(0);
  }
  const refused = await place.plan("cancel", "p1");
  expect(refused.code).not.toBe(0);
  expect(refused.stderr).not.toContain("look");

  place.env.WAYMARK_REDIS_URL = redis.url;
  expect(await place.dump()).toEqual(before);
});

async function commandsThatWrite(): Promise<string[]> {
  const connection = await place.redis();
  return (await connection.call("COMMAND", "LIST", "FILTERBY", "ACLCAT", "write")) as string[];
}
