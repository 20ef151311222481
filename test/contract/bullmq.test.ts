/**
 * What we build on is BullMQ 6.7.0 itself: its data layout and its Worker's calls of a backend. Another version must be
 * looked at first: compare the scripts named here, run the differential test on many cases, then pin the new digests.
 */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createRedisBackend, type RedisQueueBackend, Worker } from "bullmq";
import { Redis } from "ioredis";
import { describe, expect, inject, test } from "vitest";
import { aPrefix } from "../support/store.js";
import { until } from "../support/until.js";

const VERSION = "6.7.0";
/** SHA-1 of the texts that lean-queue.lua was held against. */
const CHECKED = {
  addDelayedJob: "81698fd2d28e7db1787595b3c464b188fa78bdcf",
  addStandardJob: "5ab432e88830d573e2fa33392ffbd4ad25a9b100",
  moveJobFromActiveToWait: "2f746a769bc3d182a0f73ace6bb7a4906faf5df9",
  moveToActive: "d96ca626f1ea141b44a856b312fc636d99aa9ea9",
  moveToDelayed: "9f83944d6edafd63c74121d73299dd3358ddfe0c",
  moveToFinished: "69666e69dd5621df59067a03de685e55a486560d",
} as const;

const require = createRequire(import.meta.url);
const WHAT_TO_DO = `Waymark was checked against BullMQ ${VERSION}. Read its changes, run WAYMARK_TEST_CASES=10000 npx vitest run test/queue, then pin anew.`;

test(`bullmq is exactly ${VERSION}, here and for whoever installs this`, () => {
  const installed = JSON.parse(
    readFileSync(new URL("../../node_modules/bullmq/package.json", import.meta.url), "utf8"),
  ) as { version: string };
  const ours = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as {
    dependencies: Record<string, string>;
  };

  expect(installed.version, WHAT_TO_DO).toBe(VERSION);
  expect(ours.dependencies.bullmq, "no range: the data layout of another version is not known").toBe(VERSION);
});

test.each(Object.entries(CHECKED))("the text of BullMQ's %s is the one that was checked", (name, digest) => {
  const scripts = require("../../node_modules/bullmq/dist/cjs/scripts/index.js") as Record<string, { content: string }>;
  expect(createHash("sha1").update(scripts[name]!.content).digest("hex"), WHAT_TO_DO).toBe(digest);
});

describe("BullMQ's Worker", () => {
  test("takes its backend from a factory, and calls what we replace on it, with our arguments", async () => {
    const redis = new Redis(inject("redisUrl"), { maxRetriesPerRequest: null, protocol: 2 } as never);
    const calls: unknown[][] = [];
    let handedOut = false;
    const step = {
      name: "step",
      data: '{"n":1}',
      opts: { attempts: 1 },
      progress: 0,
      delay: 0,
      priority: 0,
      timestamp: 1,
      attemptsStarted: 1,
      attemptsMade: 0,
      stalledCounter: 0,
    };
    const worker = new Worker(
      "contract",
      (async (job: { id: string; data: object }, token: string) => {
        calls.push(["process", job.id, job.data, token]);
        return "done";
      }) as never,
      {
        connection: redis as never,
        prefix: aPrefix(),
        autorun: false,
        skipStalledCheck: true,
        skipLockRenewal: true,
        skipVersionCheck: true,
      },
      ((...args: Parameters<typeof createRedisBackend>) =>
        Object.assign(createRedisBackend(...args), {
          async moveToActive(token: string) {
            if (handedOut) return [null, undefined, 0, 0];
            handedOut = true;
            calls.push(["moveToActive", token]);
            return [step, "p/s/1", 0, 0];
          },
          async moveToCompleted(
            job: { id: string },
            value: unknown,
            _keep: unknown,
            token: string,
            fetchNext: boolean,
          ) {
            calls.push(["moveToCompleted", job.id, value, token, fetchNext]);
            return { result: [null, undefined, 0, 0], finishedOn: 1 };
          },
          async waitForJob() {
            calls.push(["waitForJob"]);
            await new Promise((resolve) => setTimeout(resolve, 20));
            return null;
          },
        } satisfies Partial<Record<keyof RedisQueueBackend, unknown>>)) as never,
    );
    // Tokens begin with it: a takeover traces them to a worker.
    (worker as unknown as { id: string }).id = "me.0";
    void worker.run();
    await until(
      "all of them to be called",
      () => calls.some(([name]) => name === "moveToCompleted") && calls.some(([name]) => name === "waitForJob"),
    );
    await worker.close();
    redis.disconnect();

    const token = String(calls.find(([name]) => name === "moveToActive")![1]);
    expect(token).toMatch(/^me\.0:\d+$/);
    expect(calls).toContainEqual(["process", "p/s/1", { n: 1 }, token]);
    expect(calls).toContainEqual(["moveToCompleted", "p/s/1", expect.anything(), token, true]);
  });
});
