/** What an attempt decides and saves is there for the next one, and goes where a rewind supersedes its step. */
import { beforeEach, describe, expect, test } from "vitest";
import { resumePlan } from "../../src/client/resume.js";
import type { StartedStep } from "../../src/core/ports.js";
import type { RedisAttemptStore } from "../../src/store/attempt-store.js";
import { aBench } from "../support/one-test.js";
import { aChain, aDefinition, type HandWorker, stepOf, type TestStore } from "../support/plans.js";
import { until } from "../support/until.js";

const BOOM = { code: "STEP_FAILED", message: "boom" };

let t: TestStore;
let worker: HandWorker;
let attempts: RedisAttemptStore;

beforeEach(async () => {
  ({ t, worker, attempts } = await aBench());
});

describe("a decision", () => {
  test("is recorded once under its key; whoever records it again gets the first one", async () => {
    const plan = await t.submit(aChain(["choose", "fix"]));
    const step = await worker.take();

    const unknown = await attempts.decide(step, "how", null);
    const first = await decide(step, "how", "patch");
    const second = await decide(step, "how", "rewrite");
    await decide(step, "where", "here");

    expect(unknown).toEqual({ verdict: "OK", choice: null });
    expect(first).toEqual({ verdict: "OK", choice: "patch" });
    expect(second).toEqual(first);
    const decisions = await t.store.decisions(plan);
    expect(decisions.map(({ step, key, choice, madeBy }) => [step, key, choice, madeBy])).toEqual([
      [null, null, "test", "tester"],
      ["choose", "how", "patch", "a model"],
      ["choose", "where", "here", "a model"],
    ]);
    expect(decisions.map(({ parent }) => parent)).toEqual([null, decisions[0]!.decisionId, decisions[1]!.decisionId]);
    expect(decisions[1]!.at).toBeGreaterThanOrEqual(decisions[0]!.at);
    expect((await t.store.view(plan)).meta.lastDecisionId).toBe(decisions[2]!.decisionId);
  });

  test("is in force in every checkpoint from then on", async () => {
    const plan = await t.submit(aChain(["before", "choose", "after"]));
    const choose = stepOf(await worker.complete(await worker.take()));
    await decide(choose, "how", "patch");
    await worker.complete(stepOf(await worker.complete(choose)));

    const [root, how] = (await t.store.decisions(plan)).map(({ decisionId }) => decisionId);
    const checkpoints = await t.store.checkpoints(plan);

    expect(checkpoints.map(({ decisionId }) => decisionId)).toEqual([root, how, how]);
  });

  test("outlives its attempt's crash, retry, release and the plan's resume", async () => {
    const plan = await t.submit(aChain(["choose", "fix"]));
    const first = await worker.take();
    const made = await decide(first, "how", "patch");
    const found: unknown[] = [];
    const look = async (step: StartedStep) => found.push((await attempts.decide(step, "how", null)).choice);

    const other = await t.worker();
    await other.beat([worker.id]);
    const crashed = await other.take();
    await look(crashed);
    await other.settle(crashed, { kind: "release", reason: "drain" }, false);
    const released = await other.take();
    await look(released);
    await other.settle(released, { kind: "retry", delayMs: 0, error: BOOM }, false);
    const retried = await until("the retry", async () => {
      const { next } = await other.fetch();
      return next.kind === "step" ? next.step : null;
    });
    await look(retried);
    await other.settle(retried, { kind: "fail", error: BOOM }, false);
    await resumePlan(t.store, plan, { actor: "tester" });
    await look(await other.take());

    expect(found).toEqual(Array(4).fill(made.choice));
    expect(await t.store.decisions(plan)).toHaveLength(2);
  });

  test("of a step that a rewind supersedes is forgotten with what it saved; others stay", async () => {
    const plan = await t.submit(aChain(["scope", "choose", "fix"]));
    const scope = await worker.take();
    await decide(scope, "how", "wide");
    const choose = stepOf(await worker.complete(scope));
    await decide(choose, "how", "patch");
    await attempts.save(choose, "7");
    await worker.settle(choose, { kind: "fail", error: BOOM }, false);

    await resumePlan(t.store, plan, { actor: "tester", fromStep: "choose" });
    const again = await worker.take();

    expect(again).toMatchObject({ stepId: "choose", attempt: 1 });
    expect(await attempts.decide(again, "how", null)).toEqual({ verdict: "OK", choice: null });
    expect(await attempts.saved(again)).toBeNull();
    expect(await t.redis.hkeys(t.keys.planPart(plan, "choices"))).toEqual(["scope/how"]);
    expect(await t.store.decisions(plan)).toHaveLength(3);
  });

  test("of an attempt that lost its step is refused, looked up or made, and changes nothing", async () => {
    const plan = await t.submit(aChain(["choose", "fix"]));
    const stale = await worker.take();
    const other = await t.worker();
    await other.beat([worker.id]);
    const before = await t.dumpPlan(plan);

    const refusals = [
      await attempts.decide(stale, "how", null),
      await decide(stale, "how", "late"),
      await attempts.save(stale, "1"),
    ];

    expect(refusals.map(({ verdict }) => verdict)).toEqual(["LOST", "LOST", "LOST"]);
    expect(await t.dumpPlan(plan)).toEqual(before);
  });

  test("of an attempt that has ended is refused as one that is over", async () => {
    const plan = await t.submit(aChain(["choose", "fix"]));
    const step = await worker.take();
    await worker.complete(step, null, false);
    const before = await t.dumpPlan(plan);

    expect(await decide(step, "how", "late")).toEqual({ verdict: "DUP", choice: null });
    expect(await t.dumpPlan(plan)).toEqual(before);
  });

  test.each<[string, (plan: string) => Promise<unknown>]>([
    ["cancelled", (plan) => t.store.cancel(plan, "tester", null)],
    ["paused", (plan) => t.store.pause(plan, "tester", null, false)],
  ])("in a plan that was %s is refused, and the job stays the attempt's to end", async (_, change) => {
    const plan = await t.submit(aChain(["choose", "fix"]));
    const step = await worker.take();
    await change(plan);
    const before = await t.dumpPlan(plan);

    expect(await decide(step, "how", "late")).toEqual({ verdict: "FENCED", choice: null });
    expect(await attempts.save(step, "1")).toMatchObject({ verdict: "FENCED" });
    expect(await t.dumpPlan(plan)).toEqual(before);
    expect((await worker.complete(step)).verdict).toBe("FENCED");
  });

  test("made at the same time by two calls is one", async () => {
    const plan = await t.submit(aDefinition([{ id: "choose" }]));
    const step = await worker.take();

    const made = await Promise.all(["a", "b", "c"].map((option) => decide(step, "how", option)));

    expect(new Set(made.map(({ choice }) => choice)).size).toBe(1);
    expect(await t.store.decisions(plan)).toHaveLength(2);
  });
});

