/** Why a plan can't be resumed as asked: a code, a sentence with the facts, and the command to try next. */
import { describeDrift } from "./drift.js";
import { formatDurationMs } from "./duration.js";
import type { ErrorDocument } from "./errors.js";
import { canProgress, isTerminal, type OpenStep, type PlanView } from "./plan.js";
import { planCommand } from "./plan-command.js";
import { isSettable, optionOf } from "./resume-actions.js";
import { type Acknowledgement, isReached, repeatedSteps, type Situation, uncertainSteps } from "./resume-request.js";
import { describePoint, type ResumePoint } from "./rewind.js";
import { describeWait, waitCommand } from "./state-sentences.js";

/** How long others count as coming at once with a resume: commands that are started together begin seconds apart on a busy machine. */
const FRESH_RESUME_MS = 10_000;

/** The first reason that holds, those that no flag can lift first; null where there is none. */
export function refuse(situation: Situation): ErrorDocument | null {
  const { view, state } = situation;
  const { planId } = view.meta;
  if (isTerminal(state)) {
    return {
      code: "PLAN_TERMINAL",
      message: `Plan ${planId} is ${state} and never changes again`,
      details: { planId, state },
      try: forkCommand(situation),
    };
  }
  const active = view.open.find((step) => canProgress(step, view));
  if (active) return refuseActive(view, active);
  return (
    refuseResumed(situation) ??
    refusePoint(situation) ??
    refuseChoice(situation) ??
    refuseDrift(situation) ??
    refuseWaiting(situation) ??
    refuseSilence(situation) ??
    refuseAcks(situation) ??
    situation.files?.fault ??
    refuseWorkdir(situation)
  );
}

/** Why a plan can't be forked as asked. Its state doesn't matter: the fork leaves it as it is. */
export function refuseFork(situation: Situation): ErrorDocument | null {
  return refusePoint(situation) ?? refuseChoice(situation) ?? situation.files?.fault ?? null;
}

/**
 * What a person can do who wanted a plan to go on that never will. A plan that is completed has nothing left to run behind
 * its newest checkpoint. Where what can't be undone would happen again, the suggestion only shows it.
 */
function forkCommand(situation: Situation): string {
  const { view, state, request, compiled } = situation;
  const { planId, lastCompletedStep } = view.meta;
  const options = refusePoint(situation) === null ? [...pointFlags(request.from)] : [];
  let repeats = repeatedSteps(situation).length > 0;
  if (options.length === 0 && state === "completed") {
    options.push("--from-step", lastCompletedStep!);
    repeats = compiled?.steps.get(lastCompletedStep!)?.effect !== "idempotent";
  }
  return planCommand("fork", planId, ...options, ...(repeats ? ["--dry-run"] : []));
}

function refuseActive(view: PlanView, step: OpenStep): ErrorDocument {
  const { planId } = view.meta;
  // A step can only make progress by a worker that was seen.
  const worker = (step.kind === "running" ? view.owners.get(step.workerId) : view.servers.get(step.queue))!;
  const seen = formatDurationMs(Math.max(0, view.now - worker.lastSeenAt));
  const doing = step.kind === "running" ? "executes" : "can take";
  return {
    code: "PLAN_ACTIVE",
    message: `Worker ${worker.label} ${doing} step ${step.stepId} of plan ${planId}, last seen ${seen} ago`,
    details: {
      planId,
      step: step.stepId,
      worker: worker.workerId,
      label: worker.label,
      lastSeen: new Date(worker.lastSeenAt).toISOString(),
    },
    try: `plan watch ${planId}`,
  };
}

/**
 * Of resumes that come at once, one wins, also where no worker is there yet: the others find what it left for one to take.
 * Later ones are as good as the first: workers may have come and gone.
 */
