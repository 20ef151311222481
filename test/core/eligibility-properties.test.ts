/**
 * What `assess` says of any plan, at any frontier, from any point, against a model that is written from the contract
 * alone; and what becomes of a plan when its actions are carried out.
 */
import fc from "fast-check";
import { expect, test } from "vitest";
import type { CompiledDefinition, Effect, SandboxUse } from "../../src/core/definition.js";
import { assess } from "../../src/core/eligibility.js";
import type { PlanEvent } from "../../src/core/history.js";
import { decisionId } from "../../src/core/ids.js";
import type { OpenStep, PlanView } from "../../src/core/plan.js";
import type { ResumeActions } from "../../src/core/resume-actions.js";
import type { Acknowledgement, ResumeFacts, ResumeRequest } from "../../src/core/resume-request.js";
import type { ResumePoint } from "../../src/core/rewind.js";
import { aDefinition } from "../support/plans.js";
import { AHistory, anOpenStep, aView, NOW } from "./a-view.js";

const CASES = 1_500;
const MOST_STEPS = 12;

test("of any plan, a resume keeps, supersedes, starts and recounts exactly what it has to", () => {
  const seen = new Map<string, number>();
  fc.assert(
    fc.property(situations(), (situation) => {
      const model = modelOf(situation);
      const { summary, actions } = assess(factsOf(situation), situation.request);

      expect(summary.error?.code ?? null).toBe(model.refusal);
      expect(new Set(summary.ackRequired)).toEqual(new Set(model.asked));
      if (model.refusal === null) {
        const all = situation.ids;
        expect(new Set(actions!.superseded)).toEqual(model.superseded);
        expect(new Set(actions!.restart)).toEqual(model.restart);
        expect(actions!.restart).toHaveLength(model.restart.size);
        expect(actions!.recount).toEqual(model.recount);
        expect(actions!.rewound).toEqual(model.rewound);
        expect(actions!.acknowledged.map((ack) => ack.stepId).sort()).toEqual([...model.asked].sort());
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
      for (const kind of model.kinds) count(seen, kind);
      count(seen, model.refusal ?? `eligible from ${situation.request.from.kind}`);
    }),
    { numRuns: CASES },
  );
  // Each claim above was really put to the test.
  for (const kind of ["frontier", "step", "checkpoint", "decision"]) {
    expect(seen.get(`eligible from ${kind}`), kind).toBeGreaterThan(40);
  }
  for (const code of ["ACK_REQUIRED", "PLAN_WAITING", "PLAN_TERMINAL", "USAGE"]) {
    expect(seen.get(code), code).toBeGreaterThan(3);
  }
  for (const kind of ["a sandbox goes back", "a writer is lost", "a second line"]) {
    expect(seen.get(kind), kind).toBeGreaterThan(20);
  }
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
    { numRuns: 500 },
  );
});

test("carried out, the actions run every step of `run` exactly once, in an order that needs allow, and the plan completes", () => {
  let eligible = 0;
  fc.assert(
    fc.property(situations(), fc.array(fc.nat(), { maxLength: 40 }), (situation, turns) => {
      const { summary, actions } = assess(factsOf(situation), situation.request);
      if (actions === null) return;
      eligible++;
      const execution = new TinyExecution(situation);
      execution.park(waitingOf(situation.open));

      execution.resume(actions, null);
      const ran = execution.run(turns, Infinity);

      expect([...ran].sort()).toEqual([...summary.run].sort());
      expect(execution.isComplete).toBe(true);
    }),
    { numRuns: CASES },
  );
  expect(eligible).toBeGreaterThan(500);
});

