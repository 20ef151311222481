import { describe, expect, test } from "vitest";
import { assess } from "../../src/core/eligibility.js";
import { EXIT_CODES } from "../../src/core/errors.js";
import { decisionId } from "../../src/core/ids.js";
import type { Json } from "../../src/core/json.js";
import { type OpenStep, type PlanMeta, type PlanState, planState } from "../../src/core/plan.js";
import type { Acknowledgement, ResumeFacts, ResumeRequest } from "../../src/core/resume-request.js";
import { LISTED_STEPS } from "../../src/core/resume-summary.js";
import { describePoint, type ResumePoint } from "../../src/core/rewind.js";
import { explainState } from "../../src/core/state-sentences.js";
import { aDefinition, type StepSpec } from "../support/plans.js";
import { AHistory, anOpenStep, aView, NOW, QUEUE } from "./a-view.js";

/** The plan of most of these tests: `fix` was cut off, `choose` is the last that is done. */
const STEPS: readonly StepSpec[] = [
  { id: "scan", phase: "strategize" },
  { id: "choose", phase: "strategize", needs: ["scan"] },
  { id: "fix", needs: ["choose"] },
  { id: "sign-off", phase: "apply", needs: ["fix"] },
  { id: "push", phase: "apply", needs: ["sign-off"], effect: "irreversible" },
  { id: "tell", phase: "apply", needs: ["push"] },
];
const COMPILED = aDefinition(STEPS);
const CUT_OFF = [anOpenStep("fix", "running")];
const IN_DOUBT = [anOpenStep("push", "uncertain", { effect: "irreversible" })];
const BEFORE_PUSH = ["scan", "choose", "fix", "sign-off"];

interface FactsSpec extends Partial<Omit<ResumeFacts, "view">> {
  readonly open?: readonly OpenStep[];
  readonly served?: readonly string[];
  readonly meta?: Partial<PlanMeta>;
}

function someFacts({ open = CUT_OFF, served = [], meta = {}, ...read }: FactsSpec = {}): ResumeFacts {
  const doneSteps = read.doneSteps ?? ["scan", "choose"];
  const compiled = read.compiled === undefined ? COMPILED : read.compiled;
  const counts = { total: compiled?.steps.size ?? 6, done: doneSteps.length };
  return {
    view: aView({ meta: { ...counts, ...meta }, open, served }),
    events: new AHistory().did(...doneSteps).events,
    decisions: [],
    snapshots: [],
    inForce: null,
    offered: null,
    files: null,
    missingWorkdir: null,
    ...read,
    compiled,
    doneSteps,
  };
}

function aRequest(from: ResumePoint = { kind: "frontier" }, acks: Record<string, Acknowledgement> = {}): ResumeRequest {
  return {
    from,
    onDrift: "report",
    excludesOthers: false,
    choose: null,
    acks: new Map(Object.entries(acks)),
    reason: null,
  };
}

const fromStep = (stepId: string): ResumePoint => ({ kind: "step", stepId });
const fromCheckpoint = (checkpointId: string): ResumePoint => ({ kind: "checkpoint", checkpointId });
const fromDecision = (id: string): ResumePoint => ({ kind: "decision", decisionId: id });
const ROOT = decisionId(aView().meta.tag, aView().meta.createdAt, 0);

describe("the summary of an interrupted plan", () => {
  const facts = someFacts();

  test("says everything that resume will do", () => {
    const { summary } = assess(facts, { ...aRequest(), reason: "deploy" });

    expect(summary).toEqual({
      planId: "web-42",
      name: "refactor",
      version: 3,
      state: "interrupted",
      why: "worker gone:7 was lost in fix",
      eligible: true,
      phase: "execute",
      step: "fix",
      stepNumber: 3,
      total: 6,
      decisionId: "dec_1",
      lastCompletedStep: "choose",
      lastCheckpointId: "ckp_1",
      sandbox: null,
      epoch: 4,
      nextEpoch: 5,
      reuse: ["scan", "choose"],
      reuseCount: 2,
      run: ["fix", "sign-off", "push", "tell"],
      runCount: 4,
      ackRequired: [],
      repeated: [],
      happened: [],
      newKey: [],
      drift: [],
      from: null,
      reason: "deploy",
      workers: 0,
      resumeToken: expect.stringMatching(/^wmk1\.[0-9a-f]{24}$/),
      dryRun: true,
      error: null,
    });
  });

  test("comes with exactly what the write has to do", () => {
    expect(assess(facts, aRequest()).actions).toEqual({
      superseded: [],
      restart: ["fix"],
      recount: new Map(),
      acknowledged: [],
      rewound: null,
      takenAnew: null,
      adopts: null,
      next: facts.compiled,
    });
  });
});

