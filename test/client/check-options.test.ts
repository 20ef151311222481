import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { z } from "zod";
import { type Client, createClient, createWorker, definePlan, PlanNotFoundError } from "../../src/index.js";
import { aStore, type TestStore } from "../support/plans.js";
import { aPrefix } from "../support/store.js";

// A caller in plain JavaScript: no compiler has looked at what it gives.
// biome-ignore lint/suspicious/noExplicitAny: what is given is wrong on purpose
type Any = any;

const prefix = aPrefix();
const trip = definePlan("trip", { input: z.object({ to: z.string() }) }).step("book", async () => ({ booked: true }));
let store: TestStore;
let client: Client;

beforeAll(async () => {
  store = await aStore(inject("redisUrl"), { prefix });
  client = createClient({ redis: inject("redisUrl"), prefix });
  await client.submit(trip, { to: "Rome" }, { planId: "trip-1" });
});

afterAll(async () => {
  await client.close();
  await store.drop();
});

const usage = (message: string) => expect.objectContaining({ code: "USAGE", message });

test.each([
  [{ redis: 3 }, "redis must be an address, ioredis options or a client, not 3"],
  [
    { redis: "http://me:secret@x" },
    "redis has the scheme http://; redis://, rediss://, redis-sentinel://, rediss-sentinel:// and unix:// are known",
  ],
  [{ prefix: "a:b" }, 'prefix must be 1 to 64 letters, digits, ".", "_" or "-", not "a:b"'],
  [{ shards: 0 }, "shards must be a whole number from 1 to 1024, not 0"],
  [{ actor: "" }, 'actor must be a text that is not empty, not ""'],
] as [Any, string][])("a client is not made with %j", (options, message) => {
  expect(() => createClient(options)).toThrow(usage(message));
});

const other = definePlan("trip", { input: z.object({}), version: 2 }).step("pack", async () => null);

test.each([
  [{ plans: undefined }, "plans must be a list of plans made with definePlan, not undefined"],
  [{ plans: [{}] }, "plans must be a list of plans made with definePlan, not [ {} ]"],
  [{ plans: [trip, trip, other] }, "plans has two plans trip, and a worker runs one version of each"],
  [{ concurrency: 0 }, "concurrency must be a whole number from 1 to 10000, not 0"],
  [{ concurrency: Number.NaN }, "concurrency must be a whole number from 1 to 10000, not NaN"],
  [{ queues: [] }, "queues must be a list of names of queues, not []"],
  [{ queues: "documents" }, 'queues must be a list of names of queues, not "documents"'],
  [{ queues: ["a b"] }, "queues must be a list of names of queues, not [ 'a b' ]"],
  [{ handlers: [{ name: "mail" }] }, "handlers must be a list of handlers made with defineHandler, not [ [Object] ]"],
  [{ handlers: {} }, "handlers must be a list of handlers made with defineHandler, not {}"],
  [{ prefix: "" }, 'prefix must be 1 to 64 letters, digits, ".", "_" or "-", not ""'],
] as [Any, string][])("a worker is not made with %j", (options, message) => {
  expect(() => createWorker({ plans: [trip], services: {}, autorun: false, ...options })).toThrow(usage(message));
});

test.each([
  [{ limit: 0 }, "limit must be a whole number of at least 1, not 0"],
  [{ limit: "5" }, 'limit must be a whole number of at least 1, not "5"'],
  [{ states: "failed" }, 'states must be a list of states of plans, not "failed"'],
  [{ name: 3 }, "name must be a text, not 3"],
  [{ createdSince: "2026-01-01" }, 'createdSince must be a date, or milliseconds since 1970, not "2026-01-01"'],
  [{ createdSince: new Date(Number.NaN) }, "createdSince must be a date, or milliseconds since 1970, not Invalid Date"],
] as [Any, string][])("plans are not listed by %j", async (options, message) => {
  await expect(client.list(options)).rejects.toThrow(usage(message));
});

describe("a resume is refused before it is looked what it would do", () => {
  test.each([
    [{ onDrift: "ignore" }, 'onDrift must be refuse, keep, rerun, not "ignore"'],
    [{ requestId: "" }, 'requestId must be a text that is not empty, not ""'],
    [{ requestId: 7 }, "requestId must be a text that is not empty, not 7"],
    // What somebody means by this is not that it is done.
    [{ acks: { book: "redo" } }, 'acks.book must be { said: "done" } or { said: "redo" }, not "redo"'],
    [
      { acks: { book: { said: "maybe" } } },
      'acks.book must be { said: "done" } or { said: "redo" }, not { said: \'maybe\' }',
    ],
    [{ acks: { book: null } }, 'acks.book must be { said: "done" } or { said: "redo" }, not null'],
  ] as [Any, string][])("%j", async (options, message) => {
    await expect(client.resume("trip-1", options)).rejects.toThrow(usage(message));
  });
});

test("what is no plan is not submitted, and what is no id names no plan", async () => {
  await expect(client.submit({} as Any, {} as Any)).rejects.toThrow(
    usage("The plan must be one that was made with definePlan, not {}"),
  );
  await expect(client.schedule("weekly", undefined as Any, {} as Any, { every: "7d" })).rejects.toThrow(
    usage("The plan must be one that was made with definePlan, not undefined"),
  );
  await expect(client.get(undefined as Any)).rejects.toThrow(PlanNotFoundError);
  await expect(client.signal("trip-1", "book", null, { signalId: "" })).rejects.toThrow(
    usage('signalId must be a text that is not empty, not ""'),
  );
});
