import { Redis } from "ioredis";
import { afterAll, afterEach, beforeAll, expect, inject, test } from "vitest";
import { z } from "zod";
import { Client } from "../../src/client/client.js";
import { urlOf } from "../../src/client/create-client.js";
import { parseDocument } from "../../src/core/document.js";
import { WaymarkError } from "../../src/core/errors.js";
import { builtinHandlers } from "../../src/handlers/index.js";
import { createClient, createWorker, defineHandler, type FleetWorker } from "../../src/index.js";
import type { RedisPlanStore } from "../../src/store/redis-plan-store.js";
import { aChain, aDefinition, aStore, type TestStore } from "../support/plans.js";
import { aPrefix } from "../support/store.js";
import { until } from "../support/until.js";

const prefix = aPrefix();
let store: TestStore;
let client: Client;
let workers: FleetWorker[] = [];

beforeAll(async () => {
  store = await aStore(inject("redisUrl"), { prefix });
  client = createClient({ redis: inject("redisUrl"), prefix });
});

afterEach(async () => {
  await Promise.all(workers.map((worker) => worker.close()));
  workers = [];
});

afterAll(async () => {
  await client.close();
  await store.drop();
});

function aWorker(options: Partial<Parameters<typeof createWorker>[0]>): FleetWorker {
  const worker = createWorker({ redis: inject("redisUrl"), prefix, plans: [], services: {}, ...options } as never);
  workers.push(worker);
  return worker;
}

const SHELL =
  // biome-ignore lint/suspicious/noTemplateCurlyInString: an expression of the document
  'plan: secretive\ndefaults: { retry: { attempts: 1 } }\nsteps:\n  - { id: one, env: { T: "${{ secrets.TOKEN }}" }, run: "test \\"$T\\" = s3cret && echo yes" }\n';

async function submitShell(planId: string): Promise<void> {
  await client.submitCompiled(parseDocument(SHELL, "secretive.yaml", builtinHandlers()), "{}", {
    planId,
    workdir: process.cwd(),
  });
}

test("a worker without plans serves documents, with the handlers, secrets and rights that it is given", async () => {
  const shout = defineHandler("shout", { with: z.object({ text: z.string() }) }, async ({ with: { text } }) =>
    text.toUpperCase(),
  );
  await aWorker({ handlers: [shout], secrets: { TOKEN: "s3cret" }, allowShell: true }).start();
  await store.submit(
    aDefinition([{ id: "say", uses: "shout", with: { text: "hi" }, queue: "documents" }]),
    "handlers-1",
  );
  await submitShell("secret-1");

  expect(await client.result("handlers-1")).toBe("HI");
  expect(await client.result("secret-1")).toEqual({ stdout: "yes" });
});

test("a secret that a worker was not given fails the step, and its name is all that is said", async () => {
  await aWorker({ secrets: { OTHER: "x" }, allowShell: true }).start();
  await submitShell("secret-2");

  await expect(client.result("secret-2")).rejects.toMatchObject({ code: "STEP_FAILED", message: /TOKEN/ });
});

test("a worker without secrets has none", async () => {
  await aWorker({ allowShell: true }).start();
  await submitShell("secret-3");

  await expect(client.result("secret-3")).rejects.toMatchObject({ code: "STEP_FAILED", message: /TOKEN/ });
});

test("a worker with options that lead nowhere fails to start, and leaves nothing open", async () => {
  const worker = aWorker({
    redis: { host: "127.0.0.1", port: 1, retryStrategy: () => null, maxRetriesPerRequest: 0 },
    autorun: false,
  });

  await expect(worker.start()).rejects.toThrow();
  await worker.close();
});

test("a login that has only a name or only a password keeps it in the address", () => {
  expect(urlOf({ username: "me" })).toBe("redis://me:@127.0.0.1:6379");
  const redis = new Redis({ password: "p/w", lazyConnect: true });
  expect(urlOf(redis)).toBe("redis://:p%2Fw@localhost:6379");
  redis.disconnect();
});

