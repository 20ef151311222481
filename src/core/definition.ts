/**
 * What a plan does, as data: the graph of its steps and what each of them declares. Documents and `definePlan` both
 * become this; it is stored once under its digest and shared by every plan that runs it. Functions are not part of it.
 */
import type { Condition } from "./condition.js";
import { digestOf, type Json, type JsonObject } from "./json.js";
import type { ConcurrencyLimit, RateLimit } from "./limits.js";
import { listStepId, type MapDeclaration } from "./map.js";
import type { SandboxDeclaration } from "./sandbox.js";

export type Effect = "idempotent" | "irreversible";
export type SandboxUse = "none" | "read" | "write";
/** What becomes of the plan when a step fails for good: nothing that needs it runs, or it counts as done without an output. */
export type OnFailure = "stop" | "continue";
export const ON_FAILURES: readonly OnFailure[] = ["stop", "continue"];

export interface RetryPolicy {
  /** Attempts in all, the first one included. Only failed ones count. */
  readonly attempts: number;
  readonly backoff: "fixed" | "exponential";
  readonly delayMs: number;
  readonly maxMs: number;
}

export const DEFAULT_RETRY: RetryPolicy = { attempts: 3, backoff: "exponential", delayMs: 1_000, maxMs: 60_000 };
export const DEFAULT_STEP_TIMEOUT_MS = 3_600_000;
export const DEFAULT_PHASE = "execute";
export const CONVENTIONAL_PHASES = ["strategize", "execute", "apply"] as const;
/** How many steps a plan may have. */
export const STEP_LIMIT = 100_000;
/** What BullMQ can hold. */
export const LEAST_URGENT_PRIORITY = 2_097_151;
export const DOCUMENT_QUEUE = "documents";
/** Handlers that end without a result until somebody or a timer goes on: they hold no files meanwhile. */
export const WAITING_HANDLERS: ReadonlySet<string> = new Set(["approve", "ask", "sleep", "wait"]);
/** The handler name of a step whose function lives in a TypeScript definition. */
export const CODE_HANDLER = "code";

/** What a step declares. Everything here is JSON. */
export interface StepDefinition {
  readonly id: string;
  readonly phase: string;
  /** Ids of the steps that must be done before this one starts. */
  readonly needs: readonly string[];
  /** The handler that runs it: a built-in, one made with `defineHandler`, or `code`. */
  readonly uses: string;
  /** Arguments of the handler; strings may hold expressions. */
  readonly with: JsonObject;
  readonly env: Readonly<Record<string, string>>;
  /** Names of variables of the worker's own environment that a shell step may see. */
  readonly passEnv: readonly string[];
  readonly queue: string;
  readonly effect: Effect;
  readonly sandbox: SandboxUse;
  readonly retry: RetryPolicy;
  readonly timeoutMs: number;
  /** Marks a change of the step's meaning that nothing else shows. */
  readonly rev: string | null;
  /** Whether it runs at all. Only where it is declared. */
  readonly when?: Condition;
  /** Which steps of its queue come first: 1, then 2 …; before them all come those that have none. Only where it is declared. */
  readonly priority?: number;
  /** How many attempts of all steps with this key run at once. Only where it is declared. */
  readonly concurrency?: ConcurrencyLimit;
  /** How many attempts of all steps with this key start within a window. Only where it is declared. */
  readonly rate?: RateLimit;
  /** Only where it is declared. */
  readonly onFailure?: "continue";
  /** One step an item of a list. Only where it is declared. */
  readonly map?: MapDeclaration;
  /** The map whose list it makes; absent elsewhere. */
  readonly lists?: string;
  /** The map of whose list it does an item, and which; absent elsewhere. */
  readonly itemOf?: string;
  readonly item?: number;
  /** How many items of its map run at once, where that is limited. */
  readonly turns?: number;
  /** The step that appended it while the plan ran; absent where the definition has it. */
  readonly appendedBy?: string;
}

