/**
 * A plan written in code, as the compiler sees it: which steps it has, what each records, and what is above which. The
 * types accumulate call by call, so that a wrong need, output, phase or result does not compile.
 */
import type { StandardSchemaV1 } from "@standard-schema/spec";
import type { CompiledDefinition, Effect, OnFailure, SandboxUse } from "../core/definition.js";
import type { Duration } from "../core/duration.js";
import type { ConcurrencyLimit } from "../core/limits.js";
import type { SandboxAccess } from "../core/sandbox.js";
import type { Context, Seen } from "./context.js";
import type { Handler } from "./define-handler.js";
import type { MustBeJson, Recorded } from "./recorded.js";

/**
 * A builder that never changes: each call returns a new plan with one more step, and throws InvalidDefinitionError,
 * which names the step, when that step can't be part of the plan.
 */
export interface Plan<
  In extends StandardSchemaV1,
  S extends Steps,
  Last extends keyof S & string,
  P extends string,
  Svc,
  I = StandardSchemaV1.InferOutput<In>,
> extends AnyPlan {
  readonly inputSchema: In;
  readonly "~types"?: {
    readonly input: StandardSchemaV1.InferInput<In>;
    readonly outputs: { readonly [K in keyof S]: S[K]["output"] };
    readonly takes: { readonly [K in keyof S]: S[K]["takes"] };
    readonly output: S[Last]["output"];
    readonly services: (services: Svc) => void;
  };

  /** A step that runs a function. What it returns is recorded, and is never computed again. */
  step<const Id extends string, R>(
    id: NewId<S, Id>,
    run: (context: Context<I, OutputsAbove<S, Last>, Svc>) => Promise<R> & MustBeJson<R>,
  ): Plan<In, Add<S, Id, Recorded<R>, Last>, Id, P, Svc>;
  step<
    const Id extends string,
    R,
    const N extends keyof S & string = Last,
    U extends SandboxUse = "none",
    const F extends OnFailure = "stop",
    W extends boolean = never,
  >(
    id: NewId<S, Id>,
    options: StepOptions<S, P, N, F> &
      Conditional<Seen<I, OutputsAbove<S, N>>, W> & {
        /** Whether the step sees the plan's files, and whether what it changes there is kept: `none` unless given. */
        readonly sandbox?: U;
        /** How many attempts run at once of all steps, of whatever plan, that name the key. */
        readonly concurrency?: ConcurrencyLimit;
      },
    run: (context: Context<I, OutputsAbove<S, N>, Svc> & WithSandbox<U>) => Promise<R> & MustBeJson<R>,
  ): Plan<In, Add<S, Id, Recorded<R> | NoOutput<F, W>, N>, Id, P, Svc>;

  /**
   * One step an item of a list that is made when the plan gets there: `id#key`, or `id#0`, `id#1` … without a key. What they
   * return is recorded in the order of the list.
   */
  map<
    const Id extends string,
    T,
    R,
    const N extends keyof S & string = Last,
    U extends SandboxUse = "none",
    const F extends OnFailure = "stop",
    W extends boolean = never,
  >(
    id: NewId<S, Id>,
    options: StepOptions<S, P, N, F> &
      Conditional<Seen<I, OutputsAbove<S, N>>, W> & {
        /** Makes the list, once. */
        readonly over: (seen: Seen<I, OutputsAbove<S, N>>) => readonly T[] & MustBeJson<readonly T[]>;
        /** Names an item: a text or a number that no other one has. Its place unless given. */
        readonly key?: (item: NoInfer<T>, index: number) => string | number;
        /** How many of its items run at once, or of all steps, of whatever plan, that name the key; all unless given. */
        readonly concurrency?: number | ConcurrencyLimit;
        readonly sandbox?: U;
      },
    run: (
      item: NoInfer<T>,
      context: Context<I, OutputsAbove<S, N>, Svc> & WithSandbox<U>,
    ) => Promise<R> & MustBeJson<R>,
  ): Plan<In, Add<S, Id, (Recorded<R> | NoOutput<F, never>)[] | NoOutput<"stop", W>, N, [item: T]>, Id, P, Svc>;

  /** Waits for a person. A rejection cancels the plan, so that the steps below see only approvals. */
  approve<const Id extends string, const N extends keyof S & string = Last, W extends boolean = never>(
    id: NewId<S, Id>,
    options: Placement<S, P, N> &
      Conditional<Seen<I, OutputsAbove<S, N>>, W> & { readonly message: (seen: Seen<I, OutputsAbove<S, N>>) => string },
  ): Plan<In, Add<S, Id, Approval | NoOutput<"stop", W>, N, never>, Id, P, Svc>;

  /** Waits until a person chooses one of the options, with `plan decide` or `client.decide`. */
  ask<
    const Id extends string,
    const C extends string,
    const N extends keyof S & string = Last,
    W extends boolean = never,
  >(
    id: NewId<S, Id>,
    options: Placement<S, P, N> &
      Conditional<Seen<I, OutputsAbove<S, N>>, W> & {
        readonly question: (seen: Seen<I, OutputsAbove<S, N>>) => string;
        readonly options: readonly C[];
      },
  ): Plan<In, Add<S, Id, Answer<C> | NoOutput<"stop", W>, N, never>, Id, P, Svc>;

  /** Waits for data from outside. It is recorded as it was sent, and the schema is applied wherever it is read. */
  waitFor<
    const Id extends string,
    D extends StandardSchemaV1,
    const N extends keyof S & string = Last,
    const T extends OnTimeout = "fail",
    W extends boolean = never,
  >(
    id: NewId<S, Id>,
    options: Placement<S, P, N> & Conditional<Seen<I, OutputsAbove<S, N>>, W> & WaitOptions<D, T>,
  ): Plan<In, Add<S, Id, Signalled<D, T> | NoOutput<"stop", W>, N, never>, Id, P, Svc>;

  /** A step that runs a handler, with arguments made from what is above. */
  use<
    const Id extends string,
    A,
    R,
    const N extends keyof S & string = Last,
    const F extends OnFailure = "stop",
    W extends boolean = never,
  >(
    id: NewId<S, Id>,
    handler: Handler<A, R>,
    options: StepOptions<S, P, N, F> &
      Conditional<Seen<I, OutputsAbove<S, N>>, W> & {
        readonly with: (seen: Seen<I, OutputsAbove<S, N>>) => NoInfer<A>;
        readonly concurrency?: ConcurrencyLimit;
      },
  ): Plan<In, Add<S, Id, R | NoOutput<F, W>, N>, Id, P, Svc>;
}

