/** `plan prune`: removes plans that are over for long, and definitions and snapshots that no plan names. */
import type { Duration } from "../../core/duration.js";
import { formatDurationMs, parseDurationMs } from "../../core/duration.js";
import { UsageError } from "../../core/errors.js";
import type { CommandContext } from "../context.js";
import { printable } from "../render/printable.js";

interface PruneFlags {
  readonly olderThan: string;
  readonly files: boolean;
  readonly dryRun?: boolean;
}

/** Names of plans on one screen. */
const SHOWN_PLANS = 20;

export async function prune(
  { client, terminal }: CommandContext,
  _args: readonly [],
  { olderThan, files, dryRun = false }: PruneFlags,
): Promise<number> {
  // A number alone would be milliseconds, and somebody may mean days.
  if (parseDurationMs(olderThan) === null) {
    throw new UsageError(
      `--older-than takes a duration with its unit, such as 30d or 12h, not "${printable(olderThan)}"`,
      {
        try: "plan prune --help",
      },
    );
  }
  const report = await client.prune({ olderThan: olderThan as Duration, files, dryRun });
  if (!terminal.human) {
    terminal.document(report);
    return 0;
  }
  const { plans, storeBytes, definitions, snapshots, bytes } = report;
  for (const planId of plans.slice(0, SHOWN_PLANS)) terminal.line(printable(planId));
  if (plans.length > SHOWN_PLANS) terminal.line(`and ${plans.length - SHOWN_PLANS} more`);
  const over = `${counted(plans.length, "plan")} that ended more than ${formatDurationMs(report.olderThanMs)} ago (${inBytes(storeBytes)} in Redis)`;
  const unnamed = files ? ` and ${counted(snapshots, "snapshot")} that no plan names (${inBytes(bytes)} of files)` : "";
  const unused = definitions > 0 ? `, ${counted(definitions, "definition")} that no plan has` : "";
  terminal.line(`${dryRun ? "Would remove" : "Removed"} ${over}${unused}${unnamed}.`);
  if (dryRun) terminal.line("(dry run) nothing was written");
  return 0;
}

function counted(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? "" : "s"}`;
}

function inBytes(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB"];
  const power = Math.min(units.length - 1, bytes < 1 ? 0 : Math.floor(Math.log2(bytes) / 10));
  return `${(bytes / 1_024 ** power).toFixed(power === 0 ? 0 : 1)} ${units[power]}`;
}
