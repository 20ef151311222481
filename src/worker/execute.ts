/**
 * Runs one attempt and says how it ended. Never throws: whatever a handler, a schema or an expression does becomes an
 * outcome.
 */
import { inspect } from "node:util";
import { expressionAt, holds, type PathCondition } from "../core/condition.js";
import type { CompiledDefinition, CompiledStep } from "../core/definition.js";
import { formatDurationMs } from "../core/duration.js";
import {
  InvalidChoiceError,
  NonRetryableError,
  PayloadKeyError,
  RetryAfterError,
  WaymarkError,
} from "../core/errors.js";
import { type ExpressionScope, resolve, resolveTexts, stepReferences, valueAt } from "../core/expression.js";
import type { HandlerCall, HandlerResult, StepHandler } from "../core/handler.js";
import { digestOf, type Json, type JsonObject, toStoredJson } from "../core/json.js";
import { withoutLookAlikes } from "../core/look-alikes.js";
import { declaredId, itemSteps, itemsOf, listStepId, mapRole } from "../core/map.js";
import type { AttemptError, Outcome } from "../core/outcome.js";
import type { AttemptStore, StartedStep } from "../core/ports.js";
import { nextDelayMs } from "../core/retry.js";
import type { SandboxAccess } from "../core/sandbox.js";
import type { Context, Seen } from "../define/context.js";
import { toStepHandler } from "../define/define-handler.js";
import { type Log, logTo } from "../define/log.js";
import { parseInput } from "../define/parse-input.js";
import type { AnyPlan, StepCode } from "../define/typed-plan.js";
import { askApproval, askPerson } from "../handlers/ask.js";
import { waitHandler } from "../handlers/wait.js";
import type { Sandboxes } from "../sandbox/sandboxes.js";
import type { Attempt } from "./attempt.js";
import type { AttemptFiles } from "./attempt-files.js";
import { insist } from "./insist.js";
import { StoredMemory } from "./memory.js";
import type { Payloads, PlanCache } from "./plan-cache.js";

/** How long a step that no worker here can run waits before it is offered again. */
const DEFER_MS = 1_000;
/** How long a handler may go on after its timeout before the attempt ends without it. */
export const ABORT_PATIENCE_MS = 5_000;

/** Which plan documents may run commands on this machine. */
export type ShellTrust = { readonly kind: "all" } | { readonly kind: "digests"; readonly digests: ReadonlySet<string> };

export interface ExecuteEnvironment {
  readonly plans: ReadonlyMap<string, AnyPlan>;
  readonly handlers: ReadonlyMap<string, StepHandler>;
  readonly services: unknown;
  readonly trust: ShellTrust;
  readonly secret: (name: string) => string | undefined;
  readonly cache: PlanCache;
  readonly attempts: AttemptStore;
  /** What an output, a cursor or a decision may weigh. */
  readonly payloadLimitBytes: number;
  /** Where steps find the files of their plans. Asked for at the first step that has some. */
  readonly sandboxes: (planId: string) => Promise<Sandboxes>;
  /** Resolves when what the store has acknowledged is on its disk, where the store can tell. */
  readonly syncStore: (planId: string) => Promise<void>;
  /** From 0 to 1; spreads the delays of retries. */
  readonly random: () => number;
  readonly onProgress: (step: StartedStep, fraction: number, note: string | null) => void;
}

