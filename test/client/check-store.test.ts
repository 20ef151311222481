import { Redis } from "ioredis";
import { afterEach, beforeEach, expect, test } from "vitest";
import {
  checkConfirmation,
  checkReplication,
  checkSingle,
  checkStore,
  checkVersion,
  judgeClock,
  judgeShards,
  type StoreCheck,
  together,
} from "../../src/client/check-store.js";
import type { WorkerDocument } from "../../src/client/documents.js";
import { Keys } from "../../src/store/keys.js";
import { RedisPlanStore } from "../../src/store/redis-plan-store.js";
import { ShardedPlanStore } from "../../src/store/sharded-plan-store.js";
import { type PrivateRedis, startPrivateRedis } from "../support/private-redis.js";

let server: PrivateRedis;
let redis: Redis;

beforeEach(async () => {
  server = await startPrivateRedis({ settings: { "enable-debug-command": "yes" } });
  redis = new Redis(server.url);
});

afterEach(async () => {
  redis.disconnect();
  await server.stop();
});

function aStoreOn(connection: Redis): ShardedPlanStore {
  const location = { url: server.url };
  const parts = { redis: connection, location, keys: new Keys("waymark"), deadAfterMs: 3_000, isGone: () => false };
  return new ShardedPlanStore([new RedisPlanStore(parts)]);
}

async function check(name: string, workers: readonly WorkerDocument[] = []): Promise<StoreCheck> {
  return (await checkStore(aStoreOn(redis), workers)).find((candidate) => candidate.name === name)!;
}

test("a store that evicts keys is unfit", async () => {
  await redis.config("SET", "maxmemory-policy", "allkeys-lru");

  expect(await check("eviction")).toMatchObject({ status: "fail", found: "maxmemory-policy allkeys-lru" });
});

test("persistence is judged by what a crash can take", async () => {
  await redis.config("SET", "appendonly", "no");
  expect(await check("persistence")).toMatchObject({ status: "warn", found: expect.stringMatching(/^none/) });
  await redis.config("SET", "appendonly", "yes", "appendfsync", "no");
  expect(await check("persistence")).toMatchObject({
    status: "warn",
    found: expect.stringMatching(/^when the system/),
  });
  await redis.config("SET", "appendfsync", "everysec");
  expect(await check("persistence")).toMatchObject({ status: "ok", found: expect.stringContaining("last second") });
  await redis.config("SET", "appendfsync", "always");
  expect(await check("persistence")).toMatchObject({
    status: "ok",
    found: "always: what is acknowledged is on disk",
    advice: null,
  });
});

test.each([
  ["redis_version:7.0.15", "everysec", "warn"],
  ["redis_version:7.0.15", "always", "ok"],
  ["redis_version:7.2.0", "everysec", "ok"],
  ["redis_version:7.2.4\r\nvalkey_version:8.1.0", "everysec", "ok"],
  ["", "everysec", "warn"],
] as const)("whether %j with appendfsync %s keeps the start of an irreversible step: %s", (info, fsync, status) => {
  expect(checkConfirmation(`${info}\r\n`, fsync)).toMatchObject({ status });
});

test.each([
  ["role:master\r\nconnected_slaves:0", "0", "ok"],
  ["role:master\r\nconnected_slaves:2", "0", "warn"],
  ["role:master\r\nconnected_slaves:2", null, "warn"],
  ["role:master\r\nconnected_slaves:2", "1", "ok"],
  ["role:slave\r\nconnected_slaves:0", "0", "fail"],
])("replication of %j with %j replicas needed is a case of %s", (info, needed, status) => {
  expect(checkReplication(`${info}\r\n`, needed)).toMatchObject({ status });
});

test.each([
  ["redis_mode:standalone", 1, "ok", "1, on one server"],
  ["redis_mode:standalone", 4, "warn", "4, all on one server"],
  ["", 1, "ok", "1, on one server"],
  ["redis_mode:cluster", 1, "fail", "this is one node of a cluster"],
])("at one address of %j, %i shards are a case of %s", (info, shards, status, found) => {
  expect(checkSingle(`${info}\r\n`, shards)).toMatchObject({ status, found: expect.stringContaining(found) as string });
});

