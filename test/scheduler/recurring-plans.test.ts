/** Schedulers on recurring plans: each due time is one plan, whoever dies, replaces or removes meanwhile. */
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { afterEach, beforeEach, expect, inject, test } from "vitest";
import { type OpenSandboxes, sandboxesOf } from "../../src/client/sandboxes.js";
import { putSchedule, removeSchedule } from "../../src/client/schedules.js";
import type { CompiledDefinition } from "../../src/core/definition.js";
import { aesPayloads } from "../../src/core/payload-codec.js";
import { planIdAt, type Schedule } from "../../src/core/schedule.js";
import { RecurringPlans } from "../../src/scheduler/recurring-plans.js";
import { openStore } from "../../src/store/open-store.js";
import type { ShardedPlanStore } from "../../src/store/sharded-plan-store.js";
import { A_SANDBOX, aChain, aDefinition, aStore, type TestStore } from "../support/plans.js";
import { aFolder, writeTree } from "../support/sandboxes.js";
import { noSandboxes, runs } from "../support/step-workers.js";
import { startTcpProxy, type TcpProxy } from "../support/tcp-proxy.js";
import { until } from "../support/until.js";

const HOUR_MS = 3_600_000;
const OOM = "-OOM command not allowed when used memory > 'maxmemory'.";
const plan = aChain(["a"], {}, { name: "report" });

let t: TestStore;
let proxy: TcpProxy;
/** The schedulers' way to the store, through the proxy. */
let store: ShardedPlanStore;
let schedulers: RecurringPlans[] = [];
let said: { facts: Record<string, unknown>; message: string }[] = [];

beforeEach(async () => {
  t = await aStore(inject("redisUrl"));
  proxy = await startTcpProxy(t.url);
  store = await openStore({ url: proxy.url, prefix: t.prefix });
  said = [];
});

afterEach(async () => {
  proxy.judge = () => "pass";
  await Promise.all(schedulers.map((scheduler) => scheduler.stop()));
  schedulers = [];
  await store.close();
  await proxy.close();
  await t.drop();
});

test("three schedulers submit a due time once, and the schedule goes on to the next", async () => {
  const { dueAt } = await due("nightly", 1_000);

  for (let i = 0; i < 3; i++) scheduler();
  await until("the next due time", async () => (await scheduled("nightly")).dueAt > dueAt);
  await Promise.all(schedulers.map((one) => one.stop()));

  const planId = planIdAt("nightly", dueAt);
  expect(await plans()).toEqual([planId]);
  expect(await scheduled("nightly")).toMatchObject({ lastPlanId: planId });
  expect((await t.store.view(planId)).meta).toMatchObject({ name: "report", actor: "scheduler", privateQueue: null });
  expect(await t.store.input(planId)).toBe('{"n":1}');
  expect(said).toEqual([{ facts: { schedule: "nightly", due: dueAt, plan: planId }, message: "submitted" }]);
});

test("due times that came since the last look are submitted in one, oldest first", async () => {
  const { dueAt } = await due("often", 3_000, { every: "1s" });

  scheduler();
  await until("three plans", async () => (await plans()).length >= 3);
  await schedulers[0]!.stop();

  expect((await plans()).slice(0, 3)).toEqual([0, 1, 2].map((i) => planIdAt("often", dueAt + i * 1_000)));
});

test("one that died between the two writes leaves a due time that is submitted once", async () => {
  const { dueAt } = await due("nightly", 1_000);
  const planId = planIdAt("nightly", dueAt);
  await t.submit(plan, planId);

  scheduler();
  await until("the next due time", async () => (await scheduled("nightly")).lastPlanId === planId);

  expect(await plans()).toEqual([planId]);
});

test("what was missed for hours is made up for once, or skipped", async () => {
  const { dueAt } = await due("once", 5 * HOUR_MS);
  await due("skip", 5 * HOUR_MS, { missed: "skip" });
  const began = await store.schedules.now();

  scheduler();
  const later = async (name: string) => (await scheduled(name)).dueAt > began;
  await until("both to go on", async () => (await later("once")) && (await later("skip")));

  expect(await plans()).toEqual([planIdAt("once", dueAt)]);
  expect(await scheduled("skip")).toMatchObject({ lastPlanId: null });
});