export async function execute(
  attempt: Attempt,
  compiled: CompiledDefinition,
  environment: ExecuteEnvironment,
): Promise<Outcome> {
  const { step } = attempt;
  const declared = compiled.steps.get(step.stepId);
  if (!declared) return fail("STEP_NOT_FOUND", `The definition has no step ${step.stepId}`);
  const task = findTask(step, declared, compiled, environment);
  if (task.kind === "lacking") return { kind: "defer", delayMs: DEFER_MS, reason: task.reason };
  // Woken too early, by a resume: the timer goes on.
  if (step.dueAt !== null && step.dueAt > step.startedAt) {
    const wait = declared.uses === "wait" ? "signal" : "timer";
    return { kind: "park", wait, dueInMs: step.dueAt - step.startedAt, ask: null };
  }
  // Its start must outlive the store: after a crash of both, a forgotten start would run it again.
  if (declared.effect === "irreversible") await environment.syncStore(step.planId);
  const timer = setTimeout(() => onTimeout(attempt, declared, environment), declared.timeoutMs);
  let files: AttemptFiles | null = null;
  try {
    if (declared.when !== undefined && !(await isAdmitted(task, attempt, declared, compiled, environment))) {
      return { kind: "skip" };
    }
    if (declared.sandbox !== "none") files = await openFiles(attempt, declared, compiled, environment);
    if (step.attempt > 1) attempt.saved = await insist(attempt, () => environment.attempts.saved(step));
    const result = await task.run(attempt, declared, compiled, environment);
    if (result === null) return { kind: "skip" };
    if (result.kind === "parked" && files !== null) throw new NonRetryableError("a step with files can't wait");
    const sandbox = files === null ? undefined : await files.snapshot();
    if (attempt.aborted && attempt.aborted !== "timeout") return stopped();
    if (result.kind === "parked") return { kind: "park", wait: result.wait, dueInMs: result.dueInMs, ask: result.ask };
    const output = attempt.hidden ? attempt.hidden.json(result.output as Json) : result.output;
    const text = toStoredJson(output, `The output of ${step.stepId}`, environment.payloadLimitBytes);
    return {
      kind: "complete",
      output: text,
      ...(attempt.saved !== null && { hasSaved: true }),
      ...(sandbox !== undefined && { sandbox }),
      ...(attempt.appended.length > 0 && { appended: attempt.appended }),
    };
  } catch (thrown) {
    const error = legible(thrown);
    // Another worker may have the key.
    if (error instanceof PayloadKeyError) return { kind: "defer", delayMs: DEFER_MS, reason: error.message };
    if (attempt.aborted === "timeout") return afterFailure(attempt, declared, timeoutError(declared), environment);
    if (attempt.aborted) return stopped();
    return afterFailure(attempt, declared, error, environment);
  } finally {
    clearTimeout(timer);
    files?.close();
  }
}

async function openFiles(
  attempt: Attempt,
  declared: CompiledStep,
  compiled: CompiledDefinition,
  environment: ExecuteEnvironment,
): Promise<AttemptFiles> {
  const { AttemptFiles } = await import("./attempt-files.js");
  return AttemptFiles.open(
    attempt,
    declared,
    compiled,
    await environment.sandboxes(attempt.step.planId),
    async (path, run) => {
      const call = handlerCall(attempt, environment, compiled, declared, path, { with: { run }, env: {} });
      try {
        await environment.handlers.get("shell")!.run(call);
      } catch (error) {
        if (attempt.aborted) throw error;
        throw new Error(
          `the sandbox could not be prepared by ${JSON.stringify(run)}: ${describeError(error).message}`,
          {
            cause: error,
          },
        );
      }
    },
  );
}

/** Asked once: what the first attempt finds is recorded before its handler begins. */
function isAdmitted(
  task: FoundTask,
  attempt: Attempt,
  declared: CompiledStep,
  compiled: CompiledDefinition,
  environment: ExecuteEnvironment,
): Promise<boolean> {
  const memory = new StoredMemory(attempt, environment, compiled);
  return memory.admit(() => task.admits(attempt, declared, compiled, environment));
}

type TaskCall<T> = (
  attempt: Attempt,
  declared: CompiledStep,
  compiled: CompiledDefinition,
  environment: ExecuteEnvironment,
) => Promise<T>;

interface FoundTask {
  readonly kind: "found";
  /** What the step's condition says. */
  readonly admits: TaskCall<boolean>;
  /** Null where the step is skipped after all. */
  readonly run: TaskCall<HandlerResult | null>;
}

type Task = FoundTask | { readonly kind: "lacking"; readonly reason: string };

