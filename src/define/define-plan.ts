/** `definePlan`: a plan written in code. What it declares becomes a core definition; its functions stay beside it. */
import type { StandardSchemaV1 } from "@standard-schema/spec";
import {
  CODE_HANDLER,
  CONVENTIONAL_PHASES,
  type CompiledDefinition,
  compile,
  DEFAULT_RETRY,
  DEFAULT_STEP_TIMEOUT_MS,
  DOCUMENT_QUEUE,
  defaultPhase,
  impliedPhases,
  LEAST_URGENT_PRIORITY,
  ON_FAILURES,
  RESUME_POLICIES,
  type ResumePolicy,
  type RetryPolicy,
  type SandboxUse,
  STEP_LIMIT,
  type StepDefinition,
} from "../core/definition.js";
import { parseDurationMs } from "../core/duration.js";
import { InvalidDefinitionError } from "../core/errors.js";
import { isId } from "../core/ids.js";
import type { JsonObject } from "../core/json.js";
import type { ConcurrencyLimit } from "../core/limits.js";
import { BY_FUNCTION } from "../core/map.js";
import { DEFAULT_SANDBOX_PROVIDER, isAbsolutePath, type SandboxDeclaration } from "../core/sandbox.js";
import type { Seen } from "./context.js";
import { type Handler, isHandler } from "./define-handler.js";
import { limitOptions } from "./limit-options.js";
import { isStandardSchema } from "./parse-input.js";
import type {
  AnyPlan,
  Conditional,
  OnTimeout,
  Placement,
  Plan,
  RetryOptions,
  ServicesType,
  StepCode,
  StepOptions,
  Steps,
  WaitOptions,
} from "./typed-plan.js";

type ConventionalPhase = (typeof CONVENTIONAL_PHASES)[number];

export interface PlanOptions<In extends StandardSchemaV1, P extends string, Svc> {
  /** Any Standard Schema: it types what is submitted, and what the steps see. */
  readonly input: In;
  /** 1 unless given. */
  readonly version?: number;
  /** In their order. A step may need only steps of the same or an earlier phase. */
  readonly phases?: readonly P[];
  /** What the steps expect of the worker: `services<{ git: Git }>()`. */
  readonly services?: ServicesType<Svc>;
  /** Where its steps wait for workers: a queue of the plan's own name unless given. */
  readonly queue?: string;
  /** Of its steps, where they name none: which of a queue come first. */
  readonly priority?: number;
  /** After a step fails for good, nothing more is released and the active steps are aborted. */
  readonly failFast?: boolean;
  /**
   * Whether a scheduler resumes a plan that was interrupted. Unless given, it does, but for a plan that a person runs in a
   * process of their own (`plan run`).
   */
  readonly resume?: ResumePolicy;
  /** The plan's own files, for steps that say `sandbox: "read"` or `"write"`. */
  readonly sandbox?: SandboxOptions;
}

/** All of it holds for every run of the plan. Patterns are those of a .gitignore. */
export interface SandboxOptions {
  /** The directory that it starts as a copy of, relative to the working directory of whoever submits. Empty unless given. */
  readonly from?: string;
  /** Never copied in. */
  readonly exclude?: readonly string[];
  /** In the directory, but not in snapshots; a restore leaves it alone. */
  readonly ignore?: readonly string[];
  /** In snapshots although it looks like a file of secrets. */
  readonly include?: readonly string[];
  /** A command that runs before the first step on a machine that did not have the directory. */
  readonly prepare?: { readonly run: string };
  /** Who keeps the snapshots, by name: `directory` unless given. */
  readonly provider?: string;
}

/** @throws InvalidDefinitionError when the name, or an option, can't be used */
export function definePlan<
  In extends StandardSchemaV1,
  const P extends string = ConventionalPhase,
  Svc = Record<never, never>,
>(name: string, options: PlanOptions<In, P, Svc>): Plan<In, Record<never, never>, never, P, Svc> {
  const head = planHead(name, options);
  return new PlanBuilder(head, new StepList(), 0) as unknown as Plan<In, Record<never, never>, never, P, Svc>;
}

/** Names a type where only values can be written; the value itself is empty. */
export function services<Svc>(): ServicesType<Svc> {
  return Object.freeze({});
}

