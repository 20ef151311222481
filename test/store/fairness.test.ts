/** Plans that share a queue: however much one of them has to do, another one's turn comes soon. */
import { beforeEach, describe, expect, test } from "vitest";
import { queueDepth } from "../../src/store/queue-depth.js";
import { checkInvariants } from "../support/invariants.js";
import { aBench, startWorker } from "../support/one-test.js";
import { aDefinition, type HandWorker, type StepSpec, stepOf, type TestStore } from "../support/plans.js";
import type { RunningWorker } from "../support/step-workers.js";
import { until } from "../support/until.js";

/** What a plan may have in a queue. */
const SHARE = 50;

let t: TestStore;
let worker: HandWorker;

beforeEach(async () => {
  ({ t, worker } = await aBench());
});

describe("a plan of ten steps is done while another, begun before it, has thousands left", () => {
  test.each([
    ["one worker, and 10,000 steps", 10_000, 1, 1],
    ["three workers of five slots, and 2,000 steps", 2_000, 3, 5],
  ])("with %s", { timeout: 60_000 }, async (_, size, workers, concurrency) => {
    const big = await t.submit(aDefinition(steps(size)));
    const begun = await worker.take();
    const small = await t.submit(aDefinition(steps(10)));
    await worker.complete(begun, null, false);

    const running: RunningWorker[] = [];
    for (let i = 0; i < workers; i++) running.push(await startWorker(t, () => null, { concurrency }));
    await until("the small plan to complete", async () => (await t.state(small)) === "completed");
    await Promise.all(running.map((one) => one.close()));

    const finished = Number(await t.redis.hget(t.keys.plan(small), "finished"));
    const before = (await t.store.history(big)).filter((event) => event.type === "step.started" && event.at < finished);
    expect(before.length).toBeLessThan(3 * SHARE);
    expect(await checkInvariants(t.store, big)).toEqual([]);
  });
});

