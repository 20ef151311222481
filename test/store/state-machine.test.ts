/** What each transition makes of a plan, with workers moved by hand. */
import { afterEach, beforeEach, describe, expect, inject, test } from "vitest";
import { Client } from "../../src/client/client.js";
import { resumePlan } from "../../src/client/resume.js";
import { type NotEligibleError, PlanExistsError } from "../../src/core/errors.js";
import type { Outcome } from "../../src/core/outcome.js";
import { planState } from "../../src/core/plan.js";
import type { SignalAnswer } from "../../src/core/ports.js";
import { checkInvariants } from "../support/invariants.js";
import {
  aChain,
  aDefinition,
  aPlanId,
  aStore,
  type HandWorker,
  nextOf,
  stepOf,
  type TestStore,
} from "../support/plans.js";
import { until } from "../support/until.js";

const boom = { code: "STEP_FAILED", message: "boom" };
const fail: Outcome = { kind: "fail", error: boom };
const drain: Outcome = { kind: "release", reason: "drain" };
const retry = (delayMs: number): Outcome => ({ kind: "retry", delayMs, error: boom });
const forSignal: Outcome = { kind: "park", wait: "signal", dueInMs: null, ask: null };
const forApproval: Outcome = { kind: "park", wait: "approval", dueInMs: null, ask: null };
const forSignalWithin = (dueInMs: number): Outcome => ({ kind: "park", wait: "signal", dueInMs, ask: null });
const timer = (dueInMs: number): Outcome => ({ kind: "park", wait: "timer", dueInMs, ask: null });
const actor = "tester";

let t: TestStore;
let worker: HandWorker;
let plans: string[];

beforeEach(async () => {
  t = await aStore(inject("redisUrl"));
  worker = await t.worker();
  plans = [];
});

afterEach(async () => {
  for (const plan of plans) expect(await checkInvariants(t.store, plan)).toEqual([]);
  await t.drop();
});

async function submitted(compiled: Parameters<TestStore["submit"]>[0], planId = aPlanId()): Promise<string> {
  plans.push(planId);
  return t.submit(compiled, planId);
}

describe("submit", () => {
  test("the same id, name and input is the same plan; another input is refused and changes nothing", async () => {
    const chain = aChain(["a", "b"]);
    const plan = await submitted(chain);
    const request = {
      planId: plan,
      compiled: chain,
      input: '{"n":1}',
      actor: "another",
      privateQueue: null,
      workdir: null,
    };
    const before = await t.dump();

    expect(await t.store.submit(request)).toEqual({ existing: true });
    await expect(t.store.submit({ ...request, input: '{"n":2}' })).rejects.toThrow(PlanExistsError);
    await expect(
      t.store.submit({ ...request, compiled: aDefinition([{ id: "a" }], { name: "other" }) }),
    ).rejects.toThrow(PlanExistsError);

    expect([...(await t.dump())].filter(([key]) => !key.includes("def:"))).toEqual(
      [...before].filter(([key]) => !key.includes("def:")),
    );
  });

  test("of many who submit one id at once, one creates it", async () => {
    const plan = aPlanId();
    const chain = aChain(["a", "b"]);
    const request = { planId: plan, compiled: chain, input: "{}", actor, privateQueue: null, workdir: null };

    const answers = await Promise.all(Array.from({ length: 8 }, () => t.store.submit(request)));

    plans.push(plan);
    expect(answers.filter((answer) => !answer.existing)).toHaveLength(1);
    expect(await wait()).toEqual([`${plan}/a/1`]);
  });

  test("a fan-out beyond the plan's share of the queue goes on from its backlog, and its join runs last", async () => {
    const ids = Array.from({ length: 600 }, (_, i) => `s${i}`);
    const plan = await submitted(
      aDefinition([{ id: "root" }, ...ids.map((id) => ({ id, needs: ["root"] })), { id: "join", needs: ids }]),
    );

    const root = await worker.take();
    await worker.complete(root, null, false);
    expect(await wait()).toHaveLength(50);
    expect(await checkInvariants(t.store, plan)).toEqual([]);

    const ran: string[] = [];
    for (let step = await worker.take(); ; ) {
      ran.push(step.stepId);
      const reply = await worker.complete(step);
      if (reply.next.kind !== "step") break;
      step = stepOf(reply);
    }
    expect(ran).toHaveLength(601);
    expect(new Set(ran).size).toBe(601);
    expect(ran.at(-1)).toBe("join");
    expect(await t.state(plan)).toBe("completed");
  });

  test("so does a plan with more roots than that", async () => {
    const plan = await submitted(aDefinition(Array.from({ length: 600 }, (_, i) => ({ id: `s${i}` }))));
    expect(await wait()).toHaveLength(50);

    let ran = 0;
    for (let reply = await worker.fetch(); reply.next.kind === "step"; ran++)
      reply = await worker.complete(stepOf(reply));

    expect(ran).toBe(600);
    expect(await t.state(plan)).toBe("completed");
  });

  test("a backlog survives pause and resume", async () => {
    const plan = await submitted(aDefinition(Array.from({ length: 400 }, (_, i) => ({ id: `s${i}` }))));
    await t.store.pause(plan, actor, null, false);
    expect(await checkInvariants(t.store, plan)).toEqual([]);

    await resumePlan(t.store, plan, { actor });
    expect(await checkInvariants(t.store, plan)).toEqual([]);

    let ran = 0;
    for (let reply = await worker.fetch(); reply.next.kind === "step"; ran++)
      reply = await worker.complete(stepOf(reply));
    expect(ran).toBe(400);
    expect(await t.state(plan)).toBe("completed");
  });
});