test("a replaced schedule submits what it says now; a due time that had its plan gets no second one", async () => {
  const { dueAt } = await due("nightly", 1_000);
  const planId = planIdAt("nightly", dueAt);
  await t.submit(plan, planId);
  const other = aChain(["b"], {}, { name: "other" });

  expect(await put("nightly", other, { every: "1h" })).toMatchObject({ outcome: "replaced", plan: "other" });
  expect((await scheduled("nightly")).dueAt).toBe(dueAt);
  scheduler();
  await until("the next due time", async () => (await scheduled("nightly")).dueAt > dueAt);

  expect(await plans()).toEqual([planId]);
  expect((await t.store.view(planId)).meta.name).toBe("report");
});

test("a schedule that is removed while its plan is submitted is not brought back", async () => {
  const compiled = aDefinition([{ id: "a", sandbox: "read" }], { name: "report", sandbox: A_SANDBOX });
  const { dueAt } = await due("nightly", 1_000, {}, compiled);
  const openSandboxes = sandboxesOf({ dataDir: aFolder() });

  scheduler(async () => {
    await removeSchedule(t.sharded, "nightly");
    return openSandboxes();
  });
  await until("the plan", async () => (await plans()).length === 1);
  await until("two more looks", looks(2));

  expect(await plans()).toEqual([planIdAt("nightly", dueAt)]);
  expect(await store.schedules.list()).toEqual([]);
  expect(said).toEqual([]);
  await expect(removeSchedule(t.sharded, "nightly")).rejects.toMatchObject({ code: "SCHEDULE_NOT_FOUND" });
});

test("of two who replace at once both succeed, and one of them is what is there", async () => {
  const outcomes = await Promise.all(
    ["1h", "2h", "3h"].map((every) => put("nightly", plan, { every: every as "1h" }).then(({ outcome }) => outcome)),
  );
  expect(outcomes.sort()).toEqual(["created", "replaced", "replaced"]);
  const every = await everyMs("nightly");
  expect((await put("nightly", plan, { every })).outcome).toBe("unchanged");
  expect((await put("nightly", plan, { every }, '{"n":2}')).outcome).toBe("replaced");
  expect((await put("nightly", plan, { every, missed: "skip" }, '{"n":2}')).outcome).toBe("replaced");
});

test("what can't be submitted is told of once, tried again, and holds up no other", async () => {
  const broken = await due("broken", 1_000, {}, aChain(["x"], {}, { name: "lost" }));
  await due("nightly", 1_000);
  const key = t.keys.definition((await scheduled("broken")).definitionDigest);
  await t.redis.rename(key, `${key}~`);

  scheduler();
  await until("the other plan", async () => (await plans()).length === 1);
  await until("more looks", looks(3));
  expect(said.filter(({ facts }) => facts.schedule === "broken")).toMatchObject([
    { facts: { due: broken.dueAt }, message: /tried again$/ },
  ]);
  await t.redis.rename(`${key}~`, key);

  await until("the plan", async () => (await plans()).includes(planIdAt("broken", broken.dueAt)));
});

test("a store that refuses is said to, and asked again", async () => {
  const { dueAt } = await due("nightly", 1_000);
  let [looked, submitted] = [0, 0];
  proxy.judge = (args) => {
    const refuses = (args[0] === "hgetall" && ++looked <= 2) || (runs("submit")(args) && ++submitted <= 1);
    return refuses ? OOM : "pass";
  };

  const one = scheduler();
  one.start();
  await until("the plan", async () => (await plans()).length === 1);

  expect(said.slice(0, 3).map(({ message }) => message)).toEqual([
    ...Array(2).fill("recurring plans could not be looked for"),
    "a recurring plan could not be submitted: tried again",
  ]);
  expect(await plans()).toEqual([planIdAt("nightly", dueAt)]);
});

test("a scheduler that is stopped in the middle takes no other schedule, and can't be started again", async () => {
  await due("a", 1_000);
  await due("b", 1_000);
  let stopped: Promise<void> | null = null;
  const one = scheduler();
  proxy.judge = (args) => {
    if (runs("submit")(args)) stopped ??= one.stop();
    return "pass";
  };

  await until("the stop", () => stopped !== null);
  await stopped;
  one.start();

  expect(await plans()).toHaveLength(1);
});

