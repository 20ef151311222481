/** `plan verify` as people and scripts see it. */
import { expect, test } from "vitest";
import { aDocument } from "./a-cli.js";
import { anEmbeddedCli } from "./a-fleet.js";

const { cli, redis } = await anEmbeddedCli();

test("says that all holds and exits 0, or names each violation and exits 1", async () => {
  cli.file("chain.yaml", aDocument("chain", { one: "echo 1", two: "echo 2" }));
  cli.file("files.yaml", "plan: files\nsandbox: {}\nsteps:\n  - { run: echo 1 > one }\n");
  for (const [file, id] of [
    ["chain", "chain-1"],
    ["chain", "chain-2"],
    ["files", "files-1"],
  ])
    await cli.run("run", `${file}.yaml`, "--id", id!);

  const one = await cli.run("verify", "chain-1");
  expect(one).toMatchObject({
    code: 0,
    stdout: "Plan chain-1  completed  6 events, 2 checkpoints: all invariants hold.\n",
  });
  expect((await cli.run("verify", "files-1")).stdout).toContain("1 checkpoint, 2 snapshots: all invariants hold.");
  expect((await cli.run("verify", "files-1", "--no-files")).stdout).not.toContain("snapshots");
  expect(await cli.run("verify", "--all")).toMatchObject({
    code: 0,
    stdout: "3 plans verified: all invariants hold.\n",
  });
  expect(await cli.json("verify", "--all", "--files")).toHaveLength(3);

  await redis.hset("{waymark:0}:plan:chain-2", "last_completed_step", "one\u001b[31m");
  const { code, stdout } = await cli.run("verify", "chain-2");
  expect(code).toBe(1);
  expect(stdout).toMatch(
    /^Plan chain-2 {2}completed {2}6 events, 2 checkpoints: 1 violation\.\n✖ I5 {2}last_completed_step is one/,
  );
  expect(stdout).not.toContain("\u001b");
  const all = await cli.run("verify", "--all");
  expect(all.code).toBe(1);
  expect(all.stdout).toMatch(/^Plan chain-2 .*\n✖ I5 .*\n3 plans verified: 1 plan with violations\.\n$/);

  const document = await cli.json("verify", "chain-2");
  expect(document).toMatchObject({ plan_id: "chain-2", state: "completed", violations: [{ invariant: "I5" }] });
  const lines = (await cli.run("verify", "--all", "-o", "jsonl")).stdout.trimEnd().split("\n");
  expect(lines.map((line) => JSON.parse(line).plan_id).sort()).toEqual(["chain-1", "chain-2", "files-1"]);
  expect(JSON.parse((await cli.run("verify", "chain-2", "-o", "jsonl")).stdout)).toEqual(document);

  await redis.rpush("{waymark:0}:plan:chain-1:history", "what");
  expect((await cli.run("verify", "chain-1")).stdout).toMatch(/^Plan chain-1 {2}unreadable/);
});

test("takes one plan or all of them", async () => {
  for (const args of [[], ["chain-1", "--all"]]) {
    const { code, stderr } = await cli.run("verify", ...args);
    expect(code).toBe(2);
    expect(stderr).toBe("Error: USAGE: plan verify takes the id of a plan, or --all.\nTry: plan verify --help\n");
  }
  expect((await cli.run("verify", "nothing")).code).toBe(4);
});
