/** What readers get: lists, histories as they happen, logs, workers; and what they refuse to believe. */
import { afterEach, beforeEach, describe, expect, inject, onTestFinished, test } from "vitest";
import type { PlanEvent } from "../../src/core/history.js";
import { describeStoreUrl } from "../../src/core/store-address.js";
import { connect } from "../../src/store/connect.js";
import { openStore } from "../../src/store/open-store.js";
import { runScript } from "../../src/store/scripts.js";
import { aChain, aDefinition, aStore, type HandWorker, stepOf, type TestStore } from "../support/plans.js";
import { startPrivateRedis } from "../support/private-redis.js";

let t: TestStore;
let worker: HandWorker;

beforeEach(async () => {
  t = await aStore(inject("redisUrl"));
  worker = await t.worker();
});

afterEach(async () => {
  await t.drop();
});

describe("following", () => {
  test("a plan's events come as they happen, each once, and end with the plan", async () => {
    const plan = await t.submit(aChain(["a", "b"]));
    const a = await worker.take();
    const events: PlanEvent[] = [];
    const following = (async () => {
      for await (const event of t.store.follow(plan, 2, new AbortController().signal)) events.push(event);
    })();

    const b = stepOf(await worker.complete(a));
    await worker.complete(b);
    await following;

    expect(events).toEqual((await t.store.history(plan)).slice(1));
    expect(events.at(-1)?.type).toBe("plan.completed");
  });

  test("it ends when it is told to", async () => {
    const plan = await t.submit(aChain(["a"]));
    const stop = new AbortController();
    const events: string[] = [];
    for await (const event of t.store.follow(plan, 1, stop.signal)) {
      events.push(event.type);
      setImmediate(() => stop.abort());
    }
    expect(events).toEqual(["plan.submitted"]);
  });

  test("the events of all plans come from now on", async () => {
    await t.submit(aChain(["before"], { queue: "elsewhere" }));
    const stop = new AbortController();
    const events = t.store.followAll(stop.signal)[Symbol.asyncIterator]();
    const first = events.next();
    // Its place in the stream is taken with its first read.
    await t.redis.ping();
    const plan = await t.submit(aChain(["a", "b"]));

    expect((await first).value).toMatchObject({ type: "plan.submitted", planId: plan });
    await worker.complete(await worker.take(), null, false);
    expect((await events.next()).value).toMatchObject({ type: "step.started" });
    expect((await events.next()).value).toMatchObject({ type: "step.completed" });
    stop.abort();
    expect((await events.next()).done).toBe(true);
  });
});