function findTask(
  step: StartedStep,
  declared: CompiledStep,
  compiled: CompiledDefinition,
  environment: ExecuteEnvironment,
): Task {
  const { name, version, source } = compiled.definition;
  const role = mapRole(declared);
  // The items of a map do what the definition says; nothing else that was appended is in it.
  const isDeclared = declared.appendedBy === undefined || role === "item";
  if (source === "code" && isDeclared) {
    const plan = environment.plans.get(name);
    const code = plan?.code.get(declaredId(declared));
    // Another version may have the very same step: then it runs it.
    const known = declared.itemOf ?? step.stepId;
    const isSame = plan?.compiled.steps.get(known)?.digest === compiled.steps.get(known)?.digest;
    if (!code || !plan || !isSame || !hasSameFiles(plan.compiled, compiled, declared)) {
      return { kind: "lacking", reason: `no worker has ${name} v${version}` };
    }
    return {
      kind: "found",
      admits: async (attempt, _declared, graph, env) => codeAdmits(code, await seenBy(plan, attempt, graph, env)),
      run: (attempt, _declared, graph, env) => runCode(code, plan, attempt, graph, env),
    };
  }
  if (role === "list" || role === "join") {
    return {
      kind: "found",
      admits: async (attempt, _declared, graph, env) => documentAdmits(attempt, declared, graph, env),
      run: (attempt, _declared, graph, env) =>
        role === "join" ? joinItems(attempt, declared, graph, env) : listItems(attempt, declared, graph, env),
    };
  }
  const handler = environment.handlers.get(declared.uses);
  if (!handler) return { kind: "lacking", reason: `no worker has the handler ${declared.uses}` };
  const { trust } = environment;
  // The definition's digest says nothing about what was appended to it.
  const isTrusted = trust.kind === "all" || (isDeclared && trust.digests.has(compiled.digest));
  if (runsCommands(declared, compiled) && !isTrusted) {
    return { kind: "lacking", reason: `no worker may run commands of ${name} v${version} (plan worker --allow-shell)` };
  }
  return {
    kind: "found",
    admits: (attempt, _declared, graph, env) => documentAdmits(attempt, declared, graph, env),
    run: (attempt, _declared, graph, env) => runHandler(handler, attempt, declared, graph, env),
  };
}

async function documentAdmits(
  attempt: Attempt,
  declared: CompiledStep,
  compiled: CompiledDefinition,
  environment: ExecuteEnvironment,
): Promise<boolean> {
  const { scope } = await scopeOf(attempt, declared, compiled, environment);
  return holds(declared.when as PathCondition, scope, `\`when\` of step ${declared.id}`);
}

/** Makes the list of a document's map. */
async function listItems(
  attempt: Attempt,
  declared: CompiledStep,
  compiled: CompiledDefinition,
  environment: ExecuteEnvironment,
): Promise<HandlerResult> {
  const { scope } = await scopeOf(attempt, declared, compiled, environment);
  const map = declared.map!;
  const list = valueAt(expressionAt(map.over), scope, `\`map\` of step ${declared.lists}`);
  const key = map.key === null ? null : expressionAt(map.key);
  return expand(attempt, declared, compiled, list, (item, index) =>
    key === null ? index : valueAt(key, { ...scope, item }, `\`key\` of step ${declared.lists}`),
  );
}

/** The list is recorded, and its items are the plan's steps from then on. */
function expand(
  attempt: Attempt,
  declared: CompiledStep,
  compiled: CompiledDefinition,
  list: unknown,
  keyOf: ((item: Json, index: number) => unknown) | undefined,
): HandlerResult {
  const items = itemSteps(compiled, declared.lists!, list, keyOf);
  attempt.appended = items.steps;
  return { kind: "completed", output: items.list };
}

/** What the items of a map recorded, in the order of its list; null where the map was skipped. */
async function joinItems(
  { step }: Attempt,
  declared: CompiledStep,
  compiled: CompiledDefinition,
  { cache }: ExecuteEnvironment,
): Promise<HandlerResult | null> {
  const list = listStepId(declared.id);
  const items = itemsOf(compiled, declared.id);
  const payloads = await cache.load(step, compiled, [list, ...items]);
  if (payloads.output(list) === "null") return null;
  return { kind: "completed", output: items.map((id) => JSON.parse(payloads.output(id)) as Json) };
}

