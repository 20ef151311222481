/** `testPlan`: runs a plan of `definePlan` in the process of a test, without a Redis and without waiting. */
import { resolve } from "node:path";
import type { StandardSchemaV1 } from "@standard-schema/spec";
import { misfit } from "../client/check-options.js";
import { UsageError } from "../core/errors.js";
import { toStoredJson } from "../core/json.js";
import type { Ask, AttemptError } from "../core/outcome.js";
import { DEFAULT_PAYLOAD_LIMIT_BYTES } from "../core/payload-limit.js";
import type { PlanState } from "../core/plan.js";
import type { StepProgress } from "../core/ports.js";
import type { SandboxAccess, SandboxProvider } from "../core/sandbox.js";
import type { Context } from "../define/context.js";
import { type Handler, toStepHandler } from "../define/define-handler.js";
import { isPlan } from "../define/is-plan.js";
import { parseInput } from "../define/parse-input.js";
import type { AnyPlan, PlanInput, PlanOutput, PlanOutputs, PlanServices, PlanTakes } from "../define/typed-plan.js";
import { builtinHandlers } from "../handlers/index.js";
import { type CrashedRun, crashEverywhere, heldSteps } from "./crash-everywhere.js";
import { withChoices, withFakes } from "./fakes.js";
import type { AnsweredWait, MemoryPlan, RecordedDecision } from "./memory-plan.js";
import {
  type Call,
  type Crash,
  type MemoryRun,
  type PersonsAnswer,
  runInMemory,
  type Subject,
} from "./run-in-memory.js";
import { TestFiles } from "./test-files.js";

export type TestPlanOptions<D extends AnyPlan> = TestedInput<D> & TestedServices<D>;

interface TestedInput<D extends AnyPlan> {
  /** As it would be submitted; checked by the plan's schema. */
  readonly input: PlanInput<D>;
  /** What stands in for functions of its steps: what one records, or a function that makes it. */
  readonly steps?: StepFakes<D>;
  /**
   * What is chosen. By the id of an `approve` or `ask` step: what a person answers. By the key of a `decide`, or `step/key`:
   * what comes of it, without a call of the chooser.
   */
  readonly decisions?: Readonly<Record<string, string | PersonsAnswer>>;
  /** What is sent to steps that wait for a signal, by their ids: before they wait, so no timeout ends them. */
  readonly signals?: Readonly<Record<string, unknown>>;
  /** Handlers that appended steps run, besides the built-in ones. */
  readonly handlers?: readonly Handler[];
  /**
   * Where the worker dies: at an attempt of a step, the first unless given, before its function is called or after it has
   * ended and before that is recorded. Another worker then goes on as in production. `everywhere` repeats the plan with a crash
   * before and after each call, and throws NotCrashSafeError where it comes to something else than without one.
   */
  readonly crashAt?: CrashAt | "everywhere";
  /** What the sandbox's `from` is relative to: the working directory unless given. */
  readonly folder?: string;
  /** Keepers of snapshots that the plan names by `provider`, besides the built-in ones. */
  readonly providers?: readonly SandboxProvider[];
  /** Whether `shell` steps that it appends run, as commands of this machine. */
  readonly allowShell?: boolean;
}

/** Everything that the plan declares; a function makes it anew for each run, and with it what fakes remember. */
type TestedServices<D extends AnyPlan> =
  Record<never, never> extends PlanServices<D>
    ? { readonly services?: PlanServices<D> | (() => PlanServices<D>) }
    : { readonly services: PlanServices<D> | (() => PlanServices<D>) };

export type CrashAt =
  | { readonly before: string; readonly attempt?: number }
  | { readonly after: string; readonly attempt?: number };

/** By step id, of the steps that have a function; for a `map`, a function that is called for each item. */
export type StepFakes<D extends AnyPlan> = {
  readonly [Id in keyof PlanTakes<D> as [PlanTakes<D>[Id]] extends [never] ? never : Id]?: StepFake<
    D,
    PlanTakes<D>[Id],
    OutputOf<D, Id>
  >;
};

type StepFake<D extends AnyPlan, Takes, Output> = Takes extends readonly [item: infer Item]
  ? (item: Item, context: FakeContext<D>) => ItemOf<Output> | Promise<ItemOf<Output>>
  : Output | ((context: FakeContext<D>) => Output | Promise<Output>);

