/**
 * Random plans under random transitions: after each of them the history folded is what is stored, and every step has the
 * job that it needs. In the end the plan completes. More cases with WAYMARK_TEST_CASES.
 */
import fc from "fast-check";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { resumePlan } from "../../src/client/resume.js";
import { type CompiledDefinition, descendants, type SandboxUse } from "../../src/core/definition.js";
import { NotEligibleError } from "../../src/core/errors.js";
import type { Outcome } from "../../src/core/outcome.js";
import type { FetchReply, StartedStep } from "../../src/core/ports.js";
import type { SandboxSnapshot } from "../../src/core/sandbox.js";
import { checkInvariants } from "../support/invariants.js";
import {
  A_SANDBOX,
  aDefinition,
  aSnapshot,
  aStore,
  type HandWorker,
  type StepSpec,
  type TestStore,
} from "../support/plans.js";
import { until } from "../support/until.js";

const CASES = Number(process.env.WAYMARK_TEST_CASES ?? 100);
const actor = "tester";
const boom = { code: "STEP_FAILED", message: "boom" };

type Op =
  | { readonly op: "fetch"; readonly worker: number }
  /** Ends what a worker holds; `fetchNext` as its slot would, `twice` as after a lost reply. */
  | {
      readonly op: "settle";
      readonly worker: number;
      readonly how: keyof typeof OUTCOMES;
      readonly fetchNext: boolean;
      readonly twice: boolean;
    }
  | { readonly op: "die"; readonly worker: number }
  | { readonly op: "audit"; readonly worker: number }
  | { readonly op: "pause" | "pause after step" | "resume" }
  | { readonly op: "rewind" | "signal"; readonly nth: number };

const OUTCOMES = {
  complete: { kind: "complete", output: '"done"' },
  "retry now": { kind: "retry", delayMs: 0, error: boom },
  "retry later": { kind: "retry", delayMs: 3_600_000, error: boom },
  fail: { kind: "fail", error: boom },
  release: { kind: "release", reason: "drain" },
  defer: { kind: "defer", delayMs: 1, reason: "lacks it" },
  "park for a signal": { kind: "park", wait: "signal", dueInMs: null, ask: null },
  "sleep a little": { kind: "park", wait: "timer", dueInMs: 1, ask: null },
  "sleep long": { kind: "park", wait: "timer", dueInMs: 3_600_000, ask: null },
} satisfies Record<string, Outcome>;

const worker = fc.nat({ max: 1 });
const plans = fc.record({
  /** For each step, which of the steps before it it needs. */
  needs: fc.array(fc.uniqueArray(fc.nat({ max: 7 }), { maxLength: 3 }), { minLength: 1, maxLength: 8 }),
  /** What each does with the sandbox; the plan has one where any of them does something. */
  uses: fc.oneof(
    fc.constant(Array.from({ length: 8 }, () => "none" as const)),
    fc.array(fc.constantFrom<SandboxUse>("none", "read", "write"), { minLength: 8, maxLength: 8 }),
  ),
  /** How many of its steps run at once, and begin within a moment; null for all. */
  limit: fc.constantFrom(null, null, 1, 2),
  max: fc.constantFrom(null, null, 1, 2),
  failFast: fc.boolean(),
  ops: fc.array(
    fc.oneof(
      { weight: 5, arbitrary: fc.record({ op: fc.constant("fetch" as const), worker }) },
      {
        weight: 8,
        arbitrary: fc.record({
          op: fc.constant("settle" as const),
          worker,
          how: fc.oneof(
            { weight: 3, arbitrary: fc.constant("complete" as const) },
            { weight: 3, arbitrary: fc.constantFrom(...(Object.keys(OUTCOMES) as (keyof typeof OUTCOMES)[])) },
          ),
          fetchNext: fc.boolean(),
          twice: fc.boolean(),
        }),
      },
      { weight: 1, arbitrary: fc.record({ op: fc.constant("die" as const), worker }) },
      { weight: 1, arbitrary: fc.record({ op: fc.constant("audit" as const), worker }) },
      { weight: 2, arbitrary: fc.record({ op: fc.constantFrom("pause" as const, "pause after step" as const) }) },
      { weight: 3, arbitrary: fc.record({ op: fc.constant("resume" as const) }) },
      { weight: 2, arbitrary: fc.record({ op: fc.constant("rewind" as const), nth: fc.nat({ max: 7 }) }) },
      { weight: 2, arbitrary: fc.record({ op: fc.constant("signal" as const), nth: fc.nat({ max: 7 }) }) },
    ),
    { maxLength: 40, size: "max" },
  ),
});

let t: TestStore;

beforeAll(async () => {
  t = await aStore(inject("redisUrl"));
});

afterAll(async () => {
  await t.drop();
});

