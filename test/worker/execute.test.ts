// biome-ignore-all lint/suspicious/noTemplateCurlyInString: that is what an expression looks like
/** What one attempt comes to, whatever the code that it runs does. */
import { describe, expect, test } from "vitest";
import { z } from "zod";
import type { CompiledDefinition } from "../../src/core/definition.js";
import { NonRetryableError, RetryAfterError, UsageError } from "../../src/core/errors.js";
import type { HandlerCall, StepHandler } from "../../src/core/handler.js";
import type { AttemptError } from "../../src/core/outcome.js";
import type { AttemptStore, Decided, MadeDecision, StartedStep, Written } from "../../src/core/ports.js";
import { defineHandler } from "../../src/define/define-handler.js";
import { definePlan } from "../../src/define/define-plan.js";
import type { AnyPlan } from "../../src/define/typed-plan.js";
import { Attempt } from "../../src/worker/attempt.js";
import { type ExecuteEnvironment, execute } from "../../src/worker/execute.js";
import { PlanCache } from "../../src/worker/plan-cache.js";
import { aDefinition } from "../support/plans.js";
import { gate, noSandboxes } from "../support/step-workers.js";

test("a function sees everything above it by name, and nothing else", async () => {
  const plan = definePlan("web", { input: z.object({ since: z.coerce.date() }) })
    .step("scan", async () => ({ findings: 2 }))
    .step("choose", async () => "patch")
    .step("aside", { needs: ["scan"] }, async () => 1)
    .step("fix", { needs: ["choose"] }, async ({ input, outputs }) => ({
      year: input.since.getUTCFullYear(),
      all: { ...outputs },
      names: Object.keys(outputs),
      has: ["scan", "aside", "fix", "later", "toString"].filter((id) => id in outputs),
      beside: String(Reflect.get(outputs, "aside")),
      symbol: String(Reflect.get(outputs, Symbol.iterator)),
      described: String(Object.getOwnPropertyDescriptor(outputs, "aside")),
    }))
    .step("later", async () => null);

  const outcome = await run(plan, "fix", {
    input: { since: "2026-01-01" },
    outputs: { scan: { findings: 2 }, choose: "patch", aside: 1 },
  });

  expect(completed(outcome)).toEqual({
    year: 2026,
    all: { scan: { findings: 2 }, choose: "patch" },
    names: ["scan", "choose"],
    has: ["scan"],
    beside: "undefined",
    symbol: "undefined",
    described: "undefined",
  });
});

test("of two ways up to a step, each step on them is looked at once", async () => {
  const plan = definePlan("diamond", { input: z.object({}) })
    .step("unrelated", async () => 0)
    .step("top", { needs: [] }, async () => 1)
    .step("left", { needs: ["top"] }, async () => 2)
    .step("right", { needs: ["top"] }, async () => 3)
    .step("bottom", { needs: ["left", "right"] }, async ({ outputs }) => ({
      ...outputs,
      unrelated: String(Reflect.get(outputs, "unrelated")),
    }));

  const outcome = await run(plan, "bottom", { outputs: { unrelated: 0, top: 1, left: 2, right: 3 } });

  expect(completed(outcome)).toEqual({ top: 1, left: 2, right: 3, unrelated: "undefined" });
});

test("a signal is seen as its schema gives it out, and one that doesn't fit fails the steps below at once", async () => {
  const plan = definePlan("ci", { input: z.object({}) })
    .waitFor("early", { signal: z.object({ at: z.coerce.date() }) })
    .step("below", async ({ outputs }) => outputs.early.at.getUTCFullYear())
    .waitFor("late", { signal: z.object({ ok: z.boolean() }) });

  expect(await run(plan, "early")).toMatchObject({ kind: "park", wait: "signal", dueInMs: null });
  expect(completed(await run(plan, "below", { outputs: { early: { at: "2026-05-01" } } }))).toBe(2026);
  expect(await run(plan, "below", { outputs: { early: { at: "never" } } })).toMatchObject({
    kind: "fail",
    error: { code: "INVALID_INPUT", message: expect.stringContaining("The signal of early") as string },
  });
});

