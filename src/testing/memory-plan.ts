/**
 * One plan in memory, under the rules of the store's scripts: what the end of a step releases, what a failure stops, who
 * waits for whose turn. Attempts run one at a time, so nobody is ever raced, and what the scripts have against that (locks,
 * tokens, epochs) has no counterpart here. The clock stands still while an attempt runs; when nothing else can run it
 * jumps to the next timer.
 */
import { type CompiledDefinition, grow, STEP_LIMIT, type StepDefinition } from "../core/definition.js";
import type { Ask, AttemptError, Outcome } from "../core/outcome.js";
import type { PlanState, WaitKind } from "../core/plan.js";
import type { AttemptStore, Decided, MadeDecision, StartedStep, StepProgress, Written } from "../core/ports.js";
import type { SandboxSnapshot } from "../core/sandbox.js";
import type { PayloadSource } from "../worker/plan-cache.js";

/** Part of every idempotency key. */
const PLAN_ID = "test";

export interface MemoryPlanOptions {
  readonly compiled: CompiledDefinition;
  /** Serialised and validated. */
  readonly input: string;
  /** What the sandbox starts from; null where the plan has none. */
  readonly sandbox: SandboxSnapshot | null;
  /** What somebody answers a step that waits; null where nobody does. */
  readonly answer: (stepId: string, wait: AnsweredWait, ask: Ask) => Answer | null;
}

export type AnsweredWait = Exclude<WaitKind, "timer">;

export interface Answer {
  /** Serialised. */
  readonly output: string;
  /** Whether the plan ends with it: a rejection. */
  readonly cancels: boolean;
  readonly decision: MadeDecision;
}

/** What a step decided, a person answered, or a signal brought. */
export interface RecordedDecision extends MadeDecision {
  readonly step: string;
  /** What the step's function calls it; null for what came from outside. */
  readonly key: string | null;
}

/** A step on the frontier, or one that ended without a record. */
export interface OpenStep {
  state: "queued" | "running" | "delayed" | "waiting" | "failed" | "uncertain" | "held";
  attempts: number;
  failures: number;
  crashes: number;
  /** Until when it is delayed, or waits. */
  dueAt: number | null;
  /** What it was parked for. */
  wait: WaitKind | null;
  ask: Ask | null;
}

export interface DoneStep {
  readonly state: "completed" | "skipped" | "continued";
  readonly attempts: number;
}

type Completion = Outcome & { readonly kind: "complete" };
type Parking = Outcome & { readonly kind: "park" };

const WRITTEN: Written = { verdict: "OK" };

export class MemoryPlan implements AttemptStore, PayloadSource {
  /** The definition, and what was appended to it. */
  compiled: CompiledDefinition;
  /** The snapshot of the files that is in force. */
  sandbox: SandboxSnapshot | null;
  readonly open = new Map<string, OpenStep>();
  readonly done = new Map<string, DoneStep>();
  /** Serialised, of steps that recorded more than null. */
  readonly outputs = new Map<string, string>();
  /** Why a step's last failed attempt failed. */
  readonly errors = new Map<string, AttemptError>();
  readonly decisions: RecordedDecision[] = [];
  /** What a step last said of how far it is. */
  readonly progressOf = new Map<string, StepProgress>();
  /** Free to run, in the order in which they became it. */
  private readonly queue: string[] = [];
  /** Which steps have a turn, by what there are turns of. */
  private readonly turns = new Map<string, Set<string>>();
  private readonly choices = new Map<string, string>();
  private readonly cursors = new Map<string, string>();
  private readonly admittedSteps = new Set<string>();
  private readonly createdAt = Date.now();
  private now = this.createdAt;
  private fence = this.createdAt;
  private grown = 0;
  private ended: "cancelled" | "failed" | null = null;

  constructor(private readonly options: MemoryPlanOptions) {
    this.compiled = options.compiled;
    this.sandbox = options.sandbox;
    this.release(this.compiled.roots);
  }

  /** Where the plan stands once there is nothing to take. */
  get state(): PlanState {
    if (this.ended !== null) return this.ended;
    if (this.done.size === this.compiled.steps.size) return "completed";
    const states = new Set([...this.open.values()].map(({ state }) => state));
    return states.has("failed") ? "failed" : states.has("uncertain") ? "interrupted" : "waiting";
  }

