/** `plan list`: plans, newest first. */
import type { PlanSummary } from "../../client/documents.js";
import type { CommandContext } from "../context.js";
import { listQuery } from "../list-query.js";
import { wholeNumber } from "../option-values.js";
import { ago, planMark, stateWord } from "../render/marks.js";
import { printable } from "../render/printable.js";
import { renderTable } from "../render/table.js";
import type { Colors } from "../render/terminal.js";

interface ListOptions {
  readonly state?: string;
  readonly name?: string;
  readonly since?: string;
  readonly limit: string;
}

export async function list(context: CommandContext, _args: readonly string[], options: ListOptions): Promise<number> {
  const { client, terminal } = context;
  const plans = await client.list({ ...listQuery(options), limit: wholeNumber("--limit", options.limit, 1) });
  switch (terminal.format) {
    case "json":
      terminal.document(plans);
      break;
    case "jsonl":
      for (const plan of plans) terminal.item(plan);
      break;
    case "ids":
      for (const plan of plans) terminal.line(plan.planId);
      break;
    default:
      if (plans.length === 0) terminal.talk("No plans.");
      else terminal.line(await planTable(plans, Date.now(), terminal.colors));
  }
  return 0;
}

function planTable(plans: readonly PlanSummary[], now: number, c: Colors): Promise<string> {
  const rows = plans.map((plan) => [
    printable(plan.planId),
    `${printable(plan.name)} v${plan.version}`,
    `${planMark(plan.state, c)} ${stateWord(plan.state, c)}`,
    `${plan.done}/${plan.total}`,
    ago(plan.createdAt, now),
    printable(plan.why),
  ]);
  return renderTable(["PLAN", "NAME", "STATE", "DONE", "SUBMITTED", "WHY"], rows, c);
}