test("a wait whose time is over fails, or goes on with null for its signal, as the plan says", async () => {
  const plan = definePlan("ci", { input: z.object({}) })
    .waitFor("hard", { signal: z.object({ ok: z.boolean() }), timeout: "30m" })
    .waitFor("soft", { signal: z.object({ ok: z.boolean() }), timeout: "30m", onTimeout: "continue", needs: [] })
    .step("below", { needs: ["soft"] }, async ({ outputs }) => outputs.soft?.ok ?? "nothing came");

  expect(await run(plan, "hard")).toMatchObject({ kind: "park", wait: "signal", dueInMs: 1_800_000 });
  expect(await run(plan, "hard", { step: { dueAt: 1_000, startedAt: 1_000 } })).toEqual({
    kind: "fail",
    error: { code: "STEP_FAILED", message: "no signal came within 30m" },
  });
  expect(await run(plan, "hard", { step: { dueAt: 9_000, startedAt: 1_000 } })).toEqual({
    kind: "park",
    wait: "signal",
    dueInMs: 8_000,
    ask: null,
  });
  expect(completed(await run(plan, "soft", { step: { dueAt: 1_000, startedAt: 1_000 } }))).toBeNull();
  expect(completed(await run(plan, "below", { outputs: { soft: null } }))).toBe("nothing came");
  expect(completed(await run(plan, "below", { outputs: { soft: { ok: true } } }))).toBe(true);
});

test("an approval asks what its function says, of the input and the steps above", async () => {
  const plan = definePlan("push", { input: z.object({ repo: z.string() }) })
    .step("count", async () => 3)
    .approve("sign-off", { message: ({ input, outputs }) => `Push ${outputs.count} fixes to ${input.repo}?` });

  expect(await run(plan, "sign-off", { input: { repo: "acme/web" }, outputs: { count: 3 } })).toEqual({
    kind: "park",
    wait: "approval",
    dueInMs: null,
    ask: {
      question: "Push 3 fixes to acme/web?",
      options: ["approve", "reject"],
      onReject: "cancel",
      schema: null,
    },
  });
});

test("a handler is called with what the plan makes of the steps above, and with the facts of the attempt", async () => {
  const tell = defineHandler("tell", { with: z.object({ text: z.string() }) }, async (context) => {
    context.log.info("telling");
    const { attempt, fence, idempotencyKey } = context;
    return { said: context.with.text, attempt, fence, idempotencyKey, aborted: context.signal.aborted };
  });
  const plan = definePlan("web", { input: z.object({}) })
    .step("name", async () => "Ada")
    .use("tell", tell, { with: ({ outputs }) => ({ text: `hello ${outputs.name}` }) });
  const written: string[] = [];

  const outcome = await run(plan, "tell", { outputs: { name: "Ada" }, written });

  expect(completed(outcome)).toEqual({
    said: "hello Ada",
    attempt: 1,
    fence: 41,
    idempotencyKey: "p-1/tell/1",
    aborted: false,
  });
  expect(written).toEqual(["info telling\n"]);
});

test("a function gets its services, a signal, a log, and a progress that can be taken out of its context", async () => {
  const told: [string, number, string | null][] = [];
  const plan = definePlan("web", { input: z.object({}) }).step("act", async (context) => {
    const { progress, log } = context;
    progress(0.5, "half");
    progress(7, 3 as never);
    progress(Symbol("x") as never);
    log.warn({ left: 1 }, "nearly");
    log.info("done");
    const { attempt, fence, idempotencyKey, signal } = context;
    return { attempt, fence, idempotencyKey, aborted: signal.aborted, services: context.services as object as never };
  });
  const written: string[] = [];

  const outcome = await run(plan, "act", {
    written,
    environment: {
      services: { model: "m" },
      onProgress: (step, fraction, note) => told.push([step.stepId, fraction, note]),
    },
  });

  expect(completed(outcome)).toEqual({
    attempt: 1,
    fence: 41,
    idempotencyKey: "p-1/act/1",
    aborted: false,
    services: { model: "m" },
  });
  expect(told).toEqual([
    ["act", 0.5, "half"],
    ["act", 1, null],
    ["act", 0, null],
  ]);
  expect(written.join("")).toBe('warn nearly {"left":1}\ninfo done\n');
});

test("another version runs exactly those steps that it declares the same", async () => {
  const first = definePlan("web", { version: 1, input: z.object({}) })
    .step("same", async () => "by 1")
    .step("changed", { rev: "1" }, async () => "by 1")
    .step("dropped", async () => "by 1");
  const second = definePlan("web", { version: 2, input: z.object({}) })
    .step("same", async () => "by 2")
    .step("changed", { rev: "2" }, async () => "by 2");
  const plans = new Map<string, AnyPlan>([["web", second]]);

  expect(completed(await run(first, "same", { environment: { plans } }))).toBe("by 2");
  const deferred = { kind: "defer", delayMs: 1_000, reason: "no worker has web v1" };
  expect(await run(first, "changed", { environment: { plans } })).toEqual(deferred);
  expect(await run(first, "dropped", { environment: { plans } })).toEqual(deferred);
  expect(await run(first, "same", { environment: { plans: new Map() } })).toEqual(deferred);
});

