/** What a drain leaves that can't end in time: others take it, or its plan is interrupted until somebody resumes it. */
import { afterEach, beforeEach, expect, inject, test } from "vitest";
import { resumePlan } from "../../src/client/resume.js";
import { explainState } from "../../src/core/state-sentences.js";
import { checkInvariants } from "../support/invariants.js";
import { A_SANDBOX, aChain, aDefinition, aStore, nextOf, stepOf, type TestStore } from "../support/plans.js";
import { gate, type RunningWorker, runs, runWorker } from "../support/step-workers.js";
import { startTcpProxy } from "../support/tcp-proxy.js";
import { until } from "../support/until.js";

const INTERRUPT = { graceMs: 20_000, onDrain: "interrupt" } as const;
const HELD = { kind: "release", reason: "drain", hold: true } as const;

let t: TestStore;
let running: RunningWorker[] = [];

beforeEach(async () => {
  t = await aStore(inject("redisUrl"));
});

afterEach(async () => {
  await Promise.all(running.map((worker) => worker.close()));
  running = [];
  await t.drop();
});

test("a plan that a drain interrupts is nobody's before it is resumed, and then goes on where it was", async () => {
  const { worker, log } = await start(never);
  const plan = await t.submit(aChain(["a", "b"]));
  await until("the step to start", () => worker.active === 1);

  const drained = worker.drain(INTERRUPT);
  worker.releaseNow();
  expect(await drained).toEqual({ released: [{ planId: plan, stepId: "a" }] });

  expect(log.filter(({ message }) => message === "handed back").map(({ facts }) => facts)).toMatchObject([
    { plan, steps: ["a"], on_drain: "interrupt" },
  ]);
  const other = await t.worker();
  expect(nextOf(await other.fetch())).toBe("none");
  const view = await t.store.view(plan);
  expect(view.open).toMatchObject([{ stepId: "a", kind: "held", attempts: 1, failures: 0, crashes: 0 }]);
  expect(explainState(view, "interrupted")).toBe("a was handed back by a worker that drained, to be resumed");
  expect(await checkInvariants(t.store, plan)).toEqual([]);

  const preview = await resumePlan(t.store, plan, { dryRun: true, actor: "ada" });
  expect(preview.summary).toMatchObject({ eligible: true, state: "interrupted", run: ["a", "b"] });
  await resumePlan(t.store, plan, { expect: preview.summary.resumeToken, actor: "ada" });
  await start(() => null);
  await until("the plan to complete", async () => (await t.state(plan)) === "completed");
  expect((await t.store.detail(plan)).records.get("a")).toMatchObject({ attempts: 2 });
  expect(await checkInvariants(t.store, plan)).toEqual([]);
});

test("by itself a drain leaves steps to others", async () => {
  const { worker, log } = await start(never);
  const plan = await t.submit(aChain(["a"]));
  await until("the step to start", () => worker.active === 1);

  const drained = worker.drain({ graceMs: 20_000 });
  worker.releaseNow();
  await drained;

  expect(log.find(({ message }) => message === "handed back")?.facts).toMatchObject({ plan, on_drain: "requeue" });
  expect((await (await t.worker()).take()).stepId).toBe("a");
});

test("a step that ends when it is told to stop, without a result, is left to a resume as well", async () => {
  const { worker } = await start(async ({ signal }) => {
    await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
    throw new Error("stopped");
  });
  const plan = await t.submit(aChain(["a"]));
  await until("the step to start", () => worker.active === 1);

  await worker.drain({ ...INTERRUPT, graceMs: 2_000 });

  expect(await t.state(plan)).toBe("interrupted");
  expect((await t.store.history(plan)).map(({ type }) => type).slice(-2)).toEqual([
    "step.released",
    "plan.interrupted",
  ]);
});

