/**
 * Workers of a busy fleet are killed with steps in their hands, one after the other and sometimes two at once, and
 * replaced, while plans of every kind come in and a person answers what they ask. At the end every plan has to be
 * completed, no step recorded twice, no invariant broken; and a ledger outside of Redis may show an effect a second
 * time only where an attempt was cut off.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { AnyPlan, Client, EventDocument, PlanDocument } from "waymark";
import { WaymarkError } from "waymark";
import { Fleet, type FleetProcess, type LedgerLine } from "../support/fleet.js";
import { chain, deciding, graph, retrying, waiting } from "../support/fleet-plans.mjs";
import { until } from "../support/until.js";

export interface KillsOptions {
  readonly url: string;
  readonly prefix: string;
  /** Kills of workers that have steps in flight. */
  readonly count: number;
  readonly workers: number;
  readonly seed: number;
  readonly talk?: (text: string) => void;
}

export interface KillsReport {
  readonly kills: number;
  readonly plans: number;
  readonly steps: number;
  /** Attempts that a kill cut off. */
  readonly attemptsHit: number;
  /** Effects beyond one for each step. */
  readonly repeatedEffects: number;
  /** Those of them by a worker that was taken for dead too early: a fence tells an outside system to refuse them. */
  readonly lateEffects: number;
  /** Plans that had to be resumed, because one step was hit again and again by chance. */
  readonly resumed: number;
  /** From a kill to the first of its steps going back, in ms. */
  readonly takenBackMs: { readonly p50: number; readonly p99: number };
  readonly lost: readonly string[];
  /** Steps with two records. */
  readonly duplicates: readonly string[];
  readonly violations: readonly string[];
}

const KINDS: readonly AnyPlan[] = [chain, graph, retrying, waiting, deciding];
const OPEN_PLANS = 30;
const STEP_MS = 150;
const CONCURRENCY = 6;
/** How often two die in one moment. */
const TWO_AT_ONCE = 0.1;
/** Who is killed is seen to be gone; a machine with more to do than it can must not look like more deaths. */
const DEAD_AFTER_MS = 10_000;
const END_DEADLINE_MS = 180_000;

export async function runKills(options: KillsOptions): Promise<KillsReport> {
  const fleet = new Fleet(options.url, options.prefix, DEAD_AFTER_MS);
  try {
    return await new Kills(fleet, options).run();
  } finally {
    await fleet.close();
  }
}

class Kills {
  private readonly random: () => number;
  private readonly plans: string[] = [];
  private readonly killedAtMs = new Map<string, number>();
  private readonly starting: Promise<void>[] = [];
  private alive: FleetProcess[] = [];
  private failure: unknown = null;
  private resumed = 0;
  private isFeeding = true;
  private isOver = false;

  constructor(
    private readonly fleet: Fleet,
    private readonly options: KillsOptions,
  ) {
    this.random = randomFrom(options.seed);
  }

  async run(): Promise<KillsReport> {
    await this.replace(this.options.workers);
    const around = [this.feed(), this.answer()];
    try {
      await this.killAll();
      this.isFeeding = false;
      await Promise.all(this.starting);
      return await this.report(await this.unfinished());
    } finally {
      this.isFeeding = false;
      this.isOver = true;
      await Promise.all(around);
    }
  }

  private async killAll(): Promise<void> {
    const { count, talk = () => {} } = this.options;
    while (this.killedAtMs.size < count) {
      await this.killSome(Math.min(this.random() < TWO_AT_ONCE ? 2 : 1, count - this.killedAtMs.size));
      talk(`${this.killedAtMs.size} of ${count} workers killed, ${this.plans.length} plans submitted`);
    }
  }

  /** Waits until so many workers have steps in flight, and at least one is left to take them. */
  private async killSome(some: number): Promise<void> {
    const victims = await until(
      `${some} of ${this.alive.length} workers to have steps in flight`,
      () => {
        if (this.failure !== null) throw this.failure;
        const busy = this.busy();
        return busy.length >= some && this.alive.length > some && busy;
      },
      END_DEADLINE_MS,
    );
    for (let i = 0; i < some; i++) {
      const [victim] = victims.splice(Math.floor(this.random() * victims.length), 1);
      victim!.signal("SIGKILL");
      this.killedAtMs.set(victim!.workerId, Date.now());
      this.alive = this.alive.filter((worker) => worker !== victim);
    }
    for (let i = 0; i < some; i++) {
      const started = this.replace(1);
      this.starting.push(started);
      started.catch((error: unknown) => {
        this.failure = error;
      });
    }
  }

  private async replace(some: number): Promise<void> {
    const started = await this.fleet.startMany(some, { concurrency: CONCURRENCY, plans: KINDS });
    this.alive = [...this.alive, ...started];
  }

  /** Workers that have begun what they have not ended. */
  private busy(): FleetProcess[] {
    const open = new Map<string, number>();
    for (const { what, planId, step, attempt, pid } of this.fleet.ledger()) {
      const key = `${planId}/${step}/${attempt}`;
      if (what === "begin") open.set(key, pid);
      else if (what === "effect") open.delete(key);
    }
    const pids = new Set(open.values());
    const ended = this.alive.find((worker) => worker.hasEnded);
    if (ended !== undefined) throw new Error(`Worker ${ended.pid} has ended by itself:\n${ended.errors}`);
    return this.alive.filter(({ pid }) => pids.has(pid));
  }

  private async feed(): Promise<void> {
    const { redis, keys } = await this.fleet.store();
    while (this.isFeeding) {
      const missing = OPEN_PLANS - (await redis.zcard(keys.openPlans));
      for (let i = 0; i < missing; i++) {
        const kind = KINDS[this.plans.length % KINDS.length]!;
        this.plans.push(await this.fleet.submit(kind, { stepMs: Math.round(STEP_MS * (0.5 + this.random())) }));
      }
      await sleep(20);
    }
  }