test("a document's step is left to a worker that has its handler", async () => {
  const compiled = aDefinition([{ id: "a", uses: "deploy" }]);
  expect(await runStep(compiled, "a", {})).toEqual({
    kind: "defer",
    delayMs: 1_000,
    reason: "no worker has the handler deploy",
  });
});

test("a shell step runs where all are trusted or its definition is named, and is left alone elsewhere", async () => {
  const compiled = aDefinition([{ id: "a", uses: "shell", with: { run: "true" } }]);
  const handlers = new Map([handler("shell", () => "ran")]);

  const nobody = await runStep(compiled, "a", { environment: { handlers } });
  expect(nobody).toMatchObject({ kind: "defer", reason: expect.stringContaining("--allow-shell") as string });
  for (const trust of [{ kind: "all" } as const, { kind: "digests", digests: new Set([compiled.digest]) } as const]) {
    expect(completed(await runStep(compiled, "a", { environment: { handlers, trust } }))).toBe("ran");
  }
});

test("a step that its definition doesn't have fails, and names the step", async () => {
  expect(await runStep(aDefinition([{ id: "a" }]), "ghost", {})).toEqual({
    kind: "fail",
    error: { code: "STEP_NOT_FOUND", message: "The definition has no step ghost" },
  });
});

test("a timer that is woken early goes on for the rest of its time, and its handler isn't called", async () => {
  const calls: HandlerCall[] = [];
  const compiled = aDefinition([{ id: "a", uses: "nap" }]);
  const handlers = new Map([handler("nap", (call) => void calls.push(call))]);

  const early = await runStep(compiled, "a", {
    environment: { handlers },
    step: { startedAt: 1_000, dueAt: 1_400 },
  });
  expect(early).toEqual({ kind: "park", wait: "timer", dueInMs: 400, ask: null });
  expect(calls).toEqual([]);

  const due = await runStep(compiled, "a", { environment: { handlers }, step: { startedAt: 1_400, dueAt: 1_400 } });
  expect(due.kind).toBe("complete");
  expect(calls[0]!.woken).toEqual({ by: "timer", parkedAt: 1_400 });
});

test("the start of an irreversible step is on the store's disk before its handler is called", async () => {
  const order: string[] = [];
  const synced = gate();
  const compiled = aDefinition([{ id: "a", effect: "irreversible" }]);
  const handlers = new Map([handler("act", () => void order.push("handler"))]);
  const syncStore = async () => {
    await synced.passed;
    order.push("synced");
  };

  const outcome = runStep(compiled, "a", { environment: { handlers, syncStore } });
  synced.open();

  expect((await outcome).kind).toBe("complete");
  expect(order).toEqual(["synced", "handler"]);
});

test("a handler's own waiting is passed on as it is", async () => {
  const ask = { question: "Which?", options: ["x", "y"], onReject: "continue" as const, schema: null };
  const parked = { kind: "parked" as const, wait: "approval" as const, dueInMs: 5_000, ask };
  const outcome = await runStep(aDefinition([{ id: "a" }]), "a", {
    environment: { handlers: new Map([["act", { name: "act", check: () => [], run: async () => parked }]]) },
  });
  expect(outcome).toEqual({ kind: "park", wait: "approval", dueInMs: 5_000, ask });
});

test.each([
  ["a plain error", new Error("broken"), "retry", "STEP_FAILED", "broken"],
  ["an error with a code", Object.assign(new Error("no host"), { code: "ENOTFOUND" }), "retry", "ENOTFOUND", "no host"],
  ["an error with a number for a code", Object.assign(new Error("n"), { code: 7 }), "retry", "STEP_FAILED", "n"],
  ["an error without a text", new TypeError(), "retry", "STEP_FAILED", "TypeError"],
  ["a text", "just words", "retry", "STEP_FAILED", "just words"],
  ["nothing", undefined, "retry", "STEP_FAILED", "undefined"],
  ["an object", { some: "facts" }, "retry", "STEP_FAILED", "{ some: 'facts' }"],
  ["an object without a prototype", Object.create(null), "retry", "STEP_FAILED", "[Object: null prototype] {}"],
  ["an error whose message is no text", Object.assign(new Error(), { message: 404 }), "retry", "STEP_FAILED", "404"],
  [
    "an error with a text for a code",
    Object.assign(new Error("x"), { code: "not\nfound" }),
    "retry",
    "STEP_FAILED",
    "x",
  ],
  ["an error whose message can't be read", unreadable(), "retry", "STEP_FAILED", "what was thrown can't be read"],
  ["a proxy that was revoked", revoked(), "retry", "STEP_FAILED", "what was thrown can't be read"],
  ["a NonRetryableError", new NonRetryableError("never"), "fail", "STEP_FAILED", "never"],
  ["an error of ours", new UsageError("wrong flag"), "fail", "USAGE", "wrong flag"],
] as const)("%s that a handler throws becomes an outcome", async (_, thrown, kind, code, message) => {
  const outcome = await throwing(thrown);
  expect(outcome).toMatchObject({ kind, error: { code, message } });
});