describe("lists", () => {
  test("plans by state, name and time, newest first", async () => {
    const plans: string[] = [];
    for (const name of ["web", "web-2", "api"]) plans.push(await t.submit(aDefinition([{ id: "a" }], { name })));
    await t.store.cancel(plans[0]!, "tester", null);
    const ids = async (query: Omit<Parameters<typeof t.store.list>[0], "limit"> & { limit?: number }) =>
      (await t.store.list({ limit: 10, ...query })).map((plan) => plan.meta.planId);

    expect(new Set(await ids({}))).toEqual(new Set(plans));
    expect(await ids({ limit: 2 })).toHaveLength(2);
    expect(new Set(await ids({ name: "web*" }))).toEqual(new Set(plans.slice(0, 2)));
    expect(await ids({ name: "web" })).toEqual([plans[0]]);
    expect(await ids({ name: "w.b" })).toEqual([]);
    expect(await ids({ states: ["cancelled"] })).toEqual([plans[0]]);
    expect(await ids({ createdSince: Date.now() + 60_000 })).toEqual([]);
  });

  test("more plans than a page, and one that was removed meanwhile", async () => {
    const chain = aChain(["a"]);
    for (let i = 0; i < 120; i++) await t.submit(chain, `many-${i}`);
    await t.redis.del(t.keys.plan("many-7"));

    expect(await t.store.list({ limit: 500 })).toHaveLength(119);
  });

  test("workers, with what they are", async () => {
    const [seen] = await t.store.workers();
    expect(seen).toMatchObject({
      workerId: worker.id,
      label: "hand",
      state: "accepting",
      queues: ["work"],
      alive: true,
    });
  });

  test("a step that may be answered, with those that need it and without the rest of its definition", async () => {
    const compiled = aDefinition([
      { id: "before" },
      { id: "ci", uses: "wait", with: { timeout: "1h" }, needs: ["before"] },
      { id: "left", needs: ["ci"], queue: "big" },
      { id: "right", needs: ["ci", "before"] },
    ]);
    const plan = await t.submit(compiled);
    const fresh = await openStore({ url: t.url, prefix: t.prefix, deadAfterMs: 3_000 });
    onTestFinished(() => fresh.close());

    const read = await fresh.answerable(plan, "ci");

    expect(fresh.shardOf(plan).definitions.cached(compiled.digest)).toBeUndefined();
    const declared = (id: string) => compiled.definition.steps.find((step) => step.id === id);
    const expected = {
      planId: plan,
      epoch: 1,
      privateQueue: null,
      step: declared("ci"),
      next: [declared("left"), declared("right")],
      wait: null,
      ask: null,
    };
    expect(read).toMatchObject(expected);
    // Where the definition is known it comes from there.
    expect(await t.store.answerable(plan, "ci")).toMatchObject(expected);
    await expect(fresh.answerable(plan, ":head")).rejects.toMatchObject({ code: "STEP_NOT_FOUND" });
    await t.redis.hdel(t.keys.definition(compiled.digest), "right");
    await expect(fresh.answerable(plan, "ci")).rejects.toMatchObject({ code: "STORE_UNSUITABLE" });
  });

  test("logs keep their end, and say how much there was", async () => {
    const plan = await t.submit(aChain(["a"]));
    const write = (field: string, text: string) =>
      runScript(
        t.redis,
        "log",
        [t.keys.planPart(plan, "logs"), t.keys.plan(plan)],
        [field, text, "10", String(text.length)],
      );
    await write("a/2", "second");
    await write("a/1", "12345678");
    await write("a/1", "9abc");
    await write("b/1", "x");

    expect(await t.store.logs(plan)).toEqual([
      { step: "a", superseded: null, attempt: 1, text: "3456789abc", bytes: 12 },
      { step: "a", superseded: null, attempt: 2, text: "second", bytes: 6 },
      { step: "b", superseded: null, attempt: 1, text: "x", bytes: 1 },
    ]);
    expect(await t.store.logs(plan, "b")).toHaveLength(1);
    await expect(t.store.logs("nobody")).rejects.toMatchObject({ code: "PLAN_NOT_FOUND" });
  });

  test("a plan that isn't there is PLAN_NOT_FOUND, however it is asked for", async () => {
    const none = "nobody";
    const reads = [
      () => t.store.view(none),
      () => t.store.detail(none),
      () => t.store.history(none),
      () => t.store.input(none),
      () => t.store.checkpoints(none),
      () => t.store.decisions(none),
      () => t.store.pause(none, "x", null, false),
      () => t.store.cancel(none, "x", null),
    ];
    for (const read of reads) {
      await expect(read()).rejects.toMatchObject({ code: "PLAN_NOT_FOUND" });
    }
  });
});