describe("the only next step of a plan goes to the same slot", () => {
  test("with all that a fetch would have said, also when the reply was lost", async () => {
    await submitted(aChain(["a", "b", "c"]));
    const a = await worker.take();

    const b = stepOf(await worker.complete(a, 1));
    const again = stepOf(await worker.complete(a, 1));

    expect(b).toMatchObject({
      stepId: "b",
      attempt: 1,
      failures: 0,
      epoch: 1,
      token: a.token,
      queue: "work",
      dueAt: null,
    });
    // The input comes with a plan's first steps only; the turns that a plan had in a row are counted anew.
    expect({ ...again, input: null, handedOff: 0 }).toEqual({ ...b, input: null, handedOff: 0 });
    expect(b.fence).toBeGreaterThan(a.fence);
  });

  test("but other plans get their turn", async () => {
    const ids = Array.from({ length: 40 }, (_, i) => `s${i}`);
    await submitted(aChain(ids));
    await submitted(aDefinition([{ id: "other" }]));

    let step = await worker.take();
    let steps = 1;
    while (step.stepId !== "other") {
      step = stepOf(await worker.complete(step));
      steps++;
      expect(steps).toBeLessThan(20);
    }
  });

  test("and not in a queue that was paused meanwhile", async () => {
    await submitted(aChain(["a", "b"]));
    const a = await worker.take();
    await t.redis.hset(`${t.keys.base}work:meta`, "paused", "1");

    expect(nextOf(await worker.complete(a))).toBe("none");
    await t.redis.hdel(`${t.keys.base}work:meta`, "paused");
    expect(nextOf(await worker.fetch())).toBe("b");
  });
});

describe("joins", () => {
  test("parallel needs are counted up, and the last of them releases the join, whoever commits it", async () => {
    const plan = await submitted(
      aDefinition([
        { id: "a" },
        { id: "b" },
        { id: "c" },
        { id: "join", needs: ["a", "b", "c"] },
        { id: "end", needs: ["join", "a"] },
      ]),
    );
    const workers = [worker, await t.worker(), await t.worker()];
    const steps = await Promise.all(workers.map((w) => w.take()));

    await Promise.all(steps.map((step, i) => workers[i]!.complete(step, null, false)));

    expect(await wait()).toEqual([`${plan}/join/1`]);
    const join = await worker.take();
    expect(nextOf(await worker.complete(join))).toBe("end");
  });
});

describe("failure", () => {
  test("steps that don't need the failed one go on, and the plan fails when nothing runs", async () => {
    const plan = await submitted(
      aDefinition([{ id: "bad" }, { id: "after", needs: ["bad"] }, { id: "good" }, { id: "next", needs: ["good"] }]),
    );
    const bad = await worker.take();
    const good = stepOf(await worker.settle(bad, fail));
    expect(await t.state(plan)).toBe("running");

    const next = stepOf(await worker.complete(good));
    await worker.complete(next);

    expect(await t.state(plan)).toBe("failed");
    expect((await t.store.history(plan)).at(-1)?.type).toBe("plan.failed");
    await expect(t.store.detail(plan)).resolves.toMatchObject({ state: "failed" });
  });

  test("a resume runs the failed step again, with its attempts counted afresh", async () => {
    const plan = await submitted(aChain(["a", "b"]));
    await worker.settle(await worker.take(), fail);

    await resumePlan(t.store, plan, { actor });
    const again = await worker.take();

    expect(again).toMatchObject({ stepId: "a", attempt: 2, failures: 0, epoch: 2 });
    expect(nextOf(await worker.complete(again))).toBe("b");
  });

  test("failFast holds the others in a new epoch, and resume goes on with all of them", async () => {
    const plan = await submitted(
      aDefinition([{ id: "bad" }, { id: "runs" }, { id: "waits" }, { id: "after", needs: ["runs"] }], {
        failFast: true,
      }),
    );
    const bad = await worker.take();
    const other = await t.worker();
    const runs = await other.take();

    await worker.settle(bad, fail, false);

    expect((await t.store.view(plan)).open.map((step) => `${step.stepId} ${step.kind}`).sort()).toEqual([
      "bad failed",
      "runs held",
      "waits held",
    ]);
    expect((await other.beat())[3]).toEqual([`failed|${plan}|1`]);
    expect((await other.complete(runs, null, false)).verdict).toBe("FENCED");
    expect(nextOf(await worker.fetch())).toBe("none");
    await resumePlan(t.store, plan, { actor });
    const steps = [await worker.take(), await worker.take(), await worker.take()];
    expect(steps.map((step) => step.stepId).sort()).toEqual(["bad", "runs", "waits"]);
  });

  test("a retry runs after its delay and not before, and is no timer that is over", async () => {
    const plan = await submitted(aDefinition([{ id: "a" }]));
    const first = await worker.take();
    const settled = await worker.settle(first, retry(80));

    expect(settled.next).toMatchObject({ kind: "none" });
    const due = settled.next.kind === "none" ? settled.next.dueAt : 0;
    expect(due).toBeGreaterThanOrEqual(settled.now + 79);
    const reply = await until("the retry", async () => {
      const next = await worker.fetch();
      return next.next.kind === "step" && next;
    });
    expect(reply.now).toBeGreaterThanOrEqual(Math.floor(due));
    // Else a `wait` that fails before it waits would find its time over.
    expect(stepOf(reply)).toMatchObject({ attempt: 2, failures: 1, dueAt: null });
    expect((await t.store.history(plan)).filter((e) => e.type === "step.failed")).toMatchObject([
      { final: false, retryInMs: 80 },
    ]);
  });
});