test("a RetryAfterError chooses the delay, and never one before now", async () => {
  expect(await throwing(new RetryAfterError("busy", 12_345.6))).toMatchObject({ kind: "retry", delayMs: 12_346 });
  expect(await throwing(new RetryAfterError("busy", -5))).toMatchObject({ kind: "retry", delayMs: 0 });
});

test("errors that say whether to try again are known by name, when another copy of this library made them", async () => {
  const never = Object.assign(new Error("no"), { name: "NonRetryableError" });
  const later = Object.assign(new Error("busy"), { name: "RetryAfterError", delayMs: 7_000 });

  expect(await throwing(never)).toMatchObject({ kind: "fail", error: { message: "no" } });
  expect(await throwing(later)).toMatchObject({ kind: "retry", delayMs: 7_000 });
});

test("a RetryAfterError whose delay is no number waits as the step's policy says", async () => {
  const delays = await Promise.all(
    [Number.NaN, Number.POSITIVE_INFINITY].map((ms) => throwing(new RetryAfterError("busy", ms))),
  );
  for (const outcome of delays) expect(outcome.kind === "retry" && outcome.delayMs).toBeLessThan(1_000);
});

test("a RetryAfterError buys no attempt beyond those that the step has", async () => {
  const last = await throwing(new RetryAfterError("busy", 1), { step: { failures: 2 } });
  expect(last).toMatchObject({ kind: "fail", error: { message: "busy" } });
});

test("an irreversible step that fails is not tried again", async () => {
  const outcome = await throwing(new Error("half done"), { effect: "irreversible" });
  expect(outcome).toMatchObject({ kind: "fail", error: { message: "half done" } });
});

test("a secret that was given to a handler is in neither its output nor its error", async () => {
  const compiled = aDefinition([{ id: "a", env: { KEY: "${{ secrets.KEY }}" } }]);
  const secret = (name: string) => (name === "KEY" ? "s3cr3t-key" : undefined);
  const echo = new Map([handler("act", (call) => ({ got: call.env, length: call.env.KEY!.length }))]);
  const fails = new Map([handler("act", (call) => Promise.reject(new Error(`bad key ${call.env.KEY}`)))]);

  const output = await runStep(compiled, "a", { environment: { handlers: echo, secret } });
  expect(completed(output)).toEqual({ got: { KEY: "***" }, length: 10 });
  const failed = await runStep(compiled, "a", { environment: { handlers: fails, secret } });
  expect(failed).toMatchObject({ kind: "retry", error: { message: "bad key ***" } });
});

test("a secret that this worker doesn't have fails the step, and its handler isn't called", async () => {
  const compiled = aDefinition([{ id: "a", env: { KEY: "${{ secrets.KEY }}" } }]);
  const calls: HandlerCall[] = [];
  const handlers = new Map([handler("act", (call) => void calls.push(call))]);

  const outcome = await runStep(compiled, "a", { environment: { handlers } });

  expect(outcome).toMatchObject({ error: { message: expect.stringContaining("WAYMARK_SECRET_KEY") as string } });
  expect(calls).toEqual([]);
});

test("an output that JSON can't hold fails the attempt, and says where", async () => {
  const outcome = await runStep(aDefinition([{ id: "a" }]), "a", {
    environment: { handlers: new Map([handler("act", () => ({ deep: [1n] }))]) },
  });
  expect(outcome).toMatchObject({ error: { message: expect.stringContaining("deep") as string } });
});

test("what a handler throws after it was told to stop is no failure, and what it returns is no result", async () => {
  for (const end of ["throw", "return"] as const) {
    const { attempt, environment } = setup("a", {
      environment: {
        handlers: new Map([
          handler("act", async () => {
            attempt.abort("cancel");
            attempt.abort("timeout");
            if (end === "throw") throw new Error("told to stop");
            return "too late";
          }),
        ]),
      },
    });
    const outcome = await execute(attempt, aDefinition([{ id: "a" }]), environment);
    expect(outcome).toEqual({ kind: "release", reason: "stop" });
    // The first reason stands, also for who looks only now.
    expect(attempt.aborted).toBe("cancel");
    expect(attempt.signal.reason).toMatchObject({ name: "AttemptAbortedError", reason: "cancel" });
  }
});