type OutputOf<D extends AnyPlan, Id> = Id extends keyof PlanOutputs<D> ? PlanOutputs<D>[Id] : never;
type ItemOf<Output> = Output extends readonly (infer Item)[] ? Item : never;

/** What a fake is given: what its step's function would be. */
export interface FakeContext<D extends AnyPlan>
  extends Context<StandardSchemaV1.InferOutput<D["inputSchema"]>, PlanOutputs<D>, PlanServices<D>> {
  /** The arguments of a handler, of a step that uses one. */
  readonly with: unknown;
  /** The plan's files, where the step reads or writes them. */
  readonly sandbox: SandboxAccess | undefined;
}

/** What a plan came to. */
export interface PlanRun<D extends AnyPlan> {
  /** `waiting`: for an answer that the test doesn't give. `interrupted`: for somebody's word about what is `held`. */
  readonly state: PlanState;
  /** What the step that was defined last recorded; undefined unless the plan is completed. */
  readonly output: PlanOutput<D> | undefined;
  /** What each step that is done recorded, as the steps below see it. */
  readonly outputs: Partial<PlanOutputs<D>> & Readonly<Record<string, unknown>>;
  /** Every step, items of maps and appended ones too. */
  readonly steps: { readonly [Id in keyof PlanOutputs<D>]: StepRun } & Readonly<Record<string, StepRun>>;
  /** In the order in which they were made. */
  readonly decisions: readonly RecordedDecision[];
  /** What it waits for. */
  readonly waiting: readonly { readonly step: string; readonly for: AnsweredWait; readonly ask: Ask }[];
  /** Irreversible steps that were cut off: only a person can say whether they happened. */
  readonly held: readonly string[];
  /** The calls of functions, in their order. */
  readonly calls: readonly Call[];
  /** The services of this run. */
  readonly services: PlanServices<D>;
}

export interface StepRun {
  readonly state: "completed" | "skipped" | "continued" | "failed" | "waiting" | "held" | "uncertain" | "pending";
  /** How often it was started. */
  readonly attempts: number;
  /** Why it failed. */
  readonly error: AttemptError | null;
  /** What its attempts wrote. */
  readonly log: string;
  /** What it last said of how far it is. */
  readonly progress: StepProgress | null;
}

export interface TestedPlan<D extends AnyPlan> extends PlanRun<D> {
  /** The text of every file of the sandbox as the last checkpoint has it, by path; null where the plan has none. */
  readonly files: Readonly<Record<string, string>> | null;
  /** The runs with a crash, one for each point of `everywhere`. */
  readonly crashes: readonly (PlanRun<D> & { readonly crash: Crash })[];
}

/**
 * Runs a plan in memory, under the rules of a real one, to its end or until it waits for somebody. Its steps run through the
 * code that runs them in a worker, one after the other; retries, `sleep` and timeouts of waits take no time.
 * @throws InvalidInputError, InvalidChoiceError, UsageError where the test can't have meant what it says; NotCrashSafeError
 */
export async function testPlan<D extends AnyPlan>(plan: D, options: TestPlanOptions<D>): Promise<TestedPlan<D>> {
  if (!isPlan(plan)) throw misfit("The plan", "one that was made with definePlan", plan);
  const { crashAt } = options;
  const subject = await subjectOf(plan, options);
  try {
    const crash = crashAt === undefined || crashAt === "everywhere" ? null : crashOf(crashAt);
    const run = await runInMemory(subject, crash);
    if (crash !== null && !run.crashed) throw neverReached(plan, crash);
    const crashes = crashAt === "everywhere" ? await crashEverywhere(subject, run) : [];
    const { sandbox } = run.memory;
    return {
      ...(await planRun<D>(plan, run)),
      files: sandbox === null ? null : await subject.files!.read(sandbox),
      crashes: await Promise.all(crashes.map((crashed) => crashedRun<D>(plan, crashed))),
    };
  } finally {
    await subject.files?.close();
  }
}

/** Whatever plan it is: its types have done their work. */
type AnyOptions = Omit<TestedInput<AnyPlan>, "steps"> & { readonly steps?: object; readonly services?: unknown };

