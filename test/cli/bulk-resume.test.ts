/** Many plans resumed by one command: what became of each is told in groups. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { until } from "../support/until.js";
import { aDocument } from "./a-cli.js";
import { anEmbeddedCli } from "./a-fleet.js";

const { cli } = await anEmbeddedCli();

test("the report has a line for each code, and one for what went on", { timeout: 60_000 }, async () => {
  cli.file("good.yaml", aDocument("good", { one: "test -e ok" }));
  cli.file("bad.yaml", aDocument("bad", { one: "exit 1" }));
  for (const [file, id] of [
    ["good", "good-1"],
    ["bad", "bad-1"],
    ["good", "good-2"],
  ])
    await cli.run("run", `${file}.yaml`, "--id", id!);
  const unknown = Array.from({ length: 22 }, (_, i) => `nosuch-${i}`);

  const preview = await cli.run("resume", "good-1", ...unknown, "bad-1", "good-2", "--dry-run");
  expect(preview.code).toBe(4);
  expect(preview.stdout).toMatch(
    /\nwould resume {7}3 {2}good-1, bad-1, good-2\nPLAN_NOT_FOUND {4}22 {2}nosuch-0, .*, nosuch-19 and 2 more\n$/,
  );

  cli.file("ok", "");
  const { code, stdout } = await cli.run("resume", "--all", "--yes");
  expect(code).toBe(1);
  expect(stdout).toMatch(/\nresumed {24}2 {2}good-1, good-2\nresumed, and not completed {5}1 {2}bad-1\n$/);
  expect((await cli.run("resume", "good-1", "good-2")).stdout).toMatch(/\nPLAN_TERMINAL {5}2 {2}good-1, good-2\n$/);
});

test("who interrupts it is told how far it came", async () => {
  cli.file(
    "slow.yaml",
    aDocument("slow", { one: "test -e slow.first || { touch slow.first; exit 1; }; touch slow.began; sleep 60" }),
  );
  await cli.run("run", "slow.yaml", "--id", "slow-1");
  const running = cli.start("resume", "slow-1", "nosuch");
  await until("the step to begin", () => existsSync(join(cli.cwd, "slow.began")));

  running.signal("SIGINT");
  running.signal("SIGINT");
  const { code, stdout } = await running.ended;

  expect(code).toBe(130);
  expect(stdout).toMatch(/\nresumed, and interrupted {5}1 {2}slow-1\n$/);
});
