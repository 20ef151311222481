/** Sentinels name the primary; when it dies, plans go on with the replica that took its place. */
import { Redis } from "ioredis";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { connect } from "../../src/store/connect.js";
import { openStore } from "../../src/store/open-store.js";
import { checkInvariants } from "../support/invariants.js";
import { aChain, TestStore } from "../support/plans.js";
import { startWatched, type Watched } from "../support/sentinel.js";
import { runWorker } from "../support/step-workers.js";
import { aPrefix } from "../support/store.js";
import { until } from "../support/until.js";

// On a busy machine servers and processes take their time to start.
vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

let watched: Watched;

beforeAll(async () => {
  watched = await startWatched();
});

afterAll(() => watched.stop());

test("sentinels that know no such primary, or aren't there, are told soon", async () => {
  const unknown = watched.url.replace("/main", "/other");
  const startedAt = Date.now();

  await expect(connect({ url: unknown, patient: false })).rejects.toMatchObject({
    code: "STORE_UNAVAILABLE",
    message: expect.stringContaining("none of its sentinels answers with a primary") as string,
  });
  await expect(connect({ url: "redis-sentinel://:secret@127.0.0.1:1/main", patient: false })).rejects.toMatchObject({
    code: "STORE_UNAVAILABLE",
    message: expect.stringMatching(/redis-sentinel:\/\/\*\*\*@127.*none of its sentinels/) as string,
  });
  expect(Date.now() - startedAt).toBeLessThan(6_000);
});

test("a plan outlives the death of its primary in the middle of a step", async () => {
  const prefix = aPrefix();
  const { url, primary, replica } = watched;
  const t = new TestStore((await openStore({ url, prefix, patient: true })).shardOf(""), url, prefix);
  const done: string[] = [];
  const worker = await runWorker(t, async ({ stepId }) => {
    if (stepId === "s2" && !done.includes("s2")) {
      await until("the replica to have everything", () => isCaughtUp(primary.url));
      await primary.kill();
    }
    done.push(stepId);
    return stepId;
  });
  const ids = ["s0", "s1", "s2", "s3", "s4"];
  const plan = await t.submit(aChain(ids));

  await until("the plan to be completed", async () => (await t.state(plan)) === "completed", 25_000);

  expect([...new Set(done)]).toEqual(ids);
  // What was done before the primary died is not done again.
  expect(done.filter((id) => id === "s0" || id === "s1")).toEqual(["s0", "s1"]);
  expect(await checkInvariants(t.store, plan)).toEqual([]);
  expect(await roleOf(replica.url)).toBe("master");
  await worker.close();
  await t.store.close();
});

async function isCaughtUp(url: string): Promise<boolean> {
  const info = await ask(url, (redis) => redis.info("replication"));
  const own = /^master_repl_offset:(\d+)/m.exec(info)?.[1];
  return own !== undefined && info.includes(`offset=${own},`);
}

async function roleOf(url: string): Promise<string | undefined> {
  return /^role:(\w+)/m.exec(await ask(url, (redis) => redis.info("replication")))?.[1];
}

async function ask<T>(url: string, question: (redis: Redis) => Promise<T>): Promise<T> {
  const redis = new Redis(url, { protocol: 2, enableReadyCheck: false } as never);
  try {
    return await question(redis);
  } finally {
    redis.disconnect();
  }
}
