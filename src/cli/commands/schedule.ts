/** `plan schedule`: a plan that is submitted again and again. */
import type { ScheduledDocument } from "../../client/schedules.js";
import { UsageError } from "../../core/errors.js";
import { type MissedPolicy, recurrenceOf, requireScheduleName } from "../../core/schedule.js";
import type { CommandContext } from "../context.js";
import { planInput } from "../input-values.js";
import { fileOf, folderOf, loadDefinition, workdirOf } from "../load-definition.js";
import { durationMs } from "../option-values.js";
import { planArguments } from "../plan-arguments.js";
import { printable } from "../render/printable.js";
import { recurrenceOfDocument } from "./schedules.js";

interface ScheduleOptions {
  readonly cron?: string;
  readonly tz?: string;
  readonly every?: string;
  readonly input?: readonly string[];
  readonly missed: MissedPolicy;
  readonly remove?: boolean;
}

export async function schedule(
  context: CommandContext,
  [name, ...args]: readonly [string, ...string[]],
  options: ScheduleOptions,
): Promise<number> {
  const { client, terminal, io } = context;
  if (options.remove) {
    if (args.length > 0) throw new UsageError("--remove takes the name of the schedule only", { details: { args } });
    await client.unschedule(name);
    if (terminal.human) terminal.line(`Schedule ${printable(name)} is removed.`);
    else terminal.document({ name, outcome: "removed" });
    return 0;
  }
  const { cron, tz, missed } = options;
  const every = options.every === undefined ? undefined : durationMs("--every", options.every);
  const when = { cron, tz, every, missed };
  // Before a file is read or a store opened for nothing.
  requireScheduleName(name);
  recurrenceOf(when);
  const { target, input } = planArguments(args, options.input);
  const loaded = await loadDefinition(context, target);
  const workdir = workdirOf(loaded);
  const made = await client.scheduleCompiled(name, loaded.compiled, await planInput(input, loaded, io), {
    ...when,
    ...(workdir !== null && { workdir }),
    ...fileOf(loaded),
    folder: folderOf(loaded, io.cwd),
  });
  if (!terminal.human) terminal.document(made);
  else {
    terminal.line(sentence(made));
    terminal.talk("Schedulers submit its plans: `plan scheduler`, any number of them.");
  }
  return 0;
}

function sentence(made: ScheduledDocument): string {
  const outcome = { created: "is created", replaced: "is replaced", unchanged: "is unchanged" }[made.outcome];
  return `Schedule ${printable(made.name)} ${outcome}: ${printable(made.plan)}, ${recurrenceOfDocument(made)}; next due ${made.nextDue}.`;
}
