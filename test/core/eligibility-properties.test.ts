/**
 * What `assess` says of any plan, at any frontier, from any point, against a model that is written from the contract
 * alone; and what becomes of a plan when its actions are carried out.
 */
import fc from "fast-check";
import { expect, test } from "vitest";
import type { CompiledDefinition, Effect } from "../../src/core/definition.js";
import {
  type Acknowledgement,
  assess,
  type ResumeActions,
  type ResumeFacts,
  type ResumePoint,
} from "../../src/core/eligibility.js";
import type { OpenStep, PlanView } from "../../src/core/plan.js";
import { aDefinition } from "../support/plans.js";
import { anOpenStep, aView, NOW } from "./a-view.js";

const CASES = 3_000;
const MOST_STEPS = 12;

test("of any plan, a resume keeps, supersedes, starts and recounts exactly what it has to", () => {
  const seen = new Map<string, number>();
  fc.assert(
    fc.property(situations(), (situation) => {
      const model = modelOf(situation);
      const { summary, actions } = assess(factsOf(situation), situation.request);

      expect(summary.error?.code ?? null).toBe(model.refusal);
      expect(new Set(summary.ackRequired)).toEqual(new Set(model.inDoubt));
      if (model.refusal === null) {
        const all = situation.ids;
        expect(new Set(actions!.superseded)).toEqual(model.superseded);
        expect(new Set(actions!.restart)).toEqual(model.restart);
        expect(actions!.restart).toHaveLength(model.restart.size);
        expect(actions!.recount).toEqual(model.recount);
        expect(summary.reuse).toEqual(all.filter((id) => model.reuse.has(id)));
        expect(summary.run).toEqual(all.filter((id) => !model.reuse.has(id) && !model.settled.has(id)));
        expect([...summary.reuse, ...summary.run, ...model.settled].sort()).toEqual([...all].sort());
        expect([summary.reuseCount, summary.runCount]).toEqual([summary.reuse.length, summary.run.length]);
        expect(summary.newKey).toEqual(actions!.superseded);
        expect(summary.step).toBe(model.first);
      } else {
        expect(actions).toBeNull();
        expect([summary.run, summary.runCount, summary.nextEpoch]).toEqual([[], 0, summary.epoch]);
      }
      count(seen, model.refusal ?? `eligible from ${situation.request.from.kind}`);
    }),
    { numRuns: CASES },
  );
  // Each claim above was really put to the test.
  for (const kind of ["frontier", "step", "checkpoint", "decision"]) {
    expect(seen.get(`eligible from ${kind}`), kind).toBeGreaterThan(200);
  }
  for (const code of ["ACK_REQUIRED", "PLAN_WAITING", "PLAN_TERMINAL"])
    expect(seen.get(code), code).toBeGreaterThan(10);
});

test("a live worker that could go on with any step of a plan makes every resume wait for it, whatever is asked", () => {
  fc.assert(
    fc.property(situations(), fc.nat(), (situation, pick) => {
      const facts = factsOf(situation);
      const able = facts.view.open.filter((step) => step.kind === "running" || step.kind === "queued");
      fc.pre(able.length > 0 && facts.view.meta.storedState !== "paused");
      const chosen = able[pick % able.length]!;
      const step = chosen.kind === "running" ? { ...chosen, workerId: "w-live" } : { ...chosen, queue: "served" };
      const open = facts.view.open.map((other) => (other === chosen ? step : other));
      const view = { ...aView({ open, served: ["served"] }), meta: facts.view.meta };

      const { summary, actions } = assess({ ...facts, view }, situation.request);

      expect(actions).toBeNull();
      expect(summary.error!.code).toBe("PLAN_ACTIVE");
      expect(summary.error!.details).toMatchObject({ step: step.stepId, worker: "w-live" });
    }),
    { numRuns: 1_000 },
  );
});

test("carried out, the actions run every step of `run` exactly once, in an order that needs allow, and the plan completes", () => {
  let eligible = 0;
  fc.assert(
    fc.property(situations(), fc.array(fc.nat(), { maxLength: 40 }), (situation, turns) => {
      const { summary, actions } = assess(factsOf(situation), situation.request);
      if (actions === null) return;
      eligible++;
      const execution = new TinyExecution(situation.compiled, situation.done);
      execution.park(waitingOf(situation.open));

      execution.resume(actions);
      const ran = execution.run(turns, Infinity);

      expect([...ran].sort()).toEqual([...summary.run].sort());
      expect(execution.isComplete).toBe(true);
    }),
    { numRuns: CASES },
  );
  expect(eligible).toBeGreaterThan(1_000);
});