describe("a plan is not eligible, and the summary is the same document with the refusal, where", () => {
  const refusalOf = (facts: ResumeFacts, request = aRequest()) => {
    const { summary, actions } = assess(facts, request);
    expect(actions).toBeNull();
    expect(summary).toMatchObject({ eligible: false, nextEpoch: summary.epoch, run: [], runCount: 0, newKey: [] });
    expect(summary.error!.message).not.toMatch(/undefined|null|NaN/);
    return summary.error;
  };

  test.each(["completed", "cancelled"] as const)("it is %s", (storedState) => {
    const facts = someFacts({ meta: { storedState }, open: [] });

    expect(refusalOf(facts)).toEqual({
      code: "PLAN_TERMINAL",
      message: `Plan web-42 is ${storedState} and never changes again`,
      details: { planId: "web-42", state: storedState },
      try: expect.stringMatching(/^plan fork web-42/),
    });
    expect(refusalOf(facts, aRequest(fromStep("scan")))!.code).toBe("PLAN_TERMINAL");
  });

  test("it is over, and the suggestion is a fork that runs something and doesn't repeat what can't be undone", () => {
    const all = [...COMPILED.steps.keys()];
    const suggested = (storedState: PlanState, facts: FactsSpec = {}, point?: ResumePoint) => {
      const { meta, ...read } = facts;
      return refusalOf(someFacts({ meta: { storedState, ...meta }, open: [], ...read }), aRequest(point))!.try;
    };
    const completed = { doneSteps: all, meta: { lastCompletedStep: "tell" } };

    expect(suggested("cancelled")).toBe("plan fork web-42");
    expect(suggested("cancelled", {}, fromStep("scan"))).toBe("plan fork web-42 --from-step scan");
    expect(suggested("cancelled", {}, fromStep("nothing"))).toBe("plan fork web-42");
    expect(suggested("completed", completed)).toBe("plan fork web-42 --from-step tell");
    expect(suggested("completed", completed, fromCheckpoint("ckp_push"))).toBe(
      "plan fork web-42 --from-checkpoint ckp_push",
    );
    expect(suggested("completed", completed, fromStep("fix"))).toBe("plan fork web-42 --from-step fix --dry-run");
    const pushedLast = { ...completed, meta: { lastCompletedStep: "push" } };
    expect(suggested("completed", pushedLast)).toBe("plan fork web-42 --from-step push --dry-run");
    expect(suggested("completed", { ...completed, compiled: null })).toBe(
      "plan fork web-42 --from-step tell --dry-run",
    );
  });

  test("a live worker executes it", () => {
    const open = [anOpenStep("fix", "running", { workerId: "w-live" })];

    expect(refusalOf(someFacts({ open }))).toEqual({
      code: "PLAN_ACTIVE",
      message: "Worker box:4121 executes step fix of plan web-42, last seen 400ms ago",
      details: {
        planId: "web-42",
        step: "fix",
        worker: "w-live",
        label: "box:4121",
        lastSeen: new Date(NOW - 400).toISOString(),
      },
      try: "plan watch web-42",
    });
  });

  test.each([
    anOpenStep("fix", "queued"),
    anOpenStep("fix", "delayed"),
    anOpenStep("fix", "backlog"),
    anOpenStep("fix", "waiting", { wait: "timer", dueAt: NOW - 1 }),
  ])("a live worker can take a step that is $kind", (step) => {
    const facts = someFacts({ open: [step], served: [QUEUE] });

    for (const from of [aRequest(), aRequest(fromStep("scan")), aRequest(fromStep("nowhere"))]) {
      expect(refusalOf(facts, from)).toMatchObject({
        code: "PLAN_ACTIVE",
        message: expect.stringContaining("Worker box:4121 can take step fix"),
      });
    }
  });

  test.each([anOpenStep("fix", "queued"), anOpenStep("fix", "delayed"), anOpenStep("fix", "backlog")])(
    "it was resumed a moment ago, and its step that is $kind waits for a worker",
    (step) => {
      const resumed = (agoMs: number) => someFacts({ open: [step], meta: { resumedAt: NOW - agoMs, epoch: 4 } });

      expect(refusalOf(resumed(1_500))).toEqual({
        code: "PLAN_ACTIVE",
        message:
          "Plan web-42 was resumed 1.5s ago (epoch 4), and step fix waits for a worker to take it; none is there yet",
        details: { planId: "web-42", step: "fix", epoch: 4, resumedAt: new Date(NOW - 1_500).toISOString() },
        try: "plan watch web-42",
      });
      expect(refusalOf(resumed(1_500), aRequest(fromStep("scan")))).toMatchObject({ code: "PLAN_ACTIVE" });
      // Who executes it or has a token needs no more to be the only one, and who comes later may know that workers came and went.
      expect(assess(resumed(1_500), { ...aRequest(), excludesOthers: true }).summary.eligible).toBe(true);
      expect(assess(resumed(10_000), aRequest()).summary.eligible).toBe(true);
    },
  );

  test.each([
    ["approval", null, "an approval of fix", "plan approve web-42 fix"],
    ["choice", null, "a choice of fix", "plan decide web-42 fix"],
    ["signal", null, "a signal to fix", "plan signal web-42 fix"],
    ["timer", NOW + 1_000, "the timer of fix (due 2026-01-01T12:00:01.000Z)", "plan watch web-42"],
    ["timer", null, "the timer of fix", "plan watch web-42"],
  ] as const)("it waits for its %s, due %s", (wait, dueAt, what, next) => {
    const open = [anOpenStep("fix", "waiting", { wait, dueAt })];
    const served = dueAt === null ? [] : [QUEUE];
    const facts = { ...someFacts({ open, served }) };
    // A timer that is due at once would make the plan active.
    const view = wait === "timer" && dueAt === null ? { ...facts.view, now: -1 } : facts.view;

    expect(refusalOf({ ...facts, view })).toEqual({
      code: "PLAN_WAITING",
      message: `Plan web-42 waits for ${what}`,
      details: { planId: "web-42", step: "fix", wait },
      try: next,
    });
  });

  test("it waits for several things: what somebody can answer is named", () => {
    const open = [
      anOpenStep("a", "waiting", { wait: "timer", dueAt: NOW + 1 }),
      anOpenStep("b", "waiting", { wait: "signal" }),
    ];
    const compiled = aDefinition([{ id: "a" }, { id: "b" }]);

    expect(refusalOf(someFacts({ compiled, open, doneSteps: [] }))!.try).toBe("plan signal web-42 b");
  });

  test("it waits, and the point to go back to supersedes nothing", () => {
    const open = [anOpenStep("fix", "waiting", { wait: "approval" })];
    const compiled = aDefinition([{ id: "lone" }, { id: "fix" }, { id: "end", needs: ["fix"] }]);
    const facts = someFacts({ compiled, open, doneSteps: ["lone"] });

    expect(refusalOf(facts, aRequest(fromCheckpoint("ckp_lone")))!.code).toBe("PLAN_WAITING");
    expect(assess(facts, aRequest(fromStep("lone"))).summary).toMatchObject({ eligible: true, step: "lone" });
  });

  test("it has no such step", () => {
    expect(refusalOf(someFacts(), aRequest(fromStep("scam")))).toEqual({
      code: "STEP_NOT_FOUND",
      message: "Plan web-42 has no step scam; it has scan, choose, fix, sign-off, push, tell",
      details: { planId: "web-42", step: "scam" },
      try: "plan get web-42",
    });
  });

  test("it has no such step among many: the first twenty are named", () => {
    const compiled = aDefinition(Array.from({ length: 23 }, (_, i) => ({ id: `s${i}` })));
    const open = [anOpenStep("s0", "queued")];

    expect(refusalOf(someFacts({ compiled, open, doneSteps: [] }), aRequest(fromStep("x")))!.message).toMatch(
      /it has s0, .*s19 and 3 more$/,
    );
  });

  test("something is said of a step that it hasn't, or of one that needs nothing said", () => {
    const said = { said: "redo" } as const;

    expect(refusalOf(someFacts(), aRequest(undefined, { scam: said }))).toMatchObject({
      code: "STEP_NOT_FOUND",
      message: "Plan web-42 has no step scam; it has scan, choose, fix, sign-off, push, tell",
    });
    expect(refusalOf(someFacts(), aRequest(undefined, { fix: said }))).toMatchObject({
      code: "USAGE",
      message: "fix of plan web-42 needs no acknowledgement",
      try: "plan resume web-42 --dry-run",
    });
  });

  test("the step has not been reached", () => {
    expect(refusalOf(someFacts(), aRequest(fromStep("push")))).toMatchObject({
      code: "STEP_NOT_FOUND",
      message: "Step push of plan web-42 has not been reached: there is nothing to run again",
      try: "plan resume web-42 --dry-run",
    });
  });

  test("its line has no such checkpoint", () => {
    expect(refusalOf(someFacts(), aRequest(fromCheckpoint("ckp_9")))).toEqual({
      code: "CHECKPOINT_NOT_FOUND",
      message: "Plan web-42 has no checkpoint ckp_9",
      details: { planId: "web-42", checkpointId: "ckp_9" },
      try: "plan checkpoints web-42",
    });
  });

  test("it has no such decision", () => {
    expect(refusalOf(someFacts(), aRequest(fromDecision("dec_9")))).toEqual({
      code: "DECISION_NOT_FOUND",
      message: "Plan web-42 has no decision dec_9",
      details: { planId: "web-42", decisionId: "dec_9" },
      try: "plan decisions web-42",
    });
  });

  test("the point to go back to doesn't exist, while an irreversible step is in doubt", () => {
    const facts = someFacts({ open: IN_DOUBT, doneSteps: BEFORE_PUSH });

    for (const from of [fromStep("scam"), fromCheckpoint("ckp_9"), fromDecision("dec_9")]) {
      expect(refusalOf(facts, aRequest(from))!.code).toMatch(/_NOT_FOUND$/);
      expect(assess(facts, aRequest(from)).summary.ackRequired).toEqual(["push"]);
    }
  });

  test("an irreversible step started and has no record", () => {
    const facts = someFacts({ open: IN_DOUBT, doneSteps: BEFORE_PUSH });

    expect(refusalOf(facts)).toEqual({
      code: "ACK_REQUIRED",
      message: "push of plan web-42 cannot be undone, started, and left no record: say whether it happened",
      details: { planId: "web-42", steps: ["push"] },
      try: "plan resume web-42 --ack push=done",
    });
    expect(assess(facts, aRequest()).summary).toMatchObject({ ackRequired: ["push"], step: "push", reuseCount: 4 });
  });

  test("only some of the irreversible steps in doubt were spoken of: the others are named", () => {
    const compiled = aDefinition(["a", "b", "c"].map((id) => ({ id, effect: "irreversible" })));
    const open = ["c", "b", "a"].map((id) => anOpenStep(id, "failed", { effect: "irreversible" }));
    const facts = someFacts({ compiled, open, doneSteps: [] });

    expect(refusalOf(facts, aRequest({ kind: "frontier" }, { b: { said: "redo" } }))!.details).toEqual({
      planId: "web-42",
      steps: ["c", "a"],
    });
    expect(assess(facts, aRequest()).summary.step).toBe("a");
  });

  test("what is suggested is the same request with more said, and data in it stay data", () => {
    const ids = ["a", "map#x;reboot", "c"];
    const compiled = aDefinition(ids.map((id) => ({ id, effect: "irreversible" })));
    const open = ids.map((id) => anOpenStep(id, "failed", { effect: "irreversible" }));
    const said = { a: { said: "redo" }, c: { said: "done", output: '{"n":1}' } } as const;
    const tries = (choose: Json) =>
      refusalOf(someFacts({ compiled, open, doneSteps: [] }), {
        ...aRequest({ kind: "frontier" }, said),
        choose: { value: choose },
      })!.try;

    expect(tries("y")).toBe(
      `plan resume web-42 --choose y --ack a=redo --ack 'c=done:{"n":1}' --ack 'map#x;reboot=done'`,
    );
    expect(tries({ by: "me" })).toContain(`--choose '{"by":"me"}'`);
  });

  test("its folder is not on this machine", () => {
    expect(refusalOf(someFacts({ missingWorkdir: "/home/alice/web" }))).toEqual({
      code: "WORKDIR_MISSING",
      message: "Plan web-42 runs in /home/alice/web, which is not on this machine",
      details: { planId: "web-42", workdir: "/home/alice/web" },
      try: "plan resume web-42 --workdir PATH",
    });
  });

  test("several reasons hold: the one that no flag can lift comes first", () => {
    const facts = someFacts({ open: IN_DOUBT, doneSteps: BEFORE_PUSH, missingWorkdir: "/x" });
    const acked = aRequest({ kind: "frontier" }, { push: { said: "redo" } });

    expect(refusalOf(facts, aRequest(fromStep("scam")))!.code).toBe("STEP_NOT_FOUND");
    expect(refusalOf(facts)!.code).toBe("ACK_REQUIRED");
    expect(refusalOf(facts, acked)!.code).toBe("WORKDIR_MISSING");
  });

  test("the code has an exit status of its own kind", () => {
    const codes = [
      refusalOf(someFacts({ meta: { storedState: "completed" } })),
      refusalOf(someFacts({ served: [QUEUE], open: [anOpenStep("fix", "queued")] })),
      refusalOf(someFacts(), aRequest(fromStep("scam"))),
      refusalOf(someFacts(), aRequest(fromCheckpoint("ckp_9"))),
    ].map((error) => EXIT_CODES[error!.code]);

    expect(codes).toEqual([3, 3, 4, 4]);
  });
});