test(`every invariant holds after every transition, and every plan completes in the end (${CASES} random plans)`, {
  timeout: 600_000,
}, async () => {
  await fc.assert(
    fc.asyncProperty(plans, async ({ needs, uses, limit, max, failFast, ops }) => {
      // What a plan that failed its test leaves behind must not get into the next one's way.
      const queue = `work-${++queues}`;
      const limits = {
        ...(limit !== null && { concurrency: { key: queue, limit } }),
        ...(max !== null && { rate: { key: queue, max, perMs: 15 } }),
      };
      const held = `${t.keys.base}limit:${queue}:held`;
      const steps = needs.map((ids, i) => ({ ...aStep(i, ids, uses[i]!), queue, ...limits }));
      const sandbox = steps.some((step) => step.sandbox !== "none") ? A_SANDBOX : null;
      const compiled = aDefinition(steps, { failFast, sandbox });
      const run = await Run.begin(compiled, queue);
      for (const [i, op] of ops.entries()) {
        await run.step(op);
        expect(await checkInvariants(t.store, run.plan), `after operation ${i}, ${JSON.stringify(op)}`).toEqual([]);
        expect(await t.redis.hlen(held)).toBeLessThanOrEqual(limit ?? 0);
      }
      await run.finish();
      expect(await checkInvariants(t.store, run.plan), "in the end").toEqual([]);
      expect(await t.state(run.plan)).toBe("completed");
      expect(await t.redis.exists(held)).toBe(0);
      expectRate(
        (await t.store.history(run.plan)).flatMap((e) => (e.type === "step.started" ? [e.at] : [])),
        max,
        15,
      );
    }),
    { numRuns: CASES },
  );
});

function expectRate(starts: readonly number[], max: number | null, perMs: number): void {
  for (let i = max ?? starts.length; i < starts.length; i++) {
    expect(starts[i]! - starts[i - max!]!).toBeGreaterThanOrEqual(perMs);
  }
}

function aStep(index: number, needs: readonly number[], sandbox: SandboxUse): StepSpec {
  const above = needs.filter((need) => need < index).map((need) => `s${need}`);
  return { id: `s${index}`, uses: "wait", needs: above, sandbox };
}

let queues = 0;

const END = { op: "settle", how: "complete", twice: false } as const;

class Run {
  private readonly workers: HandWorker[] = [];
  private readonly held: (StartedStep | null)[] = [null, null];
  /** The files, as their number. Each step that writes leaves others. */
  private files = 0;
  private snapshots = 0;

  constructor(
    readonly plan: string,
    private readonly compiled: CompiledDefinition,
    private readonly queue: string,
  ) {}

  static async begin(compiled: CompiledDefinition, queue: string): Promise<Run> {
    const plan = await t.submit(compiled);
    const run = new Run(plan, compiled, queue);
    for (const i of [0, 1]) run.workers[i] = await t.worker([run.queue]);
    return run;
  }

  async step(op: Op): Promise<void> {
    switch (op.op) {
      case "fetch":
        if (this.held[op.worker] === null) this.take(op.worker, await this.workers[op.worker]!.fetch());
        return;
      case "settle": {
        const step = this.held[op.worker];
        if (!step) return;
        const outcome = this.outcomeOf(step, op.how);
        const send = () => this.workers[op.worker]!.settle(step, outcome, op.fetchNext);
        const first = await send();
        if (first.verdict === "OK" && outcome.kind === "complete" && outcome.sandbox) this.files = this.snapshots;
        if (!op.twice) return this.take(op.worker, first);
        const again = await send();
        expect(again.verdict, "a repeated call is not executed again").not.toBe("OK");
        // Where the first call found nothing, something may have become due since.
        if (first.next.kind === "step") expect(nameOf(again), "and names the same job").toBe(nameOf(first));
        return this.take(op.worker, again);
      }
      case "die": {
        const dead = this.workers[op.worker]!;
        await this.workers[1 - op.worker]!.beat([dead.id]);
        const late = this.held[op.worker];
        if (late) expect((await dead.complete(late, "zombie")).verdict, "a zombie writes nothing").not.toBe("OK");
        this.held[op.worker] = null;
        this.workers[op.worker] = await t.worker([this.queue]);
        return;
      }
      case "audit": {
        const known = this.held[op.worker];
        await this.workers[op.worker]!.audit(known ? [known.token] : []);
        return;
      }
      case "pause":
      case "pause after step":
        return unlessTerminal(t.store.pause(this.plan, actor, null, op.op === "pause after step"));
      case "resume":
        return unlessRefused(resumePlan(t.store, this.plan, { actor }));
      case "rewind":
        return this.rewind(`s${op.nth % this.compiled.steps.size}`);
      case "signal": {
        const answer = { data: '"answer"', cancels: false, signalId: null, actor, choice: null };
        return unlessTerminal(t.signal(this.plan, `s${op.nth % this.compiled.steps.size}`, answer));
      }
      default:
        return op satisfies never;
    }
  }

