import { Cluster, Redis } from "ioredis";
import { afterAll, afterEach, beforeAll, describe, expect, inject, test } from "vitest";
import { z } from "zod";
import { urlOf } from "../../src/client/create-client.js";
import {
  Client,
  createClient,
  createWorker,
  definePlan,
  type FleetWorker,
  NonRetryableError,
  NotEligibleError,
  PlanNotFoundError,
  StoreUnavailableError,
  services,
} from "../../src/index.js";
import { aDefinition, aStore, type TestStore } from "../support/plans.js";
import { aPrefix } from "../support/store.js";
import { until } from "../support/until.js";

const prefix = aPrefix();
let store: TestStore;
let client: Client;
let workers: FleetWorker[] = [];

const order = definePlan("order", {
  input: z.object({ item: z.string(), at: z.coerce.date() }),
  services: services<{ prices: ReadonlyMap<string, number> }>(),
})
  .step("price", async ({ input, services: { prices } }) => {
    const price = prices.get(input.item);
    if (price === undefined) throw new NonRetryableError(`no price for ${input.item}`);
    return { price, year: input.at.getUTCFullYear() };
  })
  .approve("sign-off", { message: ({ outputs }) => `Pay ${outputs.price.price}?` })
  .step("pay", async ({ outputs }) => ({ paid: outputs.price.price, by: outputs["sign-off"].by }));

beforeAll(async () => {
  store = await aStore(inject("redisUrl"), { prefix });
  client = createClient({ redis: inject("redisUrl"), prefix, actor: "tester" });
});

afterEach(async () => {
  await Promise.all(workers.map((worker) => worker.close()));
  workers = [];
});

afterAll(async () => {
  await client.close();
  await store.drop();
});

async function aWorker(prices: Record<string, number> = { tea: 3 }): Promise<FleetWorker> {
  const worker = createWorker({
    redis: inject("redisUrl"),
    prefix,
    plans: [order],
    services: { prices: new Map(Object.entries(prices)) },
  });
  workers.push(worker);
  await worker.start();
  return worker;
}

describe("a plan in code", () => {
  test("is submitted, executed, answered, and gives the output of its last step", async () => {
    await aWorker();
    const plan = await client.submit(order, { item: "tea", at: "2026-01-01" }, { planId: "order-1" });
    expect(plan).toMatchObject({ planId: "order-1", existing: false });
    const seen: string[] = [];
    for await (const update of client.watch("order-1")) {
      seen.push(...update.events.map((event) => event.type));
      if (seen.includes("plan.waiting")) break;
    }
    expect(seen.slice(0, 3)).toEqual(["plan.submitted", "step.started", "step.completed"]);
    expect((await client.get("order-1")).steps[1]).toMatchObject({
      state: "waiting",
      wait: "approval",
      ask: { question: "Pay 3?" },
    });

    await client.approve("order-1", "sign-off", { actor: "sam" });

    expect(await plan.result()).toEqual({ paid: 3, by: "sam" });
    expect(await client.input("order-1")).toEqual({ item: "tea", at: "2026-01-01" });
    expect(await client.output("order-1", "price")).toEqual({ price: 3, year: 2026 });
    expect((await client.checkpoints("order-1")).map((checkpoint) => checkpoint.step)).toEqual([
      "price",
      "sign-off",
      "pay",
    ]);
    expect((await client.decisions("order-1")).at(-1)).toMatchObject({ choice: "approve", madeBy: "sam" });
    const events = [];
    for await (const event of client.events({ planId: "order-1" })) events.push(event);
    expect(events).toEqual(await client.history("order-1"));
  });

  test("that fails rejects its result with the step, and can be resumed", async () => {
    const worker = await aWorker({});
    const plan = await client.submit(order, { item: "tea", at: "2026-01-01" });

    await expect(plan.result()).rejects.toMatchObject({
      code: "STEP_FAILED",
      stepId: "price",
      message: /no price for tea/,
    });

    await worker.close();
    await aWorker({ tea: 4 });
    const summary = await client.resume(plan.planId, { reason: "price added" });
    expect(summary).toMatchObject({ eligible: true, dryRun: false, run: ["price", "sign-off", "pay"], workers: 1 });
    await until("the approval", async () => (await client.summary(plan.planId)).state === "waiting");
    await client.cancel(plan.planId);
    await expect(plan.result()).rejects.toMatchObject({ code: "PLAN_TERMINAL" });
  });

  test("refuses an input that its schema refuses, and submits nothing", async () => {
    const submitted = client.submit(order, { item: 7, at: "x" } as never, { planId: "order-bad" });

    await expect(submitted).rejects.toMatchObject({ code: "INVALID_INPUT" });
    await expect(client.get("order-bad")).rejects.toThrow(PlanNotFoundError);
    await expect(client.submit(order, { item: "a", at: "2026-01-01" }, { planId: "no id" })).rejects.toMatchObject({
      code: "USAGE",
    });
  });

  test("waits for its result over a pause", async () => {
    await client.submit(order, { item: "tea", at: "2026-01-01" }, { planId: "order-paused" });
    await client.pause("order-paused");
    const result = client.result("order-paused");
    expect((await client.resume("order-paused")).eligible).toBe(true);
    await aWorker();
    await until("the approval", async () => (await client.summary("order-paused")).state === "waiting");
    await client.approve("order-paused", "sign-off");

    expect(await result).toMatchObject({ paid: 3 });
  });
});