test.each([
  [["a:1", "b:2", "c:3"], "ok", "ok", "3 on 3 of 3 primaries (0: a:1, 1: b:2, 2: c:3)"],
  [["a:1", "a:1"], null, "warn", "2 on 1 of 3 primaries (0: a:1, 1: a:1)"],
  [
    ["a:1", "b:2", "c:3"],
    "fail",
    "fail",
    "3 on 3 of 3 primaries (0: a:1, 1: b:2, 2: c:3); the cluster's state is fail",
  ],
])("shards on %j in the state %s are a case of %s", (servers, state, status, found) => {
  expect(judgeShards(servers, 3, state)).toMatchObject({ status, found });
});

test("of several servers the worst is told, and which it is", () => {
  const check = (status: StoreCheck["status"], found: string) => ({ name: "x", status, found, advice: null });

  const all = together(
    ["a:1", "b:2", "c:3"],
    [
      [check("ok", "one"), check("ok", "fine")],
      [check("warn", "two"), check("ok", "fine")],
      [check("fail", "three"), check("warn", "odd")],
    ],
  );

  expect(all.map(({ status, found }) => [status, found])).toEqual([
    ["fail", "c:3: three"],
    ["warn", "c:3: odd"],
  ]);
});

test("what a user may not ask is a warning; scripts that are not allowed are a failure", async () => {
  await redis.call("ACL", "SETUSER", "reader", "on", "nopass", "~*", "+@read", "+time", "+ping", "+hello");
  redis.disconnect();
  redis = new Redis(server.url, { username: "reader", password: "x", enableReadyCheck: false });

  const checks = new Map((await checkStore(aStoreOn(redis), [])).map(({ name, status }) => [name, status]));

  expect(Object.fromEntries(checks)).toMatchObject({
    version: "warn",
    eviction: "warn",
    persistence: "warn",
    clock: "ok",
    scripts: "fail",
    latency: "ok",
  });
});

test("dead workers that are still registered are leftovers, named", async () => {
  const worker = (label: string, state: WorkerDocument["state"]): WorkerDocument => ({
    workerId: label,
    label,
    pid: 1,
    state,
    plans: [],
    queues: [],
    concurrency: 1,
    active: 0,
    startedAt: "",
    lastSeenAt: "",
  });

  expect(await check("leftovers", [worker("a:1", "accepting"), worker("b:2", "dead")])).toMatchObject({
    status: "warn",
    found: "1 live worker, 1 dead still registered (b:2)",
  });
  expect(await check("leftovers", [worker("a:1", "accepting")])).toMatchObject({ status: "ok" });
});

test.each([
  ["redis_version:6.2.14", "fail", "Redis 6.2.14"],
  ["redis_version:7.0.0", "ok", "Redis 7.0.0"],
  ["redis_version:7.2.4\r\nvalkey_version:7.0.1", "fail", "Valkey 7.0.1"],
  ["redis_version:7.2.4\r\nvalkey_version:8.1.0", "ok", "Valkey 8.1.0"],
])("a server of %j is a case of %s", (info, status, found) => {
  expect(checkVersion(`# Server\r\n${info}\r\n`)).toMatchObject({ status, found });
});

test("a clock may be a second off, on either side", () => {
  expect(judgeClock(-999)).toMatchObject({ status: "ok", found: "the store's clock is 999 ms behind this one" });
  expect(judgeClock(1_001)).toMatchObject({ status: "warn", found: "the store's clock is 1001 ms ahead of this one" });
});

test("a server that takes long for each answer is far away", async () => {
  const busy = new Redis(server.url);
  let stop = false;
  const blocked = (async () => {
    while (!stop) await Promise.all([busy.call("DEBUG", "SLEEP", "0.02"), busy.call("DEBUG", "SLEEP", "0.02")]);
  })();

  const latency = await check("latency");
  stop = true;
  await blocked;
  busy.disconnect();

  expect(latency).toMatchObject({ status: "warn", advice: expect.stringContaining("nearer") });
});