  /** A person: answers, and resumes what was taken for a killer. */
  private async answer(): Promise<void> {
    const { client } = this.fleet;
    while (!this.isOver) {
      for (const { planId } of await client.list({ states: ["waiting"], limit: OPEN_PLANS }))
        await answerAll(client, await client.get(planId));
      for (const { planId } of await client.list({ states: ["failed"], limit: OPEN_PLANS })) {
        if (await meanwhile(() => client.resume(planId, { reason: "it was killed by chance" }))) this.resumed += 1;
      }
      await sleep(50);
    }
  }

  /** Plans that don't complete. */
  private async unfinished(): Promise<string[]> {
    const { redis, keys } = await this.fleet.store();
    await until(
      "the last plans to complete",
      async () => (await redis.zcard(keys.openPlans)) === 0,
      END_DEADLINE_MS,
    ).catch(() => {});
    const { client } = this.fleet;
    const ended = await Promise.all(this.plans.map((planId) => client.summary(planId)));
    return ended.flatMap(({ planId, state }) => (state === "completed" ? [] : [`${planId} is ${state}`]));
  }

  private async report(lost: readonly string[]): Promise<KillsReport> {
    const { fleet, plans } = this;
    const events = await fleet.events(plans, "step.crashed", "step.completed");
    const crashed = events.filter((event) => event.type === "step.crashed");
    const completed = events.filter((event) => event.type === "step.completed");
    const effects = fleet.ledger("effect");
    const steps = new Set(completed.map(stepOf));
    const done = new Set(effects.map(stepOf));
    return {
      kills: this.killedAtMs.size,
      plans: plans.length,
      steps: steps.size,
      attemptsHit: crashed.length,
      repeatedEffects: effects.length - done.size,
      lateEffects: refusable(effects),
      resumed: this.resumed,
      takenBackMs: this.delays(crashed),
      lost,
      duplicates: repeated(completed.map(stepOf)),
      violations: [
        ...(await fleet.violations(plans)),
        ...unexplained(effects, crashed),
        ...(await this.unkeptDecisions()),
      ],
    };
  }

  private delays(crashed: readonly EventDocument[]): { p50: number; p99: number } {
    const first = new Map<string, number>();
    for (const event of crashed) {
      const { workerId } = event as EventDocument & { workerId: string };
      const at = Date.parse(event.at);
      first.set(workerId, Math.min(at, first.get(workerId) ?? at));
    }
    const delays = [...first].flatMap(([id, at]) => (this.killedAtMs.has(id) ? [at - this.killedAtMs.get(id)!] : []));
    const sorted = delays.sort((a, b) => a - b);
    const quantile = (part: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? 0;
    return { p50: quantile(0.5), p99: quantile(0.99) };
  }

  /** A step must have got the very choices that are recorded, each of them once. */
  private async unkeptDecisions(): Promise<string[]> {
    const { client } = this.fleet;
    const found: string[] = [];
    for (const planId of this.plans.filter((id) => id.startsWith(deciding.name))) {
      const recorded = (await client.decisions(planId)).flatMap(({ key, choice }) =>
        key === null ? [] : [[key, choice]],
      );
      const output = await client.output(planId, "choose");
      const asked = JSON.stringify([
        ["first", (output as Chosen).first],
        ["second", (output as Chosen).second],
      ]);
      if (JSON.stringify(recorded) !== asked)
        found.push(`${planId} chose ${asked}, recorded is ${JSON.stringify(recorded)}`);
    }
    return found;
  }
}

interface Chosen {
  readonly first: string;
  readonly second: string;
}

async function answerAll(client: Client, { planId, steps }: PlanDocument): Promise<void> {
  for (const { id, wait } of steps) {
    if (id === "news" && wait === "signal") await meanwhile(() => client.signal(planId, id, { n: 1 }));
    if (wait === "approval") await meanwhile(() => client.approve(planId, id));
  }
}

/** @returns whether nobody was faster */
async function meanwhile(act: () => Promise<unknown>): Promise<boolean> {
  try {
    await act();
    return true;
  } catch (error) {
    if (error instanceof WaymarkError) return false;
    throw error;
  }
}

/** Effects beyond one for each step have to be explained by attempts that were cut off. */
function unexplained(effects: readonly LedgerLine[], crashed: readonly EventDocument[]): string[] {
  const hits = countsOf(crashed.map(stepOf));
  return [...countsOf(effects.map(stepOf))].flatMap(([step, count]) =>
    count - 1 > (hits.get(step) ?? 0) ? [`${step} had ${count} effects, with ${hits.get(step) ?? 0} attempts hit`] : [],
  );
}

/** How many effects an outside system would have refused that refuses a lower fence than it has seen. */
function refusable(effects: readonly LedgerLine[]): number {
  const highest = new Map<string, number>();
  return effects.filter((effect) => {
    const before = highest.get(stepOf(effect)) ?? 0;
    highest.set(stepOf(effect), Math.max(before, effect.fence));
    return effect.fence <= before;
  }).length;
}

function stepOf(of: { readonly planId: string; readonly step?: string | null }): string {
  return `${of.planId}/${of.step}`;
}

function repeated(names: readonly string[]): string[] {
  return [...countsOf(names)].flatMap(([name, count]) => (count > 1 ? [name] : []));
}

function countsOf(names: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1);
  return counts;
}

/** Numbers from 0 to 1, the same for the same seed (mulberry32). */
function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