test("a plan with files starts from what they are when it is due", async () => {
  const sandbox = { ...A_SANDBOX, from: "repo" };
  const compiled = aDefinition([{ id: "a", sandbox: "read" }], { name: "report", sandbox });
  const folder = aFolder();
  await expect(put("nightly", compiled, { every: "1h", folder })).rejects.toThrow("which is not there");
  await expect(put("nightly", compiled, { every: "1h", folder: null })).rejects.toThrow("name the file of the plan");
  writeTree(join(folder, "repo"), { a: "1" });

  const { dueAt } = await due(
    "nightly",
    1_000,
    { folder, workdir: folder, file: { path: "plan.yaml", digest: "d" } },
    compiled,
  );
  scheduler(sandboxesOf({ dataDir: aFolder() }));
  const planId = planIdAt("nightly", dueAt);
  await until("the plan", async () => (await plans()).includes(planId));

  const read = await t.store.preview(planId, "frontier");
  expect(read).toMatchObject({ workdir: folder, file: { path: "plan.yaml" }, inForce: { files: 1 } });
});

test("the input is encrypted at rest, and lists need no key", async () => {
  const payloads = aesPayloads({ k1: randomBytes(32) });
  const sealed = await openStore({ url: t.url, prefix: t.prefix, payloads });
  await putSchedule(sealed, "nightly", plan, '{"word":"rosebud"}', { cron: "0 3 * * *" });
  await sealed.close();

  expect(JSON.stringify(await t.redis.hgetall(t.keys.schedules))).not.toContain("rosebud");
  const [stored] = await store.schedules.list();
  expect(stored!.schedule).toMatchObject({ name: "nightly", recurrence: { cron: "0 3 * * *", tz: "UTC" } });
  expect(() => stored!.input()).toThrow("The input of schedule nightly is encrypted with key k1");
});

test.each(["{", "5"])("what nobody here wrote is named: %s", async (text) => {
  await t.redis.hset(t.keys.schedules, "odd", text);
  await expect(store.schedules.list()).rejects.toMatchObject({
    code: "STORE_UNSUITABLE",
    message: "The store holds something that Waymark did not write: schedule odd",
  });
});

function scheduler(sandboxes: OpenSandboxes = noSandboxes): RecurringPlans {
  const line = (facts: object, message: string) => void said.push({ facts: { ...facts }, message });
  const made = new RecurringPlans({
    store,
    actor: "scheduler",
    everyMs: 20,
    log: { info: line, warn: line },
    sandboxes,
  });
  schedulers.push(made);
  made.start();
  return made;
}

function put(
  name: string,
  compiled: CompiledDefinition,
  options: Parameters<typeof putSchedule>[4],
  input = '{"n":1}',
) {
  return putSchedule(t.sharded, name, compiled, input, options);
}

/** Every hour unless it says otherwise, and due for so long already. */
async function due(
  name: string,
  sinceMs: number,
  options: Parameters<typeof putSchedule>[4] = {},
  compiled = plan,
): Promise<Schedule> {
  await put(name, compiled, { every: "1h", ...options });
  const { schedules } = t.store;
  const before = (await schedules.find(name))!;
  const dueAt = Math.floor(((await schedules.now()) - sinceMs) / 1_000) * 1_000;
  expect(await schedules.put({ ...before.schedule, dueAt }, before.input(), before)).toBe(true);
  return scheduled(name);
}

async function scheduled(name: string): Promise<Schedule> {
  return (await t.store.schedules.find(name))!.schedule;
}

async function everyMs(name: string): Promise<number> {
  const { recurrence } = await scheduled(name);
  return recurrence.kind === "every" ? recurrence.everyMs : 0;
}

async function plans(): Promise<string[]> {
  return (await t.store.list({ limit: 10 })).map(({ meta }) => meta.planId).sort();
}

/** Whether the schedulers have looked so many times from now on. */
function looks(count: number): () => boolean {
  let seen = 0;
  const { judge } = proxy;
  proxy.judge = (args, ...rest) => {
    if (args[0] === "hgetall") seen++;
    return judge(args, ...rest);
  };
  return () => seen >= count;
}