describe("what resume starts", () => {
  test.each([
    anOpenStep("fix", "queued"),
    anOpenStep("fix", "delayed"),
    anOpenStep("fix", "backlog"),
    anOpenStep("fix", "held"),
    anOpenStep("fix", "failed"),
    anOpenStep("fix", "running"),
    anOpenStep("fix", "waiting", { wait: "timer", dueAt: NOW - 1 }),
  ])("a step that was $kind is started again", (step) => {
    const meta = { storedState: step.kind === "held" ? "paused" : "running" } as const;
    const { actions, summary } = assess(someFacts({ open: [step], meta }), aRequest());

    expect(actions!.restart).toEqual(["fix"]);
    expect(summary).toMatchObject({ step: "fix", run: ["fix", "sign-off", "push", "tell"] });
  });

  test.each(["approval", "signal"] as const)(
    "what waits for its %s goes on waiting when its plan is paused no longer",
    (wait) => {
      const facts = someFacts({ open: [anOpenStep("fix", "waiting", { wait })], meta: { storedState: "paused" } });
      const { actions, summary } = assess(facts, aRequest());

      expect(actions!.restart).toEqual([]);
      expect(summary).toMatchObject({ state: "paused", eligible: true, step: "fix", stepNumber: 3, runCount: 4 });
    },
  );

  test("an irreversible step that never started needs nobody's word", () => {
    const open = [anOpenStep("push", "queued", { effect: "irreversible", attempts: 0 })];
    const { actions, summary } = assess(someFacts({ open, doneSteps: BEFORE_PUSH }), aRequest());

    expect(summary.ackRequired).toEqual([]);
    expect(actions!.restart).toEqual(["push"]);
  });

  test("a step that happened is recorded as done, and the first that runs is the one after it", () => {
    const facts = someFacts({ open: IN_DOUBT, doneSteps: BEFORE_PUSH });
    const acks = { push: { said: "done", output: '{"url":"u"}' } } as const;
    const { actions, summary } = assess(facts, aRequest({ kind: "frontier" }, acks));

    expect(actions).toMatchObject({
      restart: [],
      acknowledged: [{ stepId: "push", said: "done", output: '{"url":"u"}' }],
    });
    expect(summary).toMatchObject({ run: ["tell"], runCount: 1, step: "tell", stepNumber: 6, phase: "apply" });
    expect(summary).toMatchObject({ reuse: BEFORE_PUSH, reuseCount: 4, ackRequired: ["push"] });
  });

  test("a step that is to be redone runs again, under its old key", () => {
    const facts = someFacts({ open: IN_DOUBT, doneSteps: BEFORE_PUSH });
    const { actions, summary } = assess(facts, aRequest({ kind: "frontier" }, { push: { said: "redo" } }));

    expect(actions).toMatchObject({
      restart: ["push"],
      acknowledged: [{ stepId: "push", said: "redo", output: "null" }],
    });
    expect(summary).toMatchObject({ run: ["push", "tell"], runCount: 2, step: "push", newKey: [] });
  });

  test("the last step happened: nothing is left to run", () => {
    const compiled = aDefinition([{ id: "push", effect: "irreversible" }]);
    const facts = someFacts({ compiled, open: IN_DOUBT, doneSteps: [] });
    const acks = { push: { said: "done", output: "null" } } as const;

    const { summary } = assess(facts, aRequest({ kind: "frontier" }, acks));

    expect(summary).toMatchObject({
      eligible: true,
      run: [],
      runCount: 0,
      step: null,
      stepNumber: null,
      reuseCount: 0,
    });
  });

  test.each<[string, ResumePoint, readonly string[], readonly string[]]>([
    ["a step", fromStep("choose"), ["scan"], ["choose", "fix"]],
    ["the step that was cut off", fromStep("fix"), ["scan", "choose"], ["fix"]],
    ["a checkpoint", fromCheckpoint("ckp_scan"), ["scan"], ["choose", "fix"]],
    ["a decision", fromDecision("dec_9"), ["scan"], ["choose", "fix"]],
    ["the root decision", fromDecision(ROOT), [], ["scan", "choose", "fix"]],
  ])("from %s, only what stood before it is reused", (_, from, reuse, superseded) => {
    const events = new AHistory().did("scan").started("choose").decided("dec_9", "choose").completed("choose").events;
    const { actions, summary } = assess(someFacts({ events }), aRequest(from));
    const run = STEPS.map(({ id }) => id).filter((id) => !reuse.includes(id));

    expect(actions).toMatchObject({ superseded, restart: [run[0]] });
    expect(summary).toMatchObject({ reuse, run, step: run[0], newKey: superseded, from: describePoint(from) });
  });

  test("a join counts anew those of its needs that are kept", () => {
    const compiled = aDefinition([
      { id: "a" },
      { id: "b" },
      { id: "c" },
      { id: "join", needs: ["a", "b", "c"] },
      { id: "end", needs: ["join", "a"] },
    ]);
    const open = [anOpenStep("c", "failed")];

    const { actions } = assess(someFacts({ compiled, open, doneSteps: ["a", "b"] }), aRequest(fromStep("b")));

    expect(actions).toMatchObject({
      superseded: ["b"],
      recount: new Map([
        ["join", 1],
        ["end", 1],
      ]),
    });
    expect([...actions!.restart].sort()).toEqual(["b", "c"]);
  });

  test("steps of one name with Object's own properties are steps like others", () => {
    const compiled = aDefinition([{ id: "constructor" }, { id: "toString", needs: ["constructor"] }]);
    const facts = someFacts({ compiled, open: [anOpenStep("toString", "failed")], doneSteps: ["constructor"] });

    expect(assess(facts, aRequest()).summary).toMatchObject({ run: ["toString"], reuse: ["constructor"] });
    expect(assess(facts, aRequest(fromStep("valueOf"))).summary.error!.code).toBe("STEP_NOT_FOUND");
  });
});