test("a step past its timeout fails with how long it had, and a result that comes all the same counts", async () => {
  const compiled = aDefinition([{ id: "a", timeoutMs: 20 }]);
  const stops = new Map([
    handler(
      "act",
      (call) => new Promise((_, reject) => call.signal.addEventListener("abort", () => reject(call.signal.reason))),
    ),
  ]);
  const finishes = new Map([
    handler("act", (call) => new Promise((resolve) => call.signal.addEventListener("abort", () => resolve("made it")))),
  ]);

  expect(await runStep(compiled, "a", { environment: { handlers: stops } })).toMatchObject({
    kind: "retry",
    error: { code: "STEP_FAILED", message: "timed out after 20ms" },
  });
  expect(completed(await runStep(compiled, "a", { environment: { handlers: finishes } }))).toBe("made it");
});

test("a function's decision is asked for once in all attempts, and given out as it was recorded", async () => {
  const attempts = new RememberedAttempts();
  const asked: number[] = [];
  const plan = definePlan("web", { input: z.object({}) }).step("choose", async ({ decide, attempt }) => {
    const ask = () =>
      decide("how", { question: "how?", options: ["patch", "rewrite"] }, async () => {
        asked.push(attempt);
        return { choice: attempt === 1 ? "patch" : "rewrite", rationale: "smaller", madeBy: "model" };
      });
    return Promise.all([ask(), ask()]);
  });

  const outcomes = [
    await run(plan, "choose", { environment: { attempts } }),
    await run(plan, "choose", { environment: { attempts }, step: { attempt: 2 } }),
  ];

  expect(outcomes.map(completed)).toEqual([
    ["patch", "patch"],
    ["patch", "patch"],
  ]);
  expect(asked).toEqual([1]);
  expect(attempts.choices.get("how")).toEqual({
    question: "how?",
    options: ["patch", "rewrite"],
    choice: "patch",
    rationale: "smaller",
    madeBy: "model",
  });
});

test("a handler decides and saves as a function does, and what nobody says is made by the step", async () => {
  const attempts = new RememberedAttempts();
  const review = defineHandler("review", { with: z.object({}) }, async ({ decide, save, saved }) => {
    await save({ at: 3 });
    return { how: await decide("how", { question: "how?", options: ["yes"] }, () => "yes"), saved: saved as number };
  });
  const plan = definePlan("web", { input: z.object({}) }).use("look", review, { with: () => ({}) });
  attempts.cursor = "2";

  const outcome = await run(plan, "look", { environment: { attempts }, step: { attempt: 2 } });

  expect(completed(outcome)).toEqual({ how: "yes", saved: 2 });
  expect(outcome).toMatchObject({ hasSaved: true });
  expect(attempts.cursor).toBe('{"at":3}');
  expect(attempts.choices.get("how")).toMatchObject({ madeBy: "step look", rationale: null });
});

test("a choice that is not among the options fails the attempt, and the next one asks again", async () => {
  const attempts = new RememberedAttempts();
  const plan = definePlan("web", { input: z.object({}) }).step("choose", async ({ decide, attempt }) =>
    decide(
      "how",
      { question: "how?", options: ["patch", "rewrite"] },
      () => (attempt === 1 ? "both" : "patch") as "patch",
    ),
  );

  const first = await run(plan, "choose", { environment: { attempts } });
  const second = await run(plan, "choose", { environment: { attempts }, step: { attempt: 2, failures: 1 } });

  expect(first).toMatchObject({
    kind: "retry",
    error: {
      code: "INVALID_CHOICE",
      message: 'The decision how of choose can\'t be "both": the options are patch, rewrite',
    },
  });
  expect(completed(second)).toBe("patch");
});

test("a chooser that failed is asked again in the same attempt", async () => {
  const plan = definePlan("web", { input: z.object({}) }).step("choose", async ({ decide }) => {
    let calls = 0;
    const ask = () =>
      decide("how", { question: "how?", options: ["a"] }, async () => {
        if (calls++ === 0) throw new Error("busy");
        return "a";
      });
    return ask().catch(ask);
  });

  expect(completed(await run(plan, "choose"))).toBe("a");
});

test.each<[string, string, { question: string; options: string[] }]>([
  ["no id for a key", "a/b", { question: "how?", options: ["a"] }],
  ["no options", "how", { question: "how?", options: [] }],
  ["options that are no texts", "how", { question: "how?", options: [1 as never] }],
  ["no question", "how", { question: undefined as never, options: ["a"] }],
])("a decision with %s fails the step, and its chooser isn't called", async (_, key, question) => {
  const plan = definePlan("web", { input: z.object({}) }).step("choose", async ({ decide }) =>
    decide(key, question, () => {
      throw new Error("called");
    }),
  );

  expect(await run(plan, "choose")).toMatchObject({ kind: "fail", error: { code: "USAGE" } });
});

