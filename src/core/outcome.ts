/** How an attempt ended, as data. The worker's processor never throws; the store carries out one of these. */
import type { StepDefinition } from "./definition.js";
import type { Json } from "./json.js";
import type { WaitKind } from "./plan.js";
import type { SandboxSnapshot } from "./sandbox.js";

export type Outcome =
  /** The result, already serialised and checked against the payload limit. */
  | {
      readonly kind: "complete";
      readonly output: string;
      /** Whether an attempt of the step saved a cursor, which goes with the record. */
      readonly hasSaved?: boolean;
      /** Steps that the plan has from this completion on. */
      readonly appended?: readonly StepDefinition[];
      /** The sandbox as the step left it, where it changed anything there. */
      readonly sandbox?: SandboxSnapshot;
    }
  /** Its condition doesn't hold: it is done, without an output. */
  | { readonly kind: "skip" }
  /** Counts against `retry.attempts`; runs again after `delayMs`. */
  | { readonly kind: "retry"; readonly delayMs: number; readonly error: AttemptError }
  | { readonly kind: "fail"; readonly error: AttemptError }
  /** Handed back without counting: drain, pause, a stop of this process. */
  | {
      readonly kind: "release";
      readonly reason: "drain" | "stop";
      /** Whether nobody is to take it before its plan is resumed. */
      readonly hold?: boolean;
    }
  /** This worker lacks the version, handler or permission: another may have it. No attempt happened. */
  | { readonly kind: "defer"; readonly delayMs: number; readonly reason: string }
  /** Nothing to execute until a signal, a person or a timer says so; no worker is held. */
  | { readonly kind: "park"; readonly wait: WaitKind; readonly dueInMs: number | null; readonly ask: Ask | null };

/** Serialised with the failure, at most 2 KiB. */
export interface AttemptError {
  readonly code: string;
  readonly message: string;
}

/** What a parked step asks for. `schema` is the JSON Schema of a signal's data. */
export interface Ask {
  readonly question: string;
  readonly options: readonly string[];
  /** What a rejection does. */
  readonly onReject: "cancel" | "continue";
  readonly schema: Json | null;
}