/** What a step's digest doesn't cover: which files are kept, and the command that prepares them. */
function hasSameFiles(own: CompiledDefinition, stored: CompiledDefinition, declared: CompiledStep): boolean {
  if (declared.sandbox === "none") return true;
  return digestOf({ ...own.definition.sandbox }) === digestOf({ ...stored.definition.sandbox });
}

function runsCommands(declared: CompiledStep, { definition }: CompiledDefinition): boolean {
  return declared.uses === "shell" || (declared.sandbox !== "none" && definition.sandbox?.prepare != null);
}

async function runHandler(
  handler: StepHandler,
  attempt: Attempt,
  declared: CompiledStep,
  compiled: CompiledDefinition,
  environment: ExecuteEnvironment,
): Promise<HandlerResult> {
  const { scope, workdir } = await scopeOf(attempt, declared, compiled, environment);
  const call = handlerCall(attempt, environment, compiled, declared, workdir, {
    with: resolve(declared.with, scope, `\`with\` of step ${declared.id}`) as JsonObject,
    env: resolveTexts(declared.env, scope, `\`env\` of step ${declared.id}`),
  });
  return handler.run(call);
}

const NO_FAILURES: ReadonlyMap<string, AttemptError> = new Map();

/** What the expressions of a step are resolved against. */
async function scopeOf(
  attempt: Attempt,
  declared: CompiledStep,
  compiled: CompiledDefinition,
  { cache, secret }: ExecuteEnvironment,
): Promise<{ scope: ExpressionScope; workdir: string | null }> {
  const { step } = attempt;
  const { outputs, errors } = stepReferences(declared);
  const list = declared.itemOf === undefined ? [] : [listStepId(declared.itemOf)];
  const payloads = await cache.load(step, compiled, [...outputs, ...list]);
  const { name, version } = compiled.definition;
  const scope = {
    input: JSON.parse(payloads.input) as Json,
    outputs: new Map(outputs.map((id) => [id, JSON.parse(payloads.output(id)) as Json])),
    ...(declared.itemOf !== undefined && { item: itemOf(declared, payloads) }),
    errors: errors.length === 0 ? NO_FAILURES : await cache.failures(step, errors),
    plan: { id: step.planId, name, version },
    secret(secretName: string) {
      const value = secret(secretName) ?? null;
      if (value !== null) attempt.hide(value);
      return value;
    },
  };
  return { scope, workdir: payloads.workdir };
}

function itemOf(declared: CompiledStep, payloads: Payloads): Json {
  return (JSON.parse(payloads.output(listStepId(declared.itemOf!))) as Json[])[declared.item!]!;
}

function codeAdmits(code: StepCode, seen: Seen): boolean {
  const answer: unknown = code.when!(seen);
  if (typeof answer === "boolean") return answer;
  throw new NonRetryableError(`\`when\` gave ${inspect(answer)}, which is neither true nor false`);
}

async function runCode(
  code: StepCode,
  plan: AnyPlan,
  attempt: Attempt,
  compiled: CompiledDefinition,
  environment: ExecuteEnvironment,
): Promise<HandlerResult | null> {
  const declared = compiled.steps.get(attempt.step.stepId)!;
  if (mapRole(declared) === "join") return joinItems(attempt, declared, compiled, environment);
  if (code.kind === "signal") {
    return waitHandler.run(
      handlerCall(attempt, environment, compiled, declared, null, { with: declared.with, env: {} }),
    );
  }
  const seen = await seenBy(plan, attempt, compiled, environment);
  switch (code.kind) {
    case "approve":
      return askApproval(asked("message", code.message(seen)), "cancel");
    case "ask":
      return askPerson(asked("question", code.question(seen)), code.options);
    case "use": {
      const call = handlerCall(attempt, environment, compiled, declared, seen.workdir, {
        with: code.with(seen) as JsonObject,
        env: {},
      });
      return toStepHandler(code.handler).run(call);
    }
    case "map": {
      if (mapRole(declared) === "list") return expand(attempt, declared, compiled, code.over(seen), code.key);
      const context = new StepContext(seen, attempt, environment, compiled);
      return { kind: "completed", output: await code.run(itemOf(declared, seen.payloads), context) };
    }
    case "run":
      return { kind: "completed", output: await code.run(new StepContext(seen, attempt, environment, compiled)) };
    default:
      return code satisfies never;
  }
}

