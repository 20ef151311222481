/** What changes in the store between two looks at it, and what was put there by others. */
import { afterEach, beforeEach, expect, inject, test } from "vitest";
import { assess } from "../../src/core/eligibility.js";
import { aChain, aDefinition, aStore, type TestStore } from "../support/plans.js";

let t: TestStore;

beforeEach(async () => {
  t = await aStore(inject("redisUrl"));
});

afterEach(async () => {
  await t.drop();
});

test("a definition that vanishes whenever it was uploaded is no plan without steps, but a refusal", async () => {
  const chain = aChain(["a"]);
  const upload = t.store.definitions.upload.bind(t.store.definitions);
  t.store.definitions.upload = async (compiled) => {
    await upload(compiled);
    await t.redis.del(t.keys.definition(compiled.digest));
  };
  await expect(t.submit(chain, "p")).rejects.toMatchObject({
    code: "STORE_UNSUITABLE",
    message: expect.stringContaining("NODEFINITION") as string,
  });
  expect(await t.redis.exists(t.keys.plan("p"))).toBe(0);
});

test("an upload that the store refuses is an error, and leaves no definition", async () => {
  const chain = aChain(["a"]);
  await t.redis.set(t.keys.definition(chain.digest), "not a hash");
  await expect(t.store.definitions.upload(chain)).rejects.toThrow(/WRONGTYPE/);
  expect(t.store.definitions.cached(chain.digest)).toBeUndefined();
});

test("of more than 100 definitions a process keeps the newest, and reads the others again", async () => {
  const chains = Array.from({ length: 101 }, (_, i) => aDefinition([{ id: "a" }], { version: i + 1 }));
  for (const chain of chains) await t.store.definitions.upload(chain);
  expect(t.store.definitions.cached(chains[0]!.digest)).toBeUndefined();
  expect(t.store.definitions.cached(chains[1]!.digest)).toBe(chains[1]);
  expect(await t.store.definition(chains[0]!.digest)).toEqual(chains[0]);
});

test("a plan that was removed between the look and the resume is PLAN_NOT_FOUND", async () => {
  const plan = await t.submit(aChain(["a", "b"]));
  await t.store.pause(plan, "ada", null, false);
  const preview = await t.store.preview(plan, "frontier");
  const request = {
    from: { kind: "frontier" as const },
    onDrift: "report" as const,
    excludesOthers: false,
    choose: null,
    acks: new Map(),
    reason: null,
  };
  const decision = assess({ ...preview, offered: null, files: null, missingWorkdir: null }, request);
  expect(decision.summary.eligible).toBe(true);
  await t.redis.del(t.keys.plan(plan));

  const write = { answer: "{}", requestId: null, actor: "ada", reason: null, privateQueue: null, workdir: null };
  await expect(t.store.resume({ ...write, decision, view: preview.view })).rejects.toMatchObject({
    code: "PLAN_NOT_FOUND",
  });
});

test.each(["steps", "out", "history", "open"] as const)(
  "a commit that meets a key of a wrong type changes nothing: %s",
  async (part) => {
    const plan = await t.submit(aChain(["a", "b"]));
    const worker = await t.worker();
    const a = await worker.take();
    await t.redis.del(t.keys.planPart(plan, part));
    await t.redis.set(t.keys.planPart(plan, part), "forged");
    const before = await t.dump();

    await expect(worker.complete(a, "output")).rejects.toThrow(/WRONGTYPE/);
    expect(await t.dump()).toEqual(before);
  },
);

test("a list doesn't pass over a plan that can't be read", async () => {
  await t.submit(aChain(["a"]));
  await t.redis.zadd(t.keys.plans, String(Date.now() + 1_000), "forged");
  await t.redis.set(t.keys.plan("forged"), "not a hash");
  await expect(t.store.list({ limit: 10 })).rejects.toThrow(/WRONGTYPE/);
});

test("events of a plan that is gone are passed over by those who follow all", async () => {
  const abort = new AbortController();
  const events = t.store.followAll(abort.signal)[Symbol.asyncIterator]();
  const first = events.next();
  // The reader has asked for the newest entry by then, on the same connection.
  await t.redis.xadd(t.keys.events, "*", "pruned", "z|1|1|completed");
  const plan = await t.submit(aChain(["a"]));
  expect((await first).value).toMatchObject({ planId: plan, type: "plan.submitted" });
  abort.abort();
  await events.return?.(undefined);
});

test("of a plan with more steps than fit a list, the newest done ones are shown, without a definition", async () => {
  const ids = Array.from({ length: 501 }, (_, i) => `s${i}`);
  const plan = await t.submit(aChain(ids));
  const worker = await t.worker();
  await worker.complete(await worker.take(), "one", false);
  await worker.complete(await worker.take(), "two", false);

  const preview = await t.store.preview(plan, "frontier");

  expect(preview.compiled).toBeNull();
  expect(preview.doneSteps).toEqual(["s0", "s1"]);
  expect(preview.records.size).toBe(0);
});

test("what a waiting step asks is told with the plan, and its input and outputs can be read", async () => {
  const plan = await t.submit(aDefinition([{ id: "ok", uses: "approve" }]));
  const ask = { question: "Go?", options: ["approve", "reject"], onReject: "cancel" as const, schema: null };
  const worker = await t.worker();
  await worker.settle(await worker.take(), { kind: "park", wait: "approval", dueInMs: null, ask }, false);

  expect((await t.store.detail(plan)).asks.get("ok")).toEqual(ask);
  expect(await t.store.input(plan)).toBe('{"n":1}');
  expect(await t.store.output(plan, "ok")).toBe("null");
  expect(await t.store.payloads("nobody", ["x"])).toEqual({ input: "null", workdir: null, outputs: ["null"] });
});

test("a log of which only the text is left counts what it has", async () => {
  const plan = await t.submit(aChain(["a"]));
  await t.redis.hset(t.keys.planPart(plan, "logs"), "a/1", "hello", "ghost/1", "x", "odd", "y");
  expect(await t.store.logs(plan)).toEqual([
    { step: "a", superseded: null, attempt: 1, text: "hello", bytes: 5 },
    { step: "ghost", superseded: null, attempt: 1, text: "x", bytes: 1 },
  ]);
  expect(await t.store.logs(plan, "ghost")).toHaveLength(1);
});

test("a worker of which only the beat is left is listed, and its process isn't looked for", async () => {
  const worker = await t.worker();
  await t.redis.del(t.keys.worker(worker.id));
  expect(await t.store.workers()).toMatchObject([{ workerId: worker.id, label: worker.id, pid: 0 }]);
});
