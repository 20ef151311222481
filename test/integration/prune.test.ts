/** `plan prune`: what goes, what stays, beside whatever else happens, and where it is cut off. */
import { existsSync, readdirSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { afterEach, beforeEach, describe, expect, inject, onTestFinished, test } from "vitest";
import { Client } from "../../src/client/client.js";
import { sandboxesOf } from "../../src/client/sandboxes.js";
import type { CompiledDefinition } from "../../src/core/definition.js";
import { pruneDefinitions, removePlan } from "../../src/store/prune.js";
import { timeOf } from "../../src/store/scripts.js";
import { Workplace } from "../support/cli.js";
import { A_SANDBOX, aChain, aStore, type HandWorker, stepOf, type TestStore } from "../support/plans.js";
import { aFolder } from "../support/sandboxes.js";
import { type Act, runWorker } from "../support/step-workers.js";
import { until } from "../support/until.js";

const DAY_MS = 86_400_000;
const FILES = aChain(["a", "b", "c"], { sandbox: "write" }, { sandbox: A_SANDBOX });

let t: TestStore;
let worker: HandWorker;
let dataDir: string;
let client: Client;

beforeEach(async () => {
  t = await aStore(inject("redisUrl"));
  worker = await t.worker();
  dataDir = aFolder();
  client = new Client(async () => t.store, "ada", sandboxesOf({ dataDir }));
});

afterEach(async () => {
  for await (const { planId, violations } of client.verifyAll({ files: true }))
    expect({ planId, violations }).toEqual({ planId, violations: [] });
  await t.drop();
});

describe("definitions", () => {
  const unused = () => t.redis.zadd(t.keys.definitions, Date.now() - 26 * 3_600_000, FILES.digest);

  test("go with their last plan once nobody has begun anything under them for a day", async () => {
    await submitFiles("files");
    await client.cancel("files");

    expect(await client.prune({ olderThan: 0 })).toMatchObject({ plans: ["files"], definitions: 0 });
    await unused();
    const before = await t.dump();
    expect(await client.prune({ dryRun: true })).toMatchObject({ definitions: 1 });
    expect(await t.dump()).toEqual(before);
    expect(await client.prune()).toMatchObject({ definitions: 1 });

    expect(await t.scan("def*")).toEqual([]);
    await submitFiles("again");
    await runThrough("again", 3);
    expect(await t.state("again")).toBe("completed");
  });

  test("are counted with the plans that a dry-run would remove, and stay while a plan or a schedule has them", async () => {
    await submitFiles("files");
    await client.cancel("files");
    await unused();

    expect(await client.prune({ olderThan: 0, dryRun: true })).toMatchObject({ plans: ["files"], definitions: 1 });
    expect(await client.prune()).toMatchObject({ plans: [], definitions: 0 });
    await client.scheduleCompiled("nightly", FILES, "{}", { every: "1h" });
    await unused();
    expect(await client.prune({ olderThan: 0 })).toMatchObject({ plans: ["files"], definitions: 0 });
    await client.unschedule("nightly");
    expect(await client.prune()).toMatchObject({ definitions: 1 });
  });

  test("stay where a plan has come while the others were looked at", async () => {
    await t.store.definitions.upload(FILES);
    await unused();
    const planIds = t.store.planIds.bind(t.store);
    t.store.planIds = async function* () {
      yield* planIds();
      await t.submit(FILES, "late");
    };

    expect(await pruneDefinitions(t.store, new Set(), false)).toBe(0);

    t.store.planIds = planIds;
    expect(await t.redis.exists(t.keys.definition(FILES.digest))).toBe(1);
    await t.redis.del(...(await t.scan("plan:late*")));
    await t.redis.zrem(t.keys.plans, "late");
  });
});

describe("plans", () => {
  test("that ended long ago go with all their keys, and no other does", async () => {
    await aPlan("completed");
    await t.store.cancel(await aPlan("failed", "cancelled"), "ada", null);
    await age("completed", 31);
    await age("cancelled", 31);
    await aPlan("completed", "young");
    await age("young", 29);
    for (const state of ["queued", "running", "failed", "paused", "waiting"]) {
      await aPlan(state);
      // Whatever a plan that isn't over may have there.
      await t.redis.hset(t.keys.plan(state), "finished", "1");
    }
    const others = await dumpOf("young", "queued", "running", "failed", "paused", "waiting");

    const report = await client.prune();

    expect(report).toMatchObject({ olderThanMs: 30 * DAY_MS, snapshots: 0, files: 0, bytes: 0, dryRun: false });
    expect([...report.plans].sort()).toEqual(["cancelled", "completed"]);
    expect(report.storeBytes).toBeGreaterThan(500);
    expect(await t.scan("*completed*")).toEqual([]);
    expect(await t.scan("*cancelled*")).toEqual([]);
    expect(await dumpOf("young", "queued", "running", "failed", "paused", "waiting")).toEqual(others);
    expect((await t.redis.zrange(t.keys.plans, "0", "-1")).sort()).toEqual([
      "failed",
      "paused",
      "queued",
      "running",
      "waiting",
      "young",
    ]);
    await expect(client.get("completed")).rejects.toMatchObject({ code: "PLAN_NOT_FOUND" });
    for (const state of ["running", "failed", "paused", "waiting", "queued"])
      await t.redis.hdel(t.keys.plan(state), "finished");
  });

  test("take their left-over deliveries with them; one that a worker holds is dropped by that", async () => {
    const [held, queued] = ["held", "queued"];
    await t.submit(aChain(["a"]), held);
    const step = await worker.take();
    await t.submit(aChain(["a"]), queued);
    for (const plan of [held, queued]) await t.store.cancel(plan, "ada", null);

    expect((await client.prune({ olderThan: 0 })).plans).toHaveLength(2);

    expect(await t.scan(`work:${queued}/*`)).toEqual([]);
    expect(await t.redis.lrange(`${t.keys.base}work:wait`, 0, -1)).toEqual([]);
    expect((await worker.complete(step)).verdict).toBe("FENCED");
    expect(await t.scan("*held*")).toEqual([]);
  });

  test("are left to whoever fetches them, in a queue that is too long to be searched", async () => {
    await t.submit(aChain(["a"]), "old");
    await t.store.cancel("old", "ada", null);
    await t.redis.lpush(`${t.keys.base}work:wait`, ...Array.from({ length: 1_001 }, (_, i) => `gone/x/${i}`));

    await client.prune({ olderThan: 0 });
    expect(await t.scan("work:old/*")).toHaveLength(1);
    await worker.fetch();

    expect(await t.scan("*old*")).toEqual([]);
  });

  test("that are resumed, gone or younger by the time they would go, stay as they are", async () => {
    await aPlan("completed");

    expect(await removePlan(t.store, "completed", DAY_MS)).toBe(false);
    expect(await removePlan(t.store, "nothing", DAY_MS)).toBe(false);
    expect(await t.state("completed")).toBe("completed");
    const remove = t.store.removePlan.bind(t.store);
    t.store.removePlan = async (planId, before) => {
      // Another prune was here first.
      await remove(planId, before);
      return remove(planId, before);
    };
    expect((await client.prune({ olderThan: 0 })).plans).toEqual([]);
  });

  test("are counted by a dry-run, which leaves everything as it is", async () => {
    for (let i = 0; i < 3; i++) await aPlan("completed", `old-${i}`);
    await aPlan("running");
    await submitFiles("files");
    await runThrough("files", 1);
    await client.cancel("files");
    backdate();
    const [before, files] = [await t.dump(), treeOf()];

    const preview = await client.prune({ olderThan: 0, dryRun: true });
    expect(await t.dump()).toEqual(before);
    expect(treeOf()).toEqual(files);

    expect(preview.snapshots).toBe(2);
    expect(await client.prune({ olderThan: 0 })).toEqual({ ...preview, plans: expect.any(Array), dryRun: false });
    expect(preview.plans).toHaveLength(4);
  });

  test("and snapshots stay where what a plan names can't be read", async () => {
    await submitFiles("files");
    backdate();
    const kept = manifests();
    await aPlan("completed");
    await t.redis.set(`${t.keys.plan("files")}:sandboxes`, "forged");

    await expect(client.prune({ olderThan: 0 })).rejects.toThrow("WRONGTYPE");
    await t.redis.del(`${t.keys.plan("files")}:sandboxes`);
    await t.redis.rpush(`${t.keys.plan("files")}:sandboxes`, "forged");
    await expect(client.prune({ olderThan: 0 })).rejects.toMatchObject({ code: "STORE_UNSUITABLE" });

    expect(manifests()).toEqual(kept);
    await t.redis.del(...(await t.scan("plan:files*")));
    await t.redis.zrem(t.keys.plans, "files");
  });

  test("aren't removed for a duration that is none", async () => {
    await aPlan("completed");
    for (const olderThan of ["30 days", "", -1, "d"]) {
      await expect(client.prune({ olderThan: olderThan as never })).rejects.toMatchObject({ code: "USAGE" });
    }
    expect(await t.state("completed")).toBe("completed");
  });
});

describe("snapshots", () => {
  test("go with the last plan that names them; those of forks, of discarded files and of other plans stay", async () => {
    await submitFiles("gone");
    await runThrough("gone", 2);
    await t.store.cancel("gone", "ada", null);
    await submitFiles("source");
    await runThrough("source", 3);
    await client.fork("source", { planId: "fork", fromStep: "b" });
    await submitFiles("kept");
    const discarded = await (await sandboxesOf({ dataDir })()).keeper("directory").snapshot(aTree("left"), A_SANDBOX);
    await t.redis.rpush(`${t.keys.plan("kept")}:sandboxes`, JSON.stringify(discarded));
    backdate();

    const report = await client.prune({ olderThan: 0 });

    expect(report).toMatchObject({ plans: expect.arrayContaining(["gone", "source"]), snapshots: 4, dryRun: false });
    expect(report.bytes).toBeGreaterThan(0);
    expect(manifests()).toEqual(await named());
    expect(manifests()).toContain(discarded.digest);
    expect((await client.verify("fork")).snapshots).toBe(2);
    expect(await client.prune({ olderThan: 0 })).toMatchObject({ plans: [], snapshots: 0, bytes: 0 });
  });

  test("stay where only plans are to go, and where they are young", async () => {
    await submitFiles("old");
    await runThrough("old", 3);
    const all = manifests();

    expect(await client.prune({ olderThan: 0, files: false })).toMatchObject({ plans: ["old"], snapshots: 0 });
    expect(await client.prune({ olderThan: 0 })).toMatchObject({ plans: [], snapshots: 0 });
    expect(manifests()).toEqual(all);
    backdate();
    expect(await client.prune({ olderThan: 0 })).toMatchObject({ snapshots: all.length });
    expect(manifests()).toEqual([]);
  });

  test("of a fork that is being written stay, whenever its source goes", async () => {
    for (const moment of ["before the last look", "after it"]) {
      const [source, fork] = [`source-${moment.length}`, `fork-${moment.length}`];
      await submitFiles(source);
      await runThrough(source, 2, moment);
      await t.store.cancel(source, "ada", null);
      backdate();
      const hget = t.redis.hget.bind(t.redis);
      t.redis.hget = (async (key: string, field: string) => {
        const prune = async () => (await client.prune({ olderThan: 0 })).plans;
        if (field === "line" && moment === "before the last look") expect(await prune()).toEqual([source]);
        const answer = await hget(key, field);
        if (field === "line" && moment === "after it") expect(await prune()).toEqual([source]);
        return answer;
      }) as never;

      const forked = await client.fork(source, { planId: fork }).catch((error) => error.code);
      t.redis.hget = hget;

      if (moment === "after it") expect((await client.verify(fork)).snapshots).toBe(3);
      else expect(forked).toBe("PLAN_NOT_FOUND");
    }
    expect(manifests()).toEqual(await named());
  });

  test("survive beside plans that write them, and reuse contents of those that are removed meanwhile", async () => {
    await worker.deregister();
    const act: Act = async ({ planId, stepId, sandbox }) => {
      writeFileSync(join(sandbox!.path, stepId), stepId);
      writeFileSync(join(sandbox!.path, `own-${stepId}`), planId);
    };
    const running = await runWorker(t, act, { sandboxes: sandboxesOf({ dataDir }), concurrency: 2 });
    onTestFinished(() => running.close());
    const endOf = (planId: string) =>
      until(`${planId} to end`, async () => (await t.state(planId)) === "completed", 30_000);

    for (let round = 0; round < 3; round++) {
      const old = [0, 1].map((i) => `old-${round}-${i}`);
      for (const planId of old) await submitFiles(planId);
      await Promise.all(old.map(endOf));
      backdate();
      const fresh = [0, 1, 2].map((i) => `new-${round}-${i}`);
      const endedBefore = (await timeOf(t.redis, t.keys)) + 1;
      const prunes = (async () => {
        for (let i = 0; i < 4; i++)
          await client.prune({ olderThan: Math.max(0, (await timeOf(t.redis, t.keys)) - endedBefore) });
      })();
      for (const planId of fresh) await submitFiles(planId);
      await Promise.all([...fresh.map(endOf), prunes]);

      expect(await Promise.all(old.map((planId) => t.state(planId)))).toEqual(["none", "none"]);
      for (const planId of fresh) expect(await client.verify(planId)).toMatchObject({ violations: [], snapshots: 4 });
    }

    backdate();
    await client.prune();
    expect(manifests()).toEqual(await named());
  }, 60_000);
});

test("killed in the middle leaves whole plans only, and goes on when it is run again", async () => {
  const place = new Workplace();
  onTestFinished(() => place.close());
  place.env.WAYMARK_REDIS_URL = t.url;
  place.env.WAYMARK_PREFIX = t.prefix;
  const count = 1_500;
  const plans = Array.from({ length: count }, (_, i) => `old-${i}`);
  const compiled = aChain(["a"]);
  await aPlan("running");
  for (let from = 0; from < count; from += 100) {
    await Promise.all(plans.slice(from, from + 100).map((plan) => t.submit(compiled, plan)));
    await Promise.all(plans.slice(from, from + 100).map((plan) => t.store.cancel(plan, "ada", null)));
  }
  const left = () => t.redis.zcard(t.keys.plans);

  expect((await client.prune({ olderThan: 0, dryRun: true })).plans).toHaveLength(count);

  const pruning = place.start(["prune", "--older-than", "0s"]);
  await until("some plans to be gone", async () => (await left()) < count - 50);
  pruning.signal("SIGKILL");
  await pruning.finished;

  const remaining = (await left()) - 1;
  expect(remaining).toBeGreaterThan(0);
  const owners = new Set((await t.scan("plan:*")).map((key) => key.slice(t.keys.base.length).split(":")[1]));
  expect(owners).toEqual(new Set(await t.redis.zrange(t.keys.plans, "0", "-1")));
  const { plans: removed } = await place.json<{ plans: string[] }>("prune", "--older-than", "0s");
  expect(removed).toHaveLength(remaining);
  expect(await t.redis.zrange(t.keys.plans, "0", "-1")).toEqual(["running"]);
  expect(await t.scan("plan:old-*")).toEqual([]);
}, 60_000);

/** A plan in a state. */
async function aPlan(state: string, planId = state): Promise<string> {
  await t.submit(aChain(["a", "b"]), planId);
  if (state === "queued") {
    await t.store.pause(planId, "ada", null, false);
    return planId;
  }
  const a = await worker.take();
  const boom = { code: "STEP_FAILED", message: "boom" };
  const ask = { question: "?", options: ["approve"], onReject: "cancel" as const, schema: null };
  if (state === "completed") await worker.complete(stepOf(await worker.complete(a)), null, false);
  if (state === "failed") await worker.settle(a, { kind: "fail", error: boom }, false);
  if (state === "waiting") await worker.settle(a, { kind: "park", wait: "approval", dueInMs: null, ask }, false);
  if (state === "paused") await t.store.pause(planId, "ada", null, false);
  return planId;
}

async function age(planId: string, days: number): Promise<void> {
  await t.redis.hset(t.keys.plan(planId), "finished", String((await timeOf(t.redis, t.keys)) - days * DAY_MS));
}

async function dumpOf(...plans: string[]): Promise<object> {
  return Object.fromEntries(await Promise.all(plans.map(async (plan) => [plan, [...(await t.dumpPlan(plan))]])));
}

function submitFiles(planId: string, compiled: CompiledDefinition = FILES) {
  return client.submitCompiled(compiled, "{}", { planId });
}

/** Completes so many steps of a plan, each with a snapshot of its own. */
async function runThrough(planId: string, steps: number, salt = ""): Promise<void> {
  const keeper = (await sandboxesOf({ dataDir })()).keeper("directory");
  for (let i = 0; i < steps; i++) {
    const step = await worker.take();
    expect(step.planId).toBe(planId);
    const sandbox = await keeper.snapshot(aTree(`${planId}${step.stepId}${salt}`), A_SANDBOX);
    await worker.settle(step, { kind: "complete", output: "null", sandbox }, false);
  }
}

function aTree(content: string): string {
  const folder = aFolder();
  writeFileSync(join(folder, "file"), content);
  return folder;
}

const store = () => join(dataDir, "sandboxes", "store");

function treeOf(): string[] {
  return readdirSync(store(), { recursive: true, encoding: "utf8" }).sort();
}

/** As if everything that is kept now had been for two days. */
function backdate(): void {
  if (!existsSync(store())) return;
  const then = new Date(Date.now() - 2 * DAY_MS);
  for (const path of treeOf()) {
    try {
      if (statSync(join(store(), path)).isFile()) utimesSync(join(store(), path), then, then);
    } catch {
      // A temporary file, which has its name by now.
    }
  }
}

function manifests(): string[] {
  const found = readdirSync(join(store(), "manifests"), { recursive: true, encoding: "utf8" });
  return found
    .filter((path) => statSync(join(store(), "manifests", path)).isFile())
    .map((path) => `sha256:${basename(path)}`)
    .sort();
}

async function named(): Promise<string[]> {
  return [...(await t.store.namedSnapshots(new Set()))].sort();
}
