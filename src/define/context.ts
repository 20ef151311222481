/** What the function of a step is given. */
import type { AttemptMemory } from "../core/handler.js";
import type { AttemptError } from "../core/outcome.js";
import type { Log } from "./log.js";

/** What every function of a plan may look at; it is the same in each attempt. */
export interface Seen<Input = unknown, Outputs = Readonly<Record<string, unknown>>> {
  /** The plan's input, as its schema gives it out. */
  readonly input: Input;
  /** What the steps above this one recorded, by step id. */
  readonly outputs: Outputs;
  /** Why steps above failed that say `onFailure: "continue"`, by step id: only of those that did. */
  readonly errors: { readonly [Id in keyof Outputs]?: AttemptError };
}

/** One attempt, as any function sees it, a step's or a handler's. */
export interface AttemptContext extends AttemptMemory {
  /** Aborted on cancel, pause, timeout, drain deadline and loss of the step; `reason` says which. */
  readonly signal: AbortSignal;
  /** Executions of this step so far, this one included. */
  readonly attempt: number;
  /** Equal over attempts, crashes and resumes; new after a rewind. */
  readonly idempotencyKey: string;
  /** Rises with every attempt, for handing to systems that can refuse an older one. */
  readonly fence: number;
  readonly log: Log;
  /** Says how far the step is, from 0 to 1, for those who watch. Nothing depends on it. */
  progress(fraction: number, note?: string): void;
}

/** What a step's function gets. The defaults are what a worker knows of a plan it did not write. */
export interface Context<Input = unknown, Outputs = Readonly<Record<string, unknown>>, Services = unknown>
  extends Seen<Input, Outputs>,
    AttemptContext {
  /** What the worker's process offers: clients, connections, models. */
  readonly services: Services;
}
