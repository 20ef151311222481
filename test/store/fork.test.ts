/** A plan that starts from what another one has done, on the real scripts: what it has, what it runs, what it leaves alone. */
import { randomBytes } from "node:crypto";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Client } from "../../src/client/client.js";
import type { ForkOptions } from "../../src/client/fork.js";
import { sandboxesOf } from "../../src/client/sandboxes.js";
import type { Outcome } from "../../src/core/outcome.js";
import { aesPayloads } from "../../src/core/payload-codec.js";
import type { StartedStep } from "../../src/core/ports.js";
import { RedisAttemptStore } from "../../src/store/attempt-store.js";
import { RedisPlanStore } from "../../src/store/redis-plan-store.js";
import { aBench } from "../support/one-test.js";
import {
  A_SANDBOX,
  aChain,
  aDefinition,
  aSnapshot,
  type HandWorker,
  nextOf,
  stepOf,
  type TestStore,
} from "../support/plans.js";
import { aFolder } from "../support/sandboxes.js";

const boom = { code: "STEP_FAILED", message: "boom" };
const write = { sandbox: "write" } as const;

let t: TestStore;
let worker: HandWorker;
let client: Client;

beforeEach(async () => {
  ({ t, worker } = await aBench());
  client = new Client(async () => t.store, "ada", sandboxesOf({ dataDir: aFolder() }));
});

afterEach(async () => {
  expect(await t.scan("staged*")).toEqual([]);
});