  /** Starts an attempt of the step that became free first, else of the one that is due next. Null where there is neither. */
  take(): StartedStep | null {
    if (this.ended !== null) return null;
    const place = this.queue.findIndex((id) => this.hasTurn(id));
    const stepId = place >= 0 ? this.queue.splice(place, 1)[0] : this.nextDue();
    if (stepId === undefined) return null;
    const step = this.open.get(stepId)!;
    this.now = Math.max(this.now, step.dueAt ?? 0);
    this.fence = Math.max(this.fence + 1, this.now);
    step.state = "running";
    step.attempts++;
    return this.started(stepId, step);
  }

  /** What the end of an attempt does to the plan. */
  settle({ stepId }: StartedStep, outcome: Exclude<Outcome, { kind: "release" | "defer" }>): void {
    const step = this.open.get(stepId)!;
    switch (outcome.kind) {
      case "complete":
        this.complete(stepId, step, outcome);
        return;
      case "skip":
        this.record(stepId, step, "skipped", "null");
        return;
      case "retry":
        step.failures++;
        this.errors.set(stepId, outcome.error);
        Object.assign(step, {
          state: "delayed",
          dueAt: this.now + outcome.delayMs,
          wait: null,
        } satisfies Partial<OpenStep>);
        return;
      case "fail":
        this.fail(stepId, step, outcome.error);
        return;
      case "park":
        this.park(stepId, step, outcome);
        return;
      default:
        outcome satisfies never;
    }
  }

  /** The worker died with the attempt: it is repeated, but for what nobody may repeat without a person's word. */
  takeOver({ stepId }: StartedStep): void {
    const step = this.open.get(stepId)!;
    step.crashes++;
    if (this.compiled.steps.get(stepId)!.effect === "irreversible") {
      step.state = "uncertain";
      this.leaveTurn(stepId);
    } else {
      step.state = "queued";
      this.queue.unshift(stepId);
    }
  }

  async decide({ stepId }: StartedStep, key: string, made: MadeDecision | null): Promise<Decided> {
    const name = `${stepId}/${key}`;
    if (made !== null && !this.choices.has(name)) {
      this.choices.set(name, made.choice as string);
      this.decisions.push({ step: stepId, key, ...made });
    }
    return { verdict: "OK", choice: this.choices.get(name) ?? null };
  }

  async save({ stepId }: StartedStep, cursor: string): Promise<Written> {
    this.cursors.set(stepId, cursor);
    return WRITTEN;
  }

  async saved({ stepId }: StartedStep): Promise<string | null> {
    return this.cursors.get(stepId) ?? null;
  }

  async admit({ stepId }: StartedStep): Promise<Written> {
    this.admittedSteps.add(stepId);
    return WRITTEN;
  }

  async admitted({ stepId }: StartedStep): Promise<boolean> {
    return this.admittedSteps.has(stepId);
  }

  async progress({ stepId }: StartedStep, fraction: number, note: string | null): Promise<Written> {
    this.progressOf.set(stepId, { fraction, note });
    return WRITTEN;
  }

  openInput(_planId: string, stored: string): string {
    return stored;
  }

  async payloads(_planId: string, stepIds: readonly string[]) {
    return { input: this.options.input, workdir: null, outputs: stepIds.map((id) => this.outputs.get(id) ?? "null") };
  }

  async failures(_planId: string, stepIds: readonly string[]): Promise<ReadonlyMap<string, AttemptError>> {
    const failed = stepIds.filter((id) => this.done.get(id)?.state === "continued");
    return new Map(failed.map((id) => [id, this.errors.get(id)!]));
  }

  private started(stepId: string, step: OpenStep): StartedStep {
    const { definition, digest, steps } = this.compiled;
    const { sandbox, queue } = steps.get(stepId)!;
    return {
      planId: PLAN_ID,
      stepId,
      epoch: 1,
      line: 1,
      attempt: step.attempts,
      failures: step.failures,
      crashes: step.crashes,
      fence: this.fence,
      token: "test",
      queue,
      planName: definition.name,
      definitionDigest: digest,
      privateQueue: null,
      workdir: null,
      createdAt: this.createdAt,
      tag: "",
      startedAt: this.now,
      input: this.options.input,
      dueAt: step.wait === null ? null : step.dueAt,
      sandbox: sandbox === "none" ? null : JSON.stringify(this.sandbox),
      grown: this.grown,
      handedOff: 0,
    };
  }