/** Whether schedulers may resume an interrupted plan, or a person does. */
export type ResumePolicy = "auto" | "manual";
export const RESUME_POLICIES: readonly ResumePolicy[] = ["auto", "manual"];

export interface Definition {
  readonly name: string;
  readonly version: number;
  readonly source: "document" | "code";
  readonly phases: readonly string[];
  /** In the order in which they are listed; every need precedes or follows freely, cycles are refused. */
  readonly steps: readonly StepDefinition[];
  /** JSON Schema of the input of a document: `properties` and `required`. Null where code checks the input. */
  readonly inputSchema: JsonObject | null;
  readonly failFast: boolean;
  /** Null where the plan has no files of its own. */
  readonly sandbox: SandboxDeclaration | null;
  /** Only where it is declared. */
  readonly resume?: ResumePolicy;
}

/** A definition ready to run: checked, digested, with its edges in both directions. */
export interface CompiledDefinition {
  readonly definition: Definition;
  /** SHA-256 of everything that the definition declares. */
  readonly digest: string;
  readonly steps: ReadonlyMap<string, CompiledStep>;
  /** Ids of the steps that need nothing, in listed order. */
  readonly roots: readonly string[];
}

export interface CompiledStep extends StepDefinition {
  readonly index: number;
  /** Covers needs, phase, uses, with, env, effect, sandbox, when, map and rev: a worker runs a step when name and digest match. */
  readonly digest: string;
  /** Ids of the steps that need this one. */
  readonly next: readonly string[];
}

/** Digests a definition and links its steps. The caller has checked ids, needs, phases and cycles. */
export function compile(definition: Definition): CompiledDefinition {
  const all = definition.steps.flatMap((declared) =>
    partsOf(declared).map((step) => ({ step, digest: stepDigest(step.lists === undefined ? declared : step) })),
  );
  const next = new Map<string, string[]>(all.map(({ step }) => [step.id, []]));
  for (const { step } of all) for (const need of step.needs) next.get(need)?.push(step.id);
  const steps = new Map<string, CompiledStep>();
  all.forEach(({ step, digest }, index) => {
    steps.set(step.id, { ...step, index, digest, next: next.get(step.id)! });
  });
  return {
    definition,
    digest: digestOf(definition),
    steps,
    roots: all.filter(({ step }) => step.needs.length === 0).map(({ step }) => step.id),
  };
}

/** A map's list step, and the map as it is once it has its items; any other step as it is. */
function partsOf(declared: StepDefinition): StepDefinition[] {
  if (declared.map === undefined) return [declared];
  const { when, onFailure: _, concurrency: _concurrency, rate: _rate, ...map } = declared;
  const id = listStepId(declared.id);
  // Neither of them does what the step declares: its items do.
  const idle = {
    effect: "idempotent",
    sandbox: "none",
    retry: DEFAULT_RETRY,
    timeoutMs: DEFAULT_STEP_TIMEOUT_MS,
  } as const;
  const list = { ...map, ...idle, id, uses: "list", with: {}, env: {}, passEnv: [], lists: declared.id };
  return [
    { ...list, ...(when !== undefined && { when }) },
    { ...map, ...idle, needs: [id] },
  ];
}

/**
 * What a plan runs once steps were appended to it, in their order. The digest stays that of its definition.
 * @param appended each needs steps of the plan or of those before it
 */