describe("a plan that is too large to list", () => {
  const newest = Array.from({ length: 300 }, (_, i) => `s${600 + i}`);
  const meta = { total: 1_500, done: 900 };
  const lost = Array.from({ length: 150 }, (_, i) => anOpenStep(`f${i}`, "failed", { phase: "apply" }));

  test("names the newest done steps and the first that run; its counts are exact", () => {
    const { summary } = assess(someFacts({ compiled: null, doneSteps: newest, open: lost, meta }), aRequest());

    expect(summary.reuse).toEqual(newest.slice(-LISTED_STEPS));
    expect(summary.run).toEqual(lost.slice(0, LISTED_STEPS).map((step) => step.stepId));
    expect(summary).toMatchObject({ reuseCount: 900, runCount: 600, step: "f0", stepNumber: null, phase: "apply" });
  });

  test("starts everything that it has open, not only what it names", () => {
    const { actions } = assess(someFacts({ compiled: null, doneSteps: newest, open: lost, meta }), aRequest());

    expect(actions!.restart).toHaveLength(150);
  });

  test("names what goes on waiting after what starts", () => {
    const open = [anOpenStep("ok", "waiting", { wait: "approval" }), lost[0]!];
    const paused = { ...meta, storedState: "paused" } as const;
    const mixed = someFacts({ compiled: null, doneSteps: newest, open, meta: paused });
    const idle = someFacts({ compiled: null, doneSteps: newest, open: [open[0]!], meta: paused });

    expect(assess(mixed, aRequest()).summary).toMatchObject({ run: ["f0", "ok"], step: "f0", runCount: 600 });
    expect(assess(idle, aRequest()).summary).toMatchObject({ run: ["ok"], step: "ok", phase: "execute" });
  });
});

