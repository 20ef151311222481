/** A plan for people: its head, and its steps as a tree of phases. Big plans are shortened, their frontier never. */
import type { DecisionDocument, PlanDocument, StepDocument, StepState } from "../../client/documents.js";
import { formatDurationMs } from "../../core/duration.js";
import { ago, DONE_STATES, localTime, stateWord, stepMark } from "./marks.js";
import { printable } from "./printable.js";
import { snapshotLine } from "./snapshot-line.js";
import type { Colors } from "./terminal.js";

/** Plans up to this many steps are shown in full. */
const FULL_TREE_STEPS = 60;
/** Of bigger ones: this many at each end, and around each step that isn't done or pending. */
const END_STEPS = 8;
/** Decisions of one step, the newest. */
const SHOWN_DECISIONS = 3;
const LABEL_WIDTH = 11;

export function renderPlan(plan: PlanDocument, now: number, c: Colors): string {
  const decided = new Map<string | null, DecisionDocument[]>();
  for (const decision of plan.decisions) {
    const before = decided.get(decision.step);
    if (before) before.push(decision);
    else decided.set(decision.step, [decision]);
  }
  return [...head(plan, now, c), "", ...tree(plan, decided, c)].join("\n");
}

function head(plan: PlanDocument, now: number, c: Colors): string[] {
  const row = (label: string, text: string) => `${c.bold(label.padEnd(LABEL_WIDTH))}${text}`;
  const resumed =
    plan.resumeCount === 0 ? "" : `, resumed ${plan.resumeCount === 1 ? "once" : `${plan.resumeCount} times`}`;
  const lines = [
    row("Plan", `${printable(plan.planId)}  ${printable(plan.name)} v${plan.version}`),
    row("State", `${stateWord(plan.state, c)}  (epoch ${plan.epoch}${resumed})`),
    row("Why", printable(plan.why)),
    row("Done", `${plan.done} of ${plan.total} steps, phase ${printable(plan.phase)}`),
    row("Submitted", `${localTime(plan.createdAt)} by ${printable(plan.actor)}, ${ago(plan.createdAt, now)}`),
  ];
  if (plan.forkedFrom !== null) {
    const { planId, epoch, from } = plan.forkedFrom;
    lines.push(
      row("Forked", `from ${printable(planId)} (epoch ${epoch})${from === null ? "" : ` at ${printable(from)}`}`),
    );
  }
  if (plan.finishedAt !== null) {
    const took = formatDurationMs(Date.parse(plan.finishedAt) - Date.parse(plan.createdAt));
    lines.push(row("Ended", `${localTime(plan.finishedAt)}, after ${took}`));
  }
  if (plan.lastCheckpointId !== null) {
    lines.push(row("Checkpoint", `${printable(plan.lastCheckpointId)} after ${printable(plan.lastCompletedStep)}`));
  }
  if (plan.sandbox !== null) lines.push(row("Sandbox", snapshotLine(plan.sandbox)));
  if (plan.try !== null) lines.push(row("Try", printable(plan.try)));
  return lines;
}

function tree(
  plan: PlanDocument,
  decided: ReadonlyMap<string | null, readonly DecisionDocument[]>,
  c: Colors,
): string[] {
  const shown = shownSteps(plan.steps);
  const width = Math.min(
    40,
    Math.max(...plan.steps.filter((_, i) => shown.has(i)).map((step) => printable(step.id).length)),
  );
  const lines: string[] = [];
  for (const [phase, members] of byPhase(plan.steps)) {
    const done = members.filter(({ step }) => isDone(step.state)).length;
    lines.push(`${c.bold(printable(phase))} ${c.dim(`${done}/${members.length}`)}`);
    const rows = shorten(members, shown).map((entry) =>
      entry.kind === "gap"
        ? c.dim(`┆ ${counts(entry.steps)}`)
        : stepRow(entry.step, plan.steps[entry.index - 1] ?? null, decided.get(entry.step.id) ?? [], width, c),
    );
    rows.forEach((text, i) => {
      lines.push(`${c.dim(i === rows.length - 1 ? "└─" : "├─")} ${text}`);
    });
  }
  return lines;
}

interface Member {
  readonly step: StepDocument;
  readonly index: number;
}

type Entry = ({ readonly kind: "step" } & Member) | { readonly kind: "gap"; readonly steps: readonly StepDocument[] };

function shownSteps(steps: readonly StepDocument[]): ReadonlySet<number> {
  const all = steps.length <= FULL_TREE_STEPS;
  const shown = new Set<number>();
  steps.forEach((step, i) => {
    const atAnEnd = i < END_STEPS || i >= steps.length - END_STEPS;
    if (all || atAnEnd || !(isDone(step.state) || step.state === "pending")) shown.add(i);
  });
  return shown;
}

function byPhase(steps: readonly StepDocument[]): Map<string, Member[]> {
  const phases = new Map<string, Member[]>();
  steps.forEach((step, index) => {
    const members = phases.get(step.phase);
    if (members) members.push({ step, index });
    else phases.set(step.phase, [{ step, index }]);
  });
  return phases;
}