/** A plan whoever wrote it: what workers and clients need of one. */
export interface AnyPlan {
  readonly name: string;
  readonly inputSchema: StandardSchemaV1;
  /** What the plan declares, digested. Made at the first use. */
  readonly compiled: CompiledDefinition;
  /** The functions of its steps, which are not part of what it declares. */
  readonly code: ReadonlyMap<string, StepCode>;
  /** Only for the compiler. */
  readonly "~types"?: {
    readonly input: unknown;
    readonly outputs: unknown;
    readonly takes: unknown;
    readonly output: unknown;
    readonly services: (services: never) => void;
  };
}

/** What a worker calls for a step. */
export type StepCode = {
  /** Whether the step runs; always, where there is none. */
  readonly when?: (seen: Seen) => boolean;
} & (
  | { readonly kind: "run"; run(context: Context): Promise<unknown> }
  | {
      readonly kind: "map";
      over(seen: Seen): unknown;
      readonly key: ((item: unknown, index: number) => unknown) | undefined;
      run(item: unknown, context: Context): Promise<unknown>;
    }
  | { readonly kind: "approve"; message(seen: Seen): string }
  | { readonly kind: "ask"; readonly options: readonly string[]; question(seen: Seen): string }
  | { readonly kind: "signal"; readonly schema: StandardSchemaV1 }
  | { readonly kind: "use"; readonly handler: Handler; with(seen: Seen): unknown }
);

/** What a step records that a person answered. */
export interface Answer<C extends string> {
  readonly choice: C;
  /** Who answered. */
  readonly by: string;
}

/** What an approved step records. */
export type Approval = Answer<"approve">;

/** What the context of a step has besides, where it sees the plan's files. */
export type WithSandbox<U extends SandboxUse> = U extends "none" ? unknown : { readonly sandbox: SandboxAccess };

/** What a wait does when its time is over: it fails the step, or goes on with null for the signal. */
export type OnTimeout = "fail" | "continue";

export interface WaitOptions<D extends StandardSchemaV1, T extends OnTimeout> {
  readonly signal: D;
  /** Without one it waits for as long as it takes. */
  readonly timeout?: Duration;
  /** `fail` unless given. */
  readonly onTimeout?: T;
}

type Signalled<D extends StandardSchemaV1, T extends OnTimeout> =
  | StandardSchemaV1.InferOutput<D>
  | (T extends "continue" ? null : never);

