/** What a fork keeps and what it runs, in the words of the resume summary. */
import type { ForkSummary } from "../../core/fork.js";
import { stateWord } from "./marks.js";
import { printable } from "./printable.js";
import { checkpointOf, names, pair, pairedRows, placeOf, row } from "./resume-summary.js";
import { snapshotLine } from "./snapshot-line.js";
import type { Colors } from "./terminal.js";

export function renderForkSummary(s: ForkSummary, c: Colors): string {
  const { planId, state, epoch } = s.forkedFrom;
  const [plan, step, from, sandbox] = pairedRows(c, [
    ["Plan", `${s.planId === null ? "a new one" : printable(s.planId)}  ${printable(s.name)} v${s.version}`, ""],
    ["Step", placeOf(s), pair(c, "last completed", printable(s.lastCompletedStep ?? "none"))],
    ["Checkpoint", checkpointOf(s), pair(c, "decision", printable(s.decisionId))],
    ["Sandbox", s.sandbox === null ? "none" : snapshotLine(s.sandbox), ""],
  ]);
  const lines = [
    plan!,
    row(c, "Forked", `from ${printable(planId)}  ${stateWord(state, c)}  (epoch ${epoch})`),
    row(c, "Phase", printable(s.phase)),
    step!,
    from!,
    sandbox!,
    row(c, "Reuse", names(s.reuse, s.reuse.length)),
    row(c, "Run", names(s.run, s.run.length)),
  ];
  if (s.repeated.length > 0) {
    lines.push(row(c, "Again", `${s.repeated.map(printable).join(", ")}: irreversible, and may have happened already`));
  }
  if (s.from !== null) lines.push(row(c, "From", printable(s.from)));
  if (s.newInput) lines.push(row(c, "Input", "a new one; what is reused was made of the old one"));
  return lines.join("\n");
}
