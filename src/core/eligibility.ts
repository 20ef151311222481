/**
 * The one function that says whether a plan can be resumed and what that would do. `--dry-run` prints its answer and
 * a real resume carries it out, so they cannot differ. Pure: the view and the time are arguments.
 */
import { refuse } from "./refusals.js";
import { plannedActions, type ResumeActions } from "./resume-actions.js";
import { type ResumeFacts, type ResumeRequest, situate } from "./resume-request.js";
import { type ResumeSummary, summarize } from "./resume-summary.js";

export interface ResumeDecision {
  readonly summary: ResumeSummary;
  /** Null where the plan is not eligible. */
  readonly actions: ResumeActions | null;
}

export function assess(facts: ResumeFacts, request: ResumeRequest): ResumeDecision {
  const situation = situate(facts, request);
  const refusal = refuse(situation);
  const actions = refusal ? null : plannedActions(situation);
  return { summary: summarize(situation, actions, refusal), actions };
}