describe("what the new plan has", () => {
  test("are the records, outputs, decisions and checkpoints that are kept, under ids of its own; the source stays as it was", async () => {
    const source = await aFailedPlan();
    const before = await t.dumpPlan(source);

    const summary = await client.fork(source, { planId: "new" });

    expect(await t.dumpPlan(source)).toEqual(before);
    expect(summary).toMatchObject({
      planId: "new",
      forkedFrom: { planId: source, state: "failed", epoch: 1 },
      reuse: ["scan", "choose"],
      run: ["fix", "ship"],
      step: "fix",
      existing: false,
      dryRun: false,
    });
    expect(await client.get("new")).toMatchObject({
      state: "queued",
      forkedFrom: { planId: source, epoch: 1, from: null },
      done: 2,
      total: 4,
      lastCompletedStep: "choose",
      workdir: null,
    });
    expect(await client.output("new", "scan")).toBe("scan");
    expect(await client.input("new")).toEqual({ n: 1 });
    const [root, how] = await client.decisions("new");
    expect(how).toMatchObject({ parent: root!.decisionId, choice: "patch", madeBy: "test", current: true });
    const [ofSource, ofNew] = [await client.checkpoints(source), await client.checkpoints("new")];
    expect(ofNew.map(({ step, at, decisionId }) => [step, at, decisionId])).toEqual([
      ["scan", ofSource[0]!.at, root!.decisionId],
      ["choose", ofSource[1]!.at, how!.decisionId],
    ]);
    const ids = [...ofSource, ...ofNew].map(({ checkpointId }) => checkpointId);
    expect(new Set(ids).size).toBe(4);
    expect((await client.summary("new")).lastCheckpointId).toBe(ofNew[1]!.checkpointId);
  });

  test("is a history that begins with what it inherited, and says what it was forked from", async () => {
    const source = await aFailedPlan();
    await client.fork(source, { planId: "new", fromStep: "choose" });

    const events = await client.history("new");

    expect(events.map((event) => ["step" in event ? event.step : null, event.type])).toEqual([
      [null, "plan.submitted"],
      ["scan", "step.started"],
      ["scan", "step.completed"],
      [null, "plan.forked"],
    ]);
    const [, forked] = [events.slice(0, 3), events[3]!];
    expect(forked).toMatchObject({ source, sourceEpoch: 1, from: "step choose", actor: "ada", newInput: false });
    expect(events.slice(0, 3).map(({ at }) => at)).toEqual(
      (await client.history(source)).slice(0, 3).map(({ at }) => at),
    );
    expect((await client.get("new")).updatedAt).toBe(forked.at);
  });

  test("is all that its steps' attempts went through, also of a plan that was forked and rewound itself", async () => {
    await t.submit(aChain(["a", "b", "c"]), "first");
    await worker.settle(await worker.take(), { kind: "retry", delayMs: 0, error: boom }, false);
    await t.redis.zadd(`${t.keys.base}work:delayed`, 0, "first/a/1");
    await worker.complete(await worker.take(), "a", false);
    await worker.settle(await worker.take(), { kind: "release", reason: "drain" }, false);
    await (await t.worker()).beat([worker.id]);
    worker = await t.worker();
    await worker.complete(await worker.take(), "b", false);
    await worker.settle(await worker.take(), { kind: "fail", error: boom }, false);
    await client.resume("first", { fromStep: "b" });
    await worker.complete(await worker.take(), "b again", false);
    await worker.settle(await worker.take(), { kind: "fail", error: boom }, false);

    await client.fork("first", { planId: "second" });
    await client.fork("second", { planId: "third" });

    const told = (await client.history("third")).map((event) =>
      "step" in event ? `${event.type} ${event.step}` : event.type,
    );
    expect(told).toEqual([
      "plan.submitted",
      "step.started a",
      "step.failed a",
      "step.started a",
      "step.completed a",
      "step.started b",
      "step.completed b",
      "plan.forked",
      "plan.forked",
    ]);
    expect((await client.get("third")).steps.map(({ state, attempts }) => [state, attempts])).toEqual([
      ["completed", 2],
      ["completed", 1],
      ["queued", 0],
    ]);
    expect(await client.output("third", "b")).toBe("b again");
  });

  test("are the files of its checkpoint, and every snapshot that its checkpoints name", async () => {
    await t.submit(aChain(["a", "b", "c", "d"], write, { sandbox: A_SANDBOX }), "source");
    for (const nth of [1, 2, 3]) await worker.settle(await worker.take(), wrote(nth), false);
    const [, b] = await client.checkpoints("source");

    const summary = await client.fork("source", { planId: "new", fromCheckpoint: b!.checkpointId });

    expect(summary).toMatchObject({ sandbox: { digest: aSnapshot(2).digest }, reuse: ["a", "b"], run: ["c", "d"] });
    expect((await t.store.eventBase("new")).snapshots).toEqual([0, 1, 2].map(aSnapshot));
    expect((await client.get("new")).sandbox).toEqual(aSnapshot(2));
    await t.store.cancel("source", "ada", null);
    const next = await takeOf("new");
    expect(next).toMatchObject({ stepId: "c", sandbox: JSON.stringify(aSnapshot(2)) });
  });

  test("are the steps that kept ones appended; what others did goes, and they append anew", async () => {
    await t.submit(aChain(["look", "again", "end"]), "source");
    await worker.settle(await worker.take(), appends("look", "x"), false);
    await completeAll(["x", "again"], { again: appends("again", "y") });

    const all = await client.fork("source", { planId: "all" });
    const some = await client.fork("source", { planId: "some", fromStep: "again" });

    expect(all.run).toEqual(["end", "y"]);
    expect(some).toMatchObject({ reuse: ["look", "x"], run: ["again", "end"], total: 4 });
    expect((await client.get("all")).steps.map(({ id }) => id)).toEqual(["look", "again", "end", "x", "y"]);
    expect((await client.get("some")).steps.map(({ id }) => id)).toEqual(["look", "again", "end", "x"]);
  });

  test("are payloads sealed for it: it can be read with the key, moved ones can't", async () => {
    const store = new RedisPlanStore({
      redis: t.redis,
      location: { url: t.url },
      keys: t.keys,
      deadAfterMs: 3_000,
      isGone: () => false,
      payloads: aesPayloads({ k: randomBytes(32) }),
    });
    const sealed = new Client(async () => store, "ada");
    const request = {
      compiled: aChain(["a", "b"]),
      input: '{"word":"x"}',
      actor: "ada",
      privateQueue: null,
      workdir: null,
    };
    await store.submit({ ...request, planId: "source" });
    const step = await worker.take();
    const attempts = new RedisAttemptStore(t.redis, t.keys, store.sealed);
    const made = { question: "how?", options: [], choice: "well", rationale: null, madeBy: "test" };
    await attempts.decide(step, "how", made);
    await worker.complete(step, null, false);
    await t.redis.hset(t.keys.planPart("source", "out"), "a", store.sealed.sealOutput("source", "a", '{"secret":1}'));

    await sealed.fork("source", { planId: "new" });

    expect(await sealed.output("new", "a")).toEqual({ secret: 1 });
    expect(await sealed.input("new")).toEqual({ word: "x" });
    expect((await sealed.decisions("new"))[1]).toMatchObject({ choice: "well" });
    expect(await t.redis.hget(t.keys.planPart("new", "out"), "a")).toMatch(/^~k~/);
    await t.redis.del(...(await t.scan("plan:*")), t.keys.plans);
  });
});