describe("a step that asks", () => {
  const how = definePlan("how", { input: z.object({}) })
    .ask("choose", { question: () => "How?", options: ["patch", "rewrite"] })
    .step("fix", async ({ outputs }) => `${outputs.choose.choice} by ${outputs.choose.by}`);

  test("takes one of its options, once, and records who chose and why", async () => {
    const worker = createWorker({ redis: inject("redisUrl"), prefix, plans: [how], services: {} });
    workers.push(worker);
    await worker.start();
    const plan = await client.submit(how, {}, { planId: "how-1" });
    await until("the question", async () => (await client.summary("how-1")).state === "waiting");

    expect(await client.get("how-1")).toMatchObject({
      why: "waits for a choice of choose",
      try: "plan decide how-1 choose",
      steps: [{ wait: "choice", ask: { question: "How?", options: ["patch", "rewrite"] } }, {}],
    });
    await expect(client.decide("how-1", "choose", "both")).rejects.toMatchObject({
      code: "INVALID_CHOICE",
      details: { choice: "both", options: ["patch", "rewrite"] },
    });
    await expect(client.approve("how-1", "choose")).rejects.toMatchObject({ code: "INVALID_CHOICE" });
    await expect(client.signal("how-1", "choose", { choice: "patch" })).rejects.toMatchObject({
      code: "NOT_WAITING",
      try: "plan decide how-1 choose",
    });
    await expect(client.decide("how-1", "fix", "patch")).rejects.toMatchObject({ code: "NOT_WAITING" });
    await expect(client.resume("how-1")).rejects.toMatchObject({
      code: "PLAN_WAITING",
      try: "plan decide how-1 choose",
    });

    await client.decide("how-1", "choose", "patch", { actor: "ada", rationale: "two findings only" });

    expect(await plan.result()).toBe("patch by ada");
    expect((await client.decisions("how-1")).at(-1)).toMatchObject({
      step: "choose",
      key: null,
      question: "How?",
      options: ["patch", "rewrite"],
      choice: "patch",
      rationale: "two findings only",
      madeBy: "ada",
    });
    await expect(client.decide("how-1", "choose", "rewrite")).rejects.toMatchObject({
      code: "NOT_WAITING",
      message: /: it isn't reached yet, or is over$/,
    });
  });

  test("an approval is such a question", async () => {
    await aWorker();
    const plan = await client.submit(order, { item: "tea", at: "2026-01-01" }, { planId: "order-decided" });
    await until("the approval", async () => (await client.summary("order-decided")).state === "waiting");

    await client.decide("order-decided", "sign-off", "reject", { actor: "sam" });

    await expect(plan.result()).rejects.toMatchObject({ code: "PLAN_TERMINAL" });
  });
});