test("however often a plan is cut off and resumed, from wherever, no recorded step runs again unasked, and it completes", () => {
  const rounds = fc.array(fc.tuple(dice(), fc.nat(MOST_STEPS), fc.array(fc.nat(), { maxLength: 20 })), {
    maxLength: 6,
  });
  fc.assert(
    fc.property(graphs(), rounds, (graph, cuts) => {
      const execution = new TinyExecution(graph.compiled, new Set());
      for (const [random, most, turns] of cuts) {
        const situation = situate(graph, execution.done, random);
        const { actions, summary } = assess(factsOf(situation), situation.request);
        if (actions === null) continue;
        execution.park(waitingOf(situation.open));
        const before = new Set(execution.done);

        execution.resume(actions);
        const ran = execution.run(turns, most);

        const again = ran.filter((id) => before.has(id));
        expect(again.every((id) => summary.newKey.includes(id))).toBe(true);
        expect(ran.every((id) => summary.run.includes(id))).toBe(true);
      }
      const last = situate(graph, execution.done, () => 0);
      const { actions } = assess(factsOf(last), last.request);
      execution.park([]);
      if (actions !== null) execution.resume(actions);
      execution.run([], Infinity);

      expect(execution.isComplete).toBe(true);
    }),
    { numRuns: 1_000 },
  );
});

// ---- Random plans

interface Graph {
  readonly compiled: CompiledDefinition;
  /** In listed order, which says nothing of who needs whom. */
  readonly ids: readonly string[];
}

/** A plan that nobody alive executes, and what somebody asks of it. */
interface Situation extends Graph {
  readonly done: ReadonlySet<string>;
  readonly open: readonly OpenStep[];
  readonly storedState: "running" | "paused" | "completed";
  readonly request: Parameters<typeof assess>[1];
}

/** The next random number below `sides`. */
type Dice = (sides: number) => number;

function situations(): fc.Arbitrary<Situation> {
  return fc.tuple(graphs(), dice()).map(([graph, random]) => {
    const finished = random(12);
    const done = new Set<string>();
    for (const id of inOrderOfNeeds(graph.compiled)) {
      const isFree = graph.compiled.steps.get(id)!.needs.every((need) => done.has(need));
      if (isFree && (finished === 0 || random(5) > 1)) done.add(id);
    }
    return situate(graph, done, random);
  });
}

function graphs(): fc.Arbitrary<Graph> {
  const size = fc.integer({ min: 1, max: MOST_STEPS });
  return size.chain((n) => {
    const edges = fc.array(fc.boolean(), { minLength: (n * (n - 1)) / 2, maxLength: (n * (n - 1)) / 2 });
    const sparse = fc.array(fc.integer({ min: 0, max: 4 }), { minLength: n, maxLength: n });
    const effects = fc.array(fc.constantFrom<Effect>("idempotent", "idempotent", "irreversible"), {
      minLength: n,
      maxLength: n,
    });
    const listed = fc.shuffledSubarray([...Array(n).keys()], { minLength: n });
    return fc.tuple(edges, sparse, effects, listed).map(([edge, most, effect, order]): Graph => {
      const steps = order.map((i) => {
        const needs = [...Array(i).keys()].filter((j) => edge[(i * (i - 1)) / 2 + j]).slice(0, most[i]);
        return { id: `s${i}`, needs: needs.map((j) => `s${j}`), effect: effect[i]! };
      });
      return { compiled: aDefinition(steps), ids: steps.map((step) => step.id) };
    });
  });
}

/** A stream drawn from fast-check's own numbers would take most of the time of these tests. */
function dice(): fc.Arbitrary<Dice> {
  return fc.integer().map((seed) => {
    let state = seed;
    return (sides) => {
      state = (state + 0x6d2b79f5) | 0;
      let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
      mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
      return ((mixed ^ (mixed >>> 14)) >>> 0) % sides;
    };
  });
}