function refuseResumed({ view, request }: Situation): ErrorDocument | null {
  const { planId, resumedAt, epoch } = view.meta;
  const step = view.open.find(({ kind }) => kind === "queued" || kind === "delayed" || kind === "backlog");
  if (request.excludesOthers || resumedAt === null || step === undefined) return null;
  const agoMs = Math.max(0, view.now - resumedAt);
  if (agoMs >= FRESH_RESUME_MS) return null;
  return {
    code: "PLAN_ACTIVE",
    message:
      `Plan ${planId} was resumed ${formatDurationMs(agoMs)} ago (epoch ${epoch}), and step ${step.stepId} waits for a worker ` +
      "to take it; none is there yet",
    details: { planId, step: step.stepId, epoch, resumedAt: new Date(resumedAt).toISOString() },
    try: `plan watch ${planId}`,
  };
}

function refusePoint(situation: Situation): ErrorDocument | null {
  const { view, line, rewind, request } = situation;
  const { planId } = view.meta;
  const { from } = request;
  switch (from.kind) {
    case "frontier":
      return null;
    case "checkpoint":
      if (rewind !== null) return null;
      return {
        code: "CHECKPOINT_NOT_FOUND",
        message: notInLine(planId, "checkpoint", from.checkpointId, line.superseded.get(from.checkpointId)),
        details: { planId, checkpointId: from.checkpointId },
        try: `plan checkpoints ${planId}`,
      };
    case "decision":
      if (rewind !== null) return null;
      return {
        code: "DECISION_NOT_FOUND",
        message: notInLine(planId, "decision", from.decisionId, line.superseded.get(from.decisionId)),
        details: { planId, decisionId: from.decisionId },
        try: `plan decisions ${planId}`,
      };
    case "step":
      return refuseStep(situation, from.stepId);
    default:
      return from satisfies never;
  }
}

/** What a decision can't be set to. */
function refuseChoice(situation: Situation): ErrorDocument | null {
  const { view, request, decisions } = situation;
  const { from, choose } = request;
  if (choose === null || from.kind !== "decision") return null;
  const { planId } = view.meta;
  const decision = decisions.find(({ decisionId }) => decisionId === from.decisionId)!;
  const details = {
    planId,
    decisionId: decision.decisionId,
    choice: choose.value,
    options: decision.options,
  };
  if (!isSettable(situation, decision)) {
    const why = decision.step === null ? "is its submission" : "is what somebody said of a step that cannot be undone";
    const next = `plan resume ${planId} --from-decision ${decision.decisionId} --dry-run`;
    const message = `The decision ${decision.decisionId} of plan ${planId} ${why}: it can't be set`;
    return { code: "INVALID_CHOICE", message, details, try: next };
  }
  if (decision.options.length === 0 || optionOf(decision.options, choose.value) !== undefined) return null;
  return {
    code: "INVALID_CHOICE",
    message: `${JSON.stringify(choose.value)} is none of the options of decision ${decision.decisionId} of plan ${planId}: ${decision.options.join(", ")}`,
    details,
    try: `plan decisions ${planId}`,
  };
}

function notInLine(planId: string, what: string, id: string, supersededIn: number | undefined): string {
  if (supersededIn === undefined) return `Plan ${planId} has no ${what} ${id}`;
  return `The ${what} ${id} of plan ${planId} is not in its current line any more: epoch ${supersededIn} began without it`;
}

function refuseStep(situation: Situation, stepId: string): ErrorDocument | null {
  const { planId } = situation.view.meta;
  const unknown = refuseUnknown(situation, stepId);
  if (unknown !== null) return unknown;
  if (isReached(situation, stepId)) return null;
  return {
    code: "STEP_NOT_FOUND",
    message: `Step ${stepId} of plan ${planId} has not been reached: there is nothing to run again`,
    details: { planId, step: stepId },
    try: `plan resume ${planId} --dry-run`,
  };
}

function refuseUnknown({ view, graph }: Situation, stepId: string): ErrorDocument | null {
  if (graph === null || graph.steps.has(stepId)) return null;
  const { planId } = view.meta;
  const { steps } = graph;
  const some = [...steps.keys()].slice(0, 20).join(", ");
  return {
    code: "STEP_NOT_FOUND",
    message: `Plan ${planId} has no step ${stepId}; it has ${some}${steps.size > 20 ? ` and ${steps.size - 20} more` : ""}`,
    details: { planId, step: stepId },
    try: `plan get ${planId}`,
  };
}

