/**
 * A plan comes to the same in memory and on a real worker: random plans, run both ways and compared. More of them with
 * WAYMARK_TEST_CASES.
 */
import fc from "fast-check";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { z } from "zod";
import { Client } from "../../src/client/client.js";
import type { PlanDocument } from "../../src/client/documents.js";
import type { Context } from "../../src/define/context.js";
import { defineHandler, toStepHandler } from "../../src/define/define-handler.js";
import { definePlan } from "../../src/define/define-plan.js";
import type { AnyPlan } from "../../src/define/typed-plan.js";
import { testPlan } from "../../src/testing/index.js";
import { checkInvariants } from "../support/invariants.js";
import { aStore, type TestStore } from "../support/plans.js";
import { runWorker } from "../support/step-workers.js";
import { until } from "../support/until.js";

const CASES = Number(process.env.WAYMARK_TEST_CASES ?? 50);
/** That share a worker, at most; half as many on average. */
const BATCH = 10;

const WHENS = ["always", "never", "after an error"] as const;
const options = { maxLength: 3 };

/** What a step is, and which of the steps before it it needs. */
const steps = fc.record({
  needs: fc.uniqueArray(fc.nat({ max: 5 }), options),
  when: fc.oneof({ weight: 5, arbitrary: fc.constant(null) }, { weight: 2, arbitrary: fc.constantFrom(...WHENS) }),
  does: fc.oneof(
    {
      weight: 5,
      arbitrary: fc.record({
        kind: fc.constant("run" as const),
        fails: fc.nat({ max: 3 }),
        attempts: fc.integer({ min: 1, max: 3 }),
        goesOn: fc.boolean(),
        decides: fc.boolean(),
        saves: fc.boolean(),
        appends: fc.array(fc.constantFrom("noop", "sleep", "work", "wait", "approve"), options),
      }),
    },
    {
      weight: 2,
      arbitrary: fc.record({
        kind: fc.constant("map" as const),
        items: fc.nat({ max: 4 }),
        turns: fc.option(fc.integer({ min: 1, max: 2 })),
        fails: fc.nat({ max: 2 }),
        goesOn: fc.boolean(),
      }),
    },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("use" as const), argument: fc.constantFrom("fine", 7) }) },
    {
      weight: 1,
      arbitrary: fc.record({
        kind: fc.constant("approve" as const),
        answer: fc.constantFrom("approve", "approve", "reject", null),
      }),
    },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("ask" as const), answer: fc.constantFrom("a", "b", null) }) },
    {
      weight: 1,
      arbitrary: fc.record({
        kind: fc.constant("wait" as const),
        answer: fc.constantFrom<{ ok: boolean } | { ok: string } | null>({ ok: true }, { ok: "wrong" }, null),
        timeout: fc.constantFrom(null, "fail" as const, "continue" as const),
      }),
    },
  ),
});
const plans = fc.record({ failFast: fc.boolean(), steps: fc.array(steps, { minLength: 1, maxLength: 6 }) });

type PlanSpec = typeof plans extends fc.Arbitrary<infer T> ? T : never;
type StepSpec = PlanSpec["steps"][number];

const work = defineHandler("work", { with: z.object({ text: z.string() }) }, async ({ with: { text }, attempt }) => {
  if (attempt === 1) throw new Error("at first");
  return { text, attempt };
});

let t: TestStore;
let client: Client;

beforeAll(async () => {
  t = await aStore(inject("redisUrl"));
  client = new Client(async () => t.store, "test");
});

afterAll(async () => {
  await t.drop();
});

test(`what a plan comes to, step by step (${CASES} random plans)`, { timeout: 600_000 }, async () => {
  let batches = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(plans, { minLength: 1, maxLength: BATCH, size: "max" }), async (specs) => {
      batches++;
      const queue = `work-${batches}`;
      // Each run has functions of its own: some remember that they were called.
      const made = specs.map((spec, i) => {
        const build = () => aPlan(spec, `p-${batches}-${i}`, queue);
        return { spec, plan: build(), twin: build() };
      });
      const handlers = new Map([["work", toStepHandler(work)]]);
      const worker = await runWorker(t, () => null, {
        queues: [queue],
        plans: made.map(({ plan }) => plan),
        handlers,
        concurrency: 4,
      });
      try {
        await Promise.all(made.map(({ spec, plan, twin }) => comesToTheSame(spec, plan, twin)));
      } finally {
        await worker.close();
      }
    }),
    { numRuns: Math.ceil((2 * CASES) / BATCH) },
  );
});

