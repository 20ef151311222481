/** What a worker sends to Redis: one script a step, and nothing of BullMQ's ways to fail, retry, delay and renew. */
import { createHash } from "node:crypto";
import { createRequire } from "node:module";
import { afterEach, beforeEach, expect, test } from "vitest";
import { resumePlan } from "../../src/client/resume.js";
import { checkInvariants } from "../support/invariants.js";
import { type Monitored, monitor } from "../support/monitor.js";
import { aChain, aDefinition, aStore, type TestStore } from "../support/plans.js";
import { type PrivateRedis, startPrivateRedis } from "../support/private-redis.js";
import { commits, gate, type RunningWorker, runs, runWorker, stepsCommitted } from "../support/step-workers.js";
import { until } from "../support/until.js";

const require = createRequire(import.meta.url);

let own: PrivateRedis;
let t: TestStore;
let seen: Monitored;
let running: RunningWorker[] = [];

beforeEach(async () => {
  own = await startPrivateRedis({ appendfsync: "no" });
  t = await aStore(own.url);
  seen = await monitor(own.url, t.redis);
});

afterEach(async () => {
  await Promise.all(running.map((worker) => worker.close()));
  running = [];
  seen.stop();
  await t.drop();
  await own.stop();
});

async function start(
  ...args: Parameters<typeof runWorker> extends [TestStore, ...infer Rest] ? Rest : never
): Promise<RunningWorker> {
  const worker = await runWorker(t, ...args);
  running.push(worker);
  return worker;
}

test.each([
  ["one slot, one chain", 1, 1, 1],
  ["four slots, eight chains, whose steps end together", 4, 8, 4],
])("a step of a running chain costs one call, or a part of one: %s", async (_, concurrency, chains, together) => {
  await start(() => null, { concurrency });
  const ids = Array.from({ length: 50 }, (_, i) => `s${i}`);
  const chain = aChain(ids);
  // The definition is read once a process, each plan's first fetch is a call of its own.
  const first = await t.submit(chain);
  await until("the worker to be warm", async () => (await t.state(first)) === "completed");
  await seen.caughtUp();
  const from = seen.commands.length;

  const plans = await Promise.all(Array.from({ length: chains }, () => t.submit(chain)));
  await until("the plans to complete", async () =>
    (await Promise.all(plans.map((plan) => t.state(plan)))).every((state) => state === "completed"),
  );
  await seen.caughtUp();

  const isBeat = runs("beat");
  const calls = seen.commands.slice(from).filter((args) => !isBeat(args) && args[0] !== "bzpopmin");
  const commitCalls = calls.filter(commits);
  const others = calls.filter((args) => !commits(args));
  expect(commitCalls.reduce((sum, args) => sum + stepsCommitted(args), 0)).toBe(ids.length * chains);
  expect(Math.max(...commitCalls.map(stepsCommitted))).toBe(together);
  // Slots that were asleep look for work when they are woken, and once more when it is over.
  expect(others.filter((args) => !runs("fetch")(args))).toEqual([]);
  expect(others.length).toBeLessThanOrEqual(4 * (concurrency + chains));
  for (const args of commitCalls) expect(args[0]).toBe("evalsha");
});

test("an idle worker sends at most two commands a second", async () => {
  await start(() => null, { concurrency: 10 });
  await until("the worker to be idle", () => seen.commands.some(([name]) => name === "bzpopmin"));
  await seen.caughtUp();
  const from = seen.commands.length;
  const startedAt = Date.now();
  const beats = () => seen.commands.slice(from).filter(runs("beat")).length;
  await until("five beats", () => beats() >= 5);
  const seconds = (Date.now() - startedAt) / 1_000;

  expect((seen.commands.length - from) / seconds).toBeLessThanOrEqual(2);
});

