/** Encrypted payloads, from the producer to the worker and back: nothing of them can be read in Redis. */
import { randomBytes } from "node:crypto";
import { afterEach, beforeEach, expect, inject, test } from "vitest";
import { z } from "zod";
import type { Client } from "../../src/client/client.js";
import { createClient } from "../../src/client/create-client.js";
import { createWorker, type FleetWorker } from "../../src/client/create-worker.js";
import { aesPayloads, type PayloadCodec } from "../../src/core/payload-codec.js";
import { definePlan } from "../../src/define/define-plan.js";
import { aStore, type TestStore } from "../support/plans.js";
import { until } from "../support/until.js";

const WORD = "marzipan";
const keys = { k1: randomBytes(32) };

const plan = definePlan("secretive", { input: z.object({ word: z.string() }) })
  .step("copy", async ({ input, decide, save, saved, attempt }) => {
    await save({ word: input.word, attempt });
    const way = await decide("way", { question: `How with ${input.word}?`, options: [`as ${input.word}`] }, () => ({
      choice: `as ${input.word}`,
      rationale: `${input.word} is sweet`,
    }));
    if (attempt === 1) throw new Error("again");
    return { word: input.word, way, saved: saved as { word: string; attempt: number } };
  })
  .ask("choose", { question: ({ outputs }) => `Take ${outputs.copy.word}?`, options: ["take", "leave"] })
  .waitFor("ci", { signal: z.object({ word: z.string() }) })
  .step("end", async ({ outputs }) => [outputs.copy.word, outputs.choose.choice, outputs.ci.word]);

let t: TestStore;
let clients: Client[] = [];
let workers: FleetWorker[] = [];

beforeEach(async () => {
  t = await aStore(inject("redisUrl"));
});

afterEach(async () => {
  await Promise.all(workers.map((worker) => worker.close()));
  await Promise.all(clients.map((client) => client.close()));
  workers = [];
  clients = [];
  await t.drop();
});

test("no input, output, choice, signal, question or cursor can be read in Redis, and everybody with the key sees them", async () => {
  const client = aClient(aesPayloads(keys));
  await aWorker(aesPayloads(keys));
  const handle = await client.submit(plan, { word: WORD }, { planId: "sweet" });
  await until("the question", async () => (await client.summary("sweet")).state === "waiting");
  expect((await client.get("sweet")).steps[1]!.ask).toMatchObject({ question: `Take ${WORD}?` });
  expect(await everything()).not.toContain(WORD);

  await client.decide("sweet", "choose", "take", { actor: "ada", rationale: `more ${WORD}` });
  await client.signal("sweet", "ci", { word: WORD });

  expect(await handle.result()).toEqual([WORD, "take", WORD]);
  expect(await client.input("sweet")).toEqual({ word: WORD });
  expect(await client.output("sweet", "copy")).toMatchObject({ way: `as ${WORD}`, saved: { word: WORD, attempt: 1 } });
  expect((await client.decisions("sweet")).map(({ step, choice, madeBy }) => [step, choice, madeBy])).toEqual([
    [null, "secretive", "tester"],
    ["copy", `as ${WORD}`, "step copy"],
    ["choose", "take", "ada"],
    ["ci", { word: WORD }, "tester"],
  ]);
  expect(await everything()).not.toContain(WORD);
});

test("a worker without the key leaves the step to one that has it, and says so", async () => {
  const client = aClient(aesPayloads(keys));
  await client.submit(plan, { word: WORD }, { planId: "sweet" });
  await aWorker(undefined);
  await until("the refusal", async () => (await client.get("sweet")).steps[0]!.unserved);

  expect((await client.get("sweet")).steps[0]).toMatchObject({
    failures: 0,
    unserved: "The input of plan sweet is encrypted with key k1, and no key is given",
  });
  // It would go on taking the step in turns.
  await workers.pop()!.close();
  await aWorker(aesPayloads({ k2: randomBytes(32), ...keys }));
  await until("the question", async () => (await client.summary("sweet")).state === "waiting");
});

test("a client without the key gets one clear error", async () => {
  await aClient(aesPayloads(keys)).submit(plan, { word: WORD }, { planId: "sweet" });

  await expect(aClient(undefined).input("sweet")).rejects.toMatchObject({
    code: "STORE_UNSUITABLE",
    message: "The input of plan sweet is encrypted with key k1, and no key is given",
  });
});

test("what was put in the place of an encrypted output is not taken for one", async () => {
  const client = aClient(aesPayloads(keys));
  await client.submit(plan, { word: WORD }, { planId: "sweet" });
  await t.redis.hset(t.keys.planPart("sweet", "out"), "copy", '{"word":"forged"}');

  await expect(client.output("sweet", "copy")).rejects.toMatchObject({ code: "STORE_UNSUITABLE" });
});

function aClient(payloads: PayloadCodec | undefined): Client {
  const client = createClient({ redis: t.url, prefix: t.prefix, actor: "tester", payloads });
  clients.push(client);
  return client;
}

async function aWorker(payloads: PayloadCodec | undefined): Promise<void> {
  const worker = createWorker({ redis: t.url, prefix: t.prefix, plans: [plan], services: {}, payloads });
  workers.push(worker);
  await worker.start();
}

/** Every value under the prefix, as text. */
async function everything(): Promise<string> {
  const texts = [];
  for (const key of await t.scan()) {
    const type = await t.redis.type(key);
    if (type === "hash") texts.push(...Object.entries(await t.redis.hgetall(key)).flat());
    else if (type === "list") texts.push(...(await t.redis.lrange(key, 0, -1)));
    else if (type === "stream") texts.push(JSON.stringify(await t.redis.xrange(key, "-", "+")));
    else if (type === "string") texts.push(await t.redis.get(key));
  }
  return texts.join("\n");
}
