/** What the one write of a resume has to do. */
import type { CompiledDefinition, CompiledStep } from "./definition.js";
import type { Decision } from "./history.js";
import type { Json } from "./json.js";
import { ANSWERED_WAITS } from "./plan.js";
import { repeatedSteps, restarts, type Situation, uncertainSteps } from "./resume-request.js";
import { keptOf } from "./rewind.js";

/** Steps by id. `superseded` lose their records, `restart` get a new job. `acknowledged` are recorded first. */
export interface ResumeActions {
  readonly superseded: readonly string[];
  readonly restart: readonly string[];
  /** Done needs of superseded steps that aren't free to run: what their counters become. */
  readonly recount: ReadonlyMap<string, number>;
  readonly acknowledged: readonly {
    readonly stepId: string;
    readonly said: "done" | "redo";
    readonly output: string;
  }[];
  /** What the plan's metadata says after a rewind that supersedes anything: what is kept. */
  readonly rewound: Rewound | null;
  /** The decision that is taken anew, where that is the point: what its step decided before it stays. */
  readonly takenAnew: TakenAnew | null;
  /** The definition that the plan goes on under, where it is another than before. */
  readonly adopts: CompiledDefinition | null;
  /** What it goes on with, appended steps included; null where the plan is too large to list. */
  readonly next: CompiledDefinition | null;
}

export interface Rewound {
  readonly lastCompletedStep: string | null;
  readonly lastCheckpointId: string | null;
  readonly lastDecisionId: string;
  /** Which of the plan's snapshots its sandbox goes back to, from 1; null where it has no sandbox. */
  readonly sandboxPlace: number | null;
}

export interface TakenAnew {
  readonly stepId: string;
  readonly decisionId: string;
  /** What it is set to; null where it is asked again. */
  readonly set: ChosenAnew | null;
}

export interface ChosenAnew extends Pick<Decision, "key" | "question" | "options"> {
  readonly choice: Json;
  /** Whether this answer ends the plan: a rejection. */
  readonly cancels: boolean;
}

/** Whether a decision can be set: it was made by a step's function under a key, or answers what a step waits for. */
export function isSettable({ compiled }: Situation, decision: Decision): boolean {
  if (decision.step === null) return false;
  return decision.key !== null || ANSWERED_WAITS.has(compiled?.steps.get(decision.step)?.uses ?? "");
}

export function plannedActions(situation: Situation): ResumeActions {
  const { view, next, adopts, leaving, below, request } = situation;
  const acknowledged = [...uncertainSteps(situation), ...repeatedSteps(situation)].map((stepId) => {
    const ack = request.acks.get(stepId)!;
    return { stepId, said: ack.said, output: ack.said === "done" ? ack.output : "null" };
  });
  const settled = new Set(acknowledged.filter((ack) => ack.said === "done").map((ack) => ack.stepId));
  const restart = view.open
    .filter((step) => restarts(step) && !leaving.has(step.stepId) && !settled.has(step.stepId))
    .map((step) => step.stepId);
  const recount = new Map<string, number>();
  const isKept = (id: string) => situation.done.has(id) && !leaving.has(id);
  // Under another definition everything that isn't done may need something else.
  const open = new Set(view.open.map((step) => step.stepId).filter((id) => !leaving.has(id)));
  const uncounted = adopts ? [...next!.steps.keys()].filter((id) => !isKept(id) && !open.has(id)) : below;
  for (const id of uncounted) {
    const needs = next!.steps.get(id)?.needs;
    // Who appended it runs again.
    if (needs === undefined) continue;
    const done = needs.filter(isKept).length;
    if (done === needs.length) restart.push(id);
    else recount.set(id, done);
  }
  const superseded = [...leaving];
  const rewound = superseded.length > 0 ? rewoundTo(situation) : null;
  return { superseded, restart, recount, acknowledged, rewound, takenAnew: takenAnew(situation), adopts, next };
}

/** What stood at the point, as far as it is kept. */
function rewoundTo({ rewind, line, next, leaving, rootDecisionId, snapshots, view }: Situation): Rewound {
  const { last, decisionId, sandbox } = keptOf(next!, line, leaving, rewind?.takenAnew ?? null);
  // The first snapshot is the one that the sandbox started from.
  const place = sandbox === null ? 1 : 1 + snapshots.findLastIndex((snapshot) => snapshot.digest === sandbox);
  return {
    lastCompletedStep: last?.step ?? null,
    lastCheckpointId: last?.checkpointId ?? null,
    lastDecisionId: decisionId ?? rootDecisionId,
    // Where nothing is gone back to, its files stay as they are.
    sandboxPlace: snapshots.length === 0 ? null : rewind === null ? view.meta.sandboxPlace : place,
  };
}

/** The option that a value names: as itself, or as what it looks like on a command line. */
export function optionOf(options: readonly string[], value: Json): string | undefined {
  return options.find((option) => option === value || option === JSON.stringify(value));
}

export function takenAnew({ rewind, decisions, request, compiled }: Situation): TakenAnew | null {
  const decided = rewind?.takenAnew;
  if (!decided) return null;
  const { step: stepId, decisionId } = decided;
  if (request.choose === null) return { stepId, decisionId, set: null };
  const { key, question, options } = decisions.find((decision) => decision.decisionId === decisionId)!;
  const choice = optionOf(options, request.choose.value) ?? request.choose.value;
  const cancels = choice === "reject" && mayCancel(compiled!.steps.get(stepId)!);
  return { stepId, decisionId, set: { key, question, options, choice, cancels } };
}

function mayCancel(step: CompiledStep): boolean {
  return step.uses === "approve" && step.with.onReject !== "continue";
}