describe("what Waymark did not write is refused", () => {
  test.each<[string, (plan: string) => Promise<unknown>]>([
    ["a state that doesn't exist", (plan) => t.redis.hset(t.keys.plan(plan), "state", "dancing")],
    ["a number that is none", (plan) => t.redis.hset(t.keys.plan(plan), "epoch", "1e3")],
    ["a missing field", (plan) => t.redis.hdel(t.keys.plan(plan), "definition")],
    ["an open step of another form", (plan) => t.redis.hset(t.keys.planPart(plan, "open"), "a", "q|x")],
    ["a record of another form", (plan) => t.redis.hset(t.keys.planPart(plan, "steps"), "a", "c|1")],
  ])("%s", async (_, forge) => {
    const plan = await t.submit(aChain(["a"]));
    await forge(plan);
    await expect(t.store.detail(plan)).rejects.toMatchObject({ code: "STORE_UNSUITABLE" });
  });

  test.each(["q|1|1|a", "z|1|1|dancing", "s|x|1|a|1|1|w"])("an event such as %s", async (entry) => {
    const plan = await t.submit(aChain(["a"]));
    await t.redis.rpush(t.keys.planPart(plan, "history"), entry);
    await expect(t.store.history(plan)).rejects.toMatchObject({ code: "STORE_UNSUITABLE" });
  });

  test("a definition that was changed or is incomplete", async () => {
    const chain = aChain(["a", "b"]);
    const plan = await t.submit(chain);
    const key = t.keys.definition(chain.digest);
    const fresh = await aStore(t.url, { prefix: t.prefix });
    const step = JSON.parse((await t.redis.hget(key, "b"))!) as object;
    await t.redis.hset(key, "b", JSON.stringify({ ...step, uses: "shell" }));

    await expect(fresh.store.detail(plan)).rejects.toMatchObject({ code: "STORE_UNSUITABLE" });
    await t.redis.hdel(key, ":complete");
    await expect(fresh.store.definition(chain.digest)).rejects.toMatchObject({ code: "STORE_UNSUITABLE" });
    fresh.redis.disconnect();
  });
});

describe("connecting", () => {
  test("to nobody fails soon, and says where, without the password", async () => {
    const startedAt = Date.now();
    await expect(connect({ url: "redis://user:secret@127.0.0.1:1", patient: false })).rejects.toMatchObject({
      code: "STORE_UNAVAILABLE",
      message: expect.stringContaining("redis://***@127.0.0.1:1") as string,
    });
    expect(Date.now() - startedAt).toBeLessThan(3_000);
    expect(describeStoreUrl("redis://:secret@h/1")).toBe("redis://***@h/1");
  });

  test("to a server that never answers fails within three seconds", async () => {
    const own = await startPrivateRedis();
    onTestFinished(() => own.stop());
    own.pause();
    const startedAt = Date.now();
    await expect(openStore({ url: own.url })).rejects.toMatchObject({
      code: "STORE_UNAVAILABLE",
    });
    expect(Date.now() - startedAt).toBeLessThan(3_500);
  });

  test("a store that evicts keys is refused before the first write", async () => {
    const own = await startPrivateRedis({ settings: { "maxmemory-policy": "allkeys-lru" } });
    onTestFinished(() => own.stop());
    const store = await openStore({ url: `${own.url}/2`, prefix: "x" });
    await expect(
      store.submit({
        planId: "p",
        compiled: aChain(["a"]),
        input: "{}",
        actor: "x",
        privateQueue: null,
        workdir: null,
      }),
    ).rejects.toMatchObject({
      code: "STORE_UNSUITABLE",
    });
    expect(await store.redis.dbsize()).toBe(0);
    expect(store.address).toBe(`${own.url}/2`);
    await store.close();
  });
});

test("the input is read without moving what stands beside it, also where Redis is making the hash larger", async () => {
  const plan = await t.submit(aChain(["a"]), undefined, '{"n":7}');
  const out = t.keys.planPart(plan, "out");
  const long = "x".repeat(100);
  // With one more than the table has room for, its entries are moved to a larger one, some with each look-up by name.
  for (let i = 0; i < 512; i++) await t.redis.hset(out, `step-${i}`, long);
  const dump = async () => (await t.redis.dumpBuffer(out))!.toString("base64");
  const before = await dump();

  expect(await t.store.input(plan)).toBe('{"n":7}');
  expect(await dump()).toBe(before);

  await t.redis.hget(out, ":input");
  expect(await dump()).not.toBe(before);
  await expect(t.store.input("nothing")).rejects.toMatchObject({ code: "PLAN_NOT_FOUND" });
});
