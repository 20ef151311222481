/** `plan prune` as people and scripts see it. */
import { readdirSync, statSync, utimesSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { aDocument } from "./a-cli.js";
import { anEmbeddedCli } from "./a-fleet.js";

const { cli, redis } = await anEmbeddedCli();

test("says what it would remove, then removes that", async () => {
  cli.file("one.yaml", aDocument("one", { one: "echo 1" }));
  cli.file("files.yaml", "plan: files\nsandbox: {}\nsteps:\n  - { run: echo 1 > one }\n");
  await cli.run("run", "files.yaml", "--id", "files-1");
  await cli.run("run", "one.yaml", "--id", "one-1");
  expect((await cli.run("prune")).stdout).toBe(
    "Removed 0 plans that ended more than 30d ago (0 B in Redis) and 0 snapshots that no plan names (0 B of files).\n",
  );
  const store = join(cli.cwd, ".waymark/sandboxes/store");
  const then = new Date(Date.now() - 2 * 86_400_000);
  for (const path of readdirSync(store, { recursive: true, encoding: "utf8" })) {
    if (statSync(join(store, path)).isFile()) utimesSync(join(store, path), then, then);
  }

  const preview = await cli.run("prune", "--older-than", "0s", "--dry-run");
  expect(preview.stdout).toMatch(
    /^(one-1\nfiles-1|files-1\none-1)\nWould remove 2 plans that ended more than 0ms ago \(\d+(\.\d)? (B|KiB) in Redis\) and 2 snapshots that no plan names \(\d+ B of files\)\.\n\(dry run\) nothing was written\n$/,
  );
  expect(await redis.zcard("{waymark:0}:plans")).toBe(2);
  expect((await cli.run("prune", "--older-than", "0s", "--no-files")).stdout).toMatch(
    /\nRemoved 2 plans .* in Redis\)\.\n$/,
  );
  expect(await cli.json("prune")).toMatchObject({
    plans: [],
    snapshots: 2,
    older_than_ms: 30 * 86_400_000,
    dry_run: false,
  });
  expect(await cli.json("list")).toEqual([]);
  for (const digest of await redis.zrange("{waymark:0}:definitions", "0", "-1"))
    await redis.zadd("{waymark:0}:definitions", 1, digest);
  expect((await cli.run("prune", "--no-files")).stdout).toBe(
    "Removed 0 plans that ended more than 30d ago (0 B in Redis), 2 definitions that no plan has.\n",
  );
});

test("names the first plans, and how many more there are", async () => {
  cli.file("one.yaml", aDocument("one", { one: "echo 1" }));
  for (let i = 0; i < 22; i++) {
    await cli.run("submit", "one.yaml", "--id", `many-${i}`);
    await cli.run("cancel", `many-${i}`);
  }

  const { stdout } = await cli.run("prune", "--older-than", "0s");

  expect(stdout.trimEnd().split("\n")).toHaveLength(22);
  expect(stdout).toMatch(/\nand 2 more\nRemoved 22 plans that/);
});

test.each(["30", "30 days", "soon", "-1d"])("refuses %s", async (olderThan) => {
  const { code, stderr } = await cli.run("prune", `--older-than=${olderThan}`);

  expect(code).toBe(2);
  expect(stderr).toBe(
    `Error: USAGE: --older-than takes a duration with its unit, such as 30d or 12h, not "${olderThan}".\nTry: plan prune --help\n`,
  );
});