test("under a changed definition a plan completes as well: what is kept stays, and all that is left runs exactly once", () => {
  const seen = new Map<string, number>();
  const policies = fc.constantFrom("keep" as const, "rerun" as const);
  fc.assert(
    fc.property(
      situations(),
      dice(),
      policies,
      fc.array(fc.nat(), { maxLength: 40 }),
      (situation, random, policy, turns) => {
        const offered = changed(situation, random);
        const facts = { ...factsOf(situation), offered };
        const request = { ...situation.request, onDrift: policy };
        // Whatever is asked is said, so that nothing else stands in the way.
        const { summary: asked } = assess(facts, request);
        const acks = new Map(asked.ackRequired.map((id): [string, Acknowledgement] => [id, { said: "redo" }]));
        const { summary, actions } = assess(facts, { ...request, acks });
        if (actions === null) return;
        const digestOf = (id: string, of: CompiledDefinition) => of.steps.get(id)?.digest;
        const outdated = [...situation.done].filter((id) => digestOf(id, situation.compiled) !== digestOf(id, offered));

        const execution = new TinyExecution({
          compiled: offered,
          ids: [...offered.steps.keys()],
          done: situation.done,
        });
        execution.forgetCounters();
        execution.park(waitingOf(situation.open));
        execution.resume(actions, null);
        const ran = execution.run(turns, Infinity);

        expect([...ran].sort()).toEqual([...summary.run].sort());
        expect([...ran, ...summary.reuse].sort()).toEqual([...offered.steps.keys()].sort());
        expect(execution.isComplete).toBe(true);
        expect(summary).toMatchObject({ total: offered.steps.size, version: 9 });
        if (policy === "rerun") expect(summary.reuse.filter((id) => outdated.includes(id))).toEqual([]);
        else if (request.from.kind === "frontier") {
          // Kept is every done step that is still there and needs nothing that isn't done.
          const kept = new Set([...situation.done].filter((id) => offered.steps.has(id)));
          for (let size = -1; size !== kept.size; ) {
            size = kept.size;
            for (const id of kept) if (offered.steps.get(id)!.needs.some((need) => !kept.has(need))) kept.delete(id);
          }
          expect(new Set(summary.reuse)).toEqual(kept);
        }
        count(seen, policy);
      },
    ),
    { numRuns: CASES },
  );
  for (const policy of ["keep", "rerun"]) expect(seen.get(policy), policy).toBeGreaterThan(100);
});