/** A plan's definition but for its steps. */
interface PlanHead {
  readonly name: string;
  readonly version: number;
  /** Null where the plan names none: then its steps decide. */
  readonly phases: readonly string[] | null;
  readonly queue: string;
  readonly priority: number | undefined;
  readonly failFast: boolean;
  readonly resume: ResumePolicy | undefined;
  readonly sandbox: SandboxDeclaration | null;
  readonly inputSchema: StandardSchemaV1;
}

interface DefinedStep {
  readonly definition: StepDefinition;
  readonly code: StepCode;
  readonly namedPhase: string | undefined;
}

/** A step as its options declare it. */
type DeclaredStep = Omit<DefinedStep, "code"> & { readonly when: StepCode["when"] };

type AnyPlacement = Placement<Steps, string, string>;
type AnyStepOptions = StepOptions<Steps, string, string> &
  Conditional<Seen, boolean> & { readonly sandbox?: SandboxUse; readonly concurrency?: number | ConcurrencyLimit };

const PLACEMENT_KEYS = ["needs", "phase", "queue", "priority", "rev", "when"];
const STEP_KEYS = [...PLACEMENT_KEYS, "timeout", "retry", "effect", "onFailure", "concurrency", "rate"];
const SANDBOX_USES: readonly SandboxUse[] = ["none", "read", "write"];

class PlanBuilder implements AnyPlan {
  readonly name: string;
  readonly inputSchema: StandardSchemaV1;
  readonly #head: PlanHead;
  readonly #list: StepList;
  readonly #size: number;
  #compiled: CompiledDefinition | undefined;
  #code: ReadonlyMap<string, StepCode> | undefined;

  constructor(head: PlanHead, list: StepList, size: number) {
    this.name = head.name;
    this.inputSchema = head.inputSchema;
    this.#head = head;
    this.#list = list;
    this.#size = size;
    Object.freeze(this);
  }

  step(id: string, ...rest: [run: unknown] | [options: AnyStepOptions, run: unknown]): PlanBuilder {
    const [options, run] = rest.length === 1 ? [{}, rest[0]] : rest;
    const step = this.#define(id, CODE_HANDLER, options, [...STEP_KEYS, "sandbox"]);
    if (typeof run !== "function") throw this.#refuse(id, "has no function to run");
    return this.#append(step, { kind: "run", run: run as (StepCode & { kind: "run" })["run"] });
  }

  map(
    id: string,
    options: AnyStepOptions & {
      readonly over: (StepCode & { kind: "map" })["over"];
      readonly key?: (StepCode & { kind: "map" })["key"];
    },
    run: (StepCode & { kind: "map" })["run"],
  ): PlanBuilder {
    const { concurrency, ...others } = options ?? {};
    // An object is a limit over all plans, as at any other step.
    const most = typeof concurrency === "object" ? undefined : concurrency;
    const declared = most === undefined ? options : others;
    const step = this.#define(id, CODE_HANDLER, declared, [...STEP_KEYS, "sandbox", "over", "key"]);
    const { over, key } = options;
    if (typeof over !== "function") throw this.#refuse(id, "has no function `over`");
    if (key !== undefined && typeof key !== "function")
      throw this.#refuse(id, `has the key ${show(key)}, not a function`);
    if (most !== undefined && (!Number.isSafeInteger(most) || most < 1)) {
      throw this.#refuse(id, `has the concurrency ${show(most)}, which is not a whole number from 1`);
    }
    if (typeof run !== "function") throw this.#refuse(id, "has no function to run");
    const map = { over: BY_FUNCTION, key: key ? BY_FUNCTION : null, concurrency: most ?? null };
    return this.#append({ ...step, definition: { ...step.definition, map } }, { kind: "map", over, key, run });
  }

  approve(
    id: string,
    options: AnyPlacement &
      Conditional<Seen, boolean> & { readonly message: (StepCode & { kind: "approve" })["message"] },
  ): PlanBuilder {
    const step = this.#define(id, "approve", options, [...PLACEMENT_KEYS, "message"]);
    if (typeof options.message !== "function") throw this.#refuse(id, "has no function `message`");
    return this.#append(step, { kind: "approve", message: options.message });
  }