test.each([
  ["rationale", { choice: "a", rationale: 5 }],
  ["madeBy", { choice: "a", madeBy: { model: "m" } }],
])("a choice whose %s is no text fails the step, and is not recorded", async (what, choice) => {
  const attempts = new RememberedAttempts();
  const plan = definePlan("web", { input: z.object({}) }).step("choose", async ({ decide }) =>
    decide("how", { question: "how?", options: ["a"] }, () => choice as never),
  );

  const outcome = await run(plan, "choose", { environment: { attempts } });

  const message = `Step choose can't decide "how": its ${what} is no text`;
  expect(outcome).toMatchObject({ kind: "fail", error: { code: "USAGE", message } });
  expect(attempts.choices.size).toBe(0);
});

test("a choice without a reason may say null for it", async () => {
  const attempts = new RememberedAttempts();
  const plan = definePlan("web", { input: z.object({}) }).step("choose", async ({ decide }) =>
    decide("how", { question: "how?", options: ["a"] }, () => ({ choice: "a", rationale: null }) as never),
  );

  expect(completed(await run(plan, "choose", { environment: { attempts } }))).toBe("a");
  expect(attempts.choices.get("how")).toMatchObject({ madeBy: "step choose", rationale: null });
});

test.each([
  ["message", definePlan("p", { input: z.object({}) }).approve("gate", { message: () => undefined as never })],
  ["question", definePlan("p", { input: z.object({}) }).ask("gate", { question: () => 5 as never, options: ["a"] })],
])("nobody is asked where `%s` gives no text: the step fails", async (what, plan) => {
  expect(await run(plan as AnyPlan, "gate")).toMatchObject({
    kind: "fail",
    error: { message: expect.stringMatching(new RegExp(`^\`${what}\` gave (undefined|5), which is no text`)) },
  });
});

test("an attempt that has lost its step is stopped where it decides or saves", async () => {
  const attempts = new RememberedAttempts();
  attempts.verdict = "LOST";
  const reasons: string[] = [];
  const plan = definePlan("web", { input: z.object({}) }).step("walk", async ({ save, signal }) => {
    signal.addEventListener("abort", () => reasons.push(String(signal.reason.reason)));
    await save(1);
  });

  const outcome = await run(plan, "walk", { environment: { attempts } });

  expect(outcome).toEqual({ kind: "release", reason: "stop" });
  expect(reasons).toEqual(["lost"]);
});

test("an outage of the store while an attempt saves is waited for, and no failure", async () => {
  const attempts = new RememberedAttempts();
  attempts.outages = 3;
  const plan = definePlan("web", { input: z.object({}) }).step("walk", async ({ save }) => save(1));

  expect(await run(plan, "walk", { environment: { attempts } })).toMatchObject({ kind: "complete", hasSaved: true });
  expect(attempts.cursor).toBe("1");
});

test("an attempt that has to stop does not wait for a store that is away", async () => {
  const attempts = new RememberedAttempts();
  attempts.outages = Number.POSITIVE_INFINITY;
  const plan = definePlan("web", { input: z.object({}) }).step("walk", async ({ save }) => save(1));
  const { attempt, environment } = setup("walk", {
    environment: { plans: new Map([[plan.name, plan]]), attempts },
  });

  const execution = execute(attempt, plan.compiled, environment);
  attempt.abort("drain");

  expect(await execution).toEqual({ kind: "release", reason: "stop" });
});

test("a secret is in neither a decision nor a cursor", async () => {
  const attempts = new RememberedAttempts();
  const handlers = new Map([
    handler("http", async ({ decide, save, env }) => {
      await save({ token: env.TOKEN });
      return decide("how", { question: `with ${env.TOKEN}?`, options: ["yes"] }, () => "yes");
    }),
  ]);
  const compiled = aDefinition([{ id: "a", uses: "http", env: { TOKEN: "${{ secrets.NPM }}" } }]);

  await runStep(compiled, "a", { environment: { attempts, handlers, secret: () => "s3cr3t-value" } });

  expect(attempts.cursor).toBe('{"token":"***"}');
  expect(attempts.choices.get("how")).toMatchObject({ question: "with ***?" });
});

test("an attempt can be ended before anybody waits for it", () => {
  const attempt = new Attempt(aStep("a"), async () => {}, UNGUARDED);
  expect(() => attempt.end({ kind: "release", reason: "drain" })).not.toThrow();
});