test("what is due in a part of a second is waited for no longer than that", async () => {
  const retry = { attempts: 2, backoff: "fixed", delayMs: 400, maxMs: 400 } as const;
  await start(async ({ attempt }) => {
    if (attempt === 1) throw new Error("boom");
    return null;
  });

  const plan = await t.submit(aDefinition([{ id: "retries", retry }]));
  await until("the plan to complete", async () => (await t.state(plan)) === "completed");
  await seen.caughtUp();

  const waits = seen.commands.filter(([name]) => name === "bzpopmin").map((command) => Number(command.at(-1)));
  // The delay is spread by half to either side.
  expect(waits.filter((seconds) => seconds < 1)).not.toEqual([]);
});

test("BullMQ's own ways of failing, retrying, delaying, renewing and recovering are never taken", async () => {
  const scripts = require("../../node_modules/bullmq/dist/cjs/scripts/index.js") as Record<string, { content: string }>;
  const forbidden = [
    "moveToFinished",
    "moveToActive",
    "retryJob",
    "moveToDelayed",
    "extendLock",
    "extendLocks",
    "moveStalledJobsToWait",
    "moveJobFromActiveToWait",
  ];
  const digests = new Map(
    forbidden.map((name) => [createHash("sha1").update(scripts[name]!.content).digest("hex"), name]),
  );
  const texts = new Map(forbidden.map((name) => [scripts[name]!.content, name]));
  const started = gate();
  const blocked = gate();
  const act = async ({ stepId, attempt, signal }: { stepId: string; attempt: number; signal: AbortSignal }) => {
    if (stepId === "retries" && attempt < 3) throw new Error("boom");
    if (stepId === "fails") throw new Error("boom");
    if (stepId === "hangs")
      await new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
    if (stepId === "asks") return { kind: "parked", wait: "approval", dueInMs: null, ask: null };
    if (stepId === "sleeps" && attempt === 1) return { kind: "parked", wait: "timer", dueInMs: 30, ask: null };
    if (stepId === "runs-on") {
      started.open();
      await blocked.passed;
    }
    return stepId;
  };
  const twice = { attempts: 3, backoff: "fixed", delayMs: 5, maxMs: 5 } as const;
  const once = { attempts: 1, backoff: "fixed", delayMs: 5, maxMs: 5 } as const;
  const mixed = aDefinition([
    { id: "retries", retry: twice },
    { id: "fails", retry: once },
    { id: "hangs", timeoutMs: 50, retry: once },
    { id: "sleeps" },
    { id: "asks", uses: "act" },
    { id: "unknown", uses: "nobody-has-it" },
    { id: "after", needs: ["retries", "sleeps"] },
  ]);
  const first = await start(act, { concurrency: 4 });

  const plan = await t.submit(mixed);
  await until("the mixed plan to be as far as it gets", async () => {
    const { view, records } = await t.store.detail(plan);
    const kinds = view.open
      .map((step) => `${step.stepId} ${step.kind}`)
      .sort()
      .join();
    return (
      records.size === 3 && /^asks waiting,fails failed,hangs failed,unknown (delayed|queued|running)$/.test(kinds)
    );
  });
  const cancelled = await t.submit(aDefinition([{ id: "runs-on" }]));
  await started.passed;
  await t.store.cancel(cancelled, "tester", null);
  await t.store.pause(plan, "tester", null, false);
  blocked.open();
  const drained = first.worker.drain({ graceMs: 2_000 });
  await t.submit(aChain(["a", "b"]));
  await drained;
  await start(act);
  await resumePlan(t.store, plan, { actor: "tester" });
  await until("the failed steps to fail again", async () => {
    const { open } = await t.store.view(plan);
    return open.filter((step) => step.kind === "failed").length === 2;
  });
  await seen.caughtUp();

  const taken = seen.commands.flatMap((args) => {
    if (args[0] === "evalsha") return digests.get(args[1]!.toLowerCase()) ?? [];
    if (args[0] === "eval") return texts.get(args[1]!) ?? [];
    return [];
  });
  expect(taken).toEqual([]);
  await Promise.all(running.map((worker) => worker.close()));
  for (const id of [plan, cancelled]) expect(await checkInvariants(t.store, id)).toEqual([]);
});
