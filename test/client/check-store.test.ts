import { Redis } from "ioredis";
import { afterEach, beforeEach, expect, test } from "vitest";
import { checkStore, type StoreCheck } from "../../src/client/check-store.js";
import type { WorkerDocument } from "../../src/client/documents.js";
import { type PrivateRedis, startPrivateRedis } from "../support/private-redis.js";

let server: PrivateRedis;
let redis: Redis;

beforeEach(async () => {
  server = await startPrivateRedis();
  redis = new Redis(server.url);
});

afterEach(async () => {
  redis.disconnect();
  await server.stop();
});

async function check(name: string, workers: readonly WorkerDocument[] = []): Promise<StoreCheck> {
  return (await checkStore(redis, workers)).find((candidate) => candidate.name === name)!;
}

test("a store that evicts keys is unfit", async () => {
  await redis.config("SET", "maxmemory-policy", "allkeys-lru");

  expect(await check("eviction")).toMatchObject({ status: "fail", found: "maxmemory-policy allkeys-lru" });
});

test("persistence is judged by what a crash can take", async () => {
  await redis.config("SET", "appendonly", "no");
  expect(await check("persistence")).toMatchObject({ status: "warn", found: "appendonly no" });
  await redis.config("SET", "appendonly", "yes", "appendfsync", "no");
  expect(await check("persistence")).toMatchObject({ status: "warn" });
  await redis.config("SET", "appendfsync", "everysec");
  expect(await check("persistence")).toMatchObject({ status: "ok", found: expect.stringContaining("last second") });
  await redis.config("SET", "appendfsync", "always");
  expect(await check("persistence")).toMatchObject({ status: "ok", advice: null });
});

test("what a user may not ask is a warning; scripts that are not allowed are a failure", async () => {
  await redis.call("ACL", "SETUSER", "reader", "on", "nopass", "~*", "+@read", "+time", "+ping", "+hello");
  redis.disconnect();
  redis = new Redis(server.url, { username: "reader", password: "x", enableReadyCheck: false });

  const checks = new Map((await checkStore(redis, [])).map(({ name, status }) => [name, status]));

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