describe("what it runs", () => {
  test("goes to the queues at once, with attempt 1, and never again what is kept", async () => {
    const source = await aFailedPlan();
    await client.fork(source, { planId: "new" });
    await t.store.cancel(source, "ada", null);

    const fix = await takeOf("new");
    expect(fix).toMatchObject({ stepId: "fix", attempt: 1, epoch: 1, line: 1, input: null });
    expect(fix.fence).toBeGreaterThan((await t.store.view(source)).meta.fence - 1);
    const ship = stepOf(await worker.complete(fix));
    await worker.complete(ship);

    expect(await t.state("new")).toBe("completed");
    expect(await client.output("new", "choose")).toBe("choose");
  });

  test("reads an input that is too large to come with its start", async () => {
    await t.submit(aChain(["a", "b"]), "source", JSON.stringify({ text: "x".repeat(5_000) }));
    await worker.complete(await worker.take(), null, false);

    await client.fork("source", { planId: "new" });

    expect(await client.input("new")).toEqual({ text: "x".repeat(5_000) });
    expect(await t.redis.hget(t.keys.plan("new"), "inline")).toBe("0");
  });

  test("is counted: a step whose needs are kept in part waits for the others", async () => {
    await t.submit(
      aDefinition([
        { id: "a" },
        { id: "b" },
        { id: "c" },
        { id: "join", needs: ["a", "b", "c"] },
        { id: "end", needs: ["join"] },
      ]),
      "source",
    );
    await completeAll(["a", "b", "c", "join", "end"]);

    const { run, reuse } = await client.fork("source", { planId: "new", fromStep: "b" });

    expect([reuse, run]).toEqual([
      ["a", "c"],
      ["b", "join", "end"],
    ]);
    expect(await t.redis.hgetall(t.keys.planPart("new", "needs"))).toEqual({ join: "2" });
    await completeAll(["b", "join", "end"]);
    expect(await t.state("new")).toBe("completed");
  });

  test("is nothing where the source is completed and no point is named: the new plan is completed as well", async () => {
    await t.submit(aChain(["a", "b"]), "source");
    await completeAll(["a", "b"]);

    const summary = await client.fork("source", { planId: "new" });

    expect(summary).toMatchObject({ run: [], step: null, stepNumber: null });
    expect(await client.get("new")).toMatchObject({ state: "completed", done: 2 });
    expect((await client.history("new")).at(-1)!.type).toBe("plan.completed");
  });

  test("is everything from the submission on, where nothing is done or that is the point", async () => {
    const source = await aFailedPlan();
    const [root] = await client.decisions(source);
    await t.submit(aChain(["a", "b"]), "fresh");

    expect(await client.fork(source, { fromDecision: root!.decisionId, dryRun: true })).toMatchObject({
      reuse: [],
      run: ["scan", "choose", "fix", "ship"],
      decisionId: root!.decisionId,
      planId: null,
    });
    expect(await client.fork("fresh", { planId: "new" })).toMatchObject({
      reuse: [],
      run: ["a", "b"],
      lastCompletedStep: null,
    });
  });

  test("begins anew where the source is in the middle of it, whatever that has decided since its checkpoint", async () => {
    await t.submit(aChain(["a", "b"]), "source");
    const b = stepOf(await worker.complete(await worker.take()));
    await decide(b, "how", "patch");

    await client.fork("source", { planId: "new" });

    expect(await client.decisions("new")).toHaveLength(1);
    expect((await client.get("new")).steps.map(({ state }) => state)).toEqual(["completed", "queued"]);
    expect((await client.get("source")).state).toBe("running");
    await worker.complete(b, null, false);
  });

  test("can't be undone, and happened: it says so, and needs nobody's word, because it is another plan's", async () => {
    const steps = [
      { id: "build" },
      { id: "pay", needs: ["build"], effect: "irreversible" as const },
      { id: "tell", needs: ["pay"] },
    ];
    await t.submit(aDefinition(steps), "source");
    await completeAll(["build", "pay", "tell"]);
    await t.submit(aDefinition(steps), "lost");
    await completeAll(["build"]);
    const pay = await worker.take();
    await (await t.worker()).beat([worker.id]);

    expect((await client.fork("source", { fromStep: "build", dryRun: true })).repeated).toEqual(["pay"]);
    expect((await client.fork("lost", { dryRun: true })).repeated).toEqual(["pay"]);
    expect((await client.fork("source", { fromStep: "tell", dryRun: true })).repeated).toEqual([]);
    expect(pay.stepId).toBe("pay");
  });
});