describe("a resume that is refused", () => {
  test("throws the code and what a dry-run would have shown", async () => {
    await client.submit(order, { item: "tea", at: "2026-01-01" }, { planId: "order-live" });
    await aWorker();
    await until("the approval", async () => (await client.summary("order-live")).state === "waiting");

    const refused = await client.resume("order-live").catch((error: unknown) => error);

    expect(refused).toBeInstanceOf(NotEligibleError);
    expect(refused).toMatchObject({
      code: "PLAN_WAITING",
      try: "plan approve order-live sign-off",
      details: { planId: "order-live", step: "sign-off" },
      summary: { eligible: false },
    });
    expect(await client.resume("order-live", { dryRun: true })).toMatchObject({
      eligible: false,
      error: { code: "PLAN_WAITING" },
    });
    await expect(client.resume("order-live", { fromStep: "nosuch" })).rejects.toMatchObject({ code: "STEP_NOT_FOUND" });
    await expect(client.resume("order-live", { fromStep: "a", fromDecision: "b" })).rejects.toMatchObject({
      code: "USAGE",
    });
  });
});

describe("a rewind", () => {
  test("starts from a step, a checkpoint or a decision; what is not there has its code", async () => {
    await aWorker();
    await client.submit(order, { item: "tea", at: "2026-01-01" }, { planId: "order-back" });
    await until("the approval", async () => (await client.summary("order-back")).state === "waiting");
    const [checkpoint] = await client.checkpoints("order-back");
    const [root] = await client.decisions("order-back");
    const dryRun = (point: object) => client.resume("order-back", { ...point, dryRun: true });

    expect(await dryRun({ fromStep: "price" })).toMatchObject({
      eligible: true,
      run: ["price", "sign-off", "pay"],
      newKey: ["price", "sign-off"],
    });
    expect(await dryRun({ fromCheckpoint: checkpoint!.checkpointId })).toMatchObject({
      reuse: ["price"],
      run: ["sign-off", "pay"],
    });
    expect(await dryRun({ fromDecision: root!.decisionId })).toMatchObject({
      reuse: [],
      run: ["price", "sign-off", "pay"],
    });
    expect(await dryRun({ fromCheckpoint: "ckp_x" })).toMatchObject({ error: { code: "CHECKPOINT_NOT_FOUND" } });
    expect(await dryRun({ fromDecision: "dec_x" })).toMatchObject({ error: { code: "DECISION_NOT_FOUND" } });
    await expect(
      client.resume("order-back", { fromStep: "price", acks: { pay: { said: "redo" } } }),
    ).rejects.toMatchObject({ code: "USAGE" });
    expect(await client.resume("order-back", { fromStep: "price", requestId: "again" })).toMatchObject({
      nextEpoch: 2,
    });
    await client.cancel("order-back");
  });
});

describe("a worker in an application", () => {
  test("that drains hands back nothing when nothing is active, and closes twice without harm", async () => {
    const worker = await aWorker();
    const [listed] = await client.workers();
    expect(listed).toMatchObject({ state: "accepting", queues: ["order"] });

    expect(await worker.drain({ grace: "2s" })).toEqual({ released: [] });
    await worker.close();
    await worker.start();
    expect(await client.workers()).toEqual([]);
    await expect((await aWorker()).drain({ grace: "soon" as never })).rejects.toMatchObject({ code: "USAGE" });
  });

  test("that is never started needs no draining", async () => {
    const worker = createWorker({
      redis: inject("redisUrl"),
      prefix,
      plans: [order],
      services: { prices: new Map() },
      autorun: false,
    });

    expect(await worker.drain()).toEqual({ released: [] });
    await worker.close();
  });

  test("says why it could not start", async () => {
    const said: string[] = [];
    const worker = createWorker({
      redis: "redis://127.0.0.1:1",
      plans: [order],
      services: { prices: new Map() },
      log: { debug() {}, info() {}, warn: (_facts, message) => said.push(message) },
    });

    await expect(worker.start()).rejects.toThrow(StoreUnavailableError);
    await worker.close();
    expect(said).toEqual(["the worker could not start"]);
  });
});

test("a step that slept began with its first attempt, and took all the time until it woke", async () => {
  const plan = await store.submit(aDefinition([{ id: "nap", uses: "sleep" }]));
  const worker = await store.worker();
  const first = await worker.take();
  await worker.settle(first, { kind: "park", wait: "timer", dueInMs: 40, ask: null }, false);
  const woken = await until("the timer", async () => {
    const { next } = await worker.fetch();
    return next.kind === "step" && next.step;
  });
  await worker.complete(woken, null, false);

  const [nap] = (await client.get(plan)).steps;

  expect(nap).toMatchObject({ attempts: 2, worker: worker.id, startedAt: new Date(first.startedAt).toISOString() });
  expect(nap!.durationMs).toBeGreaterThanOrEqual(40);
  await worker.deregister();
});

