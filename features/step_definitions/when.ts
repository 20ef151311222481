/** What people, machines and accidents do. */
import { readdirSync, renameSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { When } from "@cucumber/cucumber";
import { until } from "../../test/support/until.js";
import { PLAN_ID, type PlanWorld } from "../support/world.js";

When(/^I run `([^`]+)`$/, { timeout: 60_000 }, async function (this: PlanWorld, command: string) {
  if (command.includes("--dry-run")) {
    this.before = await this.place.dump();
    this.filesBefore = this.place.sandboxFiles();
  }
  this.last = await this.place.plan(...this.args(command));
});

When(/^I run `([^`]+)` with "([^"]*)" on stdin$/, async function (this: PlanWorld, command: string, stdin: string) {
  this.last = await this.place.start(this.args(command), { stdin: stdin.replaceAll("\\n", "\n") }).finished;
});

When(/^(?:I start|somebody starts) `([^`]+)`$/, function (this: PlanWorld, command: string) {
  this.start(command);
});

When(/^(\d+) people run `([^`]+)` at once$/, async function (this: PlanWorld, count: string, command: string) {
  const started = Array.from({ length: Number(count) }, () => this.place.start(this.args(command)));
  this.crowd = await Promise.all(started.map((one) => one.finished));
  this.background = null;
});

When(
  /^(\d+) people run `([^`]+)` at once, and one goes on$/,
  async function (this: PlanWorld, count: string, command: string) {
    const started = Array.from({ length: Number(count) }, () => this.place.start(this.args(command)));
    await until("all but one of them to end", () => started.filter((one) => !one.ended).length <= 1, 40_000);
    this.crowd = await Promise.all(started.filter((one) => one.ended).map((one) => one.finished));
    this.background = started.find((one) => !one.ended) ?? null;
  },
);

When(/^I run `([^`]+)` and `([^`]+)` at once$/, async function (this: PlanWorld, first: string, second: string) {
  const started = [first, second].map((command) => this.place.start(this.args(command)));
  this.crowd = await Promise.all(started.map((one) => one.finished));
});

When(/^"([\w.-]+)" has begun(?: again)?$/, async function (this: PlanWorld, step: string) {
  const before = this.place.count(step, "end");
  await this.place.untilBegun(step, before + 1);
});

When(/^"([\w.-]+)" has begun (\d+) times$/, async function (this: PlanWorld, step: string, times: string) {
  await this.place.untilBegun(step, Number(times));
});

When(/^"([\w.-]+)" may end$/, function (this: PlanWorld, step: string) {
  this.place.free(step);
});

When(/^"([\w.-]+)" is mended$/, function (this: PlanWorld, step: string) {
  this.place.mend(step);
});

When(/^I press Ctrl-C(?: once more)?$/, function (this: PlanWorld) {
  this.running.signal("SIGINT");
});

When(/^it gets a SIGTERM$/, function (this: PlanWorld) {
  this.running.signal("SIGTERM");
});

When(/^it has said "([^"]+)"$/, async function (this: PlanWorld, text: string) {
  await this.running.untilSaid(text);
});

When(/^it ends$/, async function (this: PlanWorld) {
  this.last = await this.running.finished;
});

When(/^it is killed$/, async function (this: PlanWorld) {
  this.last = await this.place.kill(this.running);
});

When(/^its machine stops for a while$/, async function (this: PlanWorld) {
  this.running.signal("SIGSTOP");
  await until("the store to miss it", async () => (await this.plan()).state === "interrupted", 20_000);
});

When(/^its machine goes on$/, function (this: PlanWorld) {
  this.running.signal("SIGCONT");
});

When(/^everything is killed, the store included$/, async function (this: PlanWorld) {
  await this.place.killEverything();
});

When(/^that worker is killed$/, async function (this: PlanWorld) {
  await this.place.kill(this.workers.at(-1)!);
});

When(/^that worker gets a SIGTERM$/, function (this: PlanWorld) {
  this.workers.at(-1)!.signal("SIGTERM");
});

When(/^that worker ends$/, async function (this: PlanWorld) {
  this.last = await this.workers.at(-1)!.finished;
});

When(
  /^somebody writes "([^"]*)" to "([\w.-]+)" of the sandbox$/,
  function (this: PlanWorld, text: string, name: string) {
    const work = join(this.place.dataDir, "sandboxes", "work");
    const found = readdirSync(work, { recursive: true, encoding: "utf8" }).find((path) => path.endsWith(`/${name}`));
    writeFileSync(join(work, found!), text);
  },
);

When(/^I note its token$/, function (this: PlanWorld) {
  const token = /^Token\s+(\S+)$/m.exec(this.last.stdout)?.[1];
  if (token === undefined) throw new Error(`There is no token in:\n${this.last.stdout}`);
  this.words.set("token", token);
});

When(/^the folder of the plan is moved to "([\w-]+)"$/, function (this: PlanWorld, name: string) {
  const { directory } = this.place;
  renameSync(join(directory, dirname(this.planFile)), join(directory, name));
});

When(/^the plan waits for "([\w.-]+)"$/, async function (this: PlanWorld, step: string) {
  await until(`the plan to wait for ${step}`, async () => {
    const { stdout, code } = await this.place.plan("get", PLAN_ID, "-o", "json");
    if (code !== 0) return false;
    const plan = JSON.parse(stdout) as { steps: { id: string; state: string }[] };
    return plan.steps.find(({ id }) => id === step)?.state === "waiting";
  });
});

When(/^"([\w.-]+)" is limited$/, async function (this: PlanWorld, step: string) {
  await until(`${step} to wait for a limit`, async () => {
    const { steps } = await this.place.json<{ steps: { id: string; state: string }[] }>("get", PLAN_ID);
    return steps.find(({ id }) => id === step)?.state === "limited";
  });
});

When(/^I note the checkpoint after "([\w.-]+)"$/, async function (this: PlanWorld, step: string) {
  const checkpoints = await this.place.json<{ checkpoint_id: string; step: string }[]>("checkpoints", PLAN_ID);
  this.words.set("checkpoint", checkpoints.find((one) => one.step === step)!.checkpoint_id);
});

When(/^I note the decision of "([\w.-]+)"$/, async function (this: PlanWorld, step: string) {
  const decisions = await this.place.json<{ decision_id: string; step: string | null }[]>("decisions", PLAN_ID);
  this.words.set("decision", decisions.find((one) => one.step === step)!.decision_id);
});

When(/^I note its answer$/, function (this: PlanWorld) {
  this.answer = this.last.stdout;
});

When(/^somebody else resumes it and it begins "([\w.-]+)" again$/, async function (this: PlanWorld, step: string) {
  this.other = this.place.start(["resume", PLAN_ID]);
  await this.place.untilBegun(step, 2);
});