describe("a decision that is taken anew", () => {
  test("is asked again in the new plan, or set; what its step decided before it stays", async () => {
    await t.submit(aChain(["choose", "fix"]), "source");
    const step = await worker.take();
    for (const [key, choice] of [
      ["how", "patch"],
      ["where", "here"],
      ["when", "now"],
    ] as const)
      await decide(step, key, choice);
    await worker.complete(step, null, false);
    await worker.settle(await worker.take(), { kind: "fail", error: boom }, false);
    const [, , where] = await client.decisions("source");

    await client.fork("source", { planId: "asked", fromDecision: where!.decisionId });
    await client.fork("source", { planId: "set", fromDecision: where!.decisionId, choose: "there" });

    const [asked, set] = [await takeOf("asked"), await takeOf("set")];
    expect([await decide(asked, "how", "other"), await decide(asked, "where", "there")]).toEqual(["patch", "there"]);
    expect([await decide(set, "how", "other"), await decide(set, "where", "here")]).toEqual(["patch", "there"]);
    expect((await client.decisions("set")).at(-1)).toMatchObject({ choice: "there", madeBy: "ada", key: "where" });
    expect((await client.history("set")).at(-2)).toMatchObject({
      type: "decision.recorded",
      step: "choose",
      actor: "ada",
    });
    for (const one of [asked, set]) await worker.complete(one, null, false);
  });

  test("of a person is kept as the answer that the step will wait for, a rejection as well", async () => {
    await t.submit(
      aDefinition([
        { id: "ok", uses: "approve" },
        { id: "go", needs: ["ok"] },
      ]),
      "source",
    );
    const ask = { question: "Go?", options: ["approve", "reject"], onReject: "cancel" as const, schema: null };
    const park = { kind: "park", wait: "approval", dueInMs: null, ask } as const;
    await worker.settle(await worker.take(), park, false);
    await client.approve("source", "ok");
    await worker.complete(await worker.take(), null, false);
    const [, approval] = await client.decisions("source");

    for (const choose of ["approve", "reject"])
      await client.fork("source", { planId: choose, fromDecision: approval!.decisionId, choose });
    for (const planId of ["approve", "reject"]) await worker.settle(await takeOf(planId), park, false);

    expect([await t.state("approve"), await t.state("reject")]).toEqual(["running", "cancelled"]);
    expect(await client.output("approve", "ok")).toEqual({ choice: "approve", by: "ada" });
  });

  test("has the nearest decision that is kept as its parent, where a rewind has taken the one between", async () => {
    await t.submit(aDefinition([{ id: "left" }, { id: "right" }, { id: "end", needs: ["left", "right"] }]), "source");
    const steps = [await worker.take(), await worker.take()];
    const [left, right] = ["left", "right"].map((id) => steps.find(({ stepId }) => stepId === id)!);
    await decide(left!, "l", "1");
    await decide(right!, "r", "2");
    for (const step of steps) await worker.complete(step, null, false);
    await worker.settle(await worker.take(), { kind: "fail", error: boom }, false);
    await client.resume("source", { fromStep: "left" });
    await t.store.pause("source", "ada", null, false);

    await client.fork("source", { planId: "new" });

    const [root, kept, ...none] = await client.decisions("new");
    expect(kept).toMatchObject({ step: "right", parent: root!.decisionId });
    expect(none).toEqual([]);
    expect((await client.checkpoints("new"))[0]).toMatchObject({ step: "right", decisionId: kept!.decisionId });
  });
});