/** @throws NonRetryableError where a person would be asked nothing */
function asked(what: "message" | "question", text: unknown): string {
  if (typeof text === "string" && text.trim() !== "") return text;
  throw new NonRetryableError(`\`${what}\` gave ${inspect(text)}, which is no text to ask with`);
}

/** What the functions of a step may look at. */
async function seenBy(
  plan: AnyPlan,
  { step }: Attempt,
  compiled: CompiledDefinition,
  { cache }: ExecuteEnvironment,
): Promise<Seen & { readonly workdir: string | null; readonly payloads: Payloads }> {
  const payloads = await cache.load(step, compiled, "above");
  const mayHaveFailed = continuingSteps(compiled).filter((id) => isAbove(compiled, id, step.stepId));
  const failures = mayHaveFailed.length === 0 ? NO_FAILURES : await cache.failures(step, mayHaveFailed);
  return {
    input: await parseInput(plan.inputSchema, JSON.parse(payloads.input)),
    outputs: await outputsAbove(plan, compiled, step.stepId, payloads),
    // A step may be called constructor.
    errors: Object.assign(Object.create(null), Object.fromEntries(failures)),
    workdir: payloads.workdir,
    payloads,
  };
}

const continuing = new WeakMap<CompiledDefinition, readonly string[]>();

/** Those that the plan goes on without when they fail. */
function continuingSteps(compiled: CompiledDefinition): readonly string[] {
  let found = continuing.get(compiled);
  if (!found) {
    found = [...compiled.steps.values()]
      .filter((step) => step.onFailure === "continue" && step.itemOf === undefined)
      .map((step) => step.id);
    continuing.set(compiled, found);
  }
  return found;
}

/** Outputs of everything above, parsed when they are looked at, with each signal as its schema gives it out. */
async function outputsAbove(
  plan: AnyPlan,
  compiled: CompiledDefinition,
  stepId: string,
  payloads: Payloads,
): Promise<Readonly<Record<string, unknown>>> {
  const parsed = new Map<string, unknown>();
  for (const [id, code] of signalsOf(plan)) {
    if (!isAbove(compiled, id, stepId)) continue;
    const data: unknown = JSON.parse(payloads.output(id));
    // It was skipped, or went on without a signal; a signal that is null fits a schema that takes it.
    const { when, with: options } = compiled.steps.get(id)!;
    if (data === null && (when !== undefined || options.onTimeout === "continue")) continue;
    parsed.set(id, await parseInput(code.schema, data, `The signal of ${id}`));
  }
  const read = (id: string) => {
    if (!parsed.has(id)) parsed.set(id, JSON.parse(payloads.output(id)));
    return parsed.get(id);
  };
  const isOutput = (id: string | symbol): id is string => typeof id === "string" && isAbove(compiled, id, stepId);
  return new Proxy(Object.create(null), {
    get: (_, id) => (isOutput(id) ? read(id) : undefined),
    has: (_, id) => isOutput(id),
    ownKeys: () => [...compiled.steps.keys()].filter((id) => isAbove(compiled, id, stepId)),
    getOwnPropertyDescriptor: (_, id) =>
      isOutput(id) ? { value: read(id), enumerable: true, configurable: true, writable: false } : undefined,
  });
}

const signals = new WeakMap<AnyPlan, [string, Extract<StepCode, { kind: "signal" }>][]>();

function signalsOf(plan: AnyPlan): [string, Extract<StepCode, { kind: "signal" }>][] {
  let found = signals.get(plan);
  if (!found) {
    found = [];
    for (const [id, code] of plan.code) if (code.kind === "signal") found.push([id, code]);
    signals.set(plan, found);
  }
  return found;
}

