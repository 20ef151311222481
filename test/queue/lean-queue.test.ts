/**
 * Our queue operations against BullMQ's own scripts: the same random operations on two queues leave the same keys and
 * give the same replies. More cases with WAYMARK_TEST_CASES.
 */
import { readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { createRedisBackend, Queue, type RedisQueueBackend, Worker } from "bullmq";
import fc from "fast-check";
import { Redis } from "ioredis";
import { afterAll, afterEach, beforeAll, expect, inject, test, vi } from "vitest";
import { aPrefix } from "../support/store.js";

const CASES = Number(process.env.WAYMARK_TEST_CASES ?? 250);
const LEAN = fileURLToPath(new URL("../../src/queue/lua/lean-queue.lua", import.meta.url));
const OPTIONS = { attempts: 1, removeOnComplete: true, removeOnFail: true };
const LOCK_MS = 86_400_000;
const MINUTE_MS = 60_000;

type Op =
  | { readonly op: "add"; readonly delayMs: number; readonly priority: number }
  | { readonly op: "foreign"; readonly delayMs: number; readonly priority: number }
  | { readonly op: "fetch" }
  /** On the nth of the active jobs. */
  | { readonly op: "finish" | "put back"; readonly nth: number }
  | { readonly op: "delay"; readonly nth: number; readonly ms: number }
  | { readonly op: "pass"; readonly ms: number }
  | { readonly op: "pause" | "unpause" }
  | { readonly op: "concurrency"; readonly limit: number | null }
  | { readonly op: "rate"; readonly max: number | null }
  /** What a worker that goes to sleep and is woken does. */
  | { readonly op: "pop marker" };

const delays = fc.constantFrom(0, 1, 5, 5, 1_000, MINUTE_MS);
const nth = fc.nat({ max: 3 });
const operations = fc.array(
  fc.oneof(
    {
      weight: 6,
      arbitrary: fc.record({ op: fc.constant("add" as const), delayMs: delays, priority: fc.constantFrom(0, 0, 1, 2) }),
    },
    {
      weight: 2,
      arbitrary: fc.record({
        op: fc.constant("foreign" as const),
        delayMs: delays,
        priority: fc.constantFrom(0, 0, 1, 2),
      }),
    },
    { weight: 8, arbitrary: fc.record({ op: fc.constant("fetch" as const) }) },
    { weight: 5, arbitrary: fc.record({ op: fc.constant("finish" as const), nth }) },
    { weight: 2, arbitrary: fc.record({ op: fc.constant("put back" as const), nth }) },
    { weight: 3, arbitrary: fc.record({ op: fc.constant("delay" as const), nth, ms: delays }) },
    {
      weight: 2,
      arbitrary: fc.record({ op: fc.constant("pass" as const), ms: fc.constantFrom(1, 4, 5, 1_000, MINUTE_MS) }),
    },
    { weight: 1, arbitrary: fc.record({ op: fc.constantFrom("pause" as const, "unpause" as const) }) },
    {
      weight: 1,
      arbitrary: fc.record({ op: fc.constant("concurrency" as const), limit: fc.constantFrom(null, 1, 2) }),
    },
    { weight: 1, arbitrary: fc.record({ op: fc.constant("rate" as const), max: fc.constantFrom(null, 1, 3) }) },
    { weight: 2, arbitrary: fc.record({ op: fc.constant("pop marker" as const) }) },
  ),
  { maxLength: 40, size: "max" },
);

let redis: Redis;
let bull: Side;
let lean: Side;
let backend: RedisQueueBackend;
let worker: Worker;

interface Side {
  readonly queue: Queue;
  /** Key prefix, with its last colon. */
  readonly q: string;
}

beforeAll(async () => {
  redis = new Redis(inject("redisUrl"), { maxRetriesPerRequest: null, protocol: 2 } as never);
  bull = aSide();
  lean = aSide();
  worker = new Worker(
    "work",
    null,
    {
      connection: redis as never,
      prefix: bull.queue.opts.prefix!,
      autorun: false,
      lockDuration: LOCK_MS,
      skipStalledCheck: true,
    },
    ((...args: Parameters<typeof createRedisBackend>) => {
      backend = createRedisBackend(...args);
      return backend;
    }) as never,
  );
  await Promise.all([worker.waitUntilReady(), bull.queue.waitUntilReady(), lean.queue.waitUntilReady()]);
});

afterEach(() => {
  vi.useRealTimers();
});

afterAll(async () => {
  await Promise.all([clear(bull), clear(lean)]);
  await Promise.all([worker.close(), bull.queue.close(), lean.queue.close()]);
  redis.disconnect();
});

test(`after any operations our queue is what BullMQ's own scripts would have made of it (${CASES} random cases)`, {
  timeout: 600_000,
}, async () => {
  // BullMQ's scripts take the caller's clock, ours the time as an argument.
  vi.useFakeTimers({ toFake: ["Date"] });
  await fc.assert(
    fc.asyncProperty(operations, async (ops) => {
      await Promise.all([clear(bull), clear(lean)]);
      const run = new Run();
      for (const [i, op] of ops.entries()) {
        const [theirs, ours] = await run.step(op, i);
        const where = `operation ${i}, ${JSON.stringify(op)}`;
        expect(ours, `reply of ${where}`).toEqual(theirs);
        expect(await keysOf(lean), `keys after ${where}`).toEqual(await keysOf(bull));
      }
    }),
    { numRuns: CASES },
  );
});

test.each([
  ["", async () => {}],
  [", whose hash is gone,", () => redis.del(`${lean.q}p/r/1`)],
])(
  "a job put in the place of another%s is what an end, an add and a fetch would have made of the two",
  async (_, lose) => {
    vi.useFakeTimers({ toFake: ["Date"] });
    await Promise.all([clear(bull), clear(lean)]);
    for (const { queue } of [bull, lean]) await queue.add("step", {}, { ...OPTIONS, jobId: "p/r/1" });
    await backend.moveToActive("token");
    await backend.moveToCompleted(
      { id: "p/r/1", opts: OPTIONS } as never,
      null as never,
      true as never,
      "token",
      false,
    );
    await bull.queue.add("step", {}, { ...OPTIONS, jobId: "p/s/1" });
    await backend.moveToActive("token");
    await runLean(
      "queue_fetch(q, queue_attributes(q), 'token', ARGV[3], tonumber(ARGV[2]), function() return 'ok' end)",
      String(Date.now()),
      String(LOCK_MS),
    );
    // The woken worker has found the marker by then.
    await redis.del(`${bull.q}marker`, `${lean.q}marker`);

    await lose();
    await runLean(
      "queue_replace(q, queue_place(q, ARGV[2]), ARGV[2], ARGV[3], '{}', ARGV[4])",
      "p/r/1",
      "p/s/1",
      String(Date.now()),
    );

    expect(await keysOf(lean)).toEqual(await keysOf(bull));
  },
);

test("an id that is there already is replaced, wherever it was", async () => {
  const now = String(Date.now());
  const places: Record<string, () => Promise<unknown>> = {
    wait: () => redis.lpush(`${lean.q}wait`, "p/s/1"),
    delayed: () => redis.zadd(`${lean.q}delayed`, "1", "p/s/1"),
    prioritized: () => redis.zadd(`${lean.q}prioritized`, "1", "p/s/1"),
    completed: () => redis.zadd(`${lean.q}completed`, "1", "p/s/1"),
    failed: () => redis.zadd(`${lean.q}failed`, "1", "p/s/1"),
  };
  for (const [place, put] of Object.entries(places)) {
    await clear(lean);
    await runLean("queue_add(q, queue_attributes(q), ARGV[2], '{\"old\":true}', ARGV[3], nil)", "p/s/1", now);
    await redis.del(`${lean.q}wait`);
    await redis.hset(`${lean.q}p/s/1`, "ats", "1", "finishedOn", "1", "failedReason", "x");
    await put();

    await runLean("queue_add(q, queue_attributes(q), ARGV[2], '{\"old\":false}', ARGV[3], nil)", "p/s/1", now);

    expect(await redis.lrange(`${lean.q}wait`, 0, -1), place).toEqual(["p/s/1"]);
    expect(
      await redis.exists(`${lean.q}delayed`, `${lean.q}prioritized`, `${lean.q}completed`, `${lean.q}failed`),
      place,
    ).toBe(0);
    expect(await redis.hgetall(`${lean.q}p/s/1`), place).toMatchObject({ data: '{"old":false}' });
    expect(await redis.hexists(`${lean.q}p/s/1`, "finishedOn"), place).toBe(0);
  }
});

test("a fetch drops at most 200 stale jobs, and wakes somebody for the rest", async () => {
  await clear(lean);
  for (let i = 0; i < 250; i++)
    await runLean("queue_add(q, queue_attributes(q), ARGV[2], '{}', '1', nil)", `p/s${i}/1`);
  await redis.del(`${lean.q}marker`);
  const fetch = "return { queue_fetch(q, queue_attributes(q), 't', 1000, 1, function(id) return nil end) }";

  await runLean(fetch);

  expect(await redis.llen(`${lean.q}wait`)).toBe(50);
  expect(await redis.zcard(`${lean.q}marker`)).toBe(1);
  await runLean(fetch);
  expect(await redis.llen(`${lean.q}wait`)).toBe(0);
  expect((await scan(lean)).filter((key) => key.includes("/"))).toEqual([]);
});

test("where the start of a step raises, its job is back where it was", async () => {
  await clear(lean);
  for (const id of ["p/a/1", "p/b/1"]) await runLean("queue_add(q, queue_attributes(q), ARGV[2], '{}', '1', nil)", id);
  const before = await redis.lrange(`${lean.q}wait`, 0, -1);

  await expect(
    runLean("return queue_fetch(q, queue_attributes(q), 't', 1000, 1, function() error('TRYAGAIN') end)"),
  ).rejects.toThrow("TRYAGAIN");

  expect(await redis.lrange(`${lean.q}wait`, 0, -1)).toEqual(before);
  expect(await redis.exists(`${lean.q}active`)).toBe(0);
});

/** One case: what was added, who holds what, and what time it is. */
class Run {
  private now = 1_800_000_000_000;
  private readonly held: { id: string; token: string }[] = [];
  private readonly prioritized = new Set<string>();

  /** Replies of BullMQ and of ours. */
  async step(op: Op, i: number): Promise<[unknown, unknown]> {
    vi.setSystemTime(this.now);
    const now = String(this.now);
    switch (op.op) {
      case "add": {
        const id = `p/s${i}/1`;
        if (op.priority > 0) this.prioritized.add(id);
        await bull.queue.add("step", { n: i }, { ...OPTIONS, jobId: id, delay: op.delayMs, priority: op.priority });
        const delay = op.delayMs === 0 ? "nil" : String(op.delayMs);
        const priority = op.priority === 0 ? "nil" : `'${op.priority}'`;
        await runLean(
          `queue_add(q, queue_attributes(q), ARGV[2], ARGV[3], ARGV[4], ${delay}, ${priority})`,
          id,
          JSON.stringify({ n: i }),
          now,
        );
        return [null, null];
      }
      case "foreign": {
        const id = `foreign-${i}`;
        if (op.priority > 0) this.prioritized.add(id);
        const options = { ...OPTIONS, jobId: id, delay: op.delayMs, priority: op.priority };
        await Promise.all([bull.queue.add("other", {}, options), lean.queue.add("other", {}, options)]);
        return [null, null];
      }
      case "fetch": {
        const token = `worker.0:${i}`;
        const [, id, limitMs, dueAt] = await backend.moveToActive(token);
        const ours = (await runLean(
          "local id, a, b = queue_fetch(q, queue_attributes(q), ARGV[2], ARGV[3], tonumber(ARGV[4]), function() return 'ok' end)\n" +
            "if id then return { id, 0, 0 } end\nreturn { '', a, b }",
          token,
          String(LOCK_MS),
          now,
        )) as [string, number, number];
        const taken = id ? String(id) : "";
        if (taken !== "") this.held.push({ id: taken, token });
        return [
          [taken, Number(limitMs) > 0, Number(dueAt)],
          [ours[0], ours[1] > 0, ours[2]],
        ];
      }
      case "finish":
        return this.onHeld(op.nth, async ({ id, token }) => {
          await backend.moveToCompleted({ id, opts: OPTIONS } as never, null as never, true as never, token, false);
          await runLean("if queue_acknowledge(q, ARGV[2]) then queue_drop_job(q, ARGV[2]) end", id);
        });
      case "put back":
        return this.onHeld(op.nth, async ({ id, token }) => {
          await backend.moveJobFromActiveToWait(id, token);
          await runLean(
            "if queue_acknowledge(q, ARGV[2]) then queue_put_back(q, queue_attributes(q), ARGV[2]) end",
            id,
          );
          // BullMQ wakes nobody for a job with a priority that is handed back; we do.
          if (this.prioritized.has(id)) await redis.del(`${bull.q}marker`, `${lean.q}marker`);
        });
      case "delay":
        return this.onHeld(op.nth, async ({ id, token }) => {
          await backend.moveToDelayed(id, this.now, op.ms, token, { skipAttempt: true });
          await runLean(
            `if queue_acknowledge(q, ARGV[2]) then queue_delay(q, ARGV[2], tonumber(ARGV[3]), ${op.ms}) end`,
            id,
            now,
          );
        });
      case "pass":
        this.now += op.ms;
        return [null, null];
      case "pause":
        await Promise.all([bull.queue.pause(), lean.queue.pause()]);
        return [null, null];
      case "unpause":
        await Promise.all([bull.queue.resume(), lean.queue.resume()]);
        return [null, null];
      case "concurrency":
        for (const { queue } of [bull, lean]) {
          await (op.limit === null ? queue.removeGlobalConcurrency() : queue.setGlobalConcurrency(op.limit));
        }
        return [null, null];
      case "rate":
        for (const { queue } of [bull, lean]) {
          await (op.max === null ? queue.removeGlobalRateLimit() : queue.setGlobalRateLimit(op.max, 10 * MINUTE_MS));
        }
        return [null, null];
      case "pop marker": {
        const [theirs, ours] = await Promise.all([redis.zpopmin(`${bull.q}marker`), redis.zpopmin(`${lean.q}marker`)]);
        return [theirs, ours];
      }
      default:
        return op satisfies never;
    }
  }

  private async onHeld(
    index: number,
    act: (job: { id: string; token: string }) => Promise<void>,
  ): Promise<[null, null]> {
    const job = this.held[index];
    if (job === undefined) return [null, null];
    this.held.splice(index, 1);
    await act(job);
    return [null, null];
  }
}

function aSide(): Side {
  const prefix = aPrefix();
  return { queue: new Queue("work", { connection: redis as never, prefix }), q: `${prefix}:work:` };
}

const leanText = withIncludes(LEAN);

function runLean(body: string, ...args: string[]): Promise<unknown> {
  return redis.eval(`${leanText}\nlocal q = ARGV[1]\n${body}`, 0, lean.q, ...args);
}

function withIncludes(file: string): string {
  return readFileSync(file, "utf8").replace(/^--#include (\S+)$/gm, (_, name: string) =>
    withIncludes(resolve(dirname(file), name)),
  );
}

async function scan({ q }: Side): Promise<string[]> {
  const keys: string[] = [];
  for await (const page of redis.scanStream({ match: `${q}*`, count: 1_000 })) keys.push(...(page as string[]));
  return keys;
}

async function clear(side: Side): Promise<void> {
  const keys = await scan(side);
  if (keys.length > 0) await redis.del(...keys);
}

/**
 * Every key with its content. Left out on purpose, as lean-queue.lua says: the queue's event stream and its count of ids,
 * and in `meta` how many events are kept.
 */
async function keysOf(side: Side): Promise<Record<string, unknown>> {
  const content: Record<string, unknown> = {};
  for (const key of (await scan(side)).sort()) {
    const name = key.slice(side.q.length);
    if (name === "events" || name === "id") continue;
    const value = await read(key);
    if (name === "meta") {
      const { "opts.maxLenEvents": _, version: __, ...settings } = value as Record<string, string>;
      if (Object.keys(settings).length > 0) content[name] = settings;
    } else content[name] = value;
  }
  return content;
}

async function read(key: string): Promise<unknown> {
  const type = await redis.type(key);
  switch (type) {
    case "hash": {
      const hash: Record<string, string> = await redis.hgetall(key);
      if (hash.opts === undefined) return hash;
      // What is said by the key and by the fields `delay` and `priority` already.
      const { jobId: _, delay: __, priority: ___, ...opts } = JSON.parse(hash.opts) as Record<string, unknown>;
      return { ...hash, opts };
    }
    case "list":
      return redis.lrange(key, 0, -1);
    case "zset":
      return redis.zrange(key, "0", "-1", "WITHSCORES");
    case "set":
      return (await redis.smembers(key)).sort();
    case "string":
      return [await redis.get(key), (await redis.pttl(key)) > 0];
    default:
      return type;
  }
}
