/** What a handler is given and what it may answer. Built-in handlers and `defineHandler` share this. */
import type { Effect } from "./definition.js";
import type { Duration } from "./duration.js";
import type { JsonObject } from "./json.js";
import type { Ask } from "./outcome.js";
import type { WaitKind } from "./plan.js";
import type { SandboxAccess } from "./sandbox.js";

/** What a step asks for: one of the options is chosen. */
export interface Question<C extends string> {
  readonly question: string;
  readonly options: readonly C[];
}

/** What a chooser answers: one of the options, or that with why and by whom. */
export type Choice<C extends string> =
  | NoInfer<C>
  | { readonly choice: NoInfer<C>; readonly rationale?: string; readonly madeBy?: string };

/** What an attempt can make durable before it ends, for itself and for the attempts after it. */
export interface AttemptMemory {
  /**
   * Makes a decision, once: it is recorded under the step's `key` before it is given out, and whoever asks again, in
   * this attempt or a later one, gets the recorded one without a call of `chooser`. A rewind of the step takes it anew.
   * @throws InvalidChoiceError where the chooser gives something that is not among the options; the attempt may be retried
   */
  decide<const C extends string>(
    key: string,
    question: Question<C>,
    chooser: () => Choice<C> | Promise<Choice<C>>,
  ): Promise<C>;
  /** Keeps a cursor: how far the work has come. The next attempt finds it in `saved`. */
  save(cursor: unknown): Promise<void>;
  /**
   * Adds steps to the plan, with this attempt's completion: they are one write, so there is no step whose steps are lost.
   * What the step appended goes when a rewind supersedes it.
   * @throws InvalidDefinitionError
   */
  append(steps: readonly AppendedStep[]): void;
  /** What was saved last, by this attempt or an earlier one; null where nothing was. */
  readonly saved: unknown;
}

/** A step that a running one adds to its plan. */
export interface AppendedStep {
  /** New in the plan. */
  readonly id: string;
  /** A handler that workers of the plan have: its name, or what `defineHandler` gave. */
  readonly uses: string | { readonly name: string };
  /** Its arguments: data as they are, and values of `expression`, which are looked up when the step runs. */
  readonly with?: unknown;
  /** Steps of the plan, done or not, or of those appended before it; besides the one that appends it. */
  readonly needs?: readonly string[];
  /** By default the latest among its needs. */
  readonly phase?: string;
  /** By default that of the step that appends it. Its priority is that step's. */
  readonly queue?: string;
  readonly effect?: Effect;
  readonly timeout?: Duration;
  readonly retry?: {
    readonly attempts?: number;
    readonly backoff?: "fixed" | "exponential";
    readonly delay?: Duration;
    readonly max?: Duration;
  };
  readonly rev?: string;
}

/** One attempt of one step, as a handler sees it. Expressions in `with` and `env` are resolved already. */
export interface HandlerCall extends AttemptMemory {
  readonly planId: string;
  readonly planName: string;
  readonly stepId: string;
  /** Executions of this step so far, this one included. */
  readonly attempt: number;
  /** Rises with every attempt, for handing to systems that can refuse an older one. */
  readonly fence: number;
  /** Equal over attempts, crashes and resumes; new after a rewind. */
  readonly idempotencyKey: string;
  readonly with: JsonObject;
  readonly env: Readonly<Record<string, string>>;
  /** Names of the worker's own variables that a shell step may see. */
  readonly passEnv: readonly string[];
  /** Where a shell step runs: the plan's files, or the document's folder. Null where the step has neither. */
  readonly workdir: string | null;
  /** The plan's files, for a step that reads or writes them. */
  readonly sandbox: SandboxAccess | null;
  /** Aborted on cancel, pause, timeout, drain deadline and loss of the step; `reason` says which. */
  readonly signal: AbortSignal;
  readonly groups: GroupRegister;
  /** When this step was first parked and how it was woken; null on an ordinary start. */
  readonly woken: Woken | null;
  /** Says how far the step is, from 0 to 1. */
  readonly progress: (fraction: number, note?: string) => void;
  /** Appends to the attempt's log, which `plan logs` shows. */
  readonly write: (stream: "stdout" | "stderr" | "log", text: string) => void;
}

/**
 * Knows the process groups of commands, and has them ended where this process can't end them any more: it was killed, or
 * is stuck and has lost the step.
 */
export interface GroupRegister {
  /** Before a group begins, so that no moment of it goes unseen. */
  prepare(): void;
  add(group: number): void;
  /** Once it has ended. */
  remove(group: number): void;
}

/** A parked step that runs again because its timer is over. */
export interface Woken {
  readonly by: "timer";
  readonly parkedAt: number;
}

export type HandlerResult =
  | { readonly kind: "completed"; readonly output: unknown }
  /** Ends the attempt without a result; a timer, a person or a signal goes on from here. */
  | { readonly kind: "parked"; readonly wait: WaitKind; readonly dueInMs: number | null; readonly ask: Ask | null };

/**
 * A handler by name. It throws to fail the attempt; `NonRetryableError` fails the step at once, `RetryAfterError`
 * chooses the delay. It must stop soon after `signal` is aborted.
 */
export interface StepHandler {
  readonly name: string;
  /** Faults of a step's `with`, for `plan validate`: path inside `with` and message. Expressions stand unresolved. */
  check(input: JsonObject): readonly { readonly path: string; readonly message: string }[];
  run(call: HandlerCall): Promise<HandlerResult>;
}

/** Variables that `pass-env` can't name: where Waymark and Redis, its command-line client included, are configured. */
export function isReservedVariable(name: string): boolean {
  return /^(WAYMARK|REDIS|REDISCLI)_/i.test(name);
}