describe("the token", () => {
  const tokenOf = (facts = someFacts(), request = aRequest()) => assess(facts, request).summary.resumeToken;

  test("is the same while nothing that matters changes", () => {
    const later = someFacts({ meta: { updatedAt: NOW + 1, resumeCount: 9, storedState: "interrupted" } });
    const beaten = { ...later, view: { ...later.view, now: NOW + 60_000, liveWorkers: 3 } };

    expect(tokenOf(beaten, { ...aRequest(), reason: "another" })).toBe(tokenOf());
  });

  test("is the same when a dead worker's steps were given back in the meantime", () => {
    const lost = someFacts({ open: [anOpenStep("push", "running", { workerId: "w-dead" })], meta: { revision: 23 } });
    const givenBack = someFacts({ open: [anOpenStep("push", "queued", { crashes: 1 })], meta: { revision: 24 } });

    expect(tokenOf(givenBack)).toBe(tokenOf(lost));
  });

  test("is another for everything that a person may say of a step in doubt", () => {
    const facts = someFacts({ open: IN_DOUBT, doneSteps: BEFORE_PUSH });
    const said = (ack: Acknowledgement) => tokenOf(facts, aRequest({ kind: "frontier" }, { push: ack }));
    const tokens = [
      tokenOf(facts),
      said({ said: "redo" }),
      said({ said: "done", output: "1" }),
      said({ said: "done", output: "2" }),
    ];

    expect(new Set(tokens).size).toBe(tokens.length);
  });

  test.each<Partial<PlanMeta>>([
    { done: 1 },
    { lastCheckpointId: "ckp_another" },
    { lastDecisionId: "dec_another" },
    { epoch: 5 },
    { fence: 171 },
    { definitionDigest: "e".repeat(64) },
    { planId: "web-43" },
  ])("is another after %o", (meta) => {
    expect(tokenOf(someFacts({ meta }))).not.toBe(tokenOf());
  });

  test("is another for every point to resume from", () => {
    const points = [fromStep("scan"), fromStep("choose"), fromCheckpoint("ckp_scan"), fromDecision("dec_9")];
    const tokens = [tokenOf(), ...points.map((from) => tokenOf(someFacts(), aRequest(from)))];

    expect(new Set(tokens).size).toBe(tokens.length);
  });
});