function shorten(members: readonly Member[], shown: ReadonlySet<number>): Entry[] {
  const entries: Entry[] = [];
  let gap: StepDocument[] = [];
  for (const member of members) {
    if (!shown.has(member.index)) {
      gap.push(member.step);
      continue;
    }
    if (gap.length > 0) entries.push({ kind: "gap", steps: gap });
    gap = [];
    entries.push({ kind: "step", ...member });
  }
  if (gap.length > 0) entries.push({ kind: "gap", steps: gap });
  return entries;
}

function counts(steps: readonly StepDocument[]): string {
  const done = steps.filter((step) => isDone(step.state)).length;
  const parts = [done > 0 ? `${done} done` : "", steps.length > done ? `${steps.length - done} pending` : ""];
  return parts.filter(Boolean).join(", ");
}

function stepRow(
  step: StepDocument,
  before: StepDocument | null,
  decisions: readonly DecisionDocument[],
  width: number,
  c: Colors,
): string {
  const facts = [describeStep(step, c)];
  if (step.state === "completed" && step.attempts > 1) facts.push(c.dim(`${step.attempts} attempts`));
  if (step.crashes > 0) facts.push(c.yellow(`${step.crashes} ${step.crashes === 1 ? "crash" : "crashes"}`));
  const earlier = decisions.length - SHOWN_DECISIONS;
  if (earlier > 0) facts.push(c.dim(`${earlier} earlier`));
  for (const { decisionId, choice } of decisions.slice(-SHOWN_DECISIONS))
    facts.push(`${c.dim(printable(decisionId))} ${printable(JSON.stringify(choice))}`);
  if (step.items !== null) facts.push(c.dim(`${step.items.done} of ${step.items.total} items`));
  else if (step.state === "pending" && !follows(step, before)) facts.push(c.dim(needs(step)));
  const id = printable(step.id);
  return `${stepMark(step.state, c)} ${step.state === "pending" ? c.dim(id.padEnd(width)) : id.padEnd(width)}  ${facts.filter(Boolean).join("  ")}`.trimEnd();
}

/** What there is to say about a step's state, in a few words. */
function describeStep(step: StepDocument, c: Colors): string {
  const attempt = step.attempts > 1 ? `, attempt ${step.attempts}` : "";
  switch (step.state) {
    case "completed":
      return formatDurationMs(step.durationMs ?? 0);
    case "skipped":
      return c.dim("skipped");
    case "continued":
      return `${c.yellow(failure(step))} ${c.dim("(the plan goes on)")}`;
    case "failed":
      return c.red(failure(step));
    case "running":
      return `${formatDurationMs(step.durationMs ?? 0)} on ${worker(step)}${attempt}${progress(step)}`;
    case "lost":
      return c.yellow(`lost with worker ${worker(step)}${attempt}`);
    case "queued":
      return "queued";
    case "exclusive":
      return step.id.includes("#") ? "waits for its turn" : "waits for its turn to write the sandbox";
    case "limited":
      return `waits for ${printable(step.limit)}`;
    case "held":
      return "held back";
    case "uncertain":
      return c.yellow(`may have happened: worker ${worker(step)} was lost in it`);
    case "delayed": {
      if (step.unserved !== null) return `waits: ${printable(step.unserved)}`;
      const reason = step.error ? `, after: ${printable(step.error.message)}` : "";
      return `attempt ${step.attempts + 1} at ${localTime(step.dueAt!)}${reason}`;
    }
    case "waiting":
      return waiting(step);
    case "pending":
      return "";
    default:
      return step.state satisfies never;
  }
}

function progress(step: StepDocument): string {
  if (step.progress === null) return "";
  const { fraction, note } = step.progress;
  return `  ${Math.floor(fraction * 100)} %${note === null ? "" : ` ${printable(note)}`}`;
}

function worker({ workerLabel, worker: id }: StepDocument): string {
  return printable(workerLabel ?? id);
}

function failure(step: StepDocument): string {
  const tries = step.attempts === 1 ? "1 attempt" : `${step.attempts} attempts`;
  return `failed after ${tries}${step.error ? `: ${printable(step.error.message)}` : ""}`;
}

function waiting(step: StepDocument): string {
  switch (step.wait) {
    case "approval":
      return `waits for an approval: ${printable(step.ask?.question ?? "")}`;
    case "choice":
      return `waits for a choice: ${printable(step.ask?.question ?? "")} (${(step.ask?.options ?? []).map(printable).join(", ")})`;
    case "signal":
      return "waits for a signal";
    case "timer":
    case null:
      return step.dueAt === null ? "waits for its timer" : `waits until ${localTime(step.dueAt)}`;
    default:
      return step.wait satisfies never;
  }
}

function follows(step: StepDocument, before: StepDocument | null): boolean {
  return before === null ? step.needs.length === 0 : step.needs.length === 1 && step.needs[0] === before.id;
}

function needs(step: StepDocument): string {
  if (step.needs.length === 0) return "needs nothing";
  const listed = step.needs.slice(0, 4).map(printable).join(", ");
  return `needs ${listed}${step.needs.length > 4 ? ` and ${step.needs.length - 4} more` : ""}`;
}

function isDone(state: StepState): boolean {
  return DONE_STATES.has(state);
}