describe("a plan has its share of a queue", () => {
  test("also when it grows step by step", async () => {
    const tree = steps(1 + 2 + 4 + 8 + 16 + 32 + 64 + 128).map(({ id }, i) => ({
      id,
      needs: i === 0 ? [] : [`s${Math.floor((i - 1) / 2)}`],
    }));
    const plan = await t.submit(aDefinition(tree));
    let most = 0;
    for (let reply = await worker.fetch(); reply.next.kind === "step"; ) {
      reply = await worker.complete(reply.next.step);
      most = Math.max(most, await waiting());
    }

    expect(await t.state(plan)).toBe("completed");
    expect(most).toBe(SHARE);
  });

  test("also when its steps fail once and come again", async () => {
    const plan = await t.submit(aDefinition(steps(200)));
    const failed = { kind: "retry", delayMs: 0, error: { code: "X", message: "x" } } as const;
    let most = 0;
    for (let reply = await worker.fetch(); reply.next.kind === "step"; ) {
      const step = stepOf(reply);
      // The retry is due, and waits behind those that were queued before it.
      reply = await worker.settle(step, step.attempt === 1 ? failed : { kind: "complete", output: "1" });
      most = Math.max(most, await waiting());
    }
    await untilOver(plan);

    expect(most).toBeGreaterThan(SHARE);
    expect(await checkInvariants(t.store, plan)).toEqual([]);
    expect(await t.redis.exists(t.keys.planPart(plan, "queued"))).toBe(0);
  });

  test("also when all that failed in an outage is due again", async () => {
    const big = await t.submit(aDefinition(steps(200)));
    const failed = { kind: "retry", delayMs: 3_600_000, error: { code: "X", message: "x" } } as const;
    for (let reply = await worker.fetch(); reply.next.kind === "step"; ) {
      reply = await worker.settle(stepOf(reply), failed);
    }
    const delayed = `${t.keys.base}work:delayed`;
    for (const job of await t.redis.zrange(delayed, "0", "-1")) await t.redis.zadd(delayed, "0", job);
    let step = await worker.take();
    const small = await t.submit(aDefinition(steps(10)));

    let before = 0;
    for (; (await t.state(small)) !== "completed"; before++) {
      step = stepOf(await worker.complete(step));
    }

    expect(before).toBeLessThan(2 * SHARE);
    await worker.complete(step, null, false);
    await untilOver(big);
    expect(await checkInvariants(t.store, big)).toEqual([]);
  });

  test("in each queue, so that one that nobody serves holds nothing up elsewhere", async () => {
    const elsewhere = steps(200, "gpu").map((step) => ({ ...step, queue: "gpu" }));
    const plan = await t.submit(aDefinition([...elsewhere, ...steps(200)]));

    expect(await drain()).toBe(200);

    const open = (await t.store.view(plan)).open;
    expect(open.every((step) => step.queue === "gpu")).toBe(true);
    expect(await waiting("gpu")).toBe(SHARE);
    expect(await queueDepth(t.redis, t.keys, "gpu"), "what waits for it is all of them").toMatchObject({
      waiting: 200,
    });
    expect(await queueDepth(t.redis, t.keys, "work")).toMatchObject({ waiting: 0 });
    expect(await checkInvariants(t.store, plan)).toEqual([]);
  });

  test("for each priority, so that what is urgent doesn't wait behind what isn't", async () => {
    const later = steps(200, "low").map((step) => ({ ...step, priority: 9 }));
    const urgent = { id: "urgent", needs: ["low0"], priority: 1 };
    await t.submit(aDefinition([...later, urgent]));

    const first = await worker.take();
    const reply = await worker.complete(first);

    expect([first.stepId, stepOf(reply).stepId]).toEqual(["low0", "urgent"]);
  });

  test("and its chains go on in their slots, also while it has a backlog", async () => {
    const chains = steps(60).flatMap(({ id }) => [{ id }, { id: `${id}-next`, needs: [id] }]);
    const plan = await t.submit(aDefinition(chains));

    const reply = await worker.complete(await worker.take());

    expect(stepOf(reply)).toMatchObject({ stepId: "s0-next", handedOff: 1 });
    expect((await t.store.view(plan)).open.filter((step) => step.kind === "backlog")).toHaveLength(9);
    expect(await checkInvariants(t.store, plan)).toEqual([]);
    await worker.complete(stepOf(reply), null, false);
    expect(await drain()).toBe(118);
    expect(await t.state(plan)).toBe("completed");
  });

  test("that it leaves when it is cancelled, and has anew when it is resumed", async () => {
    const [cancelled, resumed] = [await t.submit(aDefinition(steps(80))), await t.submit(aDefinition(steps(80)))];
    const lists = () => t.scan("plan:*:backlog:*");
    expect(await lists()).toHaveLength(2);

    await t.store.cancel(cancelled, "ada", null);
    await t.store.pause(resumed, "ada", null, false);

    expect(await lists()).toEqual([]);
    expect(await t.scan("plan:*:queued")).toEqual([]);
    // The jobs of the stopped epochs are dropped by whoever meets them.
    expect(await queueDepth(t.redis, t.keys, "work")).toMatchObject({ waiting: 2 * SHARE });
    for (const plan of [cancelled, resumed]) expect(await checkInvariants(t.store, plan)).toEqual([]);
  });
});

function steps(count: number, prefix = "s"): StepSpec[] {
  return Array.from({ length: count }, (_, i) => ({ id: `${prefix}${i}` }));
}

/** How many are in the queue itself. */
async function waiting(queue = "work"): Promise<number> {
  return t.redis.llen(`${t.keys.base}${queue}:wait`);
}

async function drain(): Promise<number> {
  let ran = 0;
  for (let reply = await worker.fetch(); reply.next.kind === "step"; ran++) {
    reply = await worker.complete(stepOf(reply));
  }
  return ran;
}

/** Takes what is due until the plan is over. */
async function untilOver(plan: string): Promise<void> {
  await until("the plan to be over", async () => {
    await drain();
    return (await t.state(plan)) === "completed";
  });
}