describe("a repeated fork", () => {
  test("with the same id, source, point and input is the same plan, whatever became of the source", async () => {
    const source = await aFailedPlan();
    const first = await client.fork(source, { planId: "new", fromStep: "fix" });
    const before = await t.dumpPlan("new");
    await t.redis.del(...(await t.scan(`plan:${source}*`)));
    await t.redis.zrem(t.keys.plans, source);

    expect(await client.fork(source, { planId: "new", fromStep: "fix" })).toEqual({ ...first, existing: true });
    expect(await client.fork(source, { planId: "new", fromStep: "fix", dryRun: true })).toEqual({
      ...first,
      existing: true,
      dryRun: true,
    });
    expect(await t.dumpPlan("new")).toEqual(before);
    await t.redis.zrem(t.keys.openPlans, source);
  });

  test.each<[string, ForkOptions]>([
    ["another point", { fromStep: "scan" }],
    ["no point", {}],
    ["an input", { fromStep: "fix", input: { n: 2 } }],
  ])("with the same id and %s is refused", async (_, other) => {
    const source = await aFailedPlan();
    await client.fork(source, { planId: "new", fromStep: "fix" });

    await expect(client.fork(source, { planId: "new", ...other })).rejects.toMatchObject({ code: "PLAN_EXISTS" });
    await expect(client.fork(source, { planId: source })).rejects.toMatchObject({ code: "PLAN_EXISTS" });
    await expect(t.submit(aChain(["a"]), "new")).rejects.toMatchObject({ code: "PLAN_EXISTS" });
  });

  test("at once is one plan, and all of them get the same answer", async () => {
    const source = await aFailedPlan();

    const answers = await Promise.all(Array.from({ length: 8 }, () => client.fork(source, { planId: "new" })));

    expect(answers.filter(({ existing }) => !existing)).toHaveLength(1);
    expect(new Set(answers.map((answer) => JSON.stringify({ ...answer, existing: null }))).size).toBe(1);
    expect((await client.history("new")).filter(({ type }) => type === "plan.forked")).toHaveLength(1);
  });

  test("without an id is another plan", async () => {
    const source = await aFailedPlan();
    const ids = [await client.fork(source), await client.fork(source)].map(({ planId }) => planId);

    expect(new Set(ids).size).toBe(2);
    expect(ids[0]).toMatch(/^test-/);
  });
});