/** Most looks are at a direct need; the rest is found by walking up, no further than the listed order allows. */
function isAbove(compiled: CompiledDefinition, id: string, stepId: string): boolean {
  const target = compiled.steps.get(id);
  const step = compiled.steps.get(stepId)!;
  if (!target || target.index >= step.index || target.itemOf !== undefined || target.lists !== undefined) return false;
  const seen = new Set<string>();
  const stack = [...step.needs];
  for (let need = stack.pop(); need !== undefined; need = stack.pop()) {
    if (need === id) return true;
    if (seen.has(need)) continue;
    seen.add(need);
    const above = compiled.steps.get(need)!;
    if (above.index > target.index && above.itemOf === undefined) stack.push(...above.needs);
  }
  return false;
}

/** What a step's function gets. What few functions look at is made when they do. */
class StepContext implements Context {
  readonly input: unknown;
  readonly outputs: Readonly<Record<string, unknown>>;
  readonly errors: Seen["errors"];
  readonly services: unknown;
  readonly attempt: number;
  readonly fence: number;
  /** Only of a step that reads or writes the sandbox. */
  readonly sandbox: SandboxAccess | undefined;
  private lines: Log | null = null;
  private memory: StoredMemory | null = null;

  constructor(
    seen: Seen,
    private readonly running: Attempt,
    private readonly environment: ExecuteEnvironment,
    private readonly compiled: CompiledDefinition,
  ) {
    this.input = seen.input;
    this.outputs = seen.outputs;
    this.errors = seen.errors;
    this.services = environment.services;
    this.attempt = running.step.attempt;
    this.fence = running.step.fence;
    this.sandbox = running.sandbox ?? undefined;
    // Handlers take functions out of their context by destructuring.
    this.progress = this.progress.bind(this);
  }

  get signal(): AbortSignal {
    return this.running.signal;
  }

  get idempotencyKey(): string {
    return idempotencyKey(this.running.step);
  }

  get log(): Log {
    this.lines ??= logTo((text) => this.running.write(text));
    return this.lines;
  }

  get decide(): StoredMemory["decide"] {
    return this.remember().decide;
  }

  get save(): StoredMemory["save"] {
    return this.remember().save;
  }

  get append(): StoredMemory["append"] {
    return this.remember().append;
  }

  get saved(): unknown {
    return this.remember().saved;
  }

  private remember(): StoredMemory {
    this.memory ??= new StoredMemory(this.running, this.environment, this.compiled);
    return this.memory;
  }

  progress(fraction: number, note?: string): void {
    tellProgress(this.running, this.environment, fraction, note);
  }
}

function handlerCall(
  attempt: Attempt,
  environment: ExecuteEnvironment,
  compiled: CompiledDefinition,
  declared: CompiledStep,
  workdir: string | null,
  resolved: { with: JsonObject; env: Readonly<Record<string, string>> },
): HandlerCall {
  const { step } = attempt;
  let memory: StoredMemory | undefined;
  const remember = () => {
    memory ??= new StoredMemory(attempt, environment, compiled);
    return memory;
  };
  return {
    planId: step.planId,
    planName: compiled.definition.name,
    stepId: step.stepId,
    attempt: step.attempt,
    fence: step.fence,
    idempotencyKey: idempotencyKey(step),
    with: resolved.with,
    env: resolved.env,
    passEnv: declared.passEnv,
    workdir: attempt.sandbox?.path ?? workdir,
    sandbox: attempt.sandbox,
    get signal() {
      return attempt.signal;
    },
    groups: attempt.groups,
    woken: step.dueAt === null ? null : { by: "timer", parkedAt: step.dueAt },
    write: (_stream, text) => attempt.write(text),
    progress: (fraction, note) => tellProgress(attempt, environment, fraction, note),
    decide: (key, question, chooser) => remember().decide(key, question, chooser),
    save: (cursor) => remember().save(cursor),
    append: (steps) => remember().append(steps),
    get saved() {
      return remember().saved;
    },
  };
}

