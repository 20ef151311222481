/** A queue's slots where the store doesn't answer as it should: nothing hangs, and no slot is lost. */
import { Redis } from "ioredis";
import { afterEach, beforeEach, expect, inject, test } from "vitest";
import type { FetchReply, StepLog } from "../../src/core/ports.js";
import { StepQueue, type StepQueueOptions } from "../../src/queue/step-queue.js";
import { ProcessSlots } from "../../src/worker/slots.js";
import { aChain, aStore, type HandWorker, type TestStore } from "../support/plans.js";
import { type PrivateRedis, startPrivateRedis } from "../support/private-redis.js";
import { gate } from "../support/step-workers.js";
import { until } from "../support/until.js";

let t: TestStore;
let hand: HandWorker;
let connections: Redis[] = [];
let queues: StepQueue[] = [];
let own: PrivateRedis | null = null;

beforeEach(async () => {
  t = await aStore(inject("redisUrl"));
  hand = await t.worker();
});

afterEach(async () => {
  await Promise.all(queues.map((queue) => queue.close(500)));
  for (const redis of connections) redis.disconnect();
  queues = [];
  connections = [];
  await t.drop();
  await own?.stop();
  own = null;
});

test("a fetch that is refused is asked again with the same token", async () => {
  const tokens: string[] = [];
  const ran = gate<string>();
  const errors: unknown[] = [];
  await start({
    log: {
      fetch(queue, token) {
        tokens.push(token);
        return tokens.length <= 2 ? Promise.reject(new Error("not now")) : hand.log.fetch(queue, token);
      },
      settle: (...args) => hand.log.settle(...args),
    },
    onStoreError: (error) => errors.push(error),
    async run(step) {
      ran.open(step.stepId);
      return { kind: "complete", output: "null" };
    },
  });
  const plan = await t.submit(aChain(["a"]));

  expect(await ran.passed).toBe("a");
  await until("the plan to complete", async () => (await t.state(plan)) === "completed");
  expect(new Set(tokens.slice(0, 3)).size).toBe(1);
  expect(errors).toHaveLength(2);
});

test("a process that gives up waits neither for a fetch nor for a record, and its slot is free again", async () => {
  for (const call of ["fetch", "settle"] as const) {
    const slots = new ProcessSlots(1);
    const failing = gate();
    let gaveUp = false;
    const refuse = (): Promise<FetchReply> => {
      failing.open();
      return Promise.reject(new Error("gone"));
    };
    const queue = await start({
      slots,
      log: {
        fetch: (...args) => hand.log.fetch(...args),
        settle: (...args) => hand.log.settle(...args),
        [call]: refuse,
      },
      isDraining: () => gaveUp,
      gaveUp: () => gaveUp,
    });
    await t.submit(aChain(["a"]));
    await failing.passed;
    expect(slots.tryAcquire()).toBe(false);
    if (call === "fetch") expect(queue.knownTokens()).toHaveLength(1);

    gaveUp = true;
    queue.stopPulling();
    await until("the slot to be free", () => slots.tryAcquire());

    expect(queue.heldTokens()).toEqual([]);
    expect(queue.knownTokens()).toEqual([]);
    await queue.close(500);
  }
});

test("a store that doesn't know the worker says so with the fetch", async () => {
  const told = gate();
  await t.redis.zrem(t.keys.workers, hand.id);
  const queue = await start({
    onUnregistered() {
      queue.stopPulling();
      told.open();
    },
  });
  await told.passed;
});

test("a result that the store refuses names the step and the reason, and the slot goes on", async () => {
  const refused = gate<string>();
  const ran: string[] = [];
  await start({
    async run(step) {
      ran.push(step.stepId);
      if (step.stepId === "a") await t.store.cancel(step.planId, "ada", null);
      return { kind: "complete", output: "null" };
    },
    onRefusal: (step, verdict) => refused.open(`${step.stepId} ${verdict}`),
  });
  await t.submit(aChain(["a"]));
  expect(await refused.passed).toMatch(/^a (LOST|FENCED)$/);
  const next = await t.submit(aChain(["b"]));
  await until("the next plan to complete", async () => (await t.state(next)) === "completed");
  expect(ran).toEqual(["a", "b"]);
});

test("close resolves within its time though the server stands still, and leaves no connection that waits", async () => {
  own = await startPrivateRedis();
  const redis = connectionTo(own.url);
  const away = await aStore(own.url);
  const worker = await away.worker();
  const queue = await start({ redis, tag: away.keys.tag, log: worker.log, slotPrefix: `${worker.id}.0` });
  await until("the slot to wait", async () => /cmd=bzpopmin/.test(String(await away.redis.client("LIST"))));
  own.pause();

  const startedAt = Date.now();
  await queue.close(200);

  expect(Date.now() - startedAt).toBeLessThan(1_000);
  own.resume();
  await until("the connection to be gone", async () => !/cmd=bzpopmin/.test(String(await away.redis.client("LIST"))));
  away.redis.disconnect();
});

test("a slot that waits for its turn is woken when the process closes its slots", async () => {
  const slots = new ProcessSlots(1);
  slots.tryAcquire();
  const woken = slots.whenFree();
  slots.close();
  await woken;
  expect(slots.tryAcquire()).toBe(false);
});

async function start(options: Partial<StepQueueOptions>): Promise<StepQueue> {
  const queue = new StepQueue({
    queue: "work",
    log: hand.log satisfies StepLog,
    slots: new ProcessSlots(1),
    redis: options.redis ?? connectionTo(t.url),
    tag: t.keys.tag,
    slotPrefix: `${hand.id}.0`,
    concurrency: 1,
    isDraining: () => false,
    gaveUp: () => false,
    run: async () => ({ kind: "complete", output: "null" }),
    onRefusal: () => {},
    onUnregistered: () => {},
    onStoreError: () => {},
    ...options,
  });
  queues.push(queue);
  await queue.start();
  return queue;
}

function connectionTo(url: string): Redis {
  const redis = new Redis(url, { protocol: 2, enableReadyCheck: false, maxRetriesPerRequest: null } as never);
  redis.on("error", () => {});
  connections.push(redis);
  return redis;
}