describe("release and deferral", () => {
  test("a released step is next in its queue and its attempt doesn't count as failed", async () => {
    await submitted(aDefinition([{ id: "a" }, { id: "b" }]));
    const a = await worker.take();

    expect((await worker.settle(a, drain, false)).next.kind).toBe("none");

    expect(await worker.take()).toMatchObject({ stepId: a.stepId, attempt: 2, failures: 0 });
  });

  test("a deferred step had no attempt, and says what was lacking", async () => {
    const plan = await submitted(aDefinition([{ id: "a" }]));
    const a = await worker.take();

    await worker.settle(a, { kind: "defer", delayMs: 10, reason: "no worker has x v4" }, false);

    const detail = await t.store.detail(plan);
    expect(detail.view.open[0]).toMatchObject({ kind: "delayed", attempts: 0 });
    expect(detail.unserved.get("a")).toMatchObject({ reason: "no worker has x v4" });
    expect((await t.store.history(plan)).map((event) => event.type)).toEqual(["plan.submitted"]);
    const again = await until("it to be offered again", async () => {
      const reply = await worker.fetch();
      return reply.next.kind === "step" && stepOf(reply);
    });
    expect(again.attempt).toBe(1);
  });
});

describe("pause", () => {
  test("takes everything out of the queues, tells who runs a step, and resume puts all of it back", async () => {
    const plan = await submitted(
      aDefinition([
        { id: "runs" },
        { id: "delayed" },
        { id: "queued" },
        { id: "end", needs: ["runs", "delayed", "queued"] },
      ]),
    );
    const runs = await worker.take();
    await worker.settle(await worker.take(), retry(60_000), false);

    await t.store.pause(plan, actor, "lunch", false);

    expect(await t.state(plan)).toBe("paused");
    expect((await t.store.view(plan)).meta.stop).toEqual({ by: actor, reason: "lunch", pending: false });
    expect((await worker.beat())[3]).toEqual([`pause|${plan}|1`]);
    expect((await t.store.history(plan)).slice(-3)).toMatchObject([
      { type: "plan.pause_requested", actor, reason: "lunch" },
      { type: "step.released", step: "runs", attempt: 1, reason: "pause" },
      { type: "plan.paused" },
    ]);
    expect(nextOf(await worker.fetch())).toBe("none");
    expect((await worker.settle(runs, { kind: "release", reason: "stop" }, false)).verdict).toBe("FENCED");
    expect(await checkInvariants(t.store, plan)).toEqual([]);
    await resumePlan(t.store, plan, { actor });
    const steps = [await worker.take(), await worker.take(), await worker.take()];
    expect(steps.map((step) => step.stepId).sort()).toEqual(["delayed", "queued", "runs"]);
    for (const step of steps) await worker.complete(step, null, false);
    expect(await worker.take()).toMatchObject({ stepId: "end", epoch: 3 });
    expect((await t.store.view(plan)).meta.stop).toBeNull();
  });

  test.each<[string, Outcome, string]>([
    ["completes", { kind: "complete", output: "1" }, "b held"],
    ["fails and would be tried again", retry(0), "a held"],
    ["fails for good", fail, "a failed"],
    ["is handed back", drain, "a held"],
    ["is deferred", { kind: "defer", delayMs: 1, reason: "lacks it" }, "a held"],
    ["parks for a signal", forSignal, "a waiting"],
    ["parks for a timer", timer(60_000), "a held"],
  ])("--after-step is over when the running step %s", async (_, outcome, open) => {
    const plan = await submitted(aDefinition([{ id: "a" }, { id: "b", needs: ["a"] }, { id: "other" }]));
    const first = await worker.take();
    const a = first.stepId === "a" ? first : await worker.take();
    const running = first === a ? 1 : 2;
    if (running === 2) await worker.settle(first, drain, false);
    await t.store.pause(plan, actor, null, true);
    expect(await t.state(plan)).toBe("running");
    expect(nextOf(await worker.fetch())).toBe("none");
    expect((await worker.beat())[3]).toEqual([]);

    expect(await worker.settle(a, outcome)).toMatchObject({ verdict: "OK", next: { kind: "none" } });

    expect(await t.state(plan)).toBe("paused");
    const { view } = await t.store.detail(plan);
    expect(view.open.map((step) => `${step.stepId} ${step.kind}`).sort()).toEqual([open, "other held"].sort());
    expect((await t.store.history(plan)).filter((event) => event.type === "plan.paused")).toHaveLength(1);
  });

  test("--after-step is over when the running step's worker dies, and resume runs it again", async () => {
    const plan = await submitted(aChain(["a", "b"]));
    await worker.take();
    await t.store.pause(plan, actor, null, true);
    const other = await t.worker();

    await other.beat([worker.id]);

    expect(await t.state(plan)).toBe("paused");
    expect((await t.store.view(plan)).open[0]).toMatchObject({ kind: "held", crashes: 1 });
    await resumePlan(t.store, plan, { actor });
    expect(await other.take()).toMatchObject({ stepId: "a", attempt: 2 });
  });

  test("--after-step waits for the last of several, and a second, plain pause doesn't", async () => {
    const plan = await submitted(aDefinition([{ id: "a" }, { id: "b" }]));
    const [a, b] = [await worker.take(), await worker.take()];
    await t.store.pause(plan, actor, null, true);
    await worker.complete(a, null, false);
    expect(await t.state(plan)).toBe("running");

    await t.store.pause(plan, actor, null, false);

    expect(await t.state(plan)).toBe("paused");
    expect((await worker.complete(b, null, false)).verdict).toBe("FENCED");
  });

  test("--after-step with nothing running pauses at once; a paused plan is paused already", async () => {
    const plan = await submitted(aChain(["a"]));
    await t.store.pause(plan, actor, null, true);
    const before = await t.dumpPlan(plan);
    await t.store.pause(plan, actor, null, true);
    expect(await t.state(plan)).toBe("paused");
    expect(await t.dumpPlan(plan)).toEqual(before);
  });

  test("a plan whose last step completes while it is pausing is completed", async () => {
    const plan = await submitted(aChain(["a"]));
    const a = await worker.take();
    await t.store.pause(plan, actor, null, true);
    await worker.complete(a);
    expect(await t.state(plan)).toBe("completed");
  });
});

