/** Steps that have killed workers, in workers: they run alone, and only the killer is taken out. */
import { afterEach, beforeEach, expect, inject, test } from "vitest";
import { checkInvariants } from "../support/invariants.js";
import { aDefinition, aStore, type TestStore } from "../support/plans.js";
import { gate, type RunningWorker, runWorker } from "../support/step-workers.js";
import { until } from "../support/until.js";
import { spawnWorker, type WorkerProcess } from "../support/worker-processes.js";

let t: TestStore;
let running: RunningWorker[] = [];
let processes: WorkerProcess[] = [];

beforeEach(async () => {
  t = await aStore(inject("redisUrl"));
});

afterEach(async () => {
  await Promise.all(running.map((worker) => worker.close()));
  await Promise.all(processes.map((worker) => worker.end()));
  [running, processes] = [[], []];
  await t.redis.del(`${t.prefix}:ledger`, `${t.prefix}:open`);
  await t.drop();
});

test("a suspect waits until what runs has ended, runs alone, and meanwhile nothing else is fetched", async () => {
  const neighbour = gate();
  const suspect = gate();
  let active = 0;
  const beside: Record<string, number> = {};
  const worker = await runWorker(
    t,
    async ({ stepId }) => {
      beside[stepId] = active++;
      await { neighbour, suspect }[stepId]?.passed;
      active--;
      return null;
    },
    { concurrency: 4 },
  );
  running.push(worker);
  const plan = await t.submit(aDefinition([{ id: "neighbour" }]));
  await until("the neighbour to run", () => beside.neighbour !== undefined);
  const suspected = await aSuspectedPlan("suspect");
  await until("it to be taken", async () => worker.worker.active === 2);
  const later = await t.submit(aDefinition([{ id: "later" }]));

  expect(beside).toEqual({ neighbour: 0 });
  neighbour.open();
  await until("the suspect to run", () => beside.suspect !== undefined);
  expect(await t.redis.hget(t.keys.worker(worker.worker.workerId), "alone")).toBe(`${suspected}/suspect/1|1`);
  expect(await t.state(later)).toBe("queued");
  suspect.open();

  await completed(plan, suspected, later);
  expect(beside).toEqual({ neighbour: 0, suspect: 0, later: 0 });
});

test("two suspects in one process run one after the other", async () => {
  let active = 0;
  let most = 0;
  running.push(
    await runWorker(
      t,
      async () => {
        most = Math.max(most, ++active);
        await new Promise((resolve) => setImmediate(resolve));
        active--;
        return null;
      },
      { concurrency: 4 },
    ),
  );
  await completed(...(await Promise.all(["a", "b", "c"].map(aSuspectedPlan))));
  expect(most).toBe(1);
});

test("a suspect that waits for its turn is handed back by a drain, and never begins", async () => {
  const neighbour = gate();
  const began: string[] = [];
  const worker = await runWorker(
    t,
    async ({ stepId }) => {
      began.push(stepId);
      await neighbour.passed;
      return null;
    },
    { concurrency: 2 },
  );
  running.push(worker);
  await t.submit(aDefinition([{ id: "neighbour" }]));
  await until("the neighbour to run", () => began.length === 1);
  const suspected = await aSuspectedPlan("suspect");
  await until("it to be taken", async () => worker.worker.active === 2);

  const drained = worker.worker.drain({ graceMs: 60_000 });
  worker.worker.releaseNow();
  expect((await drained).released).toHaveLength(2);
  neighbour.open();

  expect(began).toEqual(["neighbour"]);
  expect((await t.store.view(suspected)).open[0]).toMatchObject({ kind: "queued", crashes: 2 });
});

test("a step that kills every worker is taken out after three of them, and its neighbours complete", {
  timeout: 120_000,
}, async () => {
  const neighbours = ["hold-1", "hold-2", "hold-3"];
  const plan = await t.submit(aDefinition([...neighbours, "kill"].map((id) => ({ id }))));
  let kills = 0;
  for (; (await t.state(plan)) !== "failed"; kills++) {
    const worker = await spawnWorker({
      url: t.url,
      prefix: t.prefix,
      deadAfterMs: t.store.deadAfterMs,
      concurrency: 10,
    });
    processes.push(worker);
    // Free to end once the killer has shown what it is.
    if (kills === 2) await t.redis.set(`${t.prefix}:open`, "1");
    await until(
      "the worker to be killed or the plan to fail",
      async () => worker.endedBy !== null || (await t.state(plan)) === "failed",
      30_000,
    );
  }

  const { records, errors, view } = await t.store.detail(plan);
  expect(kills).toBe(4);
  expect([...records.keys()].sort()).toEqual(neighbours);
  expect(view.open.map((step) => step.stepId)).toEqual(["kill"]);
  expect(errors.get("kill")?.code).toBe("STEP_QUARANTINED");
  const crashes = (await t.store.history(plan)).filter((event) => event.type === "step.crashed");
  expect(crashes.filter((event) => "step" in event && event.step === "kill")).toHaveLength(3);
  expect(await checkInvariants(t.store, plan)).toEqual([]);
});

/** A plan whose one step has killed two workers, and is queued. */
async function aSuspectedPlan(step: string): Promise<string> {
  const elsewhere = `later-${step}`;
  const plan = await t.submit(aDefinition([{ id: step, queue: elsewhere }]));
  const open = t.keys.planPart(plan, "open");
  const record = (await t.redis.hget(open, step))!.split("|");
  record[3] = "2";
  record[9] = "work";
  await t.redis.hset(open, step, record.join("|"));
  const job = `${plan}/${step}/1`;
  await t.redis.rename(`${t.keys.base}${elsewhere}:${job}`, `${t.keys.base}work:${job}`);
  await t.redis.multi().lpush(`${t.keys.base}work:wait`, job).zadd(`${t.keys.base}work:marker`, 0, "0").exec();
  return plan;
}

async function completed(...plans: string[]): Promise<void> {
  await until("the plans to complete", async () =>
    (await Promise.all(plans.map((plan) => t.state(plan)))).every((state) => state === "completed"),
  );
}
