/** `plan fork` as people and scripts see it, on an embedded store and on a fleet's. */
import { expect, test } from "vitest";
import { aDocument } from "./a-cli.js";
import { aFleet, anEmbeddedCli } from "./a-fleet.js";

const { cli } = await anEmbeddedCli();
const { cli: fleet } = await aFleet();

const library = new URL("../../src/index.ts", import.meta.url).href;
const CODE = `import { definePlan } from ${JSON.stringify(library)};
const input = { "~standard": { version: 1, vendor: "test", validate: (value) =>
  typeof value.n === "number" ? { value } : { issues: [{ message: "n is a number", path: ["n"] }] } } };
export default definePlan("coded", { input }).step("one", async ({ input }) => input.n).step("two", async () => 2);
`;

test("shows a refusal as what it would have done, and the error", async () => {
  cli.file("chain.yaml", aDocument("chain", { one: "echo 1", two: "exit 1", three: "echo 3" }));
  await cli.run("run", "chain.yaml", "--id", "chain-1");

  for (const dryRun of [[], ["--dry-run"]]) {
    const { code, stdout, stderr } = await cli.run("fork", "chain-1", "--from-step", "three", ...dryRun);
    expect(code).toBe(4);
    expect(stdout).toMatch(/^Forked +from chain-1 {2}failed/m);
    expect(stderr).toMatch(/^Error: STEP_NOT_FOUND: Step three of plan chain-1 has not been reached/);
    expect(await cli.json("fork", "chain-1", "--from-step", "three", ...dryRun)).toMatchObject({
      plan_id: null,
      eligible: false,
      dry_run: dryRun.length > 0,
      error: { code: "STEP_NOT_FOUND" },
    });
  }
  expect((await cli.run("fork", "chain-1", "--id", "a b")).code).toBe(2);
});

test("shows what happens again that can't be undone, and a new plan that nobody named", async () => {
  cli.file("pay.yaml", "plan: pay\nsteps:\n  - { id: pay, run: 'true', effect: irreversible }\n  - { run: 'true' }\n");
  await cli.run("run", "pay.yaml", "--id", "pay-1");

  const { stdout } = await cli.run("fork", "pay-1", "--from-step", "pay", "--dry-run");

  expect(stdout).toMatch(/^Plan +a new one {2}pay v1$/m);
  expect(stdout).toContain("Again      pay: irreversible, and may have happened already\n");
  const { stderr } = await cli.run("resume", "pay-1", "--from-step", "pay");
  expect(stderr).toContain("Try: plan fork pay-1 --from-step pay --dry-run\n");
});

test("checks the new input of a plan in code by its module", async () => {
  cli.file("coded.mjs", CODE);
  await cli.run("run", "coded.mjs", "--input", "n=1", "--id", "coded-1");

  // On the embedded store the module that the plan remembers is found again.
  expect(
    await cli.json("fork", "coded-1", "--from-step", "one", "--id", "coded-2", "--input", '{"n":2}'),
  ).toMatchObject({
    new_input: true,
  });
  expect((await cli.run("resume", "coded-2")).code).toBe(0);
  expect((await cli.run("fork", "coded-1", "--input", '{"n":"x"}', "--plans", "coded.mjs")).stderr).toMatch(
    /^Error: INVALID_INPUT/,
  );
  cli.file("chain.yaml", aDocument("chain", { one: "echo 1" }));
  const { code, stderr } = await cli.run("fork", "coded-1", "--input", '{"n":2}', "--plans", "chain.yaml");
  expect(code).toBe(2);
  expect(stderr).toContain("The input of coded is checked by its code: name its module with --plans FILE");
  expect((await cli.run("fork", "coded-1", "--id", "coded-3")).stdout).toContain("Plan coded-3 is forked.\n");
  expect((await cli.run("get", "coded-3")).stdout).toMatch(/^Forked +from coded-1 \(epoch 1\)$/m);
  const root = (await cli.json("decisions", "coded-1"))[0].decision_id;
  expect((await cli.run("fork", "coded-1", "--from-decision", root, "--choose", "x")).stderr).toMatch(
    /^Error: INVALID_CHOICE/,
  );
});

test("on a given Redis leaves it to the fleet, and says where there is none", async () => {
  fleet.file("coded.mjs", CODE);
  fleet.file("chain.yaml", aDocument("chain", { one: "echo 1" }));
  await fleet.run("submit", "chain.yaml", "--id", "chain-1");
  await fleet.run("submit", "coded.mjs", "--id", "coded-1", "--input", "n=1");

  const { stdout, stderr } = await fleet.run("fork", "chain-1", "--id", "chain-2");
  expect(stdout).toContain("Plan chain-2 is forked.\n");
  expect(stderr).toBe("Plan chain-2 waits: no live worker serves queue documents.\nTry: plan worker\n");
  expect((await fleet.run("fork", "chain-1", "--id", "chain-2")).stdout).toContain(
    "Plan chain-2 exists already; it is queued.\n",
  );
  // A module that only Redis names is not imported.
  expect((await fleet.run("fork", "coded-1", "--input", '{"n":2}')).code).toBe(2);
  expect((await fleet.run("fork", "coded-1", "--input", '{"n":2}', "--plans", "coded.mjs")).code).toBe(0);
});