test("a client whose store can't be opened closes without harm", async () => {
  const failing = new Client(() => Promise.reject(new WaymarkError("STORE_UNAVAILABLE", "not here")), "tester");
  const listing = failing.list();

  await failing.close();

  await expect(listing).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });
});

test("an approval of a step that waits for something else says for what", async () => {
  await aWorker({}).start();
  await store.submit(aDefinition([{ id: "ci", uses: "wait", queue: "documents" }]), "ci-1");
  await until("the wait", async () => (await client.summary("ci-1")).state === "waiting");

  await expect(client.approve("ci-1", "ci")).rejects.toMatchObject({
    code: "NOT_WAITING",
    details: { wait: "signal" },
    try: expect.stringContaining("plan signal ci-1 ci") as string,
  });
  expect((await client.failure("ci-1")).message).toContain("no reason was recorded");
  await client.cancel("ci-1");
});

test("a signal has to fit the schema of its step, whether it comes early or not; what doesn't changes nothing", async () => {
  const schema = { type: "object", required: ["ok"], properties: { ok: { type: "boolean" } } };
  const ci = { id: "ci", uses: "wait", with: { schema }, queue: "documents" };
  await store.submit(aDefinition([ci, { id: "tell", uses: "noop", needs: ["ci"], queue: "documents" }]), "schema-1");
  const early = await store.dumpPlan("schema-1");

  await expect(client.signal("schema-1", "ci", { ok: "yes" })).rejects.toMatchObject({
    code: "INVALID_INPUT",
    details: { issues: [{ path: "ok", message: "must be boolean" }] },
  });
  expect(await store.dumpPlan("schema-1")).toEqual(early);
  await aWorker({}).start();
  await until("the wait", async () => (await client.summary("schema-1")).state === "waiting");
  await expect(client.signal("schema-1", "ci")).rejects.toMatchObject({ code: "INVALID_INPUT" });
  await expect(client.signal("schema-1", "tell")).rejects.toMatchObject({
    code: "NOT_WAITING",
    message: expect.stringContaining("it runs noop and never waits") as string,
  });
  expect(await client.signal("schema-1", "ci", { ok: true })).toEqual({ kept: false });

  expect(await client.output("schema-1", "ci")).toEqual({ ok: true });
});

test("a schema that somebody forged in the store is refused and never compiled", async () => {
  const forged = { type: "object", properties: "process.exit()" };
  await store.submit(aDefinition([{ id: "ci", uses: "wait", with: { schema: forged } }]), "schema-2");

  await expect(client.signal("schema-2", "ci", {})).rejects.toMatchObject({
    code: "INVALID_INPUT",
    message: expect.stringContaining("The schema of ci") as string,
  });
});

test("the result of a paused plan is waited for, and a resume by anybody ends the wait", async () => {
  let reads = 0;
  const counting: RedisPlanStore = Object.create(store.store);
  counting.view = (planId) => {
    reads += 1;
    return store.store.view(planId);
  };
  const waiting = new Client(async () => counting, "tester");
  await store.submit(aDefinition([{ id: "one", uses: "noop", queue: "documents" }]), "paused-1");
  await client.pause("paused-1");

  const result = waiting.result("paused-1");
  await until("the paused plan to be read again and again", () => reads >= 4);
  await client.resume("paused-1");
  await aWorker({}).start();

  expect(await result).toBeNull();
});

test("a resume of a plan that changes under each of its reads gives up", async () => {
  const planId = await store.submit(aChain(["a", "b"]));
  const busy: RedisPlanStore = Object.create(store.store);
  busy.resume = async (write) => {
    await store.redis.hincrby(store.keys.plan(planId), "undone", 1);
    return store.store.resume(write);
  };

  const resumed = new Client(async () => busy, "tester").resume(planId);

  await expect(resumed).rejects.toMatchObject({ code: "FENCED", try: `plan get ${planId}` });
  expect((await client.summary(planId)).epoch).toBe(1);
});