describe("cancel", () => {
  test.each<[string, (plan: string) => Promise<unknown>]>([
    ["queued", async () => {}],
    ["running", () => worker.take()],
    ["delayed", async () => worker.settle(await worker.take(), retry(60_000), false)],
    ["asleep", async () => worker.settle(await worker.take(), timer(60_000), false)],
    ["waiting for an approval", async () => worker.settle(await worker.take(), forApproval, false)],
    ["failed", async () => worker.settle(await worker.take(), fail, false)],
    ["paused", (plan) => t.store.pause(plan, actor, null, false)],
  ])("ends a plan that is %s; nothing of it runs any more and nothing changes it", async (_, prepare) => {
    const plan = await submitted(aChain(["a", "b"]));
    await prepare(plan);

    await t.store.cancel(plan, actor, "not needed");

    expect(await t.state(plan)).toBe("cancelled");
    expect((await t.store.view(plan)).meta.stop).toEqual({ by: actor, reason: "not needed", pending: false });
    expect(nextOf(await worker.fetch())).toBe("none");
    const before = await t.dumpPlan(plan);
    await expect(t.store.cancel(plan, actor, null)).rejects.toMatchObject({ code: "PLAN_TERMINAL" });
    await expect(t.store.pause(plan, actor, null, false)).rejects.toMatchObject({ code: "PLAN_TERMINAL" });
    await expect(resumePlan(t.store, plan, { actor })).rejects.toMatchObject({ code: "PLAN_TERMINAL" });
    expect(await t.dumpPlan(plan)).toEqual(before);
    expect(await t.redis.zscore(t.keys.openPlans, plan)).toBeNull();
  });

  test("tells the worker that runs a step", async () => {
    const plan = await submitted(aChain(["a", "b"]));
    await worker.take();
    await t.store.cancel(plan, actor, null);
    expect((await worker.beat())[3]).toEqual([`cancel|${plan}|1`]);
    expect((await worker.beat())[3]).toEqual([]);
  });
});

