/** A plan's history: what happened, oldest first. Folding it gives the stored state. */
import type { Json } from "./json.js";
import type { AttemptError } from "./outcome.js";
import type { WaitKind } from "./plan.js";

export interface EventFacts {
  /** Place in the plan's history, from 1. */
  readonly seq: number;
  readonly at: number;
  readonly planId: string;
  readonly epoch: number;
}

/** What every step leaves that is done, however that came about. */
export interface CommitFacts {
  readonly step: string;
  readonly attempt: number;
  readonly fence: number;
  readonly checkpointId: string;
  readonly decisionId: string;
  /** Digest of the snapshot of the sandbox that was in force then. */
  readonly sandbox: string | null;
}

export type PlanEvent = EventFacts &
  (
    | { readonly type: "plan.submitted"; readonly actor: string }
    /** What stands before it is inherited: of the plan that this one was forked from, as far as it is kept. */
    | {
        readonly type: "plan.forked";
        readonly actor: string;
        readonly source: string;
        readonly sourceEpoch: number;
        /** The point forked from, where one was named. */
        readonly from: string | null;
        /** Whether it was given an input of its own. */
        readonly newInput: boolean;
      }
    | {
        readonly type: "step.started";
        readonly step: string;
        readonly attempt: number;
        readonly fence: number;
        readonly workerId: string;
      }
    /** Its condition holds: it is not asked again. */
    | { readonly type: "step.admitted"; readonly step: string; readonly attempt: number }
    | ({
        readonly type: "step.completed";
        /** Who answered, where a person or a signal completed the step. */
        readonly actor: string | null;
      } & CommitFacts)
    /** Its condition did not hold. It counts as done, without an output. */
    | ({ readonly type: "step.skipped" } & CommitFacts)
    /** Written after its `step.failed`: the plan goes on as if it were done, without an output. */
    | ({ readonly type: "step.continued" } & CommitFacts)
    | {
        readonly type: "step.failed";
        readonly step: string;
        readonly attempt: number;
        /** False where another attempt follows. */
        readonly final: boolean;
        readonly retryInMs: number | null;
        readonly error: AttemptError;
      }
    | { readonly type: "step.released"; readonly step: string; readonly attempt: number; readonly reason: string }
    | { readonly type: "step.crashed"; readonly step: string; readonly attempt: number; readonly workerId: string }
    | {
        readonly type: "step.waiting";
        readonly step: string;
        readonly attempt: number;
        readonly wait: WaitKind;
        readonly dueAt: number | null;
      }
    | { readonly type: "decision.recorded"; readonly decisionId: string; readonly step: string; readonly actor: string }
    | {
        readonly type: "plan.grown";
        /** The step that appended them. */
        readonly step: string;
        readonly appended: readonly string[];
      }
    | { readonly type: "plan.pause_requested"; readonly actor: string; readonly reason: string | null }
    | { readonly type: "plan.paused" }
    | { readonly type: "plan.cancelled"; readonly actor: string; readonly reason: string | null }
    | { readonly type: "plan.failed" }
    | { readonly type: "plan.interrupted" }
    | { readonly type: "plan.waiting" }
    | {
        readonly type: "plan.resumed";
        readonly actor: string;
        readonly reason: string | null;
        /** The point resumed from, where one was named. */
        readonly from: string | null;
        /** How many done steps a rewind superseded. */
        readonly superseded: number;
      }
    /** Written with `plan.resumed`: from here on the plan runs under this definition. */
    | { readonly type: "plan.redefined"; readonly version: number; readonly definitionDigest: string }
    /** Written with `plan.resumed`, at most 500 steps in one: they have left the current line. */
    | { readonly type: "steps.superseded"; readonly steps: readonly string[] }
    /** Written with `plan.resumed`: the snapshot of what an attempt had left in the files, which the resume discarded. */
    | { readonly type: "sandbox.kept"; readonly sandbox: string | null }
    | { readonly type: "plan.completed" }
  );

export type PlanEventType = PlanEvent["type"];

/** After it the step is done. */
export type DoneEvent = Extract<PlanEvent, CommitFacts>;

export function isDone(event: PlanEvent): event is DoneEvent {
  return event.type === "step.completed" || event.type === "step.skipped" || event.type === "step.continued";
}

/** A recorded choice. The root decision of every plan is its submission. */
export interface Decision {
  readonly decisionId: string;
  readonly parent: string | null;
  readonly step: string | null;
  /** What the step's function calls it; null for what people and signals answer. */
  readonly key: string | null;
  readonly question: string;
  readonly options: readonly string[];
  readonly choice: Json;
  readonly rationale: string | null;
  readonly madeBy: string;
  readonly at: number;
  /** False once a rewind has superseded it. */
  readonly current: boolean;
}

/** What a step leaves that is done: the points that one can resume from. */
export interface Checkpoint {
  readonly checkpointId: string;
  readonly step: string;
  readonly epoch: number;
  readonly decisionId: string;
  readonly sandbox: string | null;
  readonly at: number;
  /** False once a rewind has superseded it. */
  readonly current: boolean;
}

/** A signal's data up to this size stands in its decision; more of it is the step's output only. */
const MOST_CHOICE_CHARS = 1_024;

/** What answers a `wait` is a decision too, of whoever sent it. */
export function signalled(
  stepId: string,
  data: string,
): Pick<Decision, "question" | "options" | "choice" | "rationale"> {
  const choice = data.length <= MOST_CHOICE_CHARS ? (JSON.parse(data) as Json) : null;
  return { question: `Signal of ${stepId}?`, options: [], choice, rationale: null };
}