const UNGUARDED = { prepare() {}, add() {}, remove() {} };

describe("a step with a condition", () => {
  const input = z.object({ docs: z.boolean() });
  let ran = 0;
  const plan = definePlan("conditional", { input })
    .step("scan", async () => ({ found: 2 }))
    .waitFor("ci", { signal: z.object({ ok: z.boolean() }), when: () => false })
    .step("docs", { when: ({ input, outputs }) => input.docs && outputs.scan.found > 1 }, async ({ outputs }) => {
      ran++;
      return { ci: outputs.ci };
    });
  const outputs = { scan: { found: 2 }, ci: null };

  test("that doesn't hold is skipped, and its function isn't called", async () => {
    ran = 0;

    expect(await run(plan, "docs", { input: { docs: false }, outputs })).toEqual({ kind: "skip" });
    expect(ran).toBe(0);
  });

  test("that holds says so before it runs, and sees null of what was skipped", async () => {
    const attempts = new RememberedAttempts();

    const outcome = await run(plan, "docs", { input: { docs: true }, outputs, environment: { attempts } });

    expect(attempts.isAdmitted).toBe(true);
    expect(completed(outcome)).toEqual({ ci: null });
  });

  test("that held once is not asked again", async () => {
    const attempts = new RememberedAttempts();
    attempts.isAdmitted = true;

    const outcome = await run(plan, "docs", { input: { docs: false }, outputs, environment: { attempts } });

    expect(outcome).toMatchObject({ kind: "complete" });
  });

  test("that was taken from its worker does nothing more", async () => {
    ran = 0;
    const attempts = new RememberedAttempts();
    attempts.verdict = "LOST";

    const outcome = await run(plan, "docs", { input: { docs: true }, outputs, environment: { attempts } });

    expect(outcome).toEqual({ kind: "release", reason: "stop" });
    expect(ran).toBe(0);
  });

  test("that is neither true nor false, or can't be asked, fails for good", async () => {
    const vague = definePlan("vague", { input: z.object({}) }).step(
      "a",
      { when: (() => Promise.resolve(true)) as unknown as () => boolean },
      async () => 1,
    );
    const error = { code: "STEP_FAILED", message: "`when` gave Promise { true }, which is neither true nor false" };

    expect(await run(vague, "a")).toEqual({ kind: "fail", error });
    const document = aDefinition([{ id: "a" }, { id: "b", needs: ["a"], when: { value: "steps.a.output.found" } }]);
    const handlers = new Map([handler("act", () => 1)]);
    expect(await runStep(document, "b", { outputs: { a: { n: 1 } }, environment: { handlers } })).toMatchObject({
      kind: "fail",
      error: { code: "INVALID_INPUT", message: expect.stringContaining("`when` of step b is not valid") },
    });
  });

  test.each([
    [{ found: 3 }, "complete"],
    [{ found: 0 }, "skip"],
    [null, "skip"],
  ])("of a document, after the output %j: %s", async (output, kind) => {
    const document = aDefinition([{ id: "a" }, { id: "b", needs: ["a"], when: { value: "steps.a.output.found" } }]);
    const handlers = new Map([handler("act", () => 1)]);

    expect(await runStep(document, "b", { outputs: { a: output }, environment: { handlers } })).toMatchObject({ kind });
  });
});

describe("why a step failed that the plan went on without", () => {
  const failures = new Map([["lint", { code: "EXIT_1", message: "two faults" }]]);

  test("is there for functions, of those above that failed", async () => {
    const plan = definePlan("tolerant", { input: z.object({}) })
      .step("lint", { onFailure: "continue" }, async () => 1)
      .step("test", { onFailure: "continue" }, async () => 1)
      .step("aside", { needs: [], onFailure: "continue" }, async () => 1)
      .step("report", { needs: ["test"] }, async ({ errors, outputs }) => ({ errors, lint: outputs.lint }));

    expect(completed(await run(plan, "report", { failures, outputs: { lint: null, test: 1 } }))).toEqual({
      errors: { lint: { code: "EXIT_1", message: "two faults" } },
      lint: null,
    });
  });

  test("is there for expressions", async () => {
    const document = aDefinition([
      { id: "lint", onFailure: "continue" },
      { id: "report", needs: ["lint"], with: { why: "${{ errors.lint.message }}" } },
    ]);
    const handlers = new Map([handler("act", (call) => call.with)]);

    expect(completed(await runStep(document, "report", { failures, environment: { handlers } }))).toEqual({
      why: "two faults",
    });
  });
});