describe("a new input", () => {
  test("is that of what runs, checked; what is kept keeps its outputs, and the history says so", async () => {
    const inputSchema = { properties: { tag: { type: "string", pattern: "^v" } }, required: ["tag"] };
    await t.submit(aChain(["a", "b"], {}, { inputSchema }), "source", '{"tag":"v1"}');
    await worker.complete(await worker.take(), "made of v1", false);

    const summary = await client.fork("source", { planId: "new", input: { tag: "v2" } });

    expect(summary.newInput).toBe(true);
    expect(await client.input("new")).toEqual({ tag: "v2" });
    expect(await client.input("source")).toEqual({ tag: "v1" });
    expect(await client.output("new", "a")).toBe("made of v1");
    expect((await client.history("new")).at(-1)).toMatchObject({ type: "plan.forked", newInput: true });
    await expect(client.fork("source", { input: { tag: "2" } })).rejects.toMatchObject({ code: "INVALID_INPUT" });
  });

  test("of a plan in code is checked by its code, or not taken", async () => {
    const { definePlan } = await import("../../src/define/define-plan.js");
    const { z } = await import("zod");
    const definition = definePlan("coded", { input: z.object({ n: z.number() }) }).step("a", async () => 1);
    const other = definePlan("other", { input: z.object({ n: z.number() }) }).step("a", async () => 1);
    await client.submit(definition, { n: 1 }, { planId: "source" });

    await client.fork("source", { planId: "new", input: { n: 2 }, definition });

    expect(await client.input("new")).toEqual({ n: 2 });
    await expect(client.fork("source", { input: { n: "2" }, definition })).rejects.toMatchObject({
      code: "INVALID_INPUT",
    });
    for (const options of [{ input: { n: 2 } }, { input: { n: 2 }, definition: other }]) {
      await expect(client.fork("source", options)).rejects.toMatchObject({
        code: "USAGE",
        message: "The input of coded is checked by its code: give the plan as `definition`",
      });
    }
  });
});

describe("a fork is refused where", () => {
  test("there is no such plan, point or choice, or the new id can't be one; nothing is written", async () => {
    const source = await aFailedPlan();
    const before = await t.dump();
    const [, how] = await client.decisions(source);
    const refused = (options: ForkOptions, planId = source) => expect(client.fork(planId, options)).rejects;

    await refused({}, "nothing").toMatchObject({ code: "PLAN_NOT_FOUND" });
    await refused({ fromStep: "nothing" }).toMatchObject({ code: "STEP_NOT_FOUND" });
    await refused({ fromStep: "ship" }).toMatchObject({ code: "STEP_NOT_FOUND" });
    await refused({ fromCheckpoint: "ckp_x" }).toMatchObject({ code: "CHECKPOINT_NOT_FOUND", exitCode: 4 });
    await refused({ fromDecision: "dec_x" }).toMatchObject({ code: "DECISION_NOT_FOUND" });
    await refused({ fromDecision: how!.decisionId, choose: "x" }).toMatchObject({ code: "INVALID_CHOICE" });
    await refused({ fromStep: "fix", choose: "x" }).toMatchObject({ code: "USAGE" });
    await refused({ fromStep: "fix", fromDecision: "d" }).toMatchObject({ code: "USAGE" });
    await refused({ planId: "a b" }).toMatchObject({ code: "USAGE" });
    expect(await client.fork(source, { fromStep: "nothing", dryRun: true })).toMatchObject({
      eligible: false,
      reuse: [],
      run: [],
      error: { code: "STEP_NOT_FOUND" },
    });
    expect(await t.dump()).toEqual(before);
  });

  test("the snapshot of its checkpoint is gone", async () => {
    const dataDir = aFolder();
    client = new Client(async () => t.store, "ada", sandboxesOf({ dataDir }));
    const { from: _, ...sandbox } = A_SANDBOX;
    const compiled = aChain(["a", "b"], write, { sandbox: { ...sandbox, from: null } });
    await client.submitCompiled(compiled, "{}", { planId: "source" });
    await worker.settle(await worker.take(), wrote(7), false);

    await expect(client.fork("source", { planId: "new" })).rejects.toMatchObject({ code: "SANDBOX_MISSING" });
    expect(await client.fork("source", { planId: "new", fromStep: "a" })).toMatchObject({ eligible: true });
  });
});

describe("a dry-run", () => {
  test("says what the fork then does, and leaves every key as it was", async () => {
    const source = await aFailedPlan();
    const before = await t.dump();

    const preview = await client.fork(source, { planId: "new", fromStep: "choose", dryRun: true });
    expect(await t.dump()).toEqual(before);
    const done = await client.fork(source, { planId: "new", fromStep: "choose" });

    expect(done).toEqual({ ...preview, dryRun: false });
    expect(preview.workers).toBe(1);
  });
});