/** A definition that differs where it matters is run or adopted only where somebody says so. */
function refuseDrift(situation: Situation): ErrorDocument | null {
  const { view, drift, offered, compiled, request } = situation;
  if (drift === null || request.onDrift === "report") return null;
  const { planId, name, version } = view.meta;
  const steps = describeDrift(drift);
  const { definition } = offered!;
  const details = { planId, drift: steps, version, offered: definition.version };
  const other = definition.name !== name ? `is of plan ${definition.name}` : null;
  const files = (definition.sandbox === null) !== (compiled!.definition.sandbox === null);
  const reason = other ?? (files ? "has a sandbox where the other has none, or none where it has one" : null);
  const unfit = (why: string) =>
    `The definition that is offered can't take the place of the one that plan ${planId} runs under: it ${why}`;
  if (reason !== null) {
    return { code: "DEFINITION_DRIFT", message: unfit(reason), details, try: `plan get ${planId}` };
  }
  const misfit = misfitOf(situation);
  if (misfit !== null) {
    const { step, appendedBy, why } = misfit;
    return {
      code: "DEFINITION_DRIFT",
      message: unfit(why),
      details: { ...details, step, appendedBy },
      // Run again, it appends what fits, or nothing.
      try: planCommand("resume", planId, "--on-drift", request.onDrift, "--from-step", appendedBy),
    };
  }
  // What was added would run only under the offered definition.
  if (request.onDrift !== "refuse" || drift.changed.length + drift.removed.length === 0) return null;
  return {
    code: "DEFINITION_DRIFT",
    message: `Plan ${planId} runs under ${name} v${version}, and the definition that is offered differs: ${steps.join(", ")}`,
    details,
    try: `plan resume ${planId} --on-drift keep`,
  };
}

interface Misfit {
  readonly step: string;
  readonly appendedBy: string;
  readonly why: string;
}

/** The first step that was appended and stays with the step that appended it, but has no place in what is adopted. */
function misfitOf({ compiled, adopts, next, leaving }: Situation): Misfit | null {
  if (adopts === null) return null;
  const { phases } = adopts.definition;
  for (const { id: step, appendedBy, phase, needs, itemOf } of compiled!.steps.values()) {
    // What a map declares fits its items.
    if (appendedBy === undefined || leaving.has(appendedBy) || itemOf !== undefined) continue;
    const misfit = (why: string) => ({ step, appendedBy, why });
    if (adopts.steps.has(step)) return misfit(`has a step ${step}, and ${appendedBy} has appended one of that id`);
    const missing = needs.find((need) => !next!.steps.has(need));
    if (missing !== undefined) return misfit(`lacks ${missing}, which ${step}, appended by ${appendedBy}, needs`);
    if (!phases.includes(phase)) return misfit(`lacks the phase ${phase} of ${step}, which ${appendedBy} has appended`);
    const late = needs.find((need) => phases.indexOf(next!.steps.get(need)!.phase) > phases.indexOf(phase));
    if (late !== undefined) {
      return misfit(`has ${late} in a later phase than ${step}, which ${appendedBy} has appended and which needs it`);
    }
  }
  return null;
}

/** A plan that waits goes on by itself, unless a rewind takes it to where it didn't wait yet. */
function refuseWaiting(situation: Situation): ErrorDocument | null {
  const { view, state, leaving } = situation;
  if (state !== "waiting" || leaving.size > 0) return null;
  const { planId } = view.meta;
  const waiting = view.open.filter((step) => step.kind === "waiting");
  const step = waiting.find(({ wait }) => wait !== "timer") ?? waiting[0]!;
  return {
    code: "PLAN_WAITING",
    message: `Plan ${planId} waits for ${describeWait(step)}`,
    details: { planId, step: step.stepId, wait: step.wait },
    try: waitCommand(planId, step),
  };
}