describe("a saved cursor", () => {
  test("outlives the attempt, and the newest one counts", async () => {
    await t.submit(aChain(["walk", "rest"]));
    const first = await worker.take();
    expect(await attempts.saved(first)).toBeNull();
    await attempts.save(first, '{"at":1}');
    await attempts.save(first, '{"at":2}');
    const other = await t.worker();
    await other.beat([worker.id]);

    expect(await attempts.saved(await other.take())).toBe('{"at":2}');
  });

  test("starts the count of crashes anew: what gets further kills no workers", async () => {
    const plan = await t.submit(aChain(["walk", "rest"]));
    await worker.take();
    const other = await t.worker();
    await other.beat([worker.id]);
    const second = await other.take();
    expect((await t.store.view(plan)).open[0]).toMatchObject({ crashes: 1 });

    await attempts.save(second, "1");

    expect((await t.store.view(plan)).open[0]).toMatchObject({ kind: "running", attempts: 2, crashes: 0 });
    await other.complete(second);
  });

  test("goes with the step's record, and with the plan's end", async () => {
    const plan = await t.submit(aChain(["walk", "rest"]));
    const walk = await worker.take();
    await attempts.save(walk, "1");
    const completed = await worker.settle(walk, { kind: "complete", output: "null", hasSaved: true });
    const kept = await t.redis.exists(t.keys.planPart(plan, "saved"));
    const rest = stepOf(completed);
    await attempts.save(rest, "2");
    await t.store.cancel(plan, "tester", null);

    expect(kept).toBe(0);
    expect(await t.redis.exists(t.keys.planPart(plan, "saved"))).toBe(0);
  });
});

function decide(step: StartedStep, key: string, choice: string) {
  return attempts.decide(step, key, {
    question: "how?",
    options: ["patch"],
    choice,
    rationale: null,
    madeBy: "a model",
  });
}
