/** Runs a plan in memory, to its end or until it waits for somebody, through the very code that a worker runs. */
import { InvalidChoiceError, UsageError } from "../core/errors.js";
import type { StepHandler } from "../core/handler.js";
import { signalled } from "../core/history.js";
import { toStoredJson } from "../core/json.js";
import type { Ask, Outcome } from "../core/outcome.js";
import { DEFAULT_PAYLOAD_LIMIT_BYTES } from "../core/payload-limit.js";
import type { StartedStep } from "../core/ports.js";
import type { AnyPlan } from "../define/typed-plan.js";
import { Attempt } from "../worker/attempt.js";
import { type ExecuteEnvironment, execute, idempotencyKey, type ShellTrust } from "../worker/execute.js";
import { PlanCache } from "../worker/plan-cache.js";
import { type Answer, type AnsweredWait, MemoryPlan } from "./memory-plan.js";
import type { TestFiles } from "./test-files.js";

/** What every run of a test has in common. */
export interface Subject {
  /** With its fakes. */
  readonly plan: AnyPlan;
  /** Serialised and validated. */
  readonly input: string;
  /** Called for each run. */
  readonly services: () => unknown;
  readonly handlers: ReadonlyMap<string, StepHandler>;
  /** What people answer, by step id. */
  readonly answers: ReadonlyMap<string, PersonsAnswer>;
  /** Data by step id. */
  readonly signals: ReadonlyMap<string, unknown>;
  readonly trust: ShellTrust;
  /** Null where the plan has no sandbox. */
  readonly files: TestFiles | null;
}

export interface PersonsAnswer {
  readonly choice: string;
  readonly rationale?: string;
  /** Who answers: `test` unless given. */
  readonly madeBy?: string;
}

/** Where the worker dies: when it has started an attempt, or when that has ended and nothing is recorded yet. */
export interface Crash {
  readonly when: "before" | "after";
  readonly step: string;
  readonly attempt: number;
}

/** An attempt whose function was called. */
export interface Call {
  readonly step: string;
  readonly attempt: number;
  /** What the step's function is given for other systems: equal for all attempts of a step. */
  readonly idempotencyKey: string;
  /** `crashed`: it ended, and its worker died before that was recorded. */
  readonly ended: "completed" | "skipped" | "failed" | "parked" | "crashed";
}

export interface MemoryRun {
  readonly memory: MemoryPlan;
  readonly services: unknown;
  readonly calls: readonly Call[];
  /** What attempts wrote to their logs, by step. */
  readonly logs: ReadonlyMap<string, string>;
  /** Whether the plan got to where the worker was to die. */
  readonly crashed: boolean;
}

/** @throws UsageError, InvalidChoiceError where the test can't have meant what it says */
export async function runInMemory(subject: Subject, crash: Crash | null): Promise<MemoryRun> {
  const services = subject.services();
  const memory = new MemoryPlan({
    compiled: subject.plan.compiled,
    input: subject.input,
    sandbox: subject.files?.first ?? null,
    answer: (stepId, wait, ask) => answerOf(subject, stepId, wait, ask),
  });
  const calls: Call[] = [];
  const logs = new Map<string, string>();
  let crashed = false;
  let environment = environmentOf(subject, services, memory);
  const die = (step: StartedStep) => {
    crashed = true;
    memory.takeOver(step);
    // Another process goes on, and remembers nothing.
    environment = environmentOf(subject, services, memory);
  };
  for (let step = memory.take(); step !== null; step = memory.take()) {
    const dies = crash !== null && crash.step === step.stepId && crash.attempt === step.attempt ? crash.when : null;
    if (dies === "before") {
      die(step);
      continue;
    }
    const { stepId, attempt } = step;
    const running = new Attempt(step, (text) => logs.set(stepId, (logs.get(stepId) ?? "") + text), UNGUARDED);
    const outcome = await running.outcomeOf(execute(running, memory.compiled, environment));
    running.flush();
    if (outcome.kind === "defer" || outcome.kind === "release") throw lacking(stepId, outcome.reason);
    const ended = dies === "after" ? "crashed" : ENDINGS[outcome.kind];
    calls.push({ step: stepId, attempt, idempotencyKey: idempotencyKey(step), ended });
    if (dies === "after") die(step);
    else memory.settle(step, outcome);
  }
  return { memory, services, calls, logs, crashed };
}

const ENDINGS = {
  complete: "completed",
  skip: "skipped",
  retry: "failed",
  fail: "failed",
  park: "parked",
} as const satisfies Partial<Record<Outcome["kind"], Call["ended"]>>;

/** The commands of a test end with it: nobody takes over from its process. */
const UNGUARDED = { prepare() {}, add() {}, remove() {} };

/** Who answers what waits, unless the test says who. */
const ANSWERER = "test";

/** Spreads no delay: what comes first is the same in every run. */
const MIDDLE = () => 0.5;

function environmentOf(subject: Subject, services: unknown, memory: MemoryPlan): ExecuteEnvironment {
  const { plan, handlers, trust, files } = subject;
  return {
    plans: new Map([[plan.name, plan]]),
    handlers,
    services,
    trust,
    secret: () => undefined,
    cache: new PlanCache(memory),
    attempts: memory,
    payloadLimitBytes: DEFAULT_PAYLOAD_LIMIT_BYTES,
    sandboxes: async () => files!.sandboxes,
    syncStore: async () => {},
    random: MIDDLE,
    onProgress: (step, fraction, note) => void memory.progress(step, fraction, note),
  };
}

function answerOf(subject: Subject, stepId: string, wait: AnsweredWait, ask: Ask): Answer | null {
  return wait === "signal" ? signalTo(subject, stepId) : personsAnswer(subject, stepId, ask);
}

function signalTo({ signals }: Subject, stepId: string): Answer | null {
  if (!signals.has(stepId)) return null;
  const output = toStoredJson(signals.get(stepId), `The signal to ${stepId}`, DEFAULT_PAYLOAD_LIMIT_BYTES);
  return { output, cancels: false, decision: { ...signalled(stepId, output), madeBy: ANSWERER } };
}

/** @throws InvalidChoiceError */
function personsAnswer({ answers }: Subject, stepId: string, ask: Ask): Answer | null {
  const answer = answers.get(stepId);
  if (answer === undefined) return null;
  const { choice, rationale = null, madeBy = ANSWERER } = answer;
  const { question, options, onReject } = ask;
  if (!options.includes(choice)) throw new InvalidChoiceError(`The answer to ${stepId}`, choice, options);
  return {
    output: JSON.stringify({ choice, by: madeBy }),
    cancels: choice === "reject" && onReject === "cancel",
    decision: { question, options, choice, rationale, madeBy },
  };
}

function lacking(step: string, reason: string): UsageError {
  return new UsageError(`Step ${step} can't run in this test: ${reason}; commands need \`allowShell: true\``, {
    details: { step, reason },
  });
}
