import { describe, expect, test } from "vitest";
import { aDocument } from "./a-cli.js";
import { aFleet } from "./a-fleet.js";

const { cli } = await aFleet();
cli.file("noop.yaml", 'plan: noop\ninput: { tag: { type: string, pattern: "^v" } }\nsteps: [{ uses: noop }]\n');
cli.file("other.yaml", aDocument("other", { one: "true" }));

describe("plan schedule", () => {
  test("says when the plan is due next; the same again changes nothing, other content replaces it", async () => {
    const nightly = ["schedule", "nightly", "noop.yaml", "--cron", "0 3 * * *", "--tz", "Europe/Berlin"];
    const created = await cli.run(...nightly, "--input", "tag=v1");
    const again = await cli.json(...nightly, "--input", "tag=v1");
    const other = await cli.json(...nightly, "--input", "tag=v2", "--missed", "skip");
    const every = await cli.run("schedule", "nightly", "other.yaml", "--every", "10m");

    expect(created).toMatchObject({
      code: 0,
      stdout:
        /^Schedule nightly is created: noop, 0 3 \* \* \* \(Europe\/Berlin\); next due \d{4}-\d\d-\d\dT0[12]:00:00.000Z\.\n$/,
      stderr: /`plan scheduler`/,
    });
    expect(again).toMatchObject({
      name: "nightly",
      plan: "noop",
      outcome: "unchanged",
      missed: "once",
      every_ms: null,
    });
    expect(other).toMatchObject({ outcome: "replaced", missed: "skip", cron: "0 3 * * *", tz: "Europe/Berlin" });
    expect(every.stdout).toMatch(/^Schedule nightly is replaced: other, every 10m; next due /);
  });

  test("takes the definition of a plan that is in the store, by its name", async () => {
    await cli.run("submit", "noop.yaml", "--id", "n1", "--input", "tag=v1");
    expect(await cli.json("schedule", "by-name", "noop", "--every", "1h", "--input", "tag=v1")).toMatchObject({
      outcome: "created",
      plan: "noop",
    });
  });

  test.each([
    [["noop.yaml", "--cron", "61 3 * * *"], "USAGE", "got value 61 expected range 0-59"],
    [["noop.yaml", "--every", "soon"], "USAGE", "--every takes a duration"],
    [["noop.yaml", "--every", "500ms"], "USAGE", "every takes a duration of whole seconds"],
    [["noop.yaml", "--cron", "0 3 * * *", "--tz", "Mars"], "USAGE", '"Mars" is no time zone'],
    [["noop.yaml"], "USAGE", "Say when"],
    [["--every", "1h"], "USAGE", "Name one file or plan; none is named"],
    [["noop.yaml", "--every", "1h", "--cron", "0 3 * * *"], "USAGE", "cannot be used with"],
    [["noop.yaml", "--every", "1h", "--missed", "all"], "USAGE", "Allowed choices are once, skip"],
    [["noop.yaml", "--remove"], "USAGE", "--remove takes the name of the schedule only"],
    [["noop.yaml", "--every", "1h", "--input", "tag=1"], "INVALID_INPUT", "tag"],
  ])("%j is refused with %s before anything is written", async (args, code, complaint) => {
    const { code: exit, stderr } = await cli.run("schedule", "bad", ...args);

    expect(exit).toBe(2);
    expect(stderr).toMatch(new RegExp(`^Error: ${code}: `));
    expect(stderr).toContain(complaint);
    expect(await cli.json("schedules")).not.toContainEqual(expect.objectContaining({ name: "bad" }));
  });

  test("refuses a name that can't be one", async () => {
    expect(await cli.run("schedule", "a/b", "noop.yaml", "--every", "1h")).toMatchObject({
      code: 2,
      stderr: /"a\/b" can't be the name of a schedule/,
    });
  });

  test("--remove ends it, once", async () => {
    await cli.run("schedule", "old", "other.yaml", "--every", "1h");
    await cli.run("schedule", "older", "other.yaml", "--every", "1h");

    expect(await cli.run("schedule", "old", "--remove")).toMatchObject({
      code: 0,
      stdout: "Schedule old is removed.\n",
    });
    expect(await cli.json("schedule", "older", "--remove")).toEqual({ name: "older", outcome: "removed" });
    expect(await cli.run("schedule", "old", "--remove")).toMatchObject({
      code: 4,
      stderr: "Error: SCHEDULE_NOT_FOUND: There is no schedule old in this store.\nTry: plan schedules\n",
    });
  });
});

test("plan schedules lists what recurs, by name", async () => {
  await cli.run("schedule", "z-last", "other.yaml", "--every", "24h");
  await cli.run("schedule", "a-first", "other.yaml", "--cron", "*/5 * * * *", "--missed", "skip");

  const { stdout } = await cli.run("schedules");
  const lines = (await cli.run("schedules", "-o", "jsonl")).stdout.trim().split("\n");
  const none = await cli.run("schedules", "--prefix", "nobody");

  expect(stdout).toMatch(/^NAME +PLAN +WHEN +NEXT DUE +LAST PLAN +MISSED$/m);
  expect(stdout).toMatch(/^a-first +other +\*\/5 \* \* \* \* \(UTC\) +\S+Z +- +skip$/m);
  expect(stdout).toMatch(/^z-last +other +every 1d +\S+T00:00:00\.000Z +- +once$/m);
  expect(lines.map((line) => JSON.parse(line).name)).toEqual(expect.arrayContaining(["a-first", "z-last"]));
  expect(JSON.parse(lines[0]!)).toMatchObject({ name: "a-first", last_plan_id: null, cron: "*/5 * * * *" });
  expect(none).toMatchObject({ code: 0, stdout: "", stderr: "No schedules.\n" });
});