  ask(
    id: string,
    options: AnyPlacement &
      Conditional<Seen, boolean> & {
        readonly question: (StepCode & { kind: "ask" })["question"];
        readonly options: readonly string[];
      },
  ): PlanBuilder {
    const step = this.#define(id, "ask", options, [...PLACEMENT_KEYS, "question", "options"]);
    const refuse = (fault: string) => this.#refuse(id, fault);
    if (typeof options.question !== "function") throw refuse("has no function `question`");
    const choices = askedOptions(options.options, refuse);
    const definition = { ...step.definition, with: { options: choices } };
    return this.#append({ ...step, definition }, { kind: "ask", options: choices, question: options.question });
  }

  waitFor(
    id: string,
    options: AnyPlacement & Conditional<Seen, boolean> & WaitOptions<StandardSchemaV1, OnTimeout>,
  ): PlanBuilder {
    // Its timeout is not that of an attempt.
    const { timeout: _, ...placement } = options ?? {};
    const step = this.#define(id, "wait", placement, [...PLACEMENT_KEYS, "signal", "onTimeout"]);
    if (!isStandardSchema(options?.signal)) throw this.#refuse(id, "has no Standard Schema in `signal`");
    const definition = { ...step.definition, with: this.#timeLimit(id, options) };
    return this.#append({ ...step, definition }, { kind: "signal", schema: options.signal });
  }

  use(
    id: string,
    handler: Handler,
    options: AnyStepOptions & { readonly with: (StepCode & { kind: "use" })["with"] },
  ): PlanBuilder {
    if (!isHandler(handler)) {
      throw this.#refuse(id, "uses something that `defineHandler` did not make");
    }
    const step = this.#define(id, handler.name, options, [...STEP_KEYS, "with"]);
    if (typeof options.with !== "function") throw this.#refuse(id, "has no function `with`");
    return this.#append(step, { kind: "use", handler, with: options.with });
  }

  get compiled(): CompiledDefinition {
    this.#compiled ??= this.#compile();
    return this.#compiled;
  }

  get code(): ReadonlyMap<string, StepCode> {
    this.#code ??= new Map(this.#list.first(this.#size).map((step) => [step.definition.id, step.code]));
    return this.#code;
  }

  #compile(): CompiledDefinition {
    const { name, version, phases, failFast, resume, sandbox } = this.#head;
    const steps = this.#list.first(this.#size);
    if (steps.length === 0) throw new InvalidDefinitionError(`Plan ${JSON.stringify(name)}`, "has no steps");
    return compile({
      name,
      version,
      source: "code",
      phases: phases ?? impliedPhases(steps.flatMap((step) => step.namedPhase ?? [])),
      steps: steps.map((step) => step.definition),
      inputSchema: null,
      failFast,
      sandbox,
      ...(resume && { resume }),
    });
  }

  #append({ when, ...step }: DeclaredStep, code: StepCode): PlanBuilder {
    const list = this.#list.append(this.#size, { ...step, code: Object.freeze(when ? { ...code, when } : code) });
    return new PlanBuilder(this.#head, list, this.#size + 1);
  }

