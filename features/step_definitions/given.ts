/** What there is before somebody does something. */
import { chmodSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Given } from "@cucumber/cucumber";
import { ACT_RUN } from "../../test/support/cli.js";
import { until } from "../../test/support/until.js";
import { PLAN_ID, type PlanWorld } from "../support/world.js";

/** `"reserve", "charge", "ship"` */
const NAMES = /((?:"[\w.-]+"(?:, | and )?)+)/.source;

export function names(text: string): string[] {
  return [...text.matchAll(/"([\w.-]+)"/g)].map((match) => match[1]!);
}

Given(new RegExp(`^a plan with the steps ${NAMES}$`), function (this: PlanWorld, list: string) {
  this.place.write("plan.yaml", document(names(list)));
});

Given(
  new RegExp(`^a plan with the steps ${NAMES}, each of which is tried up to (\\d+) times$`),
  function (this: PlanWorld, list: string, attempts: string) {
    this.place.write(
      "plan.yaml",
      `${document(names(list))}defaults: { retry: { attempts: ${attempts}, delay: 100ms } }\n`,
    );
  },
);

Given(
  new RegExp(`^a plan in the folder "([\\w-]+)" with the steps ${NAMES}$`),
  function (this: PlanWorld, folder: string, list: string) {
    this.place.furnish(folder);
    this.place.write(`${folder}/plan.yaml`, document(names(list)));
    this.planFile = `${folder}/plan.yaml`;
  },
);

Given(/^the file "([\w./-]+)":$/, function (this: PlanWorld, name: string, content: string) {
  const text = content.replaceAll("act:", `run: ${ACT_RUN}`).replaceAll("{here}", this.place.directory);
  this.place.write(name, `${text}\n`);
});

Given("the snapshots are gone", function (this: PlanWorld) {
  rmSync(join(this.place.dataDir, "sandboxes", "store", "manifests"), { recursive: true });
});

Given("somebody has written to what the snapshots consist of", function (this: PlanWorld) {
  const blobs = join(this.place.dataDir, "sandboxes", "store", "blobs");
  for (const name of readdirSync(blobs, { recursive: true, encoding: "utf8" })) {
    const path = join(blobs, name);
    if (!statSync(path).isFile()) continue;
    chmodSync(path, 0o600);
    writeFileSync(path, "damaged");
  }
});

Given(
  /^somebody has set "(\w+)" of the plan to "([^"]*)" in Redis$/,
  async function (this: PlanWorld, field: string, value: string) {
    await (await this.place.redis()).hset(`{waymark:0}:plan:${PLAN_ID}`, field, value);
  },
);

Given("a Redis that several machines share", async function (this: PlanWorld) {
  await this.useRedis();
});

Given("a Redis address where nobody answers", async function (this: PlanWorld) {
  await this.useRedis();
  await this.redis!.stop();
  this.isStoreGone = true;
});

Given(/^"([\w.-]+)" takes long$/, function (this: PlanWorld, step: string) {
  this.place.hold(step);
});

Given(/^"([\w.-]+)" is broken$/, function (this: PlanWorld, step: string) {
  this.place.break(step);
});

Given(/^its worker was killed in "([\w.-]+)"$/, async function (this: PlanWorld, step: string) {
  this.place.hold(step);
  const run = this.start(`plan run ${this.planFile} --id ${PLAN_ID}`);
  await this.place.untilBegun(step);
  await this.place.kill(run);
  this.place.free(step);
});

Given(/^its worker was killed after "([\w.-]+)"$/, async function (this: PlanWorld, step: string) {
  const run = this.start(`plan run ${this.planFile} --id ${PLAN_ID}`);
  await run.untilSaid(`✔ ${step}`);
  await this.place.kill(run);
});

Given(/^it failed in "([\w.-]+)"$/, async function (this: PlanWorld, step: string) {
  this.place.break(step);
  await this.place.plan("run", this.planFile, "--id", PLAN_ID);
});

Given(/^it is completed$/, async function (this: PlanWorld) {
  await this.place.plan("run", this.planFile, "--id", PLAN_ID);
});

Given(/^it was submitted$/, async function (this: PlanWorld) {
  await this.place.plan("submit", this.planFile, "--id", PLAN_ID);
});

Given(/^a worker that trusts "([\w.-]+)"$/, async function (this: PlanWorld, file: string) {
  const worker = this.place.start(["worker", "--plans", file, "--concurrency", "4"]);
  await worker.untilSaid("accepting steps");
  this.workers.push(worker);
});

Given(
  /^a worker with a grace of (\w+) that trusts "([\w.-]+)"$/,
  async function (this: PlanWorld, grace: string, file: string) {
    const worker = this.place.start(["worker", "--plans", file, "--grace", grace]);
    await worker.untilSaid("accepting steps");
    this.workers.push(worker);
  },
);

Given(
  /^the workers of (\d+) plans were killed in "([\w.-]+)"$/,
  async function (this: PlanWorld, count: string, step: string) {
    this.place.hold(step);
    const runs = Array.from({ length: Number(count) }, (_, i) =>
      this.place.start(["run", this.planFile, "--id", `orders-${i + 1}`]),
    );
    await this.place.untilBegun(step, runs.length);
    for (const run of runs) run.signal("SIGKILL");
    this.place.killSteps();
    await Promise.all(runs.map((run) => run.finished));
    this.place.free(step);
  },
);

Given(/^the plan is "(\w+)"$/, async function (this: PlanWorld, state: string) {
  await until(`the plan to be ${state}`, async () => (await this.plan()).state === state, 20_000);
});

Given(
  /^a plan in code whose step "([\w.-]+)" decides between "([\w.-]+)" and "([\w.-]+)"$/,
  function (this: PlanWorld, step: string, one: string, other: string) {
    this.place.write("plan.mjs", decidingPlan(this.place.directory, step, [one, other]));
    this.planFile = "plan.mjs";
  },
);

/** A plan whose first step notes each question in the ledger, as `asked`, before it does what other steps do. */
function decidingPlan(directory: string, step: string, options: readonly string[]): string {
  const library = new URL("../../dist/src/index.js", import.meta.url).href;
  return `import { appendFileSync, existsSync } from "node:fs";
import { definePlan } from "${library}";

const note = (what, attempt, how) =>
  appendFileSync("${directory}/ledger", \`\${what} \${attempt} \${process.pid} \${how}\\n\`);
const anything = { "~standard": { version: 1, vendor: "test", validate: (value) => ({ value }) } };

export default definePlan("orders", { input: anything })
  .step("${step}", { retry: { attempts: 1 } }, async ({ decide, attempt, signal }) => {
    const how = await decide("how", { question: "How?", options: ${JSON.stringify(options)} }, async () => {
      note("asked", attempt, "begin");
      return { choice: attempt % 2 === 1 ? "${options[0]}" : "${options[1]}", rationale: "it is quicker", madeBy: "a model" };
    });
    note("${step}", attempt, "begin");
    while (existsSync("${directory}/hold-${step}")) {
      signal.throwIfAborted();
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    if (existsSync("${directory}/break-${step}")) throw new Error("${step} is broken");
    note("${step}", attempt, "end");
    return { how };
  })
  .step("report", async ({ outputs }) => outputs["${step}"].how);
`;
}

/** A chain. */
function document(steps: readonly string[]): string {
  return `plan: orders\nsteps:\n${steps.map((id) => `  - { id: ${id}, run: "${ACT_RUN}" }\n`).join("")}`;
}