  /** The step whose timer is over first. */
  private nextDue(): string | undefined {
    let next: string | undefined;
    let earliest = Infinity;
    for (const [stepId, { state, dueAt }] of this.open) {
      if ((state !== "delayed" && state !== "waiting") || dueAt === null || dueAt >= earliest) continue;
      [next, earliest] = [stepId, dueAt];
    }
    return next;
  }

  private complete(stepId: string, step: OpenStep, { output, appended = [], sandbox }: Completion): void {
    const total = this.compiled.steps.size + appended.length;
    if (total > STEP_LIMIT) {
      const message = `the plan would have ${total} steps; the limit is ${STEP_LIMIT}`;
      this.fail(stepId, step, { code: "INVALID_PLAN", message });
      return;
    }
    this.sandbox = sandbox ?? this.sandbox;
    if (appended.length > 0) {
      this.compiled = grow(this.compiled, appended);
      this.grown++;
    }
    this.record(stepId, step, "completed", output);
  }

  /** A step that is done, however that came about: whatever needed nothing else is free. */
  private record(stepId: string, { attempts }: OpenStep, state: DoneStep["state"], output: string): void {
    this.done.set(stepId, { state, attempts });
    if (output !== "null") this.outputs.set(stepId, output);
    this.open.delete(stepId);
    this.leaveTurn(stepId);
    if (this.ended !== null) return;
    const { next } = this.compiled.steps.get(stepId)!;
    this.release(next.filter((id) => this.compiled.steps.get(id)!.needs.every((need) => this.done.has(need))));
  }

  private release(stepIds: readonly string[]): void {
    for (const stepId of stepIds) {
      const begun = { attempts: 0, failures: 0, crashes: 0, dueAt: null, wait: null, ask: null };
      this.open.set(stepId, { state: "queued", ...begun });
      this.queue.push(stepId);
    }
  }

  private fail(stepId: string, step: OpenStep, error: AttemptError): void {
    step.failures++;
    this.errors.set(stepId, error);
    if (this.compiled.steps.get(stepId)!.onFailure === "continue") {
      this.record(stepId, step, "continued", "null");
      return;
    }
    step.state = "failed";
    this.leaveTurn(stepId);
    if (this.compiled.definition.failFast) this.end("failed");
  }

  /** An answer that is there already completes the step here and now. */
  private park(stepId: string, step: OpenStep, { wait, dueInMs, ask }: Parking): void {
    const answer = wait === "timer" ? null : this.options.answer(stepId, wait, ask!);
    if (answer === null) {
      const dueAt = dueInMs === null ? null : this.now + Math.max(0, Math.round(dueInMs));
      Object.assign(step, { state: "waiting", wait, dueAt, ask } satisfies Partial<OpenStep>);
      return;
    }
    this.decisions.push({ step: stepId, key: null, ...answer.decision });
    if (answer.cancels) this.end("cancelled");
    this.record(stepId, step, "completed", answer.output);
  }

  /** What could still run is held. After a failure people can still answer, for when the plan is resumed. */
  private end(state: "cancelled" | "failed"): void {
    this.ended = state;
    for (const step of this.open.values()) {
      const isWaiting = step.state === "waiting" && (step.dueAt !== null || state === "cancelled");
      if (step.state === "queued" || step.state === "delayed" || isWaiting) step.state = "held";
    }
  }

  /**
   * Steps that write the sandbox run one at a time, and items of a map as many at once as it says. Whoever has a turn keeps
   * it until it is done, or only a person can go on with it: also while it waits for another attempt.
   */
  private hasTurn(stepId: string): boolean {
    const limit = turnOf(this.compiled.steps.get(stepId)!);
    if (limit === null) return true;
    const holders = this.turns.get(limit.of) ?? new Set();
    this.turns.set(limit.of, holders);
    if (holders.size < limit.most) holders.add(stepId);
    return holders.has(stepId);
  }

  private leaveTurn(stepId: string): void {
    for (const holders of this.turns.values()) holders.delete(stepId);
  }
}

function turnOf({ sandbox, turns, itemOf }: StepDefinition): { readonly of: string; readonly most: number } | null {
  if (sandbox === "write") return { of: "sandbox", most: 1 };
  return turns === undefined ? null : { of: `items of ${itemOf}`, most: turns };
}
