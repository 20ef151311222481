/** The resume summary: what resume would do, or did. The same words for the dry-run and for the real one. */
import type { ResumeSummary } from "../../core/resume-summary.js";
import type { SandboxSummary } from "../../core/sandbox-facts.js";
import { stateWord } from "./marks.js";
import { printable } from "./printable.js";
import { shortDigest, snapshotLine } from "./snapshot-line.js";
import type { Colors } from "./terminal.js";

/** A line of more names than this is shortened. */
const SHOWN_STEPS = 100;

/** What stands beside the summary: facts for people that are no part of the decision. */
export interface SummaryNotes {
  /** The choice of the decision in force, where it is not the submission. */
  readonly choice: unknown;
}

const LABEL_WIDTH = 11;
const LEAST_LEFT_WIDTH = 27;

export function renderResumeSummary(summary: ResumeSummary, notes: SummaryNotes, c: Colors): string {
  const s = summary;
  const epoch = s.eligible ? `${s.epoch} → ${s.nextEpoch}` : String(s.epoch);
  const [plan, stepRow, checkpointRow, sandboxRow] = pairedRows(c, [
    [
      "Plan",
      `${printable(s.planId)}  ${printable(s.name)} v${s.version}`,
      pair(c, "state", `${stateWord(s.state, c)}  (epoch ${epoch})`),
    ],
    ["Step", placeOf(s), pair(c, "last completed", printable(s.lastCompletedStep ?? "none"))],
    ["Checkpoint", checkpointOf(s), pair(c, "decision", decision(s, notes))],
    ["Sandbox", ...files(s.sandbox)],
  ]);
  const lines = [
    plan!,
    row(c, "Why", printable(s.why)),
    row(c, "Phase", printable(s.phase)),
    stepRow!,
    checkpointRow!,
    sandboxRow!,
    row(c, "Reuse", names(s.reuse, s.reuseCount)),
    row(c, "Run", names(s.run, s.runCount)),
    row(c, "Ask", ask(s)),
  ];
  if (s.drift.length > 0) lines.push(row(c, "Drift", names(s.drift, s.drift.length)));
  if (s.from !== null) lines.push(row(c, "From", printable(s.from)));
  if (s.newKey.length > 0) lines.push(row(c, "New key", names(s.newKey, s.newKey.length)));
  if (s.reason !== null) lines.push(row(c, "Reason", printable(s.reason)));
  lines.push(row(c, "Token", s.resumeToken));
  return lines.join("\n");
}

/** Rows whose right halves begin in one column. */
export function pairedRows(
  c: Colors,
  pairs: readonly (readonly [label: string, left: string, right: string])[],
): string[] {
  const width = Math.max(LEAST_LEFT_WIDTH, ...pairs.map(([, left]) => left.length));
  return pairs.map(([label, left, right]) => row(c, label, `${left.padEnd(width)}  ${right}`.trimEnd()));
}

export function row(c: Colors, label: string, text: string): string {
  return `${c.bold(label.padEnd(LABEL_WIDTH))}${text}`;
}

export function pair(c: Colors, label: string, value: string): string {
  return `${c.bold(label)}  ${value}`;
}

export function placeOf(s: Pick<ResumeSummary, "step" | "stepNumber" | "total">): string {
  if (s.step === null) return "none";
  const place = s.stepNumber === null ? `of ${s.total}` : `${s.stepNumber} of ${s.total}`;
  return `${printable(s.step)} (${place})`;
}

export function checkpointOf(s: Pick<ResumeSummary, "lastCheckpointId" | "lastCompletedStep">): string {
  if (s.lastCheckpointId === null) return "none";
  return `${printable(s.lastCheckpointId)} after ${printable(s.lastCompletedStep)}`;
}

function decision(s: ResumeSummary, notes: SummaryNotes): string {
  const id = printable(s.decisionId);
  return notes.choice === undefined
    ? `${id} (submission)`
    : `${id} ${printable(JSON.stringify(notes.choice))}  will not be asked again`;
}

/** What the files go back to, and what becomes of what was done to them since. */
function files(sandbox: SandboxSummary | null): [left: string, right: string] {
  if (sandbox === null) return ["none", ""];
  const left = snapshotLine(sandbox);
  const counts = [
    [sandbox.changedCount, "changed"],
    [sandbox.addedCount, "added"],
    [sandbox.removedCount, "removed"],
  ] as const;
  const since = counts.filter(([count]) => count > 0).map(([count, how]) => `${count} ${how}`);
  if (since.length === 0) return [left, ""];
  const kept = sandbox.discardedSnapshot === null ? "" : ` (kept as ${shortDigest(sandbox.discardedSnapshot)})`;
  return [left, `${since.join(", ")} since: restored${kept}`];
}

function ask(s: ResumeSummary): string {
  const uncertain = s.ackRequired.filter((id) => !s.repeated.includes(id));
  const asked = [
    ...(uncertain.length > 0
      ? [`whether ${uncertain.map(printable).join(", ")} happened: it is irreversible and has no record`]
      : []),
    ...(s.repeated.length > 0
      ? [`whether ${s.repeated.map(printable).join(", ")} shall run again: it is irreversible`]
      : []),
  ];
  return asked.length === 0 ? `nothing${whyNothing(s)}` : asked.join("; ");
}

function whyNothing({ happened }: ResumeSummary): string {
  if (happened === null) return "";
  if (happened.length === 0) return ": no irreversible step had started";
  return `: ${names(happened, happened.length)} ${happened.length === 1 ? "is" : "are"} done and not run again`;
}

export function names(ids: readonly string[], count: number): string {
  if (count === 0) return "nothing";
  const shown = ids.length > SHOWN_STEPS ? ids.slice(0, SHOWN_STEPS) : ids;
  const more = count - shown.length;
  return shown.map(printable).join(", ") + (more > 0 ? ` and ${more} more` : "");
}
