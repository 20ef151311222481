/** A decision to resume, as resume.lua takes it. */
import type { CompiledDefinition } from "../core/definition.js";
import { decisionPlace } from "../core/ids.js";
import type { PlanMeta } from "../core/plan.js";
import type { ResumeWrite } from "../core/ports.js";
import type { ChosenAnew, TakenAnew } from "../core/resume-actions.js";
import { oneField } from "./codec.js";
import type { Keys } from "./keys.js";
import type { Payloads } from "./payloads.js";
import { declaredOf, queueOf, successorArgs, successorsOf } from "./step-log.js";

export interface ResumeSurroundings {
  /** What the plan goes on with. */
  readonly compiled: CompiledDefinition;
  readonly sealed: Payloads;
  readonly deadAfterMs: number;
  /** Workers whose process is known to be gone. */
  readonly gone: readonly string[];
}

export function resumeCall(
  keys: Keys,
  write: ResumeWrite,
  { compiled, sealed, deadAfterMs, gone }: ResumeSurroundings,
): { keys: string[]; args: string[] } {
  const { view, decision } = write;
  const actions = decision.actions!;
  const { meta } = view;
  const { planId } = meta;
  const { rewound, adopts } = actions;
  const jobKeys = new Set<string>();
  const frontier = frontierArgs(keys, write, compiled, jobKeys);
  const acknowledged = acknowledgedArgs(keys, write, compiled, sealed, jobKeys);
  return {
    keys: [keys.plan(planId), keys.workers, ...keys.planKeys(planId), ...jobKeys],
    args: [
      keys.base,
      planId,
      String(meta.revision),
      String(meta.epoch),
      write.requestId ?? "",
      write.answer,
      oneField(write.actor),
      write.reason ?? "",
      oneField(decision.summary.from ?? ""),
      write.privateQueue ?? "",
      write.workdir ?? "",
      String(deadAfterMs),
      gone.map((id) => `${id} `).join(""),
      decision.summary.phase,
      rewound?.lastCompletedStep ?? "",
      rewound?.lastCheckpointId ?? "",
      rewound ? String(decisionPlace(meta.createdAt, rewound.lastDecisionId)) : "",
      rewound?.sandboxPlace?.toString() ?? "",
      ...takenAnewArgs(sealed, meta, actions.takenAnew, write),
      write.kept ? JSON.stringify(write.kept) : "",
      adopts?.digest ?? "",
      adopts ? String(adopts.definition.version) : "",
      adopts ? String(compiled.steps.size) : "",
      String(actions.superseded.length),
      String(actions.recount.size),
      String(actions.acknowledged.length),
      ...actions.superseded,
      ...[...actions.recount].flatMap(([id, count]) => [id, String(count)]),
      ...acknowledged,
      ...frontier,
    ],
  };
}

/** Everything that is open afterwards: what gets a job, and what goes on waiting. */
function frontierArgs(
  keys: Keys,
  { view, decision, privateQueue }: ResumeWrite,
  compiled: CompiledDefinition,
  jobKeys: Set<string>,
): string[] {
  const { restart, superseded } = decision.actions!;
  const leaving = new Set(superseded);
  const waiting = view.open.filter((step) => step.kind === "waiting" && !leaving.has(step.stepId));
  const args: string[] = [];
  for (const id of new Set([...restart, ...waiting.map((step) => step.stepId)])) {
    const step = compiled.steps.get(id)!;
    const queue = queueOf(step, privateQueue);
    args.push(id, queue, step.phase, declaredOf(step, keys));
    jobKeys.add(keys.job(queue, view.meta.planId, id, view.meta.epoch + 1));
    for (const key of keys.queueKeys(queue)) jobKeys.add(key);
  }
  return args;
}

function acknowledgedArgs(
  keys: Keys,
  write: ResumeWrite,
  compiled: CompiledDefinition,
  sealed: Payloads,
  jobKeys: Set<string>,
): string[] {
  const { meta, now } = write.view;
  const { acknowledged, superseded } = write.decision.actions!;
  const leaving = new Set(superseded);
  const args: string[] = [];
  for (const { stepId, said, output } of acknowledged) {
    const again = leaving.has(stepId);
    const next = { planId: meta.planId, epoch: meta.epoch + 1, privateQueue: write.privateQueue };
    const successors = successorArgs(keys, successorsOf(compiled, stepId), next);
    const decision = {
      step: stepId,
      question: again ? `Shall ${stepId} happen again?` : `Did ${stepId} happen?`,
      options: again ? ["redo"] : ["done", "redo"],
      choice: said,
      rationale: write.reason,
      madeBy: write.actor,
      at: now,
    };
    args.push(
      stepId,
      said,
      sealed.sealOutput(meta.planId, stepId, output),
      sealed.sealDecision(meta.planId, decision),
      String(successors.args.length / 5),
      ...successors.args,
    );
    for (const key of successors.jobKeys()) jobKeys.add(key);
  }
  return args;
}

/** The decision that a rewind takes anew. */
function takenAnewArgs(sealed: Payloads, meta: PlanMeta, taken: TakenAnew | null, write: ResumeWrite): string[] {
  if (taken === null) return ["", "", "", "", "", ""];
  const { stepId, decisionId, set } = taken;
  const place = String(decisionPlace(meta.createdAt, decisionId));
  if (set === null) return [stepId, place, "", "", "", ""];
  const { decision, output } = sealChoice(sealed, meta.planId, stepId, set, { ...write, now: write.view.now });
  return [stepId, place, decision, set.key ?? "", set.cancels ? "cancel" : "", output];
}

/** A decision that somebody sets instead of its being asked again, and the output of the step that waits for it. */
export function sealChoice(
  sealed: Payloads,
  planId: string,
  stepId: string,
  { key, question, options, choice }: ChosenAnew,
  by: { readonly actor: string; readonly reason: string | null; readonly now: number },
): { decision: string; output: string } {
  const made = { step: stepId, question, options, choice, rationale: by.reason, madeBy: by.actor };
  const decision = sealed.sealDecision(planId, { ...made, ...(key !== null && { key }), at: by.now });
  // What a person chooses is an object, as in `signal`; what a signal brings is as it is.
  const output = JSON.stringify(options.length === 0 ? choice : { choice, by: by.actor });
  return { decision, output: sealed.sealOutput(planId, stepId, output) };
}