/** Steps that can't be undone, and nobody said what shall become of them. */
function refuseSilence(situation: Situation): ErrorDocument | null {
  const { request, view } = situation;
  const { planId } = view.meta;
  const isUnanswered = (id: string) => !request.acks.has(id);
  const uncertain = uncertainSteps(situation).filter(isUnanswered);
  const repeated = repeatedSteps(situation).filter(isUnanswered);
  if (uncertain.length + repeated.length === 0) return null;
  const of = (ids: readonly string[]) => `${ids.join(", ")} of plan ${planId} cannot be undone`;
  const said = [
    ...(uncertain.length > 0 ? [`${of(uncertain)}, started, and left no record: say whether it happened`] : []),
    ...(repeated.length > 0 ? [`${of(repeated)} and would run again: say that it shall`] : []),
  ];
  const acks = [...uncertain.map((id) => `${id}=done`), ...repeated.map((id) => `${id}=redo`)];
  return {
    code: "ACK_REQUIRED",
    message: said.join("; "),
    details: { planId, steps: [...uncertain, ...repeated] },
    try: resumeCommand(situation, acks),
  };
}

/** What was said of steps that need nothing said, or can't be so. It may be a slip, or the repetition of a request. */
function refuseAcks(situation: Situation): ErrorDocument | null {
  const { request, view } = situation;
  const { planId } = view.meta;
  const repeated = new Set(repeatedSteps(situation));
  const asked = new Set([...uncertainSteps(situation), ...repeated]);
  const needless = [...request.acks.keys()].filter((id) => !asked.has(id));
  for (const id of needless) {
    const unknown = refuseUnknown(situation, id);
    if (unknown !== null) return unknown;
  }
  if (needless.length > 0) {
    return {
      code: "USAGE",
      message: `${needless.join(", ")} of plan ${planId} ${needless.length === 1 ? "needs" : "need"} no acknowledgement`,
      details: { planId, steps: needless },
      try: `plan resume ${planId} --dry-run`,
    };
  }
  const kept = [...repeated].find((id) => request.acks.get(id)!.said === "done");
  if (kept === undefined) return null;
  return {
    code: "USAGE",
    message: `${kept} of plan ${planId} comes after ${describePoint(request.from)} and runs again, whatever happened before`,
    details: { planId, steps: [kept] },
    try: resumeCommand(situation, [`${kept}=redo`]),
  };
}

/** The same request, with more said of steps that can't be undone. */
function resumeCommand({ view, request, adopts }: Situation, more: readonly string[]): string {
  const { from, choose, onDrift, acks } = request;
  const isSaid = (id: string) => !more.some((text) => text.startsWith(`${id}=`));
  const said = [...acks].filter(([id]) => isSaid(id)).map(([id, ack]) => `${id}=${ackWords(ack)}`);
  return planCommand(
    "resume",
    view.meta.planId,
    ...pointFlags(from),
    ...(choose === null
      ? []
      : ["--choose", typeof choose.value === "string" ? choose.value : JSON.stringify(choose.value)]),
    ...(adopts ? ["--on-drift", onDrift] : []),
    ...[...said, ...more].flatMap((text) => ["--ack", text]),
  );
}

function ackWords(ack: Acknowledgement): string {
  return ack.said === "redo" || ack.output === "null" ? ack.said : `done:${ack.output}`;
}

function pointFlags(from: ResumePoint): readonly string[] {
  switch (from.kind) {
    case "frontier":
      return [];
    case "step":
      return ["--from-step", from.stepId];
    case "checkpoint":
      return ["--from-checkpoint", from.checkpointId];
    case "decision":
      return ["--from-decision", from.decisionId];
    default:
      return from satisfies never;
  }
}

function refuseWorkdir({ missingWorkdir, view }: Situation): ErrorDocument | null {
  if (missingWorkdir === null) return null;
  const { planId } = view.meta;
  return {
    code: "WORKDIR_MISSING",
    message: `Plan ${planId} runs in ${missingWorkdir}, which is not on this machine`,
    details: { planId, workdir: missingWorkdir },
    try: `plan resume ${planId} --workdir PATH`,
  };
}