async function comesToTheSame(spec: PlanSpec, plan: AnyPlan, twin: AnyPlan): Promise<void> {
  const decisions: Record<string, string> = {};
  const signals: Record<string, unknown> = {};
  spec.steps.forEach(({ does }, i) => {
    if ((does.kind === "approve" || does.kind === "ask") && does.answer !== null) decisions[`s${i}`] = does.answer;
    if (does.kind === "wait" && does.answer !== null && does.timeout === null) signals[`s${i}`] = does.answer;
  });
  const inMemory = await testPlan(twin as AnyPlan & { "~types"?: Untyped }, {
    input: { n: 1 },
    handlers: [work],
    decisions,
    signals,
  });

  const { planId } = await client.submit(plan, { n: 1 }, { planId: plan.name });
  const document = await until(
    `${planId} to be at rest`,
    async () => {
      const read = await client.get(planId);
      await Promise.all(answersDue(read, decisions, signals));
      return isAtRest(read, spec.failFast, decisions, signals) && read;
    },
    20_000,
  );

  expect(await checkInvariants(t.store, planId)).toEqual([]);
  const real = comparable(document);
  const shown = {
    state: inMemory.state,
    steps: Object.fromEntries(
      Object.entries(inMemory.steps).map(([id, { state, attempts, error }]) => [id, { state, attempts, error }]),
    ),
    decisions: inMemory.decisions.map(({ step, key, choice, question, madeBy }) => ({
      step,
      key,
      choice,
      question,
      madeBy,
    })),
  };
  // What else was done when a plan is stopped in the middle, and what stopped it first, is a matter of time.
  const isStopped = (state: string) => state === "cancelled" || (spec.failFast && state === "failed");
  expect(isStopped(shown.state)).toBe(isStopped(real.state));
  if (isStopped(real.state)) return;
  expect({ ...shown, decisions: sorted(shown.decisions) }).toEqual({ ...real, decisions: sorted(real.decisions) });
  const done = Object.keys(inMemory.outputs);
  const { outputs } = await t.store.payloads(planId, done);
  expect(done.map((id) => [id, inMemory.outputs[id]])).toEqual(done.map((id, i) => [id, JSON.parse(outputs[i]!)]));
}

function answersDue(
  { planId, steps: read }: PlanDocument,
  decisions: Readonly<Record<string, string>>,
  signals: Readonly<Record<string, unknown>>,
): Promise<unknown>[] {
  return read
    .filter(({ state }) => state === "waiting")
    .flatMap(({ id }) => {
      if (id in decisions) return [client.decide(planId, id, decisions[id]!).catch(unlessOver)];
      return id in signals ? [client.signal(planId, id, signals[id]).catch(unlessOver)] : [];
    });
}

/** Another answer may have cancelled the plan. */
function unlessOver(error: unknown): void {
  if (!["NOT_WAITING", "PLAN_TERMINAL"].includes((error as { code?: string }).code ?? "")) throw error;
}

/** Nothing comes any more, but what nobody sends. */
function isAtRest(
  { state, steps: read }: PlanDocument,
  failFast: boolean,
  decisions: object,
  signals: object,
): boolean {
  if (state === "cancelled" || state === "completed" || (failFast && state === "failed")) return true;
  const rests = ["completed", "skipped", "continued", "pending", "failed"];
  return read.every(
    (step) =>
      rests.includes(step.state) ||
      (step.state === "waiting" && step.dueAt === null && !(step.id in decisions) && !(step.id in signals)),
  );
}

function comparable({ state, steps: read, decisions }: PlanDocument) {
  return {
    state,
    steps: Object.fromEntries(
      read.map((step) => {
        const { id, attempts } = step;
        const error = step.state === "failed" || step.state === "continued" ? step.error : null;
        return [id, { state: step.state, attempts, error }];
      }),
    ),
    decisions: decisions
      .filter(({ step }) => step !== null)
      .map(({ step, key, choice, question, madeBy }) => ({ step, key, choice, question, madeBy })),
  };
}

