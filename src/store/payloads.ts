/** Which payloads a plan has in the store, each sealed for its own place. `null` is not worth sealing: it is not stored. */
import type { Decision } from "../core/history.js";
import type { Ask } from "../core/outcome.js";
import type { PayloadCodec } from "../core/payload-codec.js";

/** An input up to this size comes with the start of a plan's first steps; a larger one is read when it is needed. */
export const INLINE_INPUT_BYTES = 4_096;

type Kind = "input" | "output" | "cursor" | "decision" | "question";

/** What a decision is but for its place among the others. */
export type DecisionFields = Omit<Decision, "decisionId" | "parent" | "current" | "at">;

export class Payloads {
  constructor(private readonly codec: PayloadCodec) {}

  sealInput(planId: string, text: string): string {
    return this.seal("input", planId, "", text);
  }

  openInput(planId: string, stored: string): string {
    return this.open("input", planId, "", stored);
  }

  sealScheduled(schedule: string, text: string): string {
    return this.codec.seal(text, scheduledPlace(schedule));
  }

  openScheduled(schedule: string, stored: string): string {
    return this.codec.open(stored, scheduledPlace(schedule));
  }

  sealOutput(planId: string, stepId: string, text: string): string {
    return this.seal("output", planId, stepId, text);
  }

  openOutput(planId: string, stepId: string, stored: string): string {
    return this.open("output", planId, stepId, stored);
  }

  sealCursor(planId: string, stepId: string, text: string): string {
    return this.seal("cursor", planId, stepId, text);
  }

  openCursor(planId: string, stepId: string, stored: string): string {
    return this.open("cursor", planId, stepId, stored);
  }

  sealAsk(planId: string, stepId: string, ask: Ask): string {
    return this.seal("question", planId, stepId, JSON.stringify(ask));
  }

  openAsk(planId: string, stepId: string, stored: string): Ask {
    return JSON.parse(this.open("question", planId, stepId, stored)) as Ask;
  }

  /** A JSON object, which scripts add the time to: who decided stays readable, what was decided doesn't. */
  sealDecision(planId: string, decision: Partial<DecisionFields> & { readonly at?: number }): string {
    const { question, options, choice, rationale, ...about } = decision;
    const text = JSON.stringify({ question, options, choice, rationale });
    const sealed = this.seal("decision", planId, decision.step ?? "", text);
    return JSON.stringify(sealed === text ? decision : { ...about, sealed });
  }

  openDecision(planId: string, stored: string): DecisionFields & { readonly at: number } {
    const { key = null, sealed, ...fields } = JSON.parse(stored);
    const said = sealed === undefined ? {} : JSON.parse(this.open("decision", planId, fields.step ?? "", sealed));
    return { ...fields, ...said, key };
  }

  private seal(kind: Kind, planId: string, stepId: string, text: string): string {
    return text === "null" ? text : this.codec.seal(text, placeOf(kind, planId, stepId));
  }

  private open(kind: Kind, planId: string, stepId: string, stored: string): string {
    return stored === "null" ? stored : this.codec.open(stored, placeOf(kind, planId, stepId));
  }
}

function scheduledPlace(schedule: string): string {
  return `The input of schedule ${schedule}`;
}

function placeOf(kind: Kind, planId: string, stepId: string): string {
  return `The ${kind} of ${stepId === "" ? "" : `step ${stepId} of `}plan ${planId}`;
}