async function subjectOf(plan: AnyPlan, options: AnyOptions): Promise<Subject> {
  const { steps = {}, decisions = {}, signals = {}, handlers = [], services = {}, allowShell = false } = options;
  const input = toStoredJson(options.input, "Input", DEFAULT_PAYLOAD_LIMIT_BYTES);
  await parseInput(plan.inputSchema, JSON.parse(input));
  const made = new Map(Object.entries(decisions));
  const faked = withFakes(plan, new Map(Object.entries(steps)), made);
  const own = handlers.map((handler) => [handler.name, withChoices(toStepHandler(handler), made)] as const);
  const { compiled } = plan;
  return {
    plan: faked,
    input,
    services: typeof services === "function" ? (services as () => unknown) : () => services,
    handlers: new Map([...builtinHandlers(), ...own]),
    answers: new Map([...made].map(([id, answer]) => [id, typeof answer === "string" ? { choice: answer } : answer])),
    signals: new Map(Object.entries(signals)),
    trust: allowShell ? { kind: "all" } : { kind: "digests", digests: new Set() },
    files:
      compiled.definition.sandbox === null
        ? null
        : await TestFiles.open(compiled, resolve(options.folder ?? "."), options.providers ?? []),
  };
}

function crashOf(at: CrashAt): Crash {
  const { before, after, attempt = 1 }: { before?: string; after?: string; attempt?: number } = at;
  if (typeof before === "string") return { when: "before", step: before, attempt };
  if (typeof after === "string") return { when: "after", step: after, attempt };
  throw misfit("crashAt", 'everywhere, or a step: { before: "ship" } or { after: "ship" }', at);
}

function neverReached(plan: AnyPlan, { when, step, attempt }: Crash): UsageError {
  return new UsageError(
    `\`crashAt\` names attempt ${attempt} of step ${step}, which plan ${plan.name} never started in this test`,
    { details: { when, step, attempt } },
  );
}

async function crashedRun<D extends AnyPlan>(plan: D, { crash, run }: CrashedRun) {
  return { ...(await planRun(plan, run)), crash };
}

async function planRun<D extends AnyPlan>(plan: D, run: MemoryRun): Promise<PlanRun<D>> {
  const { memory, calls, services } = run;
  const { state, decisions } = memory;
  const outputs = await outputsOf(plan, memory);
  const last = plan.compiled.definition.steps.at(-1)!.id;
  return {
    state,
    output: state === "completed" ? outputs[last] : undefined,
    outputs,
    steps: stepsOf(run),
    decisions,
    waiting: [...memory.open].flatMap(([step, { state: standing, wait, ask }]) =>
      standing === "waiting" ? [{ step, for: wait, ask }] : [],
    ),
    held: heldSteps(run),
    calls,
    services,
  } as PlanRun<D>;
}

async function outputsOf(plan: AnyPlan, { done, outputs, compiled }: MemoryPlan): Promise<Record<string, unknown>> {
  const seen: [string, unknown][] = [];
  for (const id of done.keys()) {
    const { lists, itemOf } = compiled.steps.get(id)!;
    if (lists !== undefined || itemOf !== undefined) continue;
    const recorded: unknown = JSON.parse(outputs.get(id) ?? "null");
    const code = plan.code.get(id);
    seen.push([id, code?.kind === "signal" ? await signalSeen(code.schema, recorded) : recorded]);
  }
  return Object.fromEntries(seen);
}

/** As its schema gives it out; as it was sent where it doesn't fit, which has failed the steps below. */
async function signalSeen(schema: StandardSchemaV1, recorded: unknown): Promise<unknown> {
  const result = await schema["~standard"].validate(recorded);
  return result.issues ? recorded : result.value;
}

function stepsOf({ memory, logs }: MemoryRun): Record<string, StepRun> {
  const { compiled, done, open, errors, progressOf } = memory;
  return Object.fromEntries(
    [...compiled.steps.keys()].map((id) => {
      const { state, attempts } = done.get(id) ?? open.get(id) ?? { state: "pending", attempts: 0 };
      const error = state === "failed" || state === "continued" ? errors.get(id)! : null;
      const said = { log: logs.get(id) ?? "", progress: progressOf.get(id) ?? null };
      return [id, { state: state as StepRun["state"], attempts, error, ...said }];
    }),
  );
}