function sorted<T>(list: readonly T[]): T[] {
  return [...list].sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1));
}

/** The plan of a specification. Its steps record what they see. */
function aPlan({ failFast, steps: specs }: PlanSpec, name: string, queue: string): AnyPlan {
  let plan = definePlan(name, { input: z.object({ n: z.number() }), queue, failFast }) as unknown as Loose;
  specs.forEach((spec, i) => {
    plan = withStep(plan, spec, i);
  });
  return plan;
}

function withStep(plan: Loose, { needs, when, does }: StepSpec, index: number): Loose {
  const id = `s${index}`;
  const above = needs.filter((need) => need < index).map((need) => `s${need}`);
  const placed = { needs: above, ...(when !== null && { when: condition(when) }) };
  const see = ({ outputs, errors }: LooseContext) => ({ saw: { ...outputs }, failed: { ...errors } });
  switch (does.kind) {
    case "run": {
      const retry = { attempts: does.attempts, delay: 1 };
      return plan.step(id, { ...placed, retry, onFailure: does.goesOn ? "continue" : "stop" }, async (context) => {
        const { attempt, decide, save, saved, append } = context;
        const options = { question: `How in ${attempt}?`, options: ["a", "b"] } as const;
        const chosen = does.decides ? await decide("how", options, () => (attempt === 1 ? "a" : "b")) : null;
        if (does.saves) await save(attempt);
        if (attempt <= does.fails) throw new Error(`attempt ${attempt}`);
        append(does.appends.map((kind, i) => ({ id: `${id}-${i}`, ...APPENDED[kind] })));
        return { chosen, saved, ...see(context) };
      });
    }
    case "map": {
      const over = () => Array.from({ length: does.items }, (_, i) => i);
      const limit = does.turns === null ? {} : { concurrency: does.turns };
      const retry = { attempts: 2, delay: 1 };
      const map = { ...placed, ...limit, over, retry, onFailure: does.goesOn ? "continue" : "stop" };
      return plan.map(id, map, async (item, context) => {
        if (item === 1 && context.attempt <= does.fails) throw new Error(`attempt ${context.attempt}`);
        return { item, ...see(context) };
      });
    }
    case "use":
      return plan.use(id, work, { ...placed, with: () => ({ text: does.argument }), retry: { delay: 1 } });
    case "approve":
      return plan.approve(id, { ...placed, message: () => "Fine?" });
    case "ask":
      return plan.ask(id, { ...placed, question: () => "Which?", options: ["a", "b"] });
    case "wait": {
      const limit = does.timeout === null ? {} : { timeout: 20, onTimeout: does.timeout };
      return plan.waitFor(id, { ...placed, ...limit, signal: z.object({ ok: z.boolean() }) });
    }
    default:
      return does satisfies never;
  }
}

function condition(when: (typeof WHENS)[number]): () => boolean {
  let asked = 0;
  return () => {
    if (when === "after an error" && ++asked === 1) throw new Error("not yet");
    return when !== "never";
  };
}

const APPENDED = {
  noop: { uses: "noop", with: { output: "nothing" } },
  sleep: { uses: "sleep", with: { for: 5 } },
  work: { uses: work, with: { text: "more" }, retry: { delay: 1 } },
  wait: { uses: "wait", with: { timeout: 10, onTimeout: "continue" } },
  approve: { uses: "approve", with: { message: "Fine?" } },
} as const;

/** A plan whose types are left to chance. */
interface Loose extends AnyPlan {
  step(id: string, options: object, run: (context: LooseContext) => Promise<unknown>): Loose;
  map(id: string, options: object, run: (item: number, context: LooseContext) => Promise<unknown>): Loose;
  use(id: string, handler: unknown, options: object): Loose;
  approve(id: string, options: object): Loose;
  ask(id: string, options: object): Loose;
  waitFor(id: string, options: object): Loose;
}

type LooseContext = Context<unknown, Readonly<Record<string, unknown>>>;

interface Untyped {
  readonly input: unknown;
  readonly outputs: Record<string, unknown>;
  readonly takes: Record<string, []>;
  readonly output: unknown;
  readonly services: (services: Record<never, never>) => void;
}
