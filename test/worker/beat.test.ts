/** What comes with a beat besides the beat: messages, pages of quiet plans, strays, and what is said when it fails. */
import { afterEach, beforeEach, expect, inject, test } from "vitest";
import { bullQueueName } from "../../src/store/keys.js";
import { Beat, type BeatOptions } from "../../src/worker/beat.js";
import { aChain, aDefinition, aStore, type HandWorker, type TestStore } from "../support/plans.js";
import { runs } from "../support/step-workers.js";
import { startTcpProxy, type TcpProxy } from "../support/tcp-proxy.js";
import { until } from "../support/until.js";

const OOM = "-OOM command not allowed when used memory > 'maxmemory'.";

let t: TestStore;
let proxied: TestStore;
let proxy: TcpProxy;
let worker: HandWorker;
let mended: object[];
let errors: string[];

beforeEach(async () => {
  t = await aStore(inject("redisUrl"));
  proxy = await startTcpProxy(t.url);
  proxied = await aStore(proxy.url, { prefix: t.prefix });
  worker = await t.worker();
  mended = [];
  errors = [];
});

afterEach(async () => {
  proxied.redis.disconnect();
  await proxy.close();
  await t.drop();
});

test("jobs that nobody holds go back, and that is said; where every job has its holder, nothing is", async () => {
  await t.submit(aChain(["a"]));
  const forgotten = await t.worker();
  await forgotten.take();
  const beat = aBeat();
  await beat.lookForStrays();
  expect(mended).toEqual([]);
  await t.redis.multi().zrem(t.keys.workers, forgotten.id).hdel(t.keys.sweep, "strays:work").exec();

  await beat.lookForStrays();

  expect(mended).toEqual([{ queue: "work", steps: 1 }]);
  expect((await worker.take()).stepId).toBe("a");
});

test("a look for strays, and one at quiet plans, that the store refuses are said", async () => {
  await aQuietPlan();
  proxy.judge = (args) => (runs("strays")(args) || runs("mend")(args) ? OOM : "pass");
  const beat = aBeat();

  await beat.lookForStrays();
  await beat.beat();

  await until("both to be said", () => errors.length === 2);
  expect(errors.every((message) => message.startsWith("OOM"))).toBe(true);
});

test("a quiet plan that has what it needs is looked at, and nothing is said of it", async () => {
  await aQuietPlan();
  const seen = proxy.seen.length;

  const beat = aBeat();
  await beat.beat();
  await until("the look", () => proxy.seen.slice(seen).some(runs("mend")));
  await t.redis.hdel(t.keys.sweep, "page", "round");
  await beat.beat();
  await until("another look", () => proxy.seen.slice(seen).filter(runs("mend")).length === 2);

  expect({ mended, errors }).toEqual({ mended: [], errors: [] });
});

test("while quiet plans are being looked at, no second look begins; a beat that has stopped looks no further", async () => {
  await aQuietPlan();
  await aQuietPlan();
  const beat = aBeat();
  const looks = () => proxy.seen.filter(runs("mend")).length;
  proxy.judge = (args) => {
    if (runs("mend")(args) && looks() === 1) {
      // Before its reply: the first look is under way.
      void t.redis.hdel(t.keys.sweep, "page", "round").then(() => beat.beat());
    }
    return "pass";
  };

  await beat.beat();
  await until("the looks at both plans", () => looks() === 2);
  await t.redis.hdel(t.keys.sweep, "page", "round");
  proxy.judge = (args) => {
    if (runs("mend")(args)) beat.stop();
    return "pass";
  };
  await beat.beat();
  await until("a third look", () => looks() >= 3);
  await proxied.redis.ping();

  expect(looks()).toBe(3);
});

test("the store's wake-up for what a dead worker held is not repeated by one that has stopped", async () => {
  const dead = await t.worker();
  await t.submit(aChain(["a"]));
  await dead.take();
  const beat = aBeat();
  await beat.beat([dead.id]);
  const beats = () => proxy.seen.filter(runs("beat")).length;
  beat.stop();
  const before = beats();

  await new Promise((resolve) => setTimeout(resolve, 2 * 50));

  expect(beats()).toBe(before);
});

function aBeat(): Beat {
  const options: BeatOptions = {
    redis: proxied.redis,
    keys: t.keys,
    workerId: worker.id,
    queues: [bullQueueName("work")],
    deadAfterMs: t.store.deadAfterMs,
    facts: () => ({ state: "accepting", active: 0 }),
    onMessage() {},
    onUnregistered() {},
    onTakeover() {},
    onMended: (what, steps) => void mended.push({ ...what, steps }),
    onError: (error) => void errors.push((error as Error).message),
  };
  return new Beat(options);
}

/** Nothing has happened to it for a while, and its job is where it should be. */
async function aQuietPlan(): Promise<string> {
  const plan = await t.submit(aDefinition([{ id: "a", queue: "elsewhere" }]));
  await t.redis.hincrby(t.keys.plan(plan), "created", -60_000);
  return plan;
}
