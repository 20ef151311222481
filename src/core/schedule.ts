/**
 * Recurring plans: when each is due, under which id, and what becomes of a due time that nobody was there for. All of it
 * follows from the schedule and the store's clock, so that any number of schedulers come to the same.
 */
import { CronExpressionParser } from "cron-parser";
import { type Duration, parseDurationMs } from "./duration.js";
import { UsageError } from "./errors.js";
import { isId } from "./ids.js";
import type { DocumentFile } from "./ports.js";

interface Cron {
  readonly kind: "cron";
  readonly cron: string;
  readonly tz: string;
}

/** `every` counts from the beginning of 1970 in UTC, so that it follows from nothing but itself. */
export type Recurrence = Cron | { readonly kind: "every"; readonly everyMs: number };

/** What becomes of due times that passed while no scheduler was there: one plan for all of them, or none. */
export const MISSED_POLICIES = ["once", "skip"] as const;
export type MissedPolicy = (typeof MISSED_POLICIES)[number];

export interface Schedule {
  readonly name: string;
  /** The definition's name. */
  readonly plan: string;
  readonly definitionDigest: string;
  readonly recurrence: Recurrence;
  readonly missed: MissedPolicy;
  readonly workdir: string | null;
  /** What the sandbox's `from` is relative to. */
  readonly folder: string | null;
  readonly file: DocumentFile | null;
  /** The next time that no plan was submitted for yet, in ms since 1970. */
  readonly dueAt: number;
  readonly lastPlanId: string | null;
}

export interface RecurrenceOptions {
  /** Five fields, or six with seconds first. */
  readonly cron?: string | undefined;
  /** Of `cron`: `UTC` unless given. */
  readonly tz?: string | undefined;
  /** Whole seconds. */
  readonly every?: Duration | undefined;
  readonly missed?: MissedPolicy | undefined;
}

/** Later than this a due time counts as missed. */
export const MISSED_AFTER_MS = 60_000;

const HALF_AN_HOUR_MS = 1_800_000;
const LONGEST_MS = 366 * 86_400_000;

/** `-20261128T030000Z` goes behind it in the ids of plans. */
const LONGEST_NAME = 128 - 17;

/** @throws UsageError */
export function requireScheduleName(name: string): void {
  if (isId(name) && name.length <= LONGEST_NAME) return;
  throw new UsageError(
    `"${name}" can't be the name of a schedule: names are letters, digits, '.', '_' and '-', at most ${LONGEST_NAME}, the first a letter or a digit`,
    { details: { schedule: name } },
  );
}

/** @throws UsageError that says what is wrong */
export function recurrenceOf({ cron, tz, every }: RecurrenceOptions): Recurrence {
  if ((cron === undefined) === (every === undefined)) {
    throw new UsageError(`Say when: either cron, such as "0 3 * * *", or every, such as "10m"`);
  }
  if (every !== undefined) {
    if (tz !== undefined) throw new UsageError("A time zone is for cron only: every counts in UTC");
    return { kind: "every", everyMs: wholeSeconds(every) };
  }
  const recurrence = { kind: "cron", cron: cron!.trim().replace(/\s+/g, " "), tz: timeZone(tz ?? "UTC") } as const;
  requireCron(recurrence.cron);
  return recurrence;
}

/** @throws UsageError */
export function missedPolicy(given: string = "once"): MissedPolicy {
  const policy = MISSED_POLICIES.find((known) => known === given);
  if (policy !== undefined) return policy;
  throw new UsageError(`What is missed is made up for ${MISSED_POLICIES.join(" or ")}, not "${given}"`);
}

/** The first due time after a moment. */
export function nextDue(recurrence: Recurrence, afterMs: number): number {
  if (recurrence.kind === "every") {
    return (Math.floor(afterMs / recurrence.everyMs) + 1) * recurrence.everyMs;
  }
  // Where clocks are set back by half an hour, the parser goes back with them or finds nothing: it is asked from later on.
  for (const laterMs of [0, HALF_AN_HOUR_MS]) {
    const dueAt = cronDueOrNull(recurrence, afterMs + laterMs);
    if (dueAt !== null && dueAt > afterMs) return dueAt;
  }
  return cronDue(recurrence, afterMs + 2 * HALF_AN_HOUR_MS);
}

/** Equal for whoever submits it: the same due time is the same plan. */
export function planIdAt(name: string, dueAt: number): string {
  return `${name}-${new Date(dueAt).toISOString().replace(/[-:]|\.\d+/g, "")}`;
}

/** What there is to submit now, and the schedule as it is afterwards; null where it isn't due. */
export function turn(
  schedule: Schedule,
  nowMs: number,
): { readonly planId: string | null; readonly after: Schedule } | null {
  const { name, dueAt, recurrence, missed } = schedule;
  if (dueAt > nowMs) return null;
  const isMissed = nowMs - dueAt > MISSED_AFTER_MS;
  const planId = isMissed && missed === "skip" ? null : planIdAt(name, dueAt);
  const after = {
    ...schedule,
    dueAt: nextDue(recurrence, isMissed ? nowMs : dueAt),
    lastPlanId: planId ?? schedule.lastPlanId,
  };
  return { planId, after };
}

function cronDueOrNull(recurrence: Cron, afterMs: number): number | null {
  try {
    return cronDue(recurrence, afterMs);
  } catch {
    return null;
  }
}

/** @throws Error where the parser finds nothing */
function cronDue({ cron, tz }: Cron, afterMs: number): number {
  return CronExpressionParser.parse(cron, { tz, currentDate: new Date(afterMs) })
    .next()
    .getTime();
}

function wholeSeconds(every: Duration): number {
  const ms = parseDurationMs(every);
  if (ms !== null && ms >= 1_000 && ms <= LONGEST_MS && ms % 1_000 === 0) return ms;
  throw new UsageError(`every takes a duration of whole seconds up to 366d, such as 30s, 10m or 24h, not "${every}"`);
}

function timeZone(tz: string): string {
  try {
    new Intl.DateTimeFormat("en", { timeZone: tz });
    return tz;
  } catch (cause) {
    throw new UsageError(`"${tz}" is no time zone; give a name such as Europe/Berlin`, { cause });
  }
}

function requireCron(cron: string): void {
  const refuse = (why: string, cause?: unknown) => new UsageError(`"${cron}" is no cron pattern: ${why}`, { cause });
  const fields = cron.split(" ").length;
  if (fields !== 5 && fields !== 6) {
    throw refuse(
      `it has ${fields} field${fields === 1 ? "" : "s"}; give minute, hour, day, month and weekday, or seconds before them`,
    );
  }
  // To the parser it means a moment by chance, another in each process.
  if (/\bH\b/.test(cron)) throw refuse("H isn't supported");
  try {
    cronDue({ kind: "cron", cron, tz: "UTC" }, 0);
  } catch (cause) {
    const { message } = cause as Error;
    throw refuse(/loop limit/.test(message) ? "no day is ever like that" : message.replace(/\.$/, ""), cause);
  }
}