describe("waiting", () => {
  const answer = (data: unknown, more: Partial<SignalAnswer> = {}): SignalAnswer => ({
    data: JSON.stringify(data),
    cancels: false,
    signalId: null,
    actor,
    choice: null,
    ...more,
  });
  const waits = aDefinition([
    { id: "w", uses: "wait" },
    { id: "z", needs: ["w"] },
  ]);
  const asks = aDefinition([
    { id: "ok", uses: "approve" },
    { id: "z", needs: ["ok"] },
  ]);

  test("a signal completes the step that waits for it and releases what needs it", async () => {
    const plan = await submitted(waits);
    await worker.settle(await worker.take(), forSignal, false);
    expect(await t.state(plan)).toBe("waiting");

    expect(await t.signal(plan, "w", answer({ ok: true }))).toEqual({ kept: false });

    expect(await t.store.output(plan, "w")).toBe('{"ok":true}');
    expect(await worker.take()).toMatchObject({ stepId: "z" });
  });

  test.each(["before the step starts", "while the step runs"])(
    "a signal that comes %s is kept and consumed",
    async (when) => {
      const plan = await submitted(waits);
      const early = when.startsWith("before") ? null : await worker.take();
      expect(await t.signal(plan, "w", answer("early"))).toEqual({ kept: true });

      const reply = await worker.settle(early ?? (await worker.take()), forSignal);

      expect(nextOf(reply)).toBe("z");
      expect(await t.store.output(plan, "w")).toBe('"early"');
      expect(await t.redis.exists(t.keys.planPart(plan, "signals"))).toBe(0);
    },
  );

  test("of two signals that come early the first one counts, and the second is told so", async () => {
    const plan = await submitted(waits);
    expect(await t.signal(plan, "w", answer("first"))).toEqual({ kept: true });
    const before = await t.dumpPlan(plan);

    await expect(t.signal(plan, "w", answer("second", { signalId: "s2" }))).rejects.toMatchObject({
      code: "NOT_WAITING",
      message: expect.stringContaining("it has its answer already, and takes it when it waits"),
    });

    expect(await t.dumpPlan(plan)).toEqual(before);
    await worker.settle(await worker.take(), forSignal);
    expect(await t.store.output(plan, "w")).toBe('"first"');
  });

  test("a signal to a paused plan is kept and applied when it goes on", async () => {
    const plan = await submitted(waits);
    await worker.settle(await worker.take(), forSignal, false);
    await t.store.pause(plan, actor, null, false);
    expect(await t.signal(plan, "w", answer(7))).toEqual({ kept: true });
    expect(await t.state(plan)).toBe("paused");

    await resumePlan(t.store, plan, { actor });
    let reply = await worker.fetch();
    if (nextOf(reply) === "w") reply = await worker.settle(stepOf(reply), forSignal);

    expect(nextOf(reply)).toBe("z");
    expect(await t.store.output(plan, "w")).toBe("7");
  });

  test("a resume that was looked at before an answer was kept is another", async () => {
    const plan = await submitted(asks);
    await worker.settle(await worker.take(), forApproval, false);
    await t.store.pause(plan, actor, null, false);
    const { summary } = await resumePlan(t.store, plan, { actor, dryRun: true });
    const choice = { question: "?", options: ["approve", "reject"], choice: "reject", rationale: null };
    await t.signal(plan, "ok", answer("no", { choice, cancels: true }));

    const resumed = resumePlan(t.store, plan, { actor, expect: summary.resumeToken });

    await expect(resumed).rejects.toMatchObject({ code: "PREVIEW_STALE" });
    expect(await t.state(plan)).toBe("paused");
  });

  test("a step of a paused plan takes one answer, as any other", async () => {
    const plan = await submitted(asks);
    await worker.settle(await worker.take(), forApproval, false);
    await t.store.pause(plan, actor, null, false);
    const choice = (text: string) => ({ question: "?", options: ["approve", "reject"], choice: text, rationale: null });
    expect(await t.signal(plan, "ok", answer("yes", { choice: choice("approve") }))).toEqual({ kept: true });
    const before = await t.dumpPlan(plan);

    const second = t.signal(plan, "ok", answer("no", { choice: choice("reject"), cancels: true }));

    await expect(second).rejects.toMatchObject({
      code: "NOT_WAITING",
      message: expect.stringContaining("answer already"),
    });
    expect(await t.dumpPlan(plan)).toEqual(before);
  });

  test("a signal id counts once, however often it is sent", async () => {
    const plan = await submitted(waits);
    await worker.settle(await worker.take(), forSignal, false);
    await t.signal(plan, "w", answer(1, { signalId: "s1" }));
    const before = await t.dumpPlan(plan);

    expect(await t.signal(plan, "w", answer(2, { signalId: "s1" }))).toEqual({ kept: false });

    expect(await t.dumpPlan(plan)).toEqual(before);
    await expect(t.signal(plan, "w", answer(2, { signalId: "s2" }))).rejects.toMatchObject({
      code: "NOT_WAITING",
    });
  });

  test("an approval that was refused as too early counts when it is sent again", async () => {
    const plan = await submitted(asks);
    const choice = { question: "Publish?", options: ["approve", "reject"], choice: "approve", rationale: null };
    const early = answer("approve", { signalId: "click-1", choice });
    await expect(t.signal(plan, "ok", early)).rejects.toMatchObject({ code: "NOT_WAITING" });
    await worker.settle(await worker.take(), forApproval, false);

    await t.signal(plan, "ok", early);

    expect(await t.state(plan)).toBe("running");
    expect(await worker.take()).toMatchObject({ stepId: "z" });
  });

  test("data without a choice does not answer what asks for an approval", async () => {
    const plan = await submitted(asks);
    await worker.settle(await worker.take(), forApproval, false);
    const before = await t.dumpPlan(plan);

    const client = new Client(async () => t.store, actor);
    await expect(client.signal(plan, "ok", { ok: true })).rejects.toMatchObject({
      code: "NOT_WAITING",
      try: `plan approve ${plan} ok`,
    });

    expect(await t.dumpPlan(plan)).toEqual(before);
  });

  test("a repeated signal that came early is still said to be kept", async () => {
    const plan = await submitted(waits);
    await t.signal(plan, "w", answer(1, { signalId: "s1" }));

    expect(await t.signal(plan, "w", answer(2, { signalId: "s1" }))).toEqual({ kept: true });

    await worker.settle(await worker.take(), forSignal);
    expect(await t.store.output(plan, "w")).toBe("1");
  });

  test("one signal id to two steps is two signals", async () => {
    const plan = await submitted(
      aDefinition([
        { id: "v", uses: "wait" },
        { id: "w", uses: "wait", needs: ["v"] },
      ]),
    );
    await worker.settle(await worker.take(), forSignal, false);
    await t.signal(plan, "v", answer(1, { signalId: "build-1" }));

    expect(await t.signal(plan, "w", answer(2, { signalId: "build-1" }))).toEqual({ kept: true });
  });

  test("an approval is recorded as a decision and stands in force from then on", async () => {
    const plan = await submitted(asks);
    await worker.settle(await worker.take(), forApproval, false);
    const choice = { question: "Publish?", options: ["approve", "reject"], choice: "approve", rationale: "fine" };

    await t.signal(plan, "ok", answer("approve", { choice }));

    const decisions = await t.store.decisions(plan);
    expect(decisions.at(-1)).toMatchObject({
      step: "ok",
      choice: "approve",
      madeBy: actor,
      parent: decisions[0]!.decisionId,
    });
    const { meta } = await t.store.view(plan);
    expect(meta.lastDecisionId).toBe(decisions.at(-1)!.decisionId);
    expect((await t.store.checkpoints(plan)).at(-1)).toMatchObject({ step: "ok", decisionId: meta.lastDecisionId });
  });

  test("a rejection records the answer and cancels the plan", async () => {
    const plan = await submitted(asks);
    await worker.settle(await worker.take(), forApproval, false);

    await t.signal(
      plan,
      "ok",
      answer("reject", { cancels: true, choice: { question: "?", options: [], choice: "reject", rationale: null } }),
    );

    expect(await t.state(plan)).toBe("cancelled");
    expect(nextOf(await worker.fetch())).toBe("none");
    expect((await t.store.history(plan)).slice(-3).map((event) => event.type)).toEqual([
      "decision.recorded",
      "step.completed",
      "plan.cancelled",
    ]);
  });

  test("a step that waits for something else, or is done, takes no answer", async () => {
    const plan = await submitted(aDefinition([{ id: "w", uses: "wait" }, { id: "act" }]));
    const first = await worker.take();
    const other = await worker.take();
    const [w, act] = first.stepId === "w" ? [first, other] : [other, first];
    await worker.settle(w, timer(60_000), false);
    await worker.complete(act, null, false);

    await expect(t.signal(plan, "w", answer(1))).rejects.toMatchObject({ code: "NOT_WAITING" });
    await expect(t.signal(plan, "act", answer(1))).rejects.toMatchObject({ code: "NOT_WAITING" });
    await expect(t.signal(plan, "nobody", answer(1))).rejects.toMatchObject({ code: "STEP_NOT_FOUND" });
    await expect(t.signal("nobody", "w", answer(1))).rejects.toMatchObject({ code: "PLAN_NOT_FOUND" });
  });

  test("a timer wakes its step when it is due, and not before", async () => {
    const plan = await submitted(aDefinition([{ id: "sleeps" }]));
    const parked = await worker.settle(await worker.take(), timer(80));
    expect(await t.state(plan)).toBe("waiting");

    const reply = await until("the timer", async () => {
      const next = await worker.fetch();
      return next.next.kind === "step" && next;
    });

    expect(reply.now).toBeGreaterThanOrEqual(parked.now + 80);
    expect(stepOf(reply).dueAt).toBe(parked.now + 80);
    expect(await t.redis.hget(t.keys.plan(plan), "waiting")).toBe("0");
    await worker.complete(stepOf(reply));
    expect(await t.state(plan)).toBe("completed");
  });

  test("a timer keeps its time over pause and resume", async () => {
    const plan = await submitted(aDefinition([{ id: "sleeps" }]));
    const parked = await worker.settle(await worker.take(), timer(3_600_000), false);
    await t.store.pause(plan, actor, null, false);
    await resumePlan(t.store, plan, { actor });

    const { open } = await t.store.view(plan);
    expect(open[0]).toMatchObject({ kind: "waiting", wait: "timer", dueAt: parked.now + 3_600_000 });
    expect(await t.state(plan)).toBe("waiting");
    expect(nextOf(await worker.fetch())).toBe("none");
  });

  test("a plan that failed beside a timer can be resumed, with a worker alive, and the timer keeps its time", async () => {
    const plan = await submitted(aDefinition([{ id: "a" }, { id: "b" }]));
    const parked = await worker.settle(await worker.take(), timer(3_600_000), false);
    await worker.settle(await worker.take(), fail, false);
    expect(await t.state(plan)).toBe("failed");

    await resumePlan(t.store, plan, { actor });

    const { open } = await t.store.view(plan);
    expect(open.find((step) => step.kind === "waiting")).toMatchObject({
      wait: "timer",
      dueAt: parked.now + 3_600_000,
    });
    expect(open.filter((step) => step.kind === "queued")).toHaveLength(1);
  });

  test.each<[string, Parameters<typeof aDefinition>[1], (plan: string) => Promise<unknown>]>([
    ["was paused", {}, (plan) => t.store.pause(plan, actor, null, false)],
    ["stopped at its first failure", { failFast: true }, async () => worker.settle(await worker.take(), fail, false)],
  ])("a timer that becomes due while its plan %s hinders nobody from resuming it", async (_, head, stop) => {
    const plan = await submitted(aDefinition([{ id: "a" }, { id: "b" }], head));
    const parked = await worker.settle(await worker.take(), timer(30), false);
    await stop(plan);
    expect(await checkInvariants(t.store, plan)).toEqual([]);
    await until("the timer to be due", async () => Number((await worker.fetch()).now) > parked.now + 30);

    await resumePlan(t.store, plan, { actor });

    const steps = [await worker.take(), await worker.take()];
    for (const step of steps) await worker.complete(step, null, false);
    expect(await t.state(plan)).toBe("completed");
  });

  test("a wait that is over wakes its step, and what comes then is refused", async () => {
    const plan = await submitted(waits);
    const parked = await worker.settle(await worker.take(), forSignalWithin(40));
    expect((await t.store.view(plan)).open[0]).toMatchObject({ wait: "signal", dueAt: parked.now + 40 });

    const woken = await until("the wait to be over", async () => {
      const { next } = await worker.fetch();
      return next.kind === "step" && next.step;
    });

    expect(woken).toMatchObject({ stepId: "w", attempt: 2, dueAt: parked.now + 40 });
    await expect(t.signal(plan, "w", answer(1))).rejects.toMatchObject({ code: "NOT_WAITING" });
    await (await t.worker()).beat([worker.id]);
    await expect(t.signal(plan, "w", answer(1))).rejects.toMatchObject({ code: "NOT_WAITING" });
    expect(await t.redis.exists(t.keys.planPart(plan, "signals"))).toBe(0);
  });

  test.each<[string, (plan: string) => Promise<unknown>, string]>([
    ["a signal that comes in time", (plan) => t.signal(plan, "w", answer(1)), "running"],
    ["a cancel", (plan) => t.store.cancel(plan, actor, null), "cancelled"],
  ])("%s takes a wait's time limit away", async (_, end, state) => {
    const plan = await submitted(waits);
    await worker.settle(await worker.take(), forSignalWithin(60_000), false);

    await end(plan);

    expect(await t.state(plan)).toBe(state);
    expect(await t.redis.exists(`${t.keys.base}work:delayed`)).toBe(0);
  });

  test("a wait keeps its time over pause and resume, and takes a signal that comes in between", async () => {
    const plan = await submitted(waits);
    const parked = await worker.settle(await worker.take(), forSignalWithin(3_600_000), false);
    await t.store.pause(plan, actor, null, false);
    expect(await checkInvariants(t.store, plan)).toEqual([]);
    await resumePlan(t.store, plan, { actor });
    expect((await t.store.view(plan)).open[0]).toMatchObject({ kind: "waiting", dueAt: parked.now + 3_600_000 });
    expect(await checkInvariants(t.store, plan)).toEqual([]);

    await t.store.pause(plan, actor, null, false);
    expect(await t.signal(plan, "w", answer(7))).toEqual({ kept: true });
    await resumePlan(t.store, plan, { actor });
    const again = await worker.take();
    expect(again).toMatchObject({ stepId: "w", dueAt: null });
    expect(nextOf(await worker.settle(again, forSignalWithin(3_600_000)))).toBe("z");

    expect(await t.store.output(plan, "w")).toBe("7");
  });

  test.each<[string, Parameters<typeof aDefinition>[1], (plan: string) => Promise<unknown>]>([
    ["paused", {}, async (plan) => t.store.pause(plan, actor, null, false)],
    ["failed at its first failure", { failFast: true }, async () => worker.settle(await worker.take(), fail, false)],
  ])(
    "a wait that is over while its plan is %s ends when the plan goes on, with a worker alive",
    async (_, head, stop) => {
      const plan = await submitted(aDefinition([{ id: "w", uses: "wait" }, { id: "other" }], head));
      const parked = await worker.settle(await worker.take(), forSignalWithin(30), false);
      await stop(plan);
      const stopped = await t.state(plan);
      await until("its time to be over", async () => (await t.store.view(plan)).now > parked.now + 30);
      expect((await t.store.detail(plan)).state).toBe(stopped);

      await resumePlan(t.store, plan, { actor });

      const again = [await worker.take(), await worker.take()].find(({ stepId }) => stepId === "w");
      expect(again).toMatchObject({ attempt: 2, dueAt: parked.now + 30 });
    },
  );

  test("a wait that its plan's first failure cut off takes a signal that comes before the resume", async () => {
    const plan = await submitted(aDefinition([{ id: "w", uses: "wait" }, { id: "other" }], { failFast: true }));
    await worker.settle(await worker.take(), forSignalWithin(3_600_000), false);
    await worker.settle(await worker.take(), fail, false);

    expect((await t.store.view(plan)).open.find(({ stepId }) => stepId === "w")).toMatchObject({ kind: "held" });
    expect(await t.signal(plan, "w", answer(7))).toEqual({ kept: true });
    await resumePlan(t.store, plan, { actor });
    const again = [await worker.take(), await worker.take()].find(({ stepId }) => stepId === "w")!;
    expect(again.dueAt).toBeNull();
    await worker.settle(again, forSignalWithin(3_600_000), false);

    expect(await t.store.output(plan, "w")).toBe("7");
  });

  test("a wait begun while its plan is pausing has its time when the plan goes on", async () => {
    const plan = await submitted(waits);
    const w = await worker.take();
    await t.store.pause(plan, actor, null, true);
    const parked = await worker.settle(w, forSignalWithin(3_600_000), false);
    expect(await t.state(plan)).toBe("paused");

    await resumePlan(t.store, plan, { actor });

    expect((await t.store.view(plan)).open[0]).toMatchObject({ kind: "waiting", dueAt: parked.now + 3_600_000 });
  });

  test("a wait that failed is resumed with all its time", async () => {
    const plan = await submitted(waits);
    await worker.settle(await worker.take(), forSignalWithin(0), false);
    await worker.settle(await worker.take(), fail, false);
    expect(await t.state(plan)).toBe("failed");

    await resumePlan(t.store, plan, { actor });

    expect(await worker.take()).toMatchObject({ stepId: "w", dueAt: null });
  });

  test("answers given to a plan that is pausing don't stand for its running steps", async () => {
    const plan = await submitted(aDefinition([{ id: "w", uses: "wait" }, { id: "runs" }, { id: "z", needs: ["w"] }]));
    const first = await worker.take();
    const second = await worker.take();
    const [w, runs] = first.stepId === "w" ? [first, second] : [second, first];
    await worker.settle(w, forSignal, false);
    await t.store.pause(plan, actor, null, true);

    await t.signal(plan, "w", answer(1));
    expect(await t.state(plan)).toBe("running");
    await worker.complete(runs, null, false);

    expect(await t.state(plan)).toBe("paused");
    expect((await t.store.view(plan)).open.map((step) => `${step.stepId} ${step.kind}`)).toEqual(["z held"]);
  });
});

