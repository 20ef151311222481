/** `plan schedules`: recurring plans, when each is due and what it submitted last. */
import type { ScheduleDocument } from "../../client/schedules.js";
import { formatDurationMs } from "../../core/duration.js";
import type { CommandContext } from "../context.js";
import { printable } from "../render/printable.js";
import { renderTable } from "../render/table.js";

export async function schedules(context: CommandContext): Promise<number> {
  const { client, terminal } = context;
  const found = await client.schedules();
  if (terminal.format === "json") terminal.document(found);
  else if (terminal.format === "jsonl") for (const schedule of found) terminal.item(schedule);
  else if (found.length === 0) terminal.talk("No schedules.");
  else {
    const rows = found.map((schedule) => [
      printable(schedule.name),
      printable(schedule.plan),
      recurrenceOfDocument(schedule),
      schedule.nextDue,
      printable(schedule.lastPlanId ?? "-"),
      schedule.missed,
    ]);
    terminal.line(
      await renderTable(["NAME", "PLAN", "WHEN", "NEXT DUE", "LAST PLAN", "MISSED"], rows, terminal.colors),
    );
  }
  return 0;
}

/** For people. */
export function recurrenceOfDocument({ cron, tz, everyMs }: ScheduleDocument): string {
  return everyMs === null ? printable(`${cron} (${tz})`) : `every ${formatDurationMs(everyMs)}`;
}
