/** `plan decisions`: the tree of recorded choices. */
import type { DecisionDocument } from "../../client/documents.js";
import type { CommandContext } from "../context.js";
import { localTime } from "../render/marks.js";
import { printable } from "../render/printable.js";
import type { Colors } from "../render/terminal.js";

export async function decisions(context: CommandContext, [id]: readonly [string]): Promise<number> {
  const { client, terminal } = context;
  const found = await client.decisions(await context.planId(id));
  if (terminal.format === "json") terminal.document(found);
  else if (terminal.format === "jsonl") for (const decision of found) terminal.item(decision);
  else terminal.line(renderDecisions(found, terminal.colors).join("\n"));
  return 0;
}

export function renderDecisions(decisions: readonly DecisionDocument[], c: Colors): string[] {
  const depth = new Map<string, number>();
  return decisions.map((decision) => {
    const level = decision.parent === null ? 0 : (depth.get(decision.parent) ?? 0) + 1;
    depth.set(decision.decisionId, level);
    const indent = level === 0 ? "" : `${"   ".repeat(Math.min(level, 20) - 1)}└─ `;
    return `${c.dim(indent)}${describe(decision)}  ${c.dim(`${localTime(decision.at)} by ${printable(decision.madeBy)}${decision.current ? "" : "  superseded"}`)}`;
  });
}

function describe(decision: DecisionDocument): string {
  const id = printable(decision.decisionId);
  if (decision.step === null) return `${id}  submission`;
  const options = decision.options.length === 0 ? "" : ` of ${decision.options.map(printable).join(", ")}`;
  const why = decision.rationale === null ? "" : ` (${printable(decision.rationale)})`;
  const step = decision.key === null ? decision.step : `${decision.step}/${decision.key}`;
  return `${id}  ${printable(step)}: ${printable(decision.question)} ${printable(JSON.stringify(decision.choice))}${options}${why}`;
}