describe("a source that changes while it is read", () => {
  test("by a rewind is read again; by going on, it doesn't matter", async () => {
    const source = await aFailedPlan();
    let rewinds = 1;
    const hget = t.redis.hget.bind(t.redis);
    t.redis.hget = (async (key: string, field: string) => {
      // The last look at the source.
      if (field === "line" && rewinds-- > 0) await client.resume(source, { fromStep: "choose" });
      return hget(key, field);
    }) as never;

    const summary = await client.fork(source, { planId: "new" });

    expect(summary).toMatchObject({ reuse: ["scan"], run: ["choose", "fix", "ship"], forkedFrom: { epoch: 2 } });
  });

  test("by a rewind each time gives up; by being removed is not found, and nothing is created", async () => {
    const source = await aFailedPlan();
    const hget = t.redis.hget.bind(t.redis);
    const answer = (line: string | null) => {
      t.redis.hget = (async (key: string, field: string) => (field === "line" ? line : hget(key, field))) as never;
    };

    answer("77");
    await expect(client.fork(source, { planId: "new" })).rejects.toMatchObject({ code: "FENCED" });
    answer(null);
    await expect(client.fork(source, { planId: "new" })).rejects.toMatchObject({ code: "PLAN_NOT_FOUND" });

    expect(await t.scan("plan:new*")).toEqual([]);
  });

  test("and what is gone before the last write is written again", async () => {
    const source = await aFailedPlan();
    const hget = t.redis.hget.bind(t.redis);
    let once = true;
    t.redis.hget = (async (key: string, field: string) => {
      if (field === "line" && once) {
        once = false;
        await t.redis.del(...(await t.scan("staged:*")));
      }
      return hget(key, field);
    }) as never;

    expect(await client.fork(source, { planId: "new" })).toMatchObject({ planId: "new", existing: false });
    expect(await t.state("new")).toBe("queued");
  });
});

/** scan and choose are done, choose has decided how, fix has failed. */
async function aFailedPlan(): Promise<string> {
  const planId = await t.submit(aChain(["scan", "choose", "fix", "ship"]));
  await worker.complete(await worker.take(), "scan", false);
  const choose = await worker.take();
  await decide(choose, "how", "patch");
  await worker.complete(choose, "choose", false);
  await worker.settle(await worker.take(), { kind: "fail", error: boom }, false);
  return planId;
}

/** Completes these steps, whatever order they come in. */
async function completeAll(ids: readonly string[], outcomes: Readonly<Record<string, Outcome>> = {}): Promise<void> {
  const left = new Set(ids);
  while (left.size > 0) {
    const step = await worker.take();
    expect([...left]).toContain(step.stepId);
    left.delete(step.stepId);
    await worker.settle(
      step,
      outcomes[step.stepId] ?? { kind: "complete", output: JSON.stringify(step.stepId) },
      false,
    );
  }
}

/** The next step of this plan; what others have in the queue is dropped or held. */
async function takeOf(planId: string): Promise<StartedStep> {
  const held: StartedStep[] = [];
  for (;;) {
    const reply = await worker.fetch();
    if (nextOf(reply) === "none") throw new Error(`Nothing of ${planId} is queued`);
    const step = stepOf(reply);
    if (step.planId === planId) {
      for (const other of held) await worker.settle(other, { kind: "release", reason: "stop" }, false);
      return step;
    }
    held.push(step);
  }
}

async function decide(step: StartedStep, key: string, choice: string): Promise<string> {
  const attempts = new RedisAttemptStore(t.redis, t.keys, t.store.sealed);
  const options = key === "where" ? ["here", "there"] : key === "how" ? ["patch", "rewrite"] : [];
  const made = { question: `${key}?`, options, choice, rationale: null, madeBy: "test" };
  return (await attempts.decide(step, key, made)).choice!;
}

function wrote(nth: number): Outcome {
  return { kind: "complete", output: "null", sandbox: aSnapshot(nth) };
}

function appends(by: string, id: string): Outcome {
  return {
    kind: "complete",
    output: "null",
    appended: [{ ...aDefinition([{ id, needs: [by] }]).definition.steps[0]!, appendedBy: by }],
  };
}