describe("resume", () => {
  test("of eight at once one wins, and there is one live job for each step of the frontier", async () => {
    const plan = await submitted(aDefinition([{ id: "a" }, { id: "b" }, { id: "c", needs: ["a", "b"] }]));
    await t.store.pause(plan, actor, null, false);

    const answers = await Promise.allSettled(Array.from({ length: 8 }, () => resumePlan(t.store, plan, { actor })));

    const won = answers.filter((answer) => answer.status === "fulfilled");
    const refused = answers.flatMap((answer) =>
      answer.status === "rejected" ? [(answer.reason as NotEligibleError).code] : [],
    );
    expect(won).toHaveLength(1);
    expect(refused).toEqual(Array(7).fill("PLAN_ACTIVE"));
    expect((await wait()).filter((id) => id.endsWith("/3")).sort()).toEqual([`${plan}/a/3`, `${plan}/b/3`]);
    expect((await t.store.history(plan)).filter((event) => event.type === "plan.resumed")).toHaveLength(1);
  });

  test("a request id that is repeated gets the first one's answer, at once and later", async () => {
    const plan = await submitted(aChain(["a", "b"]));
    await t.store.pause(plan, actor, null, false);

    const together = await Promise.all(
      Array.from({ length: 4 }, () => resumePlan(t.store, plan, { actor, requestId: "r1" })),
    );
    await worker.complete(await worker.take(), null, false);
    const later = await resumePlan(t.store, plan, { actor, requestId: "r1" });

    expect(together.filter((outcome) => !outcome.repeated)).toHaveLength(1);
    for (const outcome of [...together, later]) expect(outcome.summary).toEqual(together[0]!.summary);
    expect(await t.redis.hget(t.keys.plan(plan), "resume_count")).toBe("1");
  });

  test("a plan whose step a live worker executes or can take is refused; after its death it is not", async () => {
    await t.drop();
    t = await aStore(inject("redisUrl"), { deadAfterMs: 150 });
    worker = await t.worker();
    const plan = await submitted(aChain(["a", "b"]));
    await expect(resumePlan(t.store, plan, { actor })).rejects.toMatchObject({ code: "PLAN_ACTIVE" });
    await worker.take();
    await worker.beat();
    await expect(resumePlan(t.store, plan, { actor })).rejects.toMatchObject({ code: "PLAN_ACTIVE" });

    await until(
      "the owner to be silent for too long",
      async () => planState(await t.store.view(plan)) === "interrupted",
    );
    await resumePlan(t.store, plan, { actor });

    const other = await t.worker();
    expect(await other.take()).toMatchObject({ stepId: "a", attempt: 2, epoch: 2 });
    expect((await t.store.history(plan)).filter((event) => event.type === "step.crashed")).toMatchObject([
      { workerId: worker.id },
    ]);
  });

  test("an owner whose process is gone is dead at once, whatever its last beat says", async () => {
    await t.drop();
    t = await aStore(inject("redisUrl"), { isGone: (owner) => owner.pid === 4_242 });
    worker = await t.worker(["work"], { pid: "4242" });
    const plan = await submitted(aChain(["a", "b"]));
    await worker.take();

    expect(planState(await t.store.view(plan))).toBe("interrupted");
    await resumePlan(t.store, plan, { actor });

    expect((await t.store.view(plan)).open[0]).toMatchObject({ kind: "queued", crashes: 1 });
  });

  test("looks again whether anybody has the plan when it writes", async () => {
    const plan = await submitted(aChain(["a"]));
    await worker.deregister();
    const { view } = await t.store.preview(plan, "frontier");
    const { assess } = await import("../../src/core/eligibility.js");
    const decision = assess(
      {
        view,
        compiled: null,
        doneSteps: [],
        events: [],
        decisions: [],
        snapshots: [],
        inForce: null,
        offered: null,
        files: null,
        missingWorkdir: null,
      },
      {
        from: { kind: "frontier" },
        onDrift: "report",
        excludesOthers: false,
        choose: null,
        reason: null,
        acks: new Map(),
      },
    );
    expect(decision.actions).not.toBeNull();
    await t.worker();
    const before = await t.dumpPlan(plan);

    const answer = await t.store.resume({
      decision,
      view,
      answer: "{}",
      requestId: null,
      actor,
      reason: null,
      privateQueue: null,
      workdir: null,
    });

    expect(answer).toEqual({ kind: "stale" });
    expect(await t.dumpPlan(plan)).toEqual(before);
  });
});