export function grow(compiled: CompiledDefinition, appended: readonly StepDefinition[]): CompiledDefinition {
  const steps = new Map(compiled.steps);
  const next = new Map<string, string[]>();
  for (const step of appended) {
    steps.set(step.id, { ...step, index: steps.size, digest: stepDigest(step), next: [] });
    for (const need of step.needs) {
      const more = next.get(need);
      if (more) more.push(step.id);
      else next.set(need, [step.id]);
    }
  }
  const items = new Map<string, string[]>();
  for (const { id, itemOf } of appended) {
    if (itemOf === undefined) continue;
    next.set(id, [itemOf, ...(next.get(id) ?? [])]);
    const others = items.get(itemOf);
    if (others) others.push(id);
    else items.set(itemOf, [id]);
  }
  for (const [id, more] of next) {
    const step = steps.get(id);
    if (step) steps.set(id, { ...step, next: [...step.next, ...more] });
  }
  for (const [id, more] of items) {
    const step = steps.get(id)!;
    steps.set(id, { ...step, needs: [...step.needs, ...more] });
  }
  const { definition } = compiled;
  return { ...compiled, definition: { ...definition, steps: [...definition.steps, ...appended] }, steps };
}

/** What a plan runs once some of its appended steps are none of its own any more. */
export function ungrow(compiled: CompiledDefinition, removed: ReadonlySet<string>): CompiledDefinition {
  if (removed.size === 0) return compiled;
  const { definition } = compiled;
  const declared = definition.steps.filter((step) => step.appendedBy === undefined);
  const left = definition.steps.filter((step) => step.appendedBy !== undefined && !removed.has(step.id));
  return grow(compile({ ...definition, steps: declared }), left);
}

/** The phases of a plan that lists none: the conventional three as soon as a step names one of them. */
export function impliedPhases(named: Iterable<string>): readonly string[] {
  const conventional: readonly string[] = CONVENTIONAL_PHASES;
  for (const phase of named) if (conventional.includes(phase)) return conventional;
  return [DEFAULT_PHASE];
}

/**
 * The phase of a step that names none. It can't be earlier than those of its needs, so it is the latest one among them;
 * without needs it is the first phase of a plan that lists its own, else `execute`.
 */
export function defaultPhase(
  listed: readonly string[] | null,
  phases: readonly string[],
  ofNeeds: Iterable<string>,
): string {
  let latest = listed?.[0] ?? DEFAULT_PHASE;
  for (const phase of ofNeeds) if (phases.indexOf(phase) > phases.indexOf(latest)) latest = phase;
  return latest;
}

/** All steps that need `from`, directly or not, `from` included, in listed order. */
export function descendants(compiled: CompiledDefinition, from: readonly string[]): string[] {
  const found = new Set(from);
  const stack = [...from];
  for (let id = stack.pop(); id !== undefined; id = stack.pop()) {
    for (const child of compiled.steps.get(id)?.next ?? []) {
      if (!found.has(child)) {
        found.add(child);
        stack.push(child);
      }
    }
  }
  return [...found].sort((a, b) => compiled.steps.get(a)!.index - compiled.steps.get(b)!.index);
}

/** Ids of the steps on a cycle, in order, or null. Needs that don't exist are passed over. */
export function findCycle(steps: readonly Pick<StepDefinition, "id" | "needs">[]): string[] | null {
  const byId = new Map(steps.map((step) => [step.id, step]));
  const state = new Map<string, "open" | "done">();
  for (const root of steps) {
    // An explicit stack: a plan may be a chain of 100,000 steps.
    const path: { id: string; nextNeed: number }[] = [];
    if (!state.has(root.id)) path.push({ id: root.id, nextNeed: 0 });
    while (path.length > 0) {
      const top = path[path.length - 1]!;
      state.set(top.id, "open");
      const need = byId.get(top.id)!.needs[top.nextNeed++];
      if (need === undefined) {
        state.set(top.id, "done");
        path.pop();
      } else if (state.get(need) === "open") {
        return path.slice(path.findIndex((p) => p.id === need)).map((p) => p.id);
      } else if (byId.has(need) && !state.has(need)) {
        path.push({ id: need, nextNeed: 0 });
      }
    }
  }
  return null;
}

function stepDigest(step: StepDefinition): string {
  const { id, phase, needs, uses, env, effect, sandbox, rev, when, map } = step;
  return digestOf({ id, phase, needs, uses, with: step.with as Json, env, effect, sandbox, rev, when, map });
}
