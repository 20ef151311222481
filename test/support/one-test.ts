/** What one test works with. Once it is over, its plans are held to every invariant, and nothing of it is left. */
import { expect, inject, onTestFinished } from "vitest";
import { RedisAttemptStore } from "../../src/store/attempt-store.js";
import { checkInvariants } from "./invariants.js";
import { aStore, type HandWorker, type TestStore } from "./plans.js";
import { type Act, type RunningWorker, type RunOptions, runWorker } from "./step-workers.js";

/** A store with a prefix of its own. */
export async function aStoreForThisTest(): Promise<TestStore> {
  const t = await aStore(inject("redisUrl"));
  onTestFinished(async () => {
    try {
      for (const planId of await t.redis.zrange(t.keys.plans, "0", "-1")) {
        expect(await checkInvariants(t.store, planId), planId).toEqual([]);
      }
    } finally {
      await t.drop();
    }
  });
  return t;
}

export interface Bench {
  readonly t: TestStore;
  /** It does nothing by itself. */
  readonly worker: HandWorker;
  /** What its attempts write. */
  readonly attempts: RedisAttemptStore;
}

/** A store, and a worker that the test moves by hand. */
export async function aBench(): Promise<Bench> {
  const t = await aStoreForThisTest();
  return { t, worker: await t.worker(), attempts: new RedisAttemptStore(t.redis, t.keys, t.store.sealed) };
}

/** A worker that runs until the test is over. */
export async function startWorker(t: TestStore, act: Act, options: RunOptions = {}): Promise<RunningWorker> {
  const running = await runWorker(t, act, options);
  onTestFinished(() => running.close());
  return running;
}