  /** A step that writes the sandbox never waits with it, and leaves a snapshot. */
  private outcomeOf(step: StartedStep, how: keyof typeof OUTCOMES): Outcome {
    const outcome: Outcome = OUTCOMES[how];
    if (this.compiled.steps.get(step.stepId)!.sandbox !== "write") return outcome;
    if (outcome.kind === "park") return OUTCOMES.release;
    return outcome.kind === "complete" ? { ...outcome, sandbox: aSnapshot(++this.snapshots) } : outcome;
  }

  /** A rewind keeps what neither needs the point nor a sandbox that was written later, and nothing else. */
  private async rewind(point: string): Promise<void> {
    const before = await t.store.detail(this.plan);
    const lost = await this.writtenSince(point, [...before.records.keys()]);
    try {
      await resumePlan(t.store, this.plan, { actor, fromStep: point });
    } catch (error) {
      if (error instanceof NotEligibleError) return;
      throw error;
    }
    const gone = new Set(descendants(this.compiled, [point, ...lost]));
    const after = await t.store.detail(this.plan);
    expect([...after.records.keys()].sort()).toEqual([...before.records.keys()].filter((id) => !gone.has(id)).sort());
    expect(after.view.meta.line).toBe(after.view.meta.epoch);
    const place = Number(await t.redis.hget(t.keys.plan(this.plan), "sandbox"));
    if (place > 0) {
      const inForce = await t.redis.lindex(t.keys.planPart(this.plan, "sandboxes"), place - 1);
      this.files = (JSON.parse(inForce!) as SandboxSnapshot).files;
    }
  }

  /** Steps that wrote the sandbox after the point first started, counted from when it was last superseded. */
  private async writtenSince(point: string, done: readonly string[]): Promise<string[]> {
    const history = await t.store.history(this.plan);
    const begins = history.findLastIndex((event) => event.type === "steps.superseded" && event.steps.includes(point));
    const started = history.findIndex(
      (event, i) => i > begins && event.type === "step.started" && event.step === point,
    );
    const committed = (id: string) => history.findLastIndex((e) => e.type === "step.completed" && e.step === id);
    if (started < 0) return [];
    return done.filter((id) => this.compiled.steps.get(id)!.sandbox === "write" && committed(id) > started);
  }

  /** Lets everything end well. */
  async finish(): Promise<void> {
    for (const i of [0, 1]) await this.step({ ...END, worker: i, fetchNext: false });
    await until(
      "the plan to complete",
      async () => {
        const { view } = await t.store.detail(this.plan);
        if (view.meta.storedState === "completed") return true;
        const asleep = view.open.some(
          (step) =>
            (step.kind === "delayed" || (step.kind === "waiting" && step.wait === "timer")) &&
            (step.dueAt ?? 0) > view.now + 1_000,
        );
        // Nobody waits an hour here: in a new epoch what is delayed runs at once, and what sleeps runs again from its start.
        if (asleep) await this.step({ op: "pause" });
        const sleeper = view.open.find(
          (step) => step.kind === "waiting" && step.wait === "timer" && (step.dueAt ?? 0) > view.now + 1_000,
        );
        if (asleep && sleeper) await this.rewind(sleeper.stepId);
        for (const step of view.open) {
          if (step.kind === "waiting" && step.wait === "signal") {
            const answer = { data: '"answer"', cancels: false, signalId: null, actor, choice: null };
            await unlessTerminal(t.signal(this.plan, step.stepId, answer));
          }
        }
        await this.step({ op: "resume" });
        await this.step({ op: "fetch", worker: 0 });
        while (this.held[0]) await this.step({ ...END, worker: 0, fetchNext: true });
        return false;
      },
      20_000,
    );
  }

  private take(index: number, reply: FetchReply): void {
    const step = reply.next.kind === "step" ? reply.next.step : null;
    this.held[index] = step;
    if (!step) return;
    const seesFiles = this.compiled.steps.get(step.stepId)!.sandbox !== "none";
    expect(step.sandbox, `the files that ${step.stepId} begins with`).toEqual(
      seesFiles ? JSON.stringify(aSnapshot(this.files)) : null,
    );
  }
}

function nameOf({ next }: FetchReply): string {
  return next.kind === "none" ? "none" : next.jobId;
}

async function unlessTerminal(call: Promise<unknown>): Promise<void> {
  await call.catch((error: { code?: string }) => {
    if (error.code !== "PLAN_TERMINAL" && error.code !== "NOT_WAITING") throw error;
  });
}

async function unlessRefused(call: Promise<unknown>): Promise<void> {
  await call.catch((error: unknown) => {
    if (!(error instanceof NotEligibleError)) throw error;
  });
}
