/** On a Cluster a script may only write keys that its call names. One server tells with MONITOR what a script wrote. */
import { Redis } from "ioredis";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { CompiledDefinition } from "../../src/core/definition.js";
import { isProcessGone } from "../../src/machine/process-identity.js";
import { Keys } from "../../src/store/keys.js";
import { RedisPlanStore } from "../../src/store/redis-plan-store.js";
import { checkInvariants } from "../support/invariants.js";
import { aChain, aDefinition, stepOf, TestStore } from "../support/plans.js";
import { type PrivateRedis, startPrivateRedis } from "../support/private-redis.js";
import { aPrefix } from "../support/store.js";
import { until } from "../support/until.js";

let server: PrivateRedis;
let t: TestStore;

beforeEach(async () => {
  server = await startPrivateRedis();
  const prefix = aPrefix();
  const redis = new Redis(server.url, { protocol: 2, enableReadyCheck: false } as never);
  const keys = new Keys(prefix, 0, true);
  const store = new RedisPlanStore({
    redis,
    location: { url: server.url },
    keys,
    deadAfterMs: 3_000,
    isGone: isProcessGone,
  });
  t = new TestStore(store, server.url, prefix);
});

afterEach(async () => {
  t.redis.disconnect();
  await server.stop();
});

test("every key that a commit writes is named by its call, but those of the job that it fetches", async () => {
  const worker = await t.worker();
  const other = await t.worker(["plans"]);
  const calls = await writesOf(async () => {
    const plan = await t.submit(
      aDefinition([
        { id: "a" },
        { id: "b", needs: ["a"] },
        { id: "c", needs: ["a"] },
        { id: "d", needs: ["b", "c"], queue: "plans" },
      ]),
    );
    await worker.complete(await worker.take(), "a", false);
    await worker.complete(await worker.take(), "b", false);
    await worker.complete(await worker.take(), "c", false);
    await other.complete(await other.take(), "d", false);
    expect(await t.state(plan)).toBe("completed");
    expect(await checkInvariants(t.store, plan)).toEqual([]);
  });

  expect(calls.length).toBeGreaterThan(8);
  expect(calls.filter((call) => call.writes.length > 0).length).toBeGreaterThan(8);
  for (const call of calls) expect(undeclared(call)).toEqual([]);
});

test("every key that a failure, a retry, a release or a wait writes is named by its call", async () => {
  const worker = await t.worker();
  const calls = await writesOf(async () => {
    const retried = await t.submit(aChain(["a"], { retry: { attempts: 3, backoff: "fixed", delayMs: 0, maxMs: 0 } }));
    const error = { code: "E", message: "broken" };
    await worker.settle(await worker.take(), { kind: "release", reason: "stop" }, false);
    await worker.settle(await worker.take(), { kind: "defer", delayMs: 0, reason: "no handler" }, false);
    const step = await until("the deferred step", async () => {
      const reply = await worker.fetch();
      return reply.next.kind === "step" ? reply.next.step : null;
    });
    await worker.settle(step, { kind: "retry", delayMs: 0, error }, false);
    const again = await until("the retried step", async () => {
      const reply = await worker.fetch();
      return reply.next.kind === "step" ? reply.next.step : null;
    });
    await worker.settle(again, { kind: "fail", error }, false);
    expect(await t.state(retried)).toBe("failed");

    const waiting = await t.submit(
      aDefinition([
        { id: "w", uses: "wait" },
        { id: "x", needs: ["w"] },
      ]),
    );
    await worker.settle(await worker.take(), { kind: "park", wait: "signal", dueInMs: null, ask: null }, false);
    await t.signal(waiting, "w", { data: "1", cancels: false, signalId: null, actor: "ada", choice: null });
    await worker.complete(await worker.take(), "x", false);
    expect(await t.state(waiting)).toBe("completed");
  });

  for (const call of calls) expect(undeclared(call)).toEqual([]);
});

test("a chain runs from commit to commit, as it does elsewhere", async () => {
  const worker = await t.worker();
  const ids = Array.from({ length: 12 }, (_, i) => `s${i}`);
  const plan = await t.submit(aChain(ids) satisfies CompiledDefinition);
  let reply = await worker.fetch();
  for (const id of ids) {
    expect(stepOf(reply).stepId).toBe(id);
    reply = await worker.complete(stepOf(reply), id);
  }
  expect(await t.state(plan)).toBe("completed");
  expect(await checkInvariants(t.store, plan)).toEqual([]);
});

interface ScriptCall {
  readonly declared: readonly string[];
  readonly args: readonly string[];
  /** What it wrote: command and key. */
  readonly writes: { readonly command: string; readonly key: string }[];
}

/** The script calls of `act`, in order, each with the keys that it wrote. */
async function writesOf(act: () => Promise<void>): Promise<ScriptCall[]> {
  const watcher = new Redis(server.url, { protocol: 2 } as never);
  const asker = new Redis(server.url, { protocol: 2 } as never);
  const feed = await watcher.monitor();
  const seen: { args: string[]; byScript: boolean }[] = [];
  feed.on("monitor", (_time: string, args: string[], source: string) =>
    seen.push({ args, byScript: source === "lua" }),
  );
  await act();
  await asker.echo("the end");
  await until("MONITOR to catch up", () => seen.some(({ args }) => args[1] === "the end"));
  feed.disconnect();
  watcher.disconnect();

  const calls: ScriptCall[] = [];
  for (const { args, byScript } of seen) {
    const name = args[0]!.toLowerCase();
    if (!byScript) {
      if (name !== "evalsha" && name !== "eval") continue;
      const end = 3 + Number(args[2]);
      calls.push({ declared: args.slice(3, end), args: args.slice(end), writes: [] });
    } else if (await isWrite(asker, name)) {
      const keys = (await asker.call("COMMAND", "GETKEYS", ...args)) as string[];
      for (const key of keys) calls.at(-1)!.writes.push({ command: name, key });
    }
  }
  asker.disconnect();
  return calls;
}

const writing = new Map<string, boolean>();

async function isWrite(redis: Redis, name: string): Promise<boolean> {
  if (!writing.has(name)) {
    const [info] = (await redis.call("COMMAND", "INFO", name)) as [string, number, string[]][];
    writing.set(name, info![2].includes("write"));
  }
  return writing.get(name)!;
}

/** A call that fetches learns from the queue which job it takes, so that it can't name its keys: they come last. */
function undeclared({ declared, writes }: ScriptCall): string[] {
  const isFetch = declared.includes(t.keys.workers);
  const names = new Set(declared);
  return writes
    .filter(({ key }) => !names.has(key))
    .filter(
      ({ key }) =>
        !(
          isFetch &&
          (key.includes("/") ||
            key.startsWith(`${t.keys.base}plan:`) ||
            key === t.keys.openPlans ||
            key === t.keys.events)
        ),
    )
    .map(({ command, key }) => `${command} ${key}`);
}