describe("a connection", () => {
  test("of the caller's stays open when the client is closed; one made from options is closed", async () => {
    const redis = new Redis(inject("redisUrl"));
    const borrowing = createClient({ redis, prefix });
    expect(await borrowing.list({ limit: 1 })).toHaveLength(1);
    await borrowing.close();
    expect(await redis.ping()).toBe("PONG");
    redis.disconnect();

    const { hostname, port } = new URL(inject("redisUrl"));
    const owning = createClient({ redis: { host: hostname, port: Number(port) }, prefix });
    expect(await owning.list({ states: ["completed"], name: "ord*", createdSince: new Date(0) })).not.toHaveLength(0);
    await owning.close();
    await owning.close();
  });

  test("has the address of the options it was made from", () => {
    expect(urlOf("redis://x")).toBe("redis://x");
    expect(urlOf({ path: "/run/redis.sock" })).toBe("unix:///run/redis.sock");
    expect(urlOf({ host: "::1", port: 7000, username: "me", password: "p@ss", db: 2, tls: {} })).toBe(
      "rediss://me:p%40ss@[::1]:7000/2",
    );
    expect(urlOf({})).toBe("redis://127.0.0.1:6379");
    expect(urlOf({ url: "rediss://h", tls: { ca: "pem" } })).toBe("rediss://h");
    const sentinels = [{ host: "a" }, { host: "::1", port: 2 }, {}];
    expect(urlOf({ sentinels, name: "main", password: "pw", db: 3 })).toBe(
      "redis-sentinel://:pw@a:26379,[::1]:2,127.0.0.1:26379/main/3",
    );
    expect(urlOf({ sentinels: [{ host: "a" }], sentinelUsername: "u", sentinelPassword: "p&w", tls: {} })).toBe(
      "rediss-sentinel://a:26379/?sentinel-username=u&sentinel-password=p%26w",
    );
  });

  test("has the address of the cluster that it was given", () => {
    const nodes = [7_000, "redis://b:7001", { host: "::1", port: 7_002 }, {}];
    const cluster = new Cluster(nodes, {
      lazyConnect: true,
      redisOptions: { username: "me", password: "p/w", tls: {} },
    });
    expect(urlOf(cluster)).toBe("rediss://me:p%2Fw@127.0.0.1:7000,b:7001,[::1]:7002,127.0.0.1:6379");
    cluster.disconnect();
    const single = new Cluster([{ host: "only", port: 1 }], { lazyConnect: true });
    expect(urlOf(single)).toBe("redis://only:1,only:1");
    single.disconnect();
  });

  test("that can't be made is tried again at the next use", async () => {
    let attempts = 0;
    const flaky = new Client(async () => {
      attempts += 1;
      if (attempts === 1) throw new StoreUnavailableError("here", "not yet");
      return store.store;
    }, "tester");

    await expect(flaky.list()).rejects.toThrow(StoreUnavailableError);
    expect(Array.isArray(await flaky.list())).toBe(true);
    await expect(flaky.list({ states: ["sad" as never] })).rejects.toMatchObject({ code: "USAGE" });
  });
});

test("a plan recurs: scheduled, listed, replaced, ended", async () => {
  const input = { item: "tea", at: "2026-01-01" };
  const made = await client.schedule("orders", order, input as never, { cron: "0 3 * * *", tz: "Asia/Tokyo" });
  const again = await client.schedule("orders", order, input as never, { every: "10m" });

  expect(made).toMatchObject({ outcome: "created", plan: "order", tz: "Asia/Tokyo", nextDue: /T18:00:00.000Z$/ });
  expect(again).toMatchObject({ outcome: "replaced", cron: null, everyMs: 600_000, missed: "once", lastPlanId: null });
  expect(await client.schedules()).toMatchObject([{ name: "orders", everyMs: 600_000 }]);
  await expect(client.schedule("orders", order, { item: 1 } as never, { every: "10m" })).rejects.toMatchObject({
    code: "INVALID_INPUT",
  });
  await expect(client.schedule("orders", order, input as never, { cron: "often" })).rejects.toMatchObject({
    code: "USAGE",
  });
  await client.unschedule("orders");
  await expect(client.unschedule("orders")).rejects.toMatchObject({ code: "SCHEDULE_NOT_FOUND" });
  expect(await client.schedules()).toEqual([]);
});
