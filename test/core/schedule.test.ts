import { describe, expect, test } from "vitest";
import {
  MISSED_AFTER_MS,
  missedPolicy,
  nextDue,
  planIdAt,
  type RecurrenceOptions,
  recurrenceOf,
  requireScheduleName,
  type Schedule,
  turn,
} from "../../src/core/schedule.js";

const at = (text: string) => Date.parse(text);
const NOON = at("2026-11-27T12:00:00Z");

describe("the next due time", () => {
  test.each([
    [{ cron: "0 3 * * *" }, "2026-11-28T03:00:00.000Z"],
    [{ cron: " 0  3 * * * ", tz: "Europe/Berlin" }, "2026-11-28T02:00:00.000Z"],
    [{ cron: "*/20 * * * * *" }, "2026-11-27T12:00:20.000Z"],
    [{ cron: "0 0 29 2 *" }, "2028-02-29T00:00:00.000Z"],
    [{ every: "10m" }, "2026-11-27T12:10:00.000Z"],
    [{ every: 86_400_000 }, "2026-11-28T00:00:00.000Z"],
  ] as [RecurrenceOptions, string][])("of %j is after the moment that is asked about", (options, expected) => {
    expect(new Date(nextDue(recurrenceOf(options), NOON)).toISOString()).toBe(expected);
  });

  test("moves with the clocks of the time zone", () => {
    const recurrence = recurrenceOf({ cron: "0 3 * * *", tz: "Europe/Berlin" });
    const summer = nextDue(recurrence, at("2026-10-24T12:00:00Z"));
    expect([summer, nextDue(recurrence, at("2026-10-23T12:00:00Z"))]).toEqual([
      at("2026-10-25T02:00:00Z"),
      at("2026-10-24T01:00:00Z"),
    ]);
  });
});

describe("where clocks are set back by half an hour", () => {
  const tz = "Australia/Lord_Howe";

  test.each(["0 * * * *", "15 1,2,3 * * *", "*/10 * * * *"])(
    "each due time of %s is later than the one before",
    (cron) => {
      const recurrence = recurrenceOf({ cron, tz });
      const times = [at("2026-04-04T12:00:00Z")];
      while (times.at(-1)! < at("2026-04-04T18:00:00Z")) times.push(nextDue(recurrence, times.at(-1)!));
      expect(times).toEqual([...new Set(times)].sort((a, b) => a - b));
      expect(times.length).toBeGreaterThan(3);
    },
  );

  test("and a pattern that no day fits is still an error", () => {
    expect(() => nextDue({ kind: "cron", cron: "0 0 31 4,6 *", tz }, NOON)).toThrow("loop limit");
  });
});

describe("what can't recur is refused with what is wrong", () => {
  test.each([
    [{}, "Say when: either cron"],
    [{ cron: "* * * * *", every: "1m" }, "Say when: either cron"],
    [{ cron: "* * *" }, '"* * *" is no cron pattern: it has 3 fields; give minute, hour, day, month and weekday'],
    [{ cron: "@daily" }, "it has 1 field;"],
    [{ cron: "61 * * * *" }, '"61 * * * *" is no cron pattern: Constraint error, got value 61 expected range 0-59'],
    [{ cron: "0 0 31 4,6 *" }, "no day is ever like that"],
    [{ cron: "H 3 * * *" }, "H isn't supported"],
    [{ cron: "0 3 * * *", tz: "Mars/Base" }, '"Mars/Base" is no time zone'],
    [{ every: "1m", tz: "UTC" }, "A time zone is for cron only"],
    [{ every: "1500ms" }, 'every takes a duration of whole seconds up to 366d, such as 30s, 10m or 24h, not "1500ms"'],
    [{ every: 0 }, 'not "0"'],
    [{ every: "367d" }, 'not "367d"'],
    [{ every: "soon" as "1s" }, 'not "soon"'],
  ] as [RecurrenceOptions, string][])("%j", (options, complaint) => {
    expect(() => recurrenceOf(options)).toThrow(expect.objectContaining({ code: "USAGE" }));
    expect(() => recurrenceOf(options)).toThrow(complaint);
  });

  test("a policy that isn't one, and a name that leaves no room for the time", () => {
    expect(missedPolicy()).toBe("once");
    expect(missedPolicy("skip")).toBe("skip");
    expect(() => missedPolicy("all")).toThrow('once or skip, not "all"');
    requireScheduleName("n".repeat(111));
    for (const name of ["", "a/b", "-x", "n".repeat(112)]) expect(() => requireScheduleName(name)).toThrow("can't be");
  });
});

describe("a scheduler", () => {
  test("does nothing before the due time", () => {
    expect(turn(aSchedule(), NOON - 1)).toBeNull();
  });

  test("submits each due time, one after the other, under an id that says which", () => {
    const first = turn(aSchedule(), NOON + 30_000)!;
    const second = turn(first.after, NOON + 30_000)!;

    expect([first.planId, second.planId]).toEqual(["poll-20261127T120000Z", "poll-20261127T120010Z"]);
    expect(second.after).toMatchObject({ dueAt: NOON + 20_000, lastPlanId: second.planId });
    expect(planIdAt("poll", NOON)).toBe(first.planId);
  });

  test("makes up once for all that was missed, and goes on from now", () => {
    const late = NOON + MISSED_AFTER_MS + 1;
    const { planId, after } = turn(aSchedule(), late)!;
    expect([planId, after.dueAt]).toEqual(["poll-20261127T120000Z", NOON + 70_000]);
    expect(turn(after, late)).toBeNull();
  });

  test("or skips it, and keeps what was submitted last", () => {
    const { planId, after } = turn(aSchedule({ missed: "skip", lastPlanId: "before" }), NOON + 3_600_000)!;
    expect([planId, after.dueAt, after.lastPlanId]).toEqual([null, NOON + 3_610_000, "before"]);
  });
});

function aSchedule(given: Partial<Schedule> = {}): Schedule {
  return {
    name: "poll",
    plan: "test",
    definitionDigest: "d",
    recurrence: recurrenceOf({ every: "10s" }),
    missed: "once",
    workdir: null,
    folder: null,
    file: null,
    dueAt: NOON,
    lastPlanId: null,
    ...given,
  };
}
