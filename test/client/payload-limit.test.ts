/** How large what goes into the store may be: refused wherever it comes from, unless a client or a worker is told otherwise. */
import { afterEach, beforeEach, expect, inject, test } from "vitest";
import { z } from "zod";
import type { Client } from "../../src/client/client.js";
import { UsageError } from "../../src/core/errors.js";
import {
  type Context,
  createClient,
  createWorker,
  defineHandler,
  definePlan,
  type FleetWorker,
} from "../../src/index.js";
import { aStore, type TestStore } from "../support/plans.js";
import { aPrefix } from "../support/store.js";
import { until } from "../support/until.js";

const LARGE = "x".repeat(300_000);
const TOO_LARGE = { code: "PAYLOAD_TOO_LARGE", message: /^.* has 30\d{4} bytes; the limit is 262144: .*payloadLimit/ };

const echo = defineHandler("echo", { with: z.object({ text: z.string() }) }, async ({ with: { text } }) => text.length);

let prefix: string;
let t: TestStore;
let clients: Client[];
let workers: FleetWorker[];

beforeEach(async () => {
  prefix = aPrefix();
  t = await aStore(inject("redisUrl"), { prefix });
  [clients, workers] = [[], []];
});

afterEach(async () => {
  await Promise.all(workers.map((worker) => worker.close()));
  await Promise.all(clients.map((client) => client.close()));
  await t.drop();
});

function aClient(payloadLimit?: number | string): Client {
  const client = createClient({ redis: inject("redisUrl"), prefix, payloadLimit });
  clients.push(client);
  return client;
}

function aWorker(plan: Parameters<typeof createWorker>[0]["plans"][number], payloadLimit?: number | string): void {
  const options = { redis: inject("redisUrl"), prefix, plans: [plan], handlers: [echo], services: {}, payloadLimit };
  workers.push(createWorker(options as never));
}

const sized = definePlan("sized", { input: z.object({ text: z.string() }) }).step("length", async ({ input }) => {
  return { text: input.text, length: input.text.length };
});

test("an input above the limit is refused before anything is written, and taken where the limit is higher", async () => {
  await expect(aClient().submit(sized, { text: LARGE }, { planId: "large" })).rejects.toMatchObject(TOO_LARGE);
  await expect(aClient().get("large")).rejects.toMatchObject({ code: "PLAN_NOT_FOUND" });
  await expect(aClient(1_024).submit(sized, { text: "y".repeat(1_024) })).rejects.toThrow("the limit is 1024");

  aWorker(sized, "1MiB");
  const plan = await aClient("1MiB").submit(sized, { text: LARGE }, { planId: "large" });

  expect(await plan.result()).toMatchObject({ length: 300_000 });
});

test("a fork's input is measured, too", async () => {
  const [usual, generous] = [aClient(), aClient("1MiB")];
  aWorker(sized, "1MiB");
  await (await usual.submit(sized, { text: "small" }, { planId: "source" })).result();
  const request = { input: { text: LARGE }, definition: sized };

  await expect(usual.fork("source", { ...request, planId: "one" })).rejects.toMatchObject(TOO_LARGE);
  await generous.fork("source", { ...request, planId: "two" });
});

type Act = (context: Context) => Promise<unknown>;

test.each<[string, Act]>([
  ["an output", async () => LARGE],
  ["a cursor", async ({ save }) => save(LARGE)],
  ["a decision", async ({ decide }) => decide("how", { question: LARGE, options: ["a"] }, () => "a" as const)],
  ["the `with` of an appended step", async ({ append }) => append([{ id: "more", uses: echo, with: { text: LARGE } }])],
])("%s above the limit fails the step, and is taken where the worker's limit is higher", async (_, act) => {
  const plan = definePlan("acts", { input: z.object({}) }).step("act", { retry: { attempts: 1 } }, act as never);
  const client = aClient();
  aWorker(plan);
  await client.submit(plan, {}, { planId: "acts-1" });

  const failed = await until("the failure", async () => {
    const { steps } = await client.get("acts-1");
    return steps.find(({ state }) => state === "failed");
  });
  expect(failed.error).toMatchObject({ code: "PAYLOAD_TOO_LARGE", message: TOO_LARGE.message });
  await workers.pop()!.close();

  aWorker(plan, "1MiB");
  await client.submit(plan, {}, { planId: "acts-2" });
  await until("the end", async () => (await client.get("acts-2")).state === "completed");
});

test("a signal and an answer are measured by the client that gives them", async () => {
  const waits = definePlan("waits", { input: z.object({}) })
    .waitFor("go", { signal: z.object({ text: z.string() }) })
    .approve("sign", { message: () => "Sign?" });
  const [usual, generous] = [aClient(), aClient("1MiB")];
  aWorker(waits);
  await usual.submit(waits, {}, { planId: "waits-1" });
  await until("the wait", async () => (await usual.get("waits-1")).state === "waiting");

  await expect(usual.signal("waits-1", "go", { text: LARGE })).rejects.toMatchObject(TOO_LARGE);
  await generous.signal("waits-1", "go", { text: LARGE });
  await until("the question", async () => usual.asked("waits-1", "sign").catch(() => null));
  await expect(usual.approve("waits-1", "sign", { rationale: LARGE })).rejects.toMatchObject(TOO_LARGE);
  await generous.approve("waits-1", "sign", { rationale: LARGE });

  await until("the end", async () => (await usual.get("waits-1")).state === "completed");
});

test("what is no size is refused at once", async () => {
  expect(() => aClient("much")).toThrow(
    new UsageError('payloadLimit must be a size such as "1MiB", from 1 KiB to 32 MiB, not "much"'),
  );
  await expect(
    createWorker({
      redis: inject("redisUrl"),
      prefix,
      plans: [sized],
      services: {},
      payloadLimit: 3,
      autorun: false,
    } as never).start(),
  ).rejects.toThrow(/^payloadLimit must be a size/);
});