test("what doesn't need the step goes on, and the plan is interrupted when nothing else runs", async () => {
  const [leaving, staying] = [await t.worker(), await t.worker()];
  const plan = await t.submit(
    aDefinition([{ id: "a" }, { id: "b" }, { id: "after-b", needs: ["b"] }, { id: "join", needs: ["a", "after-b"] }]),
  );
  const a = await leaving.take();
  const b = await staying.take();

  await leaving.settle(a, HELD, false);
  expect(await t.state(plan)).toBe("running");
  expect(await checkInvariants(t.store, plan)).toEqual([]);
  const next = stepOf(await staying.complete(b));
  expect(next.stepId).toBe("after-b");
  await staying.complete(next, null, false);

  expect(await t.state(plan)).toBe("interrupted");
  expect(await checkInvariants(t.store, plan)).toEqual([]);
});

test("an irreversible step waits for a person's word, and one whose plan pauses is held by the pause", async () => {
  const worker = await t.worker();
  const unsure = await t.submit(aChain(["a"], { effect: "irreversible" }));
  await worker.settle(await worker.take(), HELD, false);
  const pausing = await t.submit(aChain(["a", "b"]));
  const step = await worker.take();
  await t.store.pause(pausing, "ada", null, true);
  await worker.settle(step, HELD, false);

  expect((await t.store.view(unsure)).open).toMatchObject([{ kind: "uncertain" }]);
  expect(await t.state(pausing)).toBe("paused");
  for (const plan of [unsure, pausing]) expect(await checkInvariants(t.store, plan)).toEqual([]);
});

test("the turn to write the sandbox goes to the next step", async () => {
  const worker = await t.worker();
  const writes = { sandbox: "write" } as const;
  const plan = await t.submit(
    aDefinition(
      [
        { id: "a", ...writes },
        { id: "b", ...writes },
      ],
      { sandbox: A_SANDBOX },
    ),
  );

  await worker.settle(await worker.take(), HELD, false);

  expect((await worker.take()).stepId).toBe("b");
  expect(await checkInvariants(t.store, plan)).toEqual([]);
});

test("what the store could not be told of is not said to be handed back", async () => {
  const proxy = await startTcpProxy(t.url);
  const { worker, log } = await start(never, { url: proxy.url });
  await t.submit(aChain(["a"]));
  await until("the step to start", () => worker.active === 1);
  proxy.judge = (args) =>
    runs("release")(args) || runs("deregister")(args)
      ? "-READONLY You can't write against a read only replica."
      : "pass";

  expect(await worker.drain({ graceMs: 400 })).toEqual({ released: [] });

  const said = log.map(({ message }) => message);
  expect(said).toContain("the store does not answer; others will take over what was active");
  expect(said).not.toContain("handed back");
  await proxy.close();
});

test("a step of a plan that is cancelled meanwhile is nobody's to take, and is not said to be handed back", async () => {
  const { worker, log } = await start(async ({ signal }) => {
    await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
    throw new Error("stopped");
  });
  const plan = await t.submit(aChain(["a"]));
  await until("the step to start", () => worker.active === 1);
  const drained = worker.drain({ graceMs: 20_000 });

  await t.store.cancel(plan, "ada", null);

  expect(await drained).toEqual({ released: [] });
  expect(log.map(({ message }) => message)).not.toContain("handed back");
});

test("handing back in the last moment what waits for another's end is a drain's as well", async () => {
  const begun = gate();
  const { worker } = await start(async () => {
    begun.open();
    await never();
  });
  await t.submit(aChain(["a"]));
  await begun.passed;
  const drained = worker.drain(INTERRUPT);
  worker.releaseNow();

  expect((await drained).released).toHaveLength(1);
});

async function start(...args: Parameters<typeof runWorker> extends [TestStore, ...infer Rest] ? Rest : never) {
  const worker = await runWorker(t, ...args);
  running.push(worker);
  return worker;
}

function never(): Promise<void> {
  return new Promise(() => {});
}