/** Cuts a plan off: every step that is free ends up in some state, in any order; then somebody asks for something. */
function situate({ compiled, ids }: Graph, done: ReadonlySet<string>, random: Dice): Situation {
  const isDone = done.size === ids.length;
  const free = ids.filter((id) => !done.has(id) && compiled.steps.get(id)!.needs.every((need) => done.has(need)));
  const onlyWaits = random(6) === 1;
  const open = free
    .map((id) => ({ step: openStep(id, compiled.steps.get(id)!.effect, onlyWaits, random), place: random(99) }))
    .sort((a, b) => a.place - b.place)
    .map(({ step }) => step);
  const from = point(ids, done, open, random);
  const acks = new Map<string, Acknowledgement>();
  const forgetful = random(8) === 1;
  for (const { stepId, effect } of open) {
    if (effect !== "irreversible" || (forgetful && random(2) === 0)) continue;
    acks.set(stepId, random(2) === 0 ? { said: "redo" } : { said: "done", output: `"${stepId}"` });
  }
  const storedState = isDone ? "completed" : random(5) === 1 ? "paused" : "running";
  return { compiled, ids, done, open, storedState, request: { from, acks, reason: null } };
}

function openStep(id: string, effect: Effect, onlyWaits: boolean, random: Dice): OpenStep {
  const dueAt = random(2) === 0 ? NOW - 1_000 : NOW + 1_000;
  const started = { effect, attempts: 1 + random(3) };
  switch (onlyWaits ? 7 + random(2) : random(10)) {
    case 0:
      return anOpenStep(id, "queued", { effect, attempts: random(2) });
    case 1:
      return anOpenStep(id, "delayed", { effect, attempts: random(2), dueAt });
    case 2:
      return anOpenStep(id, "backlog", { effect, attempts: random(2) });
    case 3:
      return anOpenStep(id, "held", { effect, attempts: random(2) });
    case 4:
      return anOpenStep(id, "running", started);
    case 5:
      return anOpenStep(id, "failed", started);
    case 6:
      return anOpenStep(id, effect === "irreversible" ? "uncertain" : "queued", started);
    case 7:
      return anOpenStep(id, "waiting", { ...started, wait: "approval" });
    case 8:
      return anOpenStep(id, "waiting", { ...started, wait: "signal" });
    default:
      return anOpenStep(id, "waiting", { ...started, wait: "timer", dueAt });
  }
}

function point(
  ids: readonly string[],
  done: ReadonlySet<string>,
  open: readonly OpenStep[],
  random: Dice,
): ResumePoint {
  const reached = [...done, ...open.map((step) => step.stepId)];
  const one = (of: readonly string[]) => of[random(of.length)]!;
  switch (random(5)) {
    case 1:
      return { kind: "step", stepId: one(reached) };
    case 2:
      return done.size === 0
        ? { kind: "frontier" }
        : { kind: "checkpoint", checkpointId: "ckp_1", stepId: one([...done]) };
    case 3:
      return { kind: "decision", decisionId: "dec_1", stepId: one(ids) };
    case 4:
      return { kind: "decision", decisionId: "dec_0", stepId: { root: true } };
    default:
      return { kind: "frontier" };
  }
}

function factsOf({ compiled, ids, done, open, storedState }: Situation): ResumeFacts {
  const view: PlanView = aView({ meta: { storedState, total: ids.length, done: done.size }, open });
  return { view, compiled, doneSteps: ids.filter((id) => done.has(id)), missingWorkdir: null };
}

function inOrderOfNeeds(compiled: CompiledDefinition): string[] {
  const order = new Set<string>();
  while (order.size < compiled.steps.size) {
    for (const { id, needs } of compiled.steps.values()) if (needs.every((need) => order.has(need))) order.add(id);
  }
  return [...order];
}

// ---- The model

interface Model {
  readonly refusal: string | null;
  readonly inDoubt: readonly string[];
  readonly settled: ReadonlySet<string>;
  readonly superseded: ReadonlySet<string>;
  readonly reuse: ReadonlySet<string>;
  readonly restart: ReadonlySet<string>;
  readonly recount: ReadonlyMap<string, number>;
  readonly first: string | null;
}