  #define(id: string, uses: string, options: AnyStepOptions, known: readonly string[]): DeclaredStep {
    const refuse = (fault: string) => this.#refuse(id, fault);
    if (!isId(id)) throw refuse(`has an id that is ${NOT_AN_ID}`);
    if (this.#find(id)) throw refuse("exists already");
    if (this.#size >= STEP_LIMIT) throw refuse(`is step ${this.#size + 1}; a plan may have ${STEP_LIMIT}`);
    refuseUnknownKeys(options, known, refuse);
    const needs = this.#needs(id, options.needs);
    const { queue = this.#head.queue, rev = null, effect = "idempotent", sandbox = "none" } = options;
    if (!isId(queue)) throw refuse(`has the queue ${show(queue)}, which is ${NOT_AN_ID}`);
    if (rev !== null && typeof rev !== "string") throw refuse(`has the rev ${show(rev)}, which is not a string`);
    if (effect !== "idempotent" && effect !== "irreversible") {
      throw refuse(`has the effect ${show(effect)}; it can be idempotent or irreversible`);
    }
    if (!SANDBOX_USES.includes(sandbox)) {
      throw refuse(`has the sandbox ${show(sandbox)}; it can be none, read or write`);
    }
    const { when, onFailure = "stop", priority = this.#head.priority } = options;
    checkPriority(priority, refuse);
    if (when !== undefined && typeof when !== "function")
      throw refuse(`has ${show(when)} for \`when\`, not a function`);
    if (!ON_FAILURES.includes(onFailure)) {
      throw refuse(`has onFailure ${show(onFailure)}; it can be stop or continue`);
    }
    if (sandbox !== "none" && this.#head.sandbox === null) {
      throw refuse(`has the sandbox ${show(sandbox)}, and its plan has no sandbox`);
    }
    return {
      when,
      namedPhase: options.phase,
      definition: {
        id,
        phase: this.#phase(id, options.phase, needs),
        needs: needs.map((need) => need.id),
        uses,
        with: {},
        env: {},
        passEnv: [],
        queue,
        effect,
        sandbox,
        retry: retryPolicy(options.retry, refuse),
        timeoutMs: durationMs(options.timeout, "timeout", refuse) ?? DEFAULT_STEP_TIMEOUT_MS,
        rev,
        ...(priority !== undefined && { priority }),
        ...(when && { when: "code" }),
        ...(onFailure === "continue" && { onFailure }),
        ...limitOptions(options.concurrency as ConcurrencyLimit | undefined, options.rate, refuse),
      },
    };
  }

  #needs(id: string, ids: readonly string[] | undefined): StepDefinition[] {
    if (ids === undefined) {
      const last = this.#list.last(this.#size);
      return last ? [last.definition] : [];
    }
    if (!Array.isArray(ids)) throw this.#refuse(id, `has the needs ${show(ids)}, which are not a list`);
    const twice = firstTwice(ids);
    if (twice !== undefined) throw this.#refuse(id, `needs ${show(twice)} twice`);
    return ids.map((need) => {
      const step = this.#find(need);
      if (!step) throw this.#refuse(id, `needs ${show(need)}, which is no step above it`);
      return step;
    });
  }

  #phase(id: string, named: string | undefined, needs: readonly StepDefinition[]): string {
    const phases: readonly string[] = this.#head.phases ?? CONVENTIONAL_PHASES;
    const phase =
      named ??
      defaultPhase(
        this.#head.phases,
        phases,
        needs.map((need) => need.phase),
      );
    if (!phases.includes(phase)) {
      throw this.#refuse(id, `has the phase ${show(phase)}; the plan's phases are ${phases.join(", ")}`);
    }
    const tooLate = needs.find((need) => phases.indexOf(need.phase) > phases.indexOf(phase));
    if (tooLate) {
      throw this.#refuse(id, `of phase ${phase} needs ${show(tooLate.id)} of the later phase ${tooLate.phase}`);
    }
    return phase;
  }

  /** As the `with` of a document's `wait` says it. */
  #timeLimit(id: string, { timeout, onTimeout }: WaitOptions<StandardSchemaV1, OnTimeout>): JsonObject {
    if (onTimeout !== undefined && onTimeout !== "fail" && onTimeout !== "continue") {
      throw this.#refuse(id, `has onTimeout ${show(onTimeout)}; it can be fail or continue`);
    }
    const timeoutMs = durationMs(timeout, "timeout", (fault) => this.#refuse(id, fault));
    if (timeoutMs !== undefined) return { timeout: timeoutMs, ...(onTimeout && { onTimeout }) };
    if (onTimeout !== undefined) throw this.#refuse(id, "says what a timeout does, and has none");
    return {};
  }

  #find(id: string): StepDefinition | undefined {
    return this.#list.find(id, this.#size)?.definition;
  }

  #refuse(id: unknown, fault: string): InvalidDefinitionError {
    return new InvalidDefinitionError(`Step ${show(id)} of plan ${this.name}`, fault);
  }
}

/**
 * The steps of a chain of plans, which share one list: a plan of `size` steps sees the first `size`, and only the
 * longest may append in place. A plan that continues from the middle copies what it sees first. So a chain of n calls
 * costs n.
 */