interface Case {
  readonly input?: unknown;
  readonly outputs?: Readonly<Record<string, unknown>>;
  readonly failures?: ReadonlyMap<string, AttemptError>;
  readonly environment?: Partial<ExecuteEnvironment>;
  readonly step?: Partial<StartedStep>;
  /** Gets what the attempt writes. */
  readonly written?: string[];
}

function run(plan: AnyPlan, stepId: string, given: Case = {}) {
  const plans = new Map([[plan.name, plan]]);
  return runStep(plan.compiled, stepId, { ...given, environment: { plans, ...given.environment } });
}

async function runStep(compiled: CompiledDefinition, stepId: string, given: Case) {
  const { attempt, environment } = setup(stepId, given);
  const outcome = await attempt.outcomeOf(execute(attempt, compiled, environment));
  await attempt.flush();
  return outcome;
}

function setup(stepId: string, given: Case) {
  const outputs = new Map(Object.entries(given.outputs ?? {}));
  const cache = new PlanCache({
    openInput: (_planId, stored) => stored,
    failures: async () => given.failures ?? new Map(),
    async payloads(_planId, stepIds) {
      return {
        input: JSON.stringify(given.input ?? {}),
        workdir: null,
        outputs: stepIds.map((id) => JSON.stringify(outputs.get(id) ?? null)),
      };
    },
  });
  const environment: ExecuteEnvironment = {
    plans: new Map(),
    handlers: new Map(),
    services: {},
    trust: { kind: "digests", digests: new Set() },
    secret: () => undefined,
    cache,
    attempts: new RememberedAttempts(),
    payloadLimitBytes: 1_000_000,
    sandboxes: noSandboxes,
    syncStore: async () => {},
    random: Math.random,
    onProgress: () => {},
    ...given.environment,
  };
  const attempt = new Attempt(
    { ...aStep(stepId), ...given.step },
    async (text) => void given.written?.push(text),
    UNGUARDED,
  );
  return { attempt, environment };
}

/** What attempts of one step leave to each other, without a store. */
class RememberedAttempts implements AttemptStore {
  readonly choices = new Map<string, MadeDecision>();
  cursor: string | null = null;
  verdict: Written["verdict"] = "OK";
  /** Calls that fail from here on. */
  outages = 0;

  async decide(_step: StartedStep, key: string, made: MadeDecision | null): Promise<Decided> {
    if (made !== null && !this.choices.has(key)) this.choices.set(key, made);
    return { verdict: this.verdict, choice: (this.choices.get(key)?.choice ?? null) as string | null };
  }

  async progress(): Promise<Written> {
    return { verdict: this.verdict };
  }

  isAdmitted = false;

  async admit(): Promise<Written> {
    this.isAdmitted = true;
    return { verdict: this.verdict };
  }

  async admitted(): Promise<boolean> {
    return this.isAdmitted;
  }

  async save(_step: StartedStep, cursor: string): Promise<Written> {
    if (this.outages-- > 0) throw new Error("LOADING");
    this.cursor = cursor;
    return { verdict: this.verdict };
  }

  async saved(): Promise<string | null> {
    return this.cursor;
  }
}

function unreadable(): Error {
  return Object.defineProperty(new Error(), "message", {
    get() {
      throw new Error("not even this");
    },
  });
}

function revoked(): object {
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  return proxy;
}

function throwing(thrown: unknown, given: Pick<Case, "step"> & { effect?: "irreversible" } = {}) {
  const { effect = "idempotent", ...rest } = given;
  const handlers = new Map([handler("act", () => Promise.reject(thrown))]);
  return runStep(aDefinition([{ id: "a", effect }]), "a", { ...rest, environment: { handlers } });
}

function handler(name: string, act: (call: HandlerCall) => unknown): [string, StepHandler] {
  return [
    name,
    { name, check: () => [], run: async (call) => ({ kind: "completed", output: (await act(call)) ?? null }) },
  ];
}

function aStep(stepId: string): StartedStep {
  return {
    planId: "p-1",
    stepId,
    epoch: 1,
    line: 1,
    attempt: 1,
    failures: 0,
    crashes: 0,
    fence: 41,
    token: "w.0:1",
    queue: "work",
    planName: "test",
    definitionDigest: "d",
    privateQueue: null,
    workdir: null,
    createdAt: 0,
    tag: "t",
    startedAt: 1_000,
    input: null,
    dueAt: null,
    sandbox: null,
    grown: 0,
    handedOff: 0,
  };
}

function completed(outcome: Awaited<ReturnType<typeof execute>>): unknown {
  expect(outcome).toMatchObject({ kind: "complete" });
  return outcome.kind === "complete" ? JSON.parse(outcome.output) : undefined;
}