function modelOf({ compiled, ids, done, open, storedState, request }: Situation): Model {
  const needsOf = (id: string) => compiled.steps.get(id)!.needs;
  const isOpen = new Map(open.map((step) => [step.stepId, step]));
  const below = new Set(ids.filter((id) => isAtPoint(id, needsOf(id), request.from)));
  for (let size = -1; size !== below.size; ) {
    size = below.size;
    for (const id of ids) if (needsOf(id).some((need) => below.has(need))) below.add(id);
  }
  const superseded = new Set([...below].filter((id) => done.has(id) || isOpen.has(id)));
  const reuse = new Set([...done].filter((id) => !below.has(id)));

  const inDoubt = open
    .filter((step) => step.effect === "irreversible" && step.attempts > 0 && step.kind !== "waiting")
    .map((step) => step.stepId)
    .filter((id) => !below.has(id));
  const settled = new Set(inDoubt.filter((id) => request.acks.get(id)?.said === "done"));
  const kept = new Set([...reuse, ...settled]);
  const goesOnWaiting = (id: string) => {
    const step = isOpen.get(id);
    return step?.kind === "waiting" && step.wait !== "timer" && !below.has(id);
  };
  const left = ids.filter((id) => !kept.has(id));
  const free = left.filter((id) => needsOf(id).every((need) => kept.has(need)));
  const restart = left.filter((id) => needsOf(id).every((need) => reuse.has(need)) && !goesOnWaiting(id));
  const recount = [...below]
    .map((id): [string, number] => [id, needsOf(id).filter((need) => reuse.has(need)).length])
    .filter(([id, count]) => count < needsOf(id).length);

  const isWaiting = open.every((step) => step.kind === "waiting" && (step.wait !== "timer" || (step.dueAt ?? 0) > NOW));
  const refusal =
    storedState === "completed"
      ? "PLAN_TERMINAL"
      : storedState !== "paused" && isWaiting && superseded.size === 0
        ? "PLAN_WAITING"
        : inDoubt.some((id) => !request.acks.has(id))
          ? "ACK_REQUIRED"
          : null;
  const first = free.find((id) => !goesOnWaiting(id)) ?? free[0] ?? null;
  return { refusal, inDoubt, settled, superseded, reuse, restart: new Set(restart), recount: new Map(recount), first };
}

function isAtPoint(id: string, needs: readonly string[], from: ResumePoint): boolean {
  switch (from.kind) {
    case "frontier":
      return false;
    case "step":
      return id === from.stepId;
    case "checkpoint":
      return needs.includes(from.stepId!);
    case "decision":
      return typeof from.stepId === "string" ? id === from.stepId : needs.length === 0;
    default:
      return from satisfies never;
  }
}

// ---- Carrying it out

/** A plan in memory, as the store keeps it: records, counters of done needs that only count up, steps that can run. */
class TinyExecution {
  readonly done: Set<string>;
  private readonly counters = new Map<string, number>();
  private readonly queued: string[] = [];
  private parked: string[] = [];

  constructor(
    private readonly compiled: CompiledDefinition,
    done: ReadonlySet<string>,
  ) {
    this.done = new Set(done);
    for (const { id, needs } of compiled.steps.values()) {
      this.counters.set(id, needs.filter((need) => done.has(need)).length);
    }
  }

  get isComplete(): boolean {
    return this.done.size === this.compiled.steps.size;
  }

  /** What waits for a person or a signal, the workers being dead. */
  park(waiting: readonly string[]): void {
    this.queued.length = 0;
    this.parked = [...waiting];
  }

  resume(actions: ResumeActions): void {
    for (const id of actions.superseded) this.done.delete(id);
    this.parked = this.parked.filter((id) => !actions.superseded.includes(id));
    for (const [id, count] of actions.recount) this.counters.set(id, count);
    for (const { stepId, said } of actions.acknowledged) if (said === "done") this.record(stepId);
    this.queued.push(...actions.restart);
  }

  /** Executes at most so many of the queued steps, and of those that wait, in the order of `turns`. */
  run(turns: readonly number[], most: number): string[] {
    const ran: string[] = [];
    while (ran.length < most && this.queued.length + this.parked.length > 0) {
      const turn = (turns[ran.length] ?? 0) % (this.queued.length + this.parked.length);
      const from = turn < this.queued.length ? this.queued : this.parked;
      const [id] = from.splice(turn < this.queued.length ? turn : turn - this.queued.length, 1);
      for (const need of this.compiled.steps.get(id!)!.needs) expect(this.done, `${id} needs ${need}`).toContain(need);
      expect(this.done, `${id} runs with its record there`).not.toContain(id);
      this.record(id!);
      ran.push(id!);
    }
    return ran;
  }

  private record(id: string): void {
    this.done.add(id);
    for (const next of this.compiled.steps.get(id)!.next) {
      const count = this.counters.get(next)! + 1;
      this.counters.set(next, count);
      if (count === this.compiled.steps.get(next)!.needs.length) this.queued.push(next);
    }
  }
}

function waitingOf(open: readonly OpenStep[]): string[] {
  return open.filter((step) => step.kind === "waiting" && step.wait !== "timer").map((step) => step.stepId);
}

function count(seen: Map<string, number>, what: string): void {
  seen.set(what, (seen.get(what) ?? 0) + 1);
}