class StepList {
  readonly #steps: DefinedStep[];
  readonly #places: Map<string, number>;

  constructor(steps: DefinedStep[] = []) {
    this.#steps = steps;
    this.#places = new Map(steps.map((step, index) => [step.definition.id, index]));
  }

  append(size: number, step: DefinedStep): StepList {
    if (size < this.#steps.length) return new StepList(this.first(size)).append(size, step);
    this.#places.set(step.definition.id, size);
    this.#steps.push(step);
    return this;
  }

  find(id: string, size: number): DefinedStep | undefined {
    const place = this.#places.get(id);
    return place !== undefined && place < size ? this.#steps[place] : undefined;
  }

  last(size: number): DefinedStep | undefined {
    return this.#steps[size - 1];
  }

  first(size: number): DefinedStep[] {
    return this.#steps.slice(0, size);
  }
}

export type Refuse = (fault: string) => InvalidDefinitionError;

const NOT_AN_ID = "not an id: letters, digits, '.', '_' and '-', at most 128, the first a letter or a digit";
const PLAN_KEYS = ["input", "version", "phases", "services", "queue", "priority", "failFast", "resume", "sandbox"];
const SANDBOX_KEYS = ["from", "exclude", "ignore", "include", "prepare", "provider"];

function planHead(name: string, options: Omit<PlanOptions<StandardSchemaV1, string, never>, "services">): PlanHead {
  const refuse: Refuse = (fault) => new InvalidDefinitionError(`Plan ${show(name)}`, fault);
  if (!isId(name)) throw refuse(`has a name that is ${NOT_AN_ID}`);
  refuseUnknownKeys(options, PLAN_KEYS, refuse);
  const { input, version = 1, phases, queue = name, failFast = false, resume } = options;
  if (!isStandardSchema(input)) throw refuse("has no Standard Schema in `input`");
  if (!Number.isSafeInteger(version) || version < 1) {
    throw refuse(`has the version ${show(version)}, which is not a whole number from 1`);
  }
  if (options.queue === undefined && name === DOCUMENT_QUEUE) {
    throw refuse("would share the queue of plan documents; give it a `queue`");
  }
  if (!isId(queue)) throw refuse(`has the queue ${show(queue)}, which is ${NOT_AN_ID}`);
  checkPriority(options.priority, refuse);
  if (typeof failFast !== "boolean") throw refuse(`has failFast ${show(failFast)}, which is neither true nor false`);
  if (resume !== undefined && !RESUME_POLICIES.includes(resume)) {
    throw refuse(`has resume ${show(resume)}, which is neither "auto" nor "manual"`);
  }
  return {
    name,
    version,
    phases: planPhases(phases, refuse),
    queue,
    priority: options.priority,
    failFast,
    resume,
    sandbox: options.sandbox === undefined ? null : planSandbox(options.sandbox, refuse),
    inputSchema: input,
  };
}

function checkPriority(priority: number | undefined, refuse: Refuse): void {
  if (priority === undefined || (Number.isSafeInteger(priority) && priority >= 1 && priority <= LEAST_URGENT_PRIORITY))
    return;
  throw refuse(`has the priority ${show(priority)}, which is not a whole number from 1 to ${LEAST_URGENT_PRIORITY}`);
}

function planSandbox(options: SandboxOptions, refuse: Refuse): SandboxDeclaration {
  const refuseIn: Refuse = (fault) => refuse(`has a sandbox that ${fault}`);
  refuseUnknownKeys(options, SANDBOX_KEYS, refuseIn);
  const { from = null, prepare = null, provider = DEFAULT_SANDBOX_PROVIDER } = options;
  if (from !== null && (!isText(from) || isAbsolutePath(from))) {
    throw refuseIn(`starts from ${show(from)}, which is not a relative path`);
  }
  if (prepare !== null) {
    refuseUnknownKeys(prepare, ["run"], (fault) => refuseIn(`has a prepare that ${fault}`));
    if (!isText(prepare.run)) throw refuseIn(`is prepared by ${show(prepare.run)}, which is not a command`);
  }
  if (!isId(provider)) throw refuseIn(`has the provider ${show(provider)}, which is ${NOT_AN_ID}`);
  const patterns = (key: "exclude" | "ignore" | "include"): readonly string[] => {
    const list = options[key] ?? [];
    if (!Array.isArray(list) || !list.every(isText)) throw refuseIn(`has ${key} ${show(list)}, not a list of patterns`);
    return [...list];
  };
  return {
    from,
    exclude: patterns("exclude"),
    ignore: patterns("ignore"),
    include: patterns("include"),
    prepare: prepare === null ? null : { run: prepare.run },
    provider,
  };
}

function isText(value: unknown): value is string {
  return typeof value === "string" && value.trim() !== "";
}

function planPhases(phases: readonly string[] | undefined, refuse: Refuse): readonly string[] | null {
  if (phases === undefined) return null;
  if (!Array.isArray(phases) || phases.length === 0) throw refuse("has `phases` that are not a list of names");
  const malformed = phases.find((phase) => !isId(phase));
  if (malformed !== undefined) throw refuse(`has the phase ${show(malformed)}, which is ${NOT_AN_ID}`);
  const twice = firstTwice(phases);
  if (twice !== undefined) throw refuse(`has the phase ${twice} twice`);
  return [...phases];
}

function askedOptions(options: readonly string[], refuse: Refuse): readonly string[] {
  if (!Array.isArray(options) || options.length === 0) throw refuse("has `options` that are not a list of texts");
  const blank = options.find((option) => typeof option !== "string" || option.trim() === "");
  if (blank !== undefined) throw refuse(`has the option ${show(blank)}, which is no text`);
  const twice = firstTwice(options);
  if (twice !== undefined) throw refuse(`has the option ${show(twice)} twice`);
  return [...options];
}

function firstTwice(ids: readonly string[]): string | undefined {
  const seen = new Set<string>();
  return ids.find((id) => seen.size === seen.add(id).size);
}

export function retryPolicy(retry: RetryOptions | undefined, refuse: Refuse): RetryPolicy {
  if (retry === undefined) return DEFAULT_RETRY;
  refuseUnknownKeys(retry, ["attempts", "backoff", "delay", "max"], (fault) => refuse(`has a retry that ${fault}`));
  const { attempts = DEFAULT_RETRY.attempts, backoff = DEFAULT_RETRY.backoff } = retry;
  if (!Number.isSafeInteger(attempts) || attempts < 1) {
    throw refuse(`has ${show(attempts)} retry attempts; they are a whole number from 1`);
  }
  if (backoff !== "fixed" && backoff !== "exponential") {
    throw refuse(`has the backoff ${show(backoff)}; it can be fixed or exponential`);
  }
  const delayMs = durationMs(retry.delay, "retry delay", refuse) ?? DEFAULT_RETRY.delayMs;
  const maxMs = durationMs(retry.max, "retry max", refuse) ?? Math.max(DEFAULT_RETRY.maxMs, delayMs);
  if (maxMs < delayMs) throw refuse(`has a retry delay of ${delayMs} ms and a max of only ${maxMs} ms`);
  return { attempts, backoff, delayMs, maxMs };
}

export function durationMs(
  duration: unknown,
  what: "timeout" | "retry delay" | "retry max" | "per",
  refuse: Refuse,
): number | undefined {
  if (duration === undefined) return undefined;
  const ms = parseDurationMs(duration);
  if (ms === null) throw refuse(`has the ${what} ${show(duration)}, which is not a duration such as "30s" or "10m"`);
  if (ms === 0 && what === "timeout") throw refuse("has a timeout of 0, which would end every attempt at once");
  if (ms === 0 && what === "per") throw refuse("has a per of 0, which is no window");
  return ms;
}

/** The compiler refuses them too; a misspelt `effect` in plain JavaScript must not pass for the default. */
export function refuseUnknownKeys(options: unknown, known: readonly string[], refuse: Refuse): void {
  if (typeof options !== "object" || options === null) throw refuse(`has ${show(options)} for its options`);
  const unknown = Object.keys(options).find((key) => !known.includes(key));
  if (unknown !== undefined) throw refuse(`has the unknown option ${show(unknown)}; it can have ${known.join(", ")}`);
}

export function show(value: unknown): string {
  return JSON.stringify(value) ?? String(value);
}