const MOST_NOTE_CHARS = 200;

/** What is said may be anything, and is for people: nothing of it fails the attempt. */
function tellProgress(
  { step, hidden }: Attempt,
  { onProgress }: ExecuteEnvironment,
  fraction: unknown,
  note: unknown,
): void {
  const part = typeof fraction === "number" ? fraction : 0;
  const text = typeof note === "string" ? (hidden?.text(note) ?? note).slice(0, MOST_NOTE_CHARS) : null;
  onProgress(step, part > 0 ? Math.min(1, part) : 0, text);
}

/** Equal over attempts, crashes and resumes; a rewind starts a new line and with it a new key. */
export function idempotencyKey(step: StartedStep): string {
  return `${step.planId}/${step.stepId}/${step.line}`;
}

function onTimeout(attempt: Attempt, declared: CompiledStep, environment: ExecuteEnvironment): void {
  attempt.abort("timeout");
  setTimeout(() => {
    attempt.end(afterFailure(attempt, declared, timeoutError(declared), environment));
  }, ABORT_PATIENCE_MS).unref();
}

function timeoutError(declared: CompiledStep): Error {
  return new Error(`timed out after ${formatDurationMs(declared.timeoutMs)}`);
}

function afterFailure(
  { step, hidden }: Attempt,
  declared: CompiledStep,
  thrown: unknown,
  { random }: ExecuteEnvironment,
): Outcome {
  const { code, message } = describeError(thrown);
  const shown = withoutLookAlikes(message);
  const error = { code, message: hidden === null ? shown : hidden.text(shown) };
  // Whether an irreversible step that failed did half of its work, only a person can say.
  const isFinal = declared.effect === "irreversible" || isOurs(thrown) || isNonRetryable(thrown);
  const policyDelay = isFinal ? null : nextDelayMs(declared.retry, step.failures + 1, random);
  if (policyDelay === null) return { kind: "fail", error };
  const isChosen = isRetryAfter(thrown) && Number.isFinite(thrown.delayMs);
  const delayMs = isChosen ? thrown.delayMs : policyDelay;
  return { kind: "retry", delayMs: Math.max(0, Math.round(delayMs)), error };
}

/** Errors of ours would come again, but for a chooser's: it may choose better next time. */
function isOurs(thrown: unknown): boolean {
  return thrown instanceof WaymarkError && !(thrown instanceof InvalidChoiceError);
}

// By name too: a plan's module may have loaded another copy of this library.
function isNonRetryable(thrown: unknown): boolean {
  return thrown instanceof NonRetryableError || (thrown as Error | null)?.name === "NonRetryableError";
}

function isRetryAfter(thrown: unknown): thrown is RetryAfterError {
  return thrown instanceof RetryAfterError || (thrown as Error | null)?.name === "RetryAfterError";
}

/** What was thrown; where looking at it throws again, as a getter or a revoked proxy does, an error that says so. */
function legible(thrown: unknown): unknown {
  try {
    describeError(thrown);
    return thrown;
  } catch {
    return new Error("what was thrown can't be read");
  }
}

/** A word, not a text: it is matched by programs. */
const CODE = /^[\w.:-]{1,64}$/;

function describeError(thrown: unknown): AttemptError {
  if (thrown instanceof WaymarkError) return { code: thrown.code, message: thrown.message };
  if (thrown instanceof Error) {
    const code = (thrown as { code?: unknown }).code;
    const isWord = typeof code === "string" && CODE.test(code);
    return { code: isWord ? code : "STEP_FAILED", message: String(thrown.message || thrown.name) };
  }
  // Not every value can be made a string: an object without a prototype can't.
  return { code: "STEP_FAILED", message: typeof thrown === "string" ? thrown : inspect(thrown) };
}

function fail(code: string, message: string): Outcome {
  return { kind: "fail", error: { code, message } };
}

/** It was told to stop, so what it threw is no failure of its own. */
function stopped(): Outcome {
  return { kind: "release", reason: "stop" };
}