test("however often a plan is cut off and resumed, from wherever, no recorded step runs again unasked, and it completes", () => {
  const rounds = fc.array(fc.tuple(dice(), fc.nat(MOST_STEPS), fc.array(fc.nat(), { maxLength: 20 })), {
    maxLength: 6,
  });
  fc.assert(
    fc.property(graphs(), rounds, (graph, cuts) => {
      const life = new Life(graph);
      const execution = new TinyExecution({ ...graph, done: new Set() }, life);
      for (const [random, most, turns] of cuts) {
        const situation = situate(graph, life, random);
        const { actions, summary } = assess(factsOf(situation), situation.request);
        if (actions === null) continue;
        execution.park(waitingOf(situation.open));
        const before = new Set(execution.done);

        execution.resume(actions, summary.from);
        const ran = execution.run(turns, most);

        const again = ran.filter((id) => before.has(id));
        expect(again.every((id) => summary.newKey.includes(id))).toBe(true);
        expect(ran.every((id) => summary.run.includes(id))).toBe(true);
      }
      const last = situate(graph, life, () => 0);
      const { actions } = assess(factsOf(last), last.request);
      execution.park([]);
      if (actions !== null) execution.resume(actions, null);
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
  readonly life: Life;
  readonly done: ReadonlySet<string>;
  readonly open: readonly OpenStep[];
  readonly storedState: "running" | "paused" | "completed";
  readonly request: ResumeRequest;
}

/** The next random number below `sides`. */
type Dice = (sides: number) => number;

function situations(): fc.Arbitrary<Situation> {
  return fc.tuple(graphs(), dice()).map(([graph, random]) => {
    const life = new Life(graph);
    const isFinished = random(12) === 0;
    for (let line = random(3); line >= 0; line--) {
      life.go(isFinished ? Number.POSITIVE_INFINITY : random(3 * graph.ids.length), random);
      if (line === 0 || life.done.size === 0) continue;
      const from = point(life, [...life.done], random);
      if (from.kind !== "frontier") life.goBack(from);
    }
    return situate(graph, life, random);
  });
}

function graphs(): fc.Arbitrary<Graph> {
  const size = fc.integer({ min: 1, max: MOST_STEPS });
  return size.chain((n) => {
    const edges = fc.array(fc.boolean(), { minLength: (n * (n - 1)) / 2, maxLength: (n * (n - 1)) / 2 });
    const sparse = fc.array(fc.integer({ min: 0, max: 4 }), { minLength: n, maxLength: n });
    const effects = fc.array(fc.constantFrom<Effect>("idempotent", "idempotent", "idempotent", "irreversible"), {
      minLength: n,
      maxLength: n,
    });
    const sandboxes = fc.array(fc.constantFrom<SandboxUse>("none", "none", "read", "write"), {
      minLength: n,
      maxLength: n,
    });
    const listed = fc.shuffledSubarray([...Array(n).keys()], { minLength: n });
    return fc.tuple(edges, sparse, effects, sandboxes, listed).map(([edge, most, effect, sandbox, order]): Graph => {
      const steps = order.map((i) => {
        const needs = [...Array(i).keys()].filter((j) => edge[(i * (i - 1)) / 2 + j]).slice(0, most[i]);
        return { id: `s${i}`, needs: needs.map((j) => `s${j}`), effect: effect[i]!, sandbox: sandbox[i]! };
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

type Moment =
  | { readonly kind: "start"; readonly step: string }
  | { readonly kind: "decide"; readonly step: string; readonly decisionId: string }
  | { readonly kind: "commit"; readonly step: string; readonly checkpointId: string; readonly place: number | null };

/** What happened to a plan: its history, and beside it the plainest account of the current line, moment by moment. */
class Life {
  readonly history = new AHistory();
  line: Moment[] = [];
  lines = 1;
  done = new Set<string>();
  private decisions = 0;
  private readonly hasSandbox: boolean;
  snapshots = 1;
  /** Which snapshot is in force. */
  place: number | null;

  constructor(private readonly graph: Graph) {
    this.hasSandbox = [...graph.compiled.steps.values()].some((step) => step.sandbox !== "none");
    this.place = this.hasSandbox ? 1 : null;
  }

  /** Several workers at once: so many times, some step starts, decides or commits. */
  go(moves: number, random: Dice): void {
    for (let move = 0; move < moves; move++) {
      const isDone = (id: string) => this.done.has(id);
      const free = this.graph.ids.filter((id) => !isDone(id) && this.graph.compiled.steps.get(id)!.needs.every(isDone));
      if (free.length === 0) return;
      const step = free[random(free.length)]!;
      const isStarted = this.line.some((moment) => moment.kind === "start" && moment.step === step);
      // Now and then a started step starts again: its worker died.
      if (!isStarted || random(8) === 0) this.start(step);
      else if (random(3) === 0) this.decide(step);
      else this.commit(step);
    }
  }

  start(step: string): void {
    this.history.started(step);
    this.line.push({ kind: "start", step });
  }

  decide(step: string): void {
    const decisionId = `dec_${++this.decisions}`;
    this.history.decided(decisionId, step);
    this.line.push({ kind: "decide", step, decisionId });
  }

  commit(step: string): void {
    if (this.graph.compiled.steps.get(step)!.sandbox === "write") this.place = ++this.snapshots;
    const { checkpointId } = this.history.completed(step, digestOf(this.place)).last as PlanEvent & {
      type: "step.completed";
    };
    this.line.push({ kind: "commit", step, checkpointId, place: this.place });
    this.done.add(step);
  }

  /** Where in the line a point stands; everything from there on came after it. */
  placeOf(from: ResumePoint): number {
    const first = (step: string) => {
      const at = this.line.findIndex((moment) => moment.step === step && moment.kind === "start");
      return at < 0 ? this.line.length : at;
    };
    switch (from.kind) {
      case "frontier":
        return this.line.length;
      case "step":
        return first(from.stepId);
      case "checkpoint":
        return 1 + this.line.findIndex((m) => m.kind === "commit" && m.checkpointId === from.checkpointId);
      case "decision": {
        const decided = this.line.find((m) => m.kind === "decide" && m.decisionId === from.decisionId);
        return decided === undefined ? 0 : first(decided.step);
      }
      default:
        return from satisfies never;
    }
  }

  /** Everything that runs again, whether it was reached or not. */
  below(from: ResumePoint): ReadonlySet<string> {
    if (from.kind === "frontier") return new Set();
    const { ids, compiled } = this.graph;
    const needsOf = (id: string) => compiled.steps.get(id)!.needs;
    const stepOf = (find: (moment: Moment) => boolean) => this.line.find(find)?.step;
    const isAtPoint = (id: string) => {
      switch (from.kind) {
        case "step":
          return id === from.stepId;
        case "checkpoint":
          return needsOf(id).includes(
            stepOf((m) => m.kind === "commit" && m.checkpointId === from.checkpointId) ?? "none",
          );
        case "decision": {
          const step = stepOf((m) => m.kind === "decide" && m.decisionId === from.decisionId);
          return step === undefined ? needsOf(id).length === 0 : id === step;
        }
        default:
          return from satisfies never;
      }
    };
    const lost = this.line
      .slice(this.placeOf(from))
      .filter((moment) => moment.kind === "commit" && compiled.steps.get(moment.step)!.sandbox === "write")
      .map((moment) => moment.step);
    const below = new Set(ids.filter((id) => isAtPoint(id) || lost.includes(id)));
    for (let size = -1; size !== below.size; ) {
      size = below.size;
      for (const id of ids) if (needsOf(id).some((need) => below.has(need))) below.add(id);
    }
    return below;
  }

  /** The moments that are kept. */
  kept(from: ResumePoint): Moment[] {
    const below = this.below(from);
    const at = this.line.findIndex(
      (m) => from.kind === "decision" && m.kind === "decide" && m.decisionId === from.decisionId,
    );
    const anew = this.line[at]?.step;
    return this.line.filter(
      (moment, i) => !below.has(moment.step) || (moment.kind === "decide" && moment.step === anew && i < at),
    );
  }

  placeIn(kept: readonly Moment[]): number | null {
    const writes = kept.findLast(
      (m) => m.kind === "commit" && this.graph.compiled.steps.get(m.step)!.sandbox === "write",
    );
    return writes?.kind === "commit" ? writes.place : this.hasSandbox ? 1 : null;
  }

  goBack(from: ResumePoint, superseded: readonly string[] = this.reached(from)): void {
    if (superseded.length === 0) return;
    const kept = this.kept(from);
    const text = from.kind === "decision" ? `decision ${from.decisionId}` : "elsewhere";
    this.history.rewound(text, ...superseded);
    this.line = kept;
    this.done = new Set(kept.flatMap((moment) => (moment.kind === "commit" ? [moment.step] : [])));
    this.place = this.placeIn(kept);
    this.lines++;
  }

  private reached(from: ResumePoint): string[] {
    return [...this.below(from)].filter((id) => this.line.some((moment) => moment.step === id));
  }
}

/** Cuts a plan off: every step that is free ends up in some state, in any order; then somebody asks for something. */
function situate(graph: Graph, life: Life, random: Dice): Situation {
  const { compiled, ids } = graph;
  const { done } = life;
  const isDone = done.size === ids.length;
  const free = ids.filter((id) => !done.has(id) && compiled.steps.get(id)!.needs.every((need) => done.has(need)));
  const onlyWaits = random(6) === 1;
  const open = free
    .map((id) => ({ step: openStep(id, compiled.steps.get(id)!.effect, onlyWaits, random), place: random(99) }))
    .sort((a, b) => a.place - b.place)
    .map(({ step }) => step);
  const from = point(life, [...done, ...open.map((step) => step.stepId)], random);
  const storedState = isDone ? "completed" : random(5) === 1 ? "paused" : "running";
  const request: ResumeRequest = {
    from,
    onDrift: "report",
    excludesOthers: false,
    choose: null,
    acks: said(graph, life, open, from, random),
    reason: null,
  };
  return { compiled, ids, life, done, open, storedState, request };
}

/** Mostly what has to be said, and sometimes too little, too much, or the wrong thing. */
function said(
  graph: Graph,
  life: Life,
  open: readonly OpenStep[],
  from: ResumePoint,
  random: Dice,
): Map<string, Acknowledgement> {
  const acks = new Map<string, Acknowledgement>();
  const { inDoubt, repeated } = askedFor(graph, life, open, from);
  const isForgetful = random(8) === 1;
  for (const id of [...inDoubt, ...repeated]) {
    if (isForgetful && random(2) === 0) continue;
    const isDone = repeated.includes(id) ? random(12) === 1 : random(2) === 1;
    acks.set(id, isDone ? { said: "done", output: `"${id}"` } : { said: "redo" });
  }
  if (random(15) === 1) acks.set(graph.ids[random(graph.ids.length)]!, { said: "redo" });
  return acks;
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

const ROOT = decisionId(aView().meta.tag, aView().meta.createdAt, 0);

function point(life: Life, reached: readonly string[], random: Dice): ResumePoint {
  const one = <T>(of: readonly T[]) => of[random(of.length)]!;
  const commits = life.line.flatMap((moment) => (moment.kind === "commit" ? [moment.checkpointId] : []));
  const decided = life.line.flatMap((moment) => (moment.kind === "decide" ? [moment.decisionId] : []));
  switch (random(5)) {
    case 1:
      return { kind: "step", stepId: one(reached) };
    case 2:
      return commits.length === 0 ? { kind: "frontier" } : { kind: "checkpoint", checkpointId: one(commits) };
    case 3:
      return decided.length === 0 ? { kind: "frontier" } : { kind: "decision", decisionId: one(decided) };
    case 4:
      return { kind: "decision", decisionId: ROOT };
    default:
      return { kind: "frontier" };
  }
}

function factsOf({ compiled, ids, life, done, open, storedState }: Situation): ResumeFacts {
  const meta = { storedState, total: ids.length, done: done.size, sandboxPlace: life.place };
  const view: PlanView = aView({ meta, open });
  const doneSteps = ids.filter((id) => done.has(id));
  const taken = life.place === null ? 0 : life.snapshots;
  const snapshots = Array.from({ length: taken }, (_, i) => ({
    provider: "directory",
    digest: digestOf(i + 1)!,
    files: 1,
    bytes: 1,
  }));
  return {
    view,
    compiled,
    doneSteps,
    events: life.history.events,
    decisions: [],
    snapshots,
    inForce: life.place === null ? null : snapshots[life.place - 1]!,
    offered: null,
    files: null,
    missingWorkdir: null,
  };
}

function digestOf(place: number | null): string | null {
  return place === null ? null : `sha256:${place}`;
}

/** Steps changed, removed, added, and needing something else. */
function changed({ compiled, ids }: Graph, random: Dice): CompiledDefinition {
  const removed = new Set(ids.filter(() => random(8) === 0));
  const number = (id: string) => Number(id.slice(1));
  const left = [...ids].sort((a, b) => number(a) - number(b)).filter((id) => !removed.has(id));
  const added = Array.from({ length: random(3) }, (_, i) => ({ id: `n${i}`, at: random(left.length + 1) }));
  const order = [...left];
  for (const { id, at } of added) order.splice(at, 0, id);
  const steps = order.map((id, i) => {
    const old = compiled.steps.get(id);
    const needs = (old?.needs ?? []).filter((need) => !removed.has(need));
    if (i > 0 && (old === undefined || random(6) === 0)) needs.push(order[random(i)]!);
    const { effect = "idempotent", sandbox = "none" } = old ?? {};
    return { id, needs: [...new Set(needs)], effect, sandbox, rev: random(6) === 0 ? "2" : null };
  });
  if (steps.length === 0) steps.push({ id: "n9", needs: [], effect: "idempotent", sandbox: "none", rev: null });
  return aDefinition(steps, { version: 9, name: aView().meta.name });
}

// ---- The model

interface Model {
  readonly refusal: string | null;
  /** Steps of which something has to be said. */
  readonly asked: readonly string[];
  readonly settled: ReadonlySet<string>;
  readonly superseded: ReadonlySet<string>;
  readonly reuse: ReadonlySet<string>;
  readonly restart: ReadonlySet<string>;
  readonly recount: ReadonlyMap<string, number>;
  readonly rewound: ResumeActions["rewound"];
  readonly first: string | null;
  /** What is special about the case. */
  readonly kinds: readonly string[];
}

function modelOf({ compiled, ids, life, done, open, storedState, request }: Situation): Model {
  const needsOf = (id: string) => compiled.steps.get(id)!.needs;
  const isOpen = new Map(open.map((step) => [step.stepId, step]));
  const below = life.below(request.from);
  const superseded = new Set([...below].filter((id) => done.has(id) || isOpen.has(id)));
  const reuse = new Set([...done].filter((id) => !below.has(id)));

  const { inDoubt, repeated } = askedFor({ compiled, ids }, life, open, request.from);
  const asked = [...inDoubt, ...repeated];
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
  const isMistaken =
    [...request.acks.keys()].some((id) => !asked.includes(id)) ||
    repeated.some((id) => request.acks.get(id)?.said === "done");
  const refusal =
    storedState === "completed"
      ? "PLAN_TERMINAL"
      : storedState !== "paused" && isWaiting && superseded.size === 0
        ? "PLAN_WAITING"
        : asked.some((id) => !request.acks.has(id))
          ? "ACK_REQUIRED"
          : isMistaken
            ? "USAGE"
            : null;
  const first = free.find((id) => !goesOnWaiting(id)) ?? free[0] ?? null;

  const moments = life.kept(request.from);
  const last = moments.findLast((m) => m.kind === "commit");
  const decided = moments.findLast((m) => m.kind === "decide");
  const rewound = {
    lastCompletedStep: last?.step ?? null,
    lastCheckpointId: last?.kind === "commit" ? last.checkpointId : null,
    lastDecisionId: decided?.kind === "decide" ? decided.decisionId : ROOT,
    sandboxPlace: life.placeIn(moments),
  };
  const lost = life.line.slice(life.placeOf(request.from)).filter((m) => m.kind === "commit" && below.has(m.step));
  const kinds = [
    ...(rewound.sandboxPlace !== life.place ? ["a sandbox goes back"] : []),
    ...(lost.some((m) => compiled.steps.get(m.step)!.sandbox === "write") ? ["a writer is lost"] : []),
    ...(life.lines > 1 && request.from.kind !== "frontier" ? ["a second line"] : []),
  ];
  return {
    refusal,
    asked,
    settled,
    superseded,
    reuse,
    restart: new Set(restart),
    recount: new Map(recount),
    rewound: superseded.size > 0 ? rewound : null,
    first,
    kinds,
  };
}

/** Irreversible steps that may have happened; and those that happened, or may have, and would happen again. */
function askedFor({ compiled, ids }: Graph, life: Life, open: readonly OpenStep[], from: ResumePoint) {
  const below = life.below(from);
  const cutOff = open
    .filter((step) => step.effect === "irreversible" && step.attempts > 0 && step.kind !== "waiting")
    .map((step) => step.stepId);
  const happened = ids.filter((id) => life.done.has(id) && compiled.steps.get(id)!.effect === "irreversible");
  return {
    inDoubt: cutOff.filter((id) => !below.has(id)),
    repeated: [...cutOff, ...happened].filter((id) => below.has(id)),
  };
}

// ---- Carrying it out

/** A plan in memory, as the store keeps it: records, counters of done needs that only count up, steps that can run. */
class TinyExecution {
  readonly done: Set<string>;
  private readonly compiled: CompiledDefinition;
  private readonly counters = new Map<string, number>();
  private readonly queued: string[] = [];
  private parked: string[] = [];

  /** @param life what to write down of what happens */
  constructor(
    plan: Graph & { readonly done: ReadonlySet<string> },
    private readonly life: Life | null = null,
  ) {
    this.compiled = plan.compiled;
    this.done = new Set(plan.done);
    for (const { id, needs } of plan.compiled.steps.values()) {
      this.counters.set(id, needs.filter((need) => plan.done.has(need)).length);
    }
  }

  get isComplete(): boolean {
    return this.done.size === this.compiled.steps.size;
  }

  /** As if every counter were that of another definition. */
  forgetCounters(): void {
    for (const id of this.compiled.steps.keys()) this.counters.set(id, -1_000);
  }

  /** What waits for a person or a signal, the workers being dead. */
  park(waiting: readonly string[]): void {
    this.queued.length = 0;
    this.parked = [...waiting];
  }

  resume(actions: ResumeActions, from: string | null): void {
    const [kind = "", id = ""] = from?.split(" ") ?? [];
    const points: Record<string, ResumePoint> = {
      step: { kind: "step", stepId: id },
      checkpoint: { kind: "checkpoint", checkpointId: id },
      decision: { kind: "decision", decisionId: id },
    };
    this.life?.goBack(points[kind] ?? { kind: "frontier" }, actions.superseded);
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
      this.life?.start(id!);
      this.record(id!);
      ran.push(id!);
    }
    return ran;
  }

  private record(id: string): void {
    this.life?.commit(id);
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