describe("why a plan is in its state", () => {
  const running = (stepId: string, workerId = "w-live") => anOpenStep(stepId, "running", { workerId });
  const many = Array.from({ length: 7 }, (_, i) => anOpenStep(`s${i}`, "failed"));
  const timer = anOpenStep("nap", "waiting", { wait: "timer", dueAt: NOW - 1 });

  test.each<[PlanState, readonly OpenStep[], readonly string[], string]>([
    ["queued", [anOpenStep("a", "queued", { attempts: 0 })], [QUEUE], "waiting for a worker on queue work"],
    ["queued", [anOpenStep("a", "queued", { attempts: 0 })], [], "no live worker serves queue work"],
    ["queued", [], [], "no step is released yet"],
    ["running", [running("a")], [], "a is executing"],
    ["running", [running("a"), running("b")], [], "a, b are executing"],
    ["running", [running("lost", "w-dead"), running("b")], [], "b is executing"],
    ["running", [anOpenStep("a", "delayed")], [QUEUE], "a runs again in 5s (attempt 2)"],
    ["running", [anOpenStep("a", "delayed", { dueAt: NOW - 9 })], [QUEUE], "a runs again in 0ms (attempt 2)"],
    ["running", [anOpenStep("a", "delayed", { queue: "gpu" }), anOpenStep("b", "queued")], [QUEUE], "b is queued"],
    ["running", [anOpenStep("a", "queued"), anOpenStep("b", "backlog")], [QUEUE], "a, b are queued"],
    ["running", [timer], [QUEUE], "nap is queued"],
    ["failed", [anOpenStep("a", "failed"), anOpenStep("b", "held")], [], "a failed"],
    ["failed", many, [], "s0, s1, s2, s3, s4 and 2 more failed"],
    [
      "waiting",
      [anOpenStep("a", "waiting"), anOpenStep("b", "waiting", { wait: "signal" })],
      [],
      "waits for an approval of a, a signal to b",
    ],
    ["interrupted", [running("a", "w-dead")], [], "worker gone:7 was lost in a"],
    ["interrupted", [running("a", "w-forgotten")], [], "worker w-forgotten was lost in a"],
    ["interrupted", [anOpenStep("a", "queued")], [], "a was handed back and no live worker serves queue work"],
    ["interrupted", [anOpenStep("a", "delayed")], [], "a was handed back and no live worker serves queue work"],
    ["interrupted", [timer], [], "nap waits for its timer and no live worker serves queue work"],
    ["interrupted", [anOpenStep("a", "held")], [], "a was handed back by a worker that drained, to be resumed"],
    [
      "interrupted",
      [running("b", "w-dead"), anOpenStep("a", "uncertain")],
      [],
      "a cannot be undone, was cut off, and left no record",
    ],
  ])("%s %#: it says so with the facts", (state, open, served, why) => {
    const done = state === "queued" ? 0 : 2;
    const view = aView({ meta: { done, storedState: "running" }, open, served });

    expect(planState(view)).toBe(state);
    expect(explainState(view, state)).toBe(why);
  });

  test.each([
    [
      anOpenStep("a", "queued", { queue: "run~w1" }),
      "a was handed back and the process that executed the plan is gone",
    ],
    [{ ...timer, queue: "run~w1" }, "nap waits for its timer and the process that executed the plan is gone"],
  ])("a queue that only one process served is not named: $kind", (step, why) => {
    const view = aView({ meta: { privateQueue: "run~w1" }, open: [step] });

    expect(explainState(view, planState(view))).toBe(why);
  });

  test.each([
    ["completed", "all 6 steps are done"],
    ["cancelled", "it was cancelled"],
    ["paused", "it was paused"],
  ] as const)("%s is said of what was written", (storedState, why) => {
    const view = aView({ meta: { storedState } });

    expect(explainState(view, planState(view))).toBe(why);
  });

  test.each([
    ["cancelled", "superseded", "it was cancelled by amy@box: superseded"],
    ["paused", null, "it was paused by amy@box"],
  ] as const)("%s names who did it, and why", (storedState, reason, why) => {
    const view = aView({ meta: { storedState, stop: { by: "amy@box", reason, pending: false } } });

    expect(explainState(view, planState(view))).toBe(why);
  });

  test("a pause that waits for active steps is announced", () => {
    const stop = { by: "amy@box", reason: "freeze", pending: true };
    const view = aView({ meta: { stop }, open: [anOpenStep("fix", "running", { workerId: "w-live" })] });

    expect(explainState(view, planState(view))).toBe(
      "fix is executing; then the plan pauses, as asked by amy@box: freeze",
    );
  });
});
