/** Recurring plans, as a client creates, replaces, lists and removes them. `plan scheduler` processes submit what is due. */
import { resolve } from "node:path";
import type { CompiledDefinition } from "../core/definition.js";
import { WaymarkError } from "../core/errors.js";
import { digestOf, requireFits } from "../core/json.js";
import type { DocumentFile, PlanStore } from "../core/ports.js";
import {
  type MissedPolicy,
  missedPolicy,
  nextDue,
  type RecurrenceOptions,
  recurrenceOf,
  requireScheduleName,
  type Schedule,
} from "../core/schedule.js";
import { findDirectory } from "./sandboxes.js";

export interface SchedulePlacement {
  readonly workdir?: string;
  /** The plan's document. */
  readonly file?: DocumentFile;
  /** What the sandbox's `from` is relative to: the working directory unless given, null where nobody named the plan's file. */
  readonly folder?: string | null;
}

export interface ScheduleDocument {
  readonly name: string;
  readonly plan: string;
  readonly definitionDigest: string;
  /** Null where it recurs by `everyMs`. */
  readonly cron: string | null;
  readonly tz: string | null;
  readonly everyMs: number | null;
  readonly missed: MissedPolicy;
  /** In the past where no scheduler is there to submit it. */
  readonly nextDue: string;
  readonly lastPlanId: string | null;
}

export interface ScheduledDocument extends ScheduleDocument {
  /** What became of what was there under this name. */
  readonly outcome: "created" | "replaced" | "unchanged";
}

/** @param input checked and serialised @throws UsageError */
export async function putSchedule(
  store: PlanStore,
  name: string,
  compiled: CompiledDefinition,
  input: string,
  options: RecurrenceOptions & SchedulePlacement,
): Promise<ScheduledDocument> {
  requireScheduleName(name);
  const recurrence = recurrenceOf(options);
  requireFits(input, "Input", store.payloadLimitBytes);
  const { folder = ".", workdir = null, file = null } = options;
  const wanted = {
    name,
    plan: compiled.definition.name,
    definitionDigest: compiled.digest,
    recurrence,
    missed: missedPolicy(options.missed),
    workdir,
    folder: folder === null ? null : resolve(folder),
    file,
  };
  const from = compiled.definition.sandbox?.from;
  if (from != null) await findDirectory(wanted.plan, from, wanted.folder);
  await store.requireSuitable();
  const { schedules } = store;
  await schedules.upload(compiled);
  for (;;) {
    const before = await schedules.find(name);
    const was = before?.schedule ?? null;
    // A due time that waits for a scheduler is not lost with the rest of what is replaced.
    const isDueAsBefore = was !== null && same(was.recurrence, recurrence);
    const dueAt = isDueAsBefore ? was.dueAt : nextDue(recurrence, await schedules.now());
    const schedule: Schedule = { ...wanted, dueAt, lastPlanId: was?.lastPlanId ?? null };
    if (before !== null && same(was, schedule) && before.input() === input) {
      return { ...scheduleDocument(schedule), outcome: "unchanged" };
    }
    if (await schedules.put(schedule, input, before)) {
      return { ...scheduleDocument(schedule), outcome: before === null ? "created" : "replaced" };
    }
  }
}

export async function listSchedules(store: PlanStore): Promise<ScheduleDocument[]> {
  return (await store.schedules.list()).map(({ schedule }) => scheduleDocument(schedule));
}

/** Plans that it has submitted stay. @throws WaymarkError SCHEDULE_NOT_FOUND */
export async function removeSchedule(store: PlanStore, name: string): Promise<void> {
  requireScheduleName(name);
  await store.requireSuitable();
  if (await store.schedules.remove(name)) return;
  throw new WaymarkError("SCHEDULE_NOT_FOUND", `There is no schedule ${name} in this store`, {
    details: { schedule: name },
    try: "plan schedules",
  });
}

function scheduleDocument({ name, plan, definitionDigest, recurrence, ...schedule }: Schedule): ScheduleDocument {
  const isCron = recurrence.kind === "cron";
  return {
    name,
    plan,
    definitionDigest,
    cron: isCron ? recurrence.cron : null,
    tz: isCron ? recurrence.tz : null,
    everyMs: isCron ? null : recurrence.everyMs,
    missed: schedule.missed,
    nextDue: new Date(schedule.dueAt).toISOString(),
    lastPlanId: schedule.lastPlanId,
  };
}

function same(a: unknown, b: unknown): boolean {
  return digestOf(a) === digestOf(b);
}