/** Where a step stands in its plan. */
export interface Placement<S extends Steps, P extends string, N extends keyof S & string> {
  /** Steps above that must be done before this one starts: by default the one defined last, `[]` for none. */
  readonly needs?: readonly (N & keyof S)[];
  /** By default the first of the plan's own phases, `execute` where it names none, or the latest among the needs. */
  readonly phase?: P;
  /** By default the plan's queue. */
  readonly queue?: string;
  /** Which steps of its queue come first: 1, then 2 …; before them all come those that have none. By default the plan's. */
  readonly priority?: number;
  /** Marks a change of the step's meaning that nothing else shows. */
  readonly rev?: string;
}

export interface Conditional<Sees, W extends boolean> {
  /**
   * Asked once, before the step first begins: where it says false the step is skipped, records null, and counts as done.
   * It may look at nothing but what it is given.
   */
  readonly when?: (seen: Sees) => W;
}

/** What a step records besides its result where it may be skipped, or may fail and the plan goes on. */
type NoOutput<F extends OnFailure, W extends boolean> = F extends "continue"
  ? null
  : [W] extends [never]
    ? never
    : null;

export interface StepOptions<
  S extends Steps,
  P extends string,
  N extends keyof S & string,
  F extends OnFailure = OnFailure,
> extends Placement<S, P, N> {
  /** How long one attempt may take: 1 hour unless given. */
  readonly timeout?: Duration;
  readonly retry?: RetryOptions;
  /** `irreversible`: after a crash in the middle, a person decides whether it runs again. */
  readonly effect?: Effect;
  /** How many attempts start within a window of all steps, of whatever plan, that name the key. */
  readonly rate?: RateOptions;
  /** `continue`: when the step has failed for good it records null, and the plan goes on. `stop` unless given. */
  readonly onFailure?: F;
}

/** At most `max` starts within any `per`. */
export interface RateOptions {
  readonly key: string;
  readonly max: number;
  readonly per: Duration;
}

export interface RetryOptions {
  /** Attempts in all, the first one included: 3 unless given. Only failed ones count. */
  readonly attempts?: number;
  /** `exponential` unless given: each delay is twice the one before, up to `max`. */
  readonly backoff?: "fixed" | "exponential";
  /** Before the second attempt: 1 second unless given. */
  readonly delay?: Duration;
  /** 1 minute unless given, or `delay` where that is longer. */
  readonly max?: Duration;
}

/** What `submit` answers for a plan of this definition. */
export interface PlanHandle<D extends AnyPlan> {
  readonly planId: string;
  /** Whether it had been submitted before, with the same name and input. */
  readonly existing: boolean;
  /** What the step that was defined last recorded, once the plan is completed. */
  result(): Promise<PlanOutput<D>>;
}

/** What is submitted: the input of the plan's schema, before transforms. */
export type PlanInput<D extends AnyPlan> = TypesOf<D>["input"];
/** What the step that was defined last records. */
export type PlanOutput<D extends AnyPlan> = TypesOf<D>["output"];
/** What each step records, by step id. */
export type PlanOutputs<D extends AnyPlan> = TypesOf<D>["outputs"];
/** What the function of each step takes besides its context, by step id: see `Steps`. */
export type PlanTakes<D extends AnyPlan> = TypesOf<D>["takes"];
/** What a plan's steps expect of the worker; of a union of plans, all that they expect together. */
export type PlanServices<D extends AnyPlan> = TypesOf<D>["services"] extends (services: infer Svc) => void
  ? Svc
  : never;

/** A type that stands for a plan's services where only values can be written. */
export interface ServicesType<Svc> {
  readonly "~services"?: (services: Svc) => Svc;
}

/**
 * What each step records, the ids of itself and all it needs, directly or not, and what its function takes besides its
 * context: the item, in a map. Never where it waits for somebody, and has none.
 */
export type Steps = Record<string, { output: unknown; above: string; takes: readonly unknown[] }>;

type TypesOf<D extends AnyPlan> = NonNullable<D["~types"]>;

// An intersection, not a mapped type: one that is rebuilt at every step is "excessively deep" before 100 of them.
type Add<
  S extends Steps,
  Id extends string,
  Output,
  N extends keyof S & string,
  Takes extends readonly unknown[] = [],
> = S & Record<Id, { output: Output; above: Above<S, N>; takes: Takes }>;

type Above<S extends Steps, N extends keyof S & string> = N | S[N]["above"];

type OutputsAbove<S extends Steps, N extends keyof S & string> = { readonly [K in Above<S, N>]: S[K]["output"] };

type NewId<S, Id extends string> = Id extends keyof S ? `step "${Id}" exists already` : Id;