describe("names", () => {
  test.each([
    ...["plan", "plans", "workers", "worker", "def", "definitions", "serving", "machine", "events", "sweep"],
    ...["backlog", "limit", "limits", "rate"],
  ])("a queue called %s is a queue like any other", async (queue) => {
    const served = await t.worker([queue]);
    const plan = await submitted(aChain(["a", "b"], { queue }));
    const a = await served.take();
    expect(nextOf(await served.complete(a))).toBe("b");
    await served.deregister();
    expect(planState(await t.store.view(plan))).toBe("interrupted");
  });

  test.each([
    "wait",
    "active",
    "meta",
    "delayed",
    "marker",
    "id",
    "events",
    "constructor",
    "toString",
    "a..b",
    "0",
    "x".repeat(128),
  ])("a plan and steps called %s are what they are", async (name) => {
    const plan = await submitted(aChain([name, "second"]), name);
    const first = await worker.take();
    const second = stepOf(await worker.complete(first, { name }));
    await worker.complete(second);
    expect(await t.state(plan)).toBe("completed");
    expect((await t.store.detail(plan)).records.has(name)).toBe(true);
    expect(await t.store.output(plan, name)).toBe(JSON.stringify({ name }));
  });

  test("hostile values survive as they are", async () => {
    const output =
      '{"__proto__":{"polluted":true},"constructor":[],"a|b":"c\\nd","empty":[],"n":123456789012345678,"u":"\\u0000é😀"}';
    const plan = await submitted(aChain(["a", "b"]));
    const a = await worker.take();
    await worker.settle(a, { kind: "complete", output });

    expect(await t.store.output(plan, "a")).toBe(output);
    expect(({} as Record<string, unknown>).polluted).toBeUndefined();
  });

  test("hostile texts of people and errors stay in their fields", async () => {
    const plan = await submitted(aDefinition([{ id: "a" }]));
    await worker.settle(
      await worker.take(),
      { kind: "fail", error: { code: "X|Y", message: "a|b\nz|9|1|completed" } },
      false,
    );
    await t.store.pause(plan, "eve|2|x\nz", 'why|"\n', false);

    const events = await t.store.history(plan);
    expect(events.find((event) => event.type === "step.failed")).toMatchObject({
      error: { code: "X|Y", message: "a|b\nz|9|1|completed" },
    });
    expect(events.find((event) => event.type === "plan.pause_requested")).toMatchObject({
      actor: "eve_2_x_z",
      reason: 'why|"\n',
    });
    expect(events.filter((event) => event.type === "plan.completed")).toEqual([]);
  });
});

describe("a key of a wrong type", () => {
  test.each(["open", "steps", "out", "needs", "queued", "history"] as const)(
    "%s, raises before a commit writes anything",
    async (part) => {
      const plan = await t.submit(aDefinition([{ id: "a" }, { id: "b" }, { id: "z", needs: ["a", "b"] }]));
      const a = await worker.take();
      const key = t.keys.planPart(plan, part);
      await t.redis.del(key);
      await t.redis.set(key, "forged");
      const before = await t.dump();

      await expect(worker.complete(a, { big: true })).rejects.toThrow(/WRONGTYPE/);

      expect(await t.dump()).toEqual(before);
    },
  );

  test("as the plan itself, raises before submit writes anything", async () => {
    await t.redis.set(t.keys.plan("forged"), "x");
    await t.submit(aChain(["a"]));
    const before = await t.dump();
    await expect(t.submit(aChain(["a"]), "forged")).rejects.toThrow(/WRONGTYPE/);
    expect(await t.dump()).toEqual(before);
  });
});

function wait(): Promise<string[]> {
  return t.redis.lrange(`${t.keys.base}work:wait`, 0, -1);
}
