/** What can be seen afterwards. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type DataTable, Then } from "@cucumber/cucumber";
import { until } from "../../test/support/until.js";
import { PLAN_ID, type PlanWorld } from "../support/world.js";
import { names } from "./given.js";

Then(/^it exits with (\d+)$/, function (this: PlanWorld, code: string) {
  assert.equal(this.last.code, Number(code));
});

Then(/^it exits with (\d+) within (\d+) seconds$/, function (this: PlanWorld, code: string, seconds: string) {
  assert.equal(this.last.code, Number(code));
  assert.ok(this.last.tookMs <= Number(seconds) * 1_000, `it took ${Math.round(this.last.tookMs)} ms`);
});

Then(/^it says `([^`]+)`$/, function (this: PlanWorld, text: string) {
  assertSays(this.last.stdout + this.last.stderr, withWords(this, text));
});

Then(/^it says on std(out|err) `([^`]+)`$/, function (this: PlanWorld, stream: "out" | "err", text: string) {
  assertSays(stream === "out" ? this.last.stdout : this.last.stderr, withWords(this, text));
});

Then(/^it does not say `([^`]+)`$/, function (this: PlanWorld, text: string) {
  const said = this.last.stdout + this.last.stderr;
  assert.ok(!said.includes(withWords(this, text)), said);
});

Then("it says", function (this: PlanWorld, expected: string) {
  assert.match(this.last.stdout.trimEnd(), pattern(withWords(this, expected)));
});

Then(/^it names the process that executes it$/, function (this: PlanWorld) {
  assertSays(this.last.stderr, `:${this.running.pid} executes step`);
});

Then(/^it names that worker$/, function (this: PlanWorld) {
  assertSays(this.last.stderr, `:${this.workers.at(-1)!.pid} `);
});

Then(/^stdout is one JSON document(?: with the keys "([^"]+)")?$/, function (this: PlanWorld, keys: string | null) {
  const document = JSON.parse(this.last.stdout) as object;
  if (keys === null) return;
  for (const key of keys.split(", "))
    assert.ok(Object.hasOwn(document, key), `there is no ${key} in ${this.last.stdout}`);
});

Then(/^its "([\w.]+)" is (.+)$/, function (this: PlanWorld, path: string, expected: string) {
  assert.deepEqual(at(JSON.parse(this.last.stdout), path), JSON.parse(withWords(this, expected)));
});

Then(/^its "([\w.]+)" has (\d+) entries$/, function (this: PlanWorld, path: string, count: string) {
  assert.equal((at(JSON.parse(this.last.stdout), path) as unknown[]).length, Number(count));
});

Then(
  /^it says that it would reuse "([^"]+)" and run "([^"]+)"$/,
  function (this: PlanWorld, reuse: string, run: string) {
    assert.match(this.last.stdout, new RegExp(`^Reuse +${reuse}$`, "m"));
    assert.match(this.last.stdout, new RegExp(`^Run +${run}$`, "m"));
  },
);

Then("nothing in Redis has changed", async function (this: PlanWorld) {
  assert.ok(this.before !== null, "no dry-run came before");
  assert.deepEqual(await this.place.dump(), this.before);
});

Then("no file of a sandbox was touched", function (this: PlanWorld) {
  assert.ok(this.filesBefore !== null, "no dry-run came before");
  assert.deepEqual(this.place.sandboxFiles(), this.filesBefore);
});

Then(/^the file "([\w./-]+)" is "([^"]*)"$/, function (this: PlanWorld, name: string, content: string) {
  assert.equal(readFileSync(join(this.place.directory, name), "utf8").trimEnd(), content);
});

Then(/^the plan is (\w+)$/, async function (this: PlanWorld, state: string) {
  assert.equal((await this.plan()).state, state);
});

Then(/^the plan becomes (\w+)$/, async function (this: PlanWorld, state: string) {
  await until(`the plan to be ${state}`, async () => (await this.plan()).state === state, 20_000);
});

Then(/^there is no plan$/, async function (this: PlanWorld) {
  assert.deepEqual(await this.place.json("list"), []);
});

Then(/^there are (\d+) plans, all (\w+)$/, async function (this: PlanWorld, count: string, state: string) {
  const plans = await this.place.json<{ state: string }[]>("list");
  assert.deepEqual(
    plans.map((plan) => plan.state),
    Array(Number(count)).fill(state),
  );
});

Then(/^it was resumed (once|twice|never)$/, async function (this: PlanWorld, times: "once" | "twice" | "never") {
  assert.equal((await this.plan()).resume_count, { never: 0, once: 1, twice: 2 }[times]);
});

Then(/^(".*") did their work once each$/, function (this: PlanWorld, list: string) {
  for (const step of names(list))
    assert.equal(this.place.count(step), 1, `${step} began ${this.place.count(step)} times`);
});

Then(
  /^"([\w.-]+)" began (once|twice|\d+ times|at most twice|never)$/,
  function (this: PlanWorld, step: string, times: string) {
    const count = this.place.count(step);
    if (times === "at most twice") assert.ok(count === 1 || count === 2, `it began ${count} times`);
    else assert.equal(count, { never: 0, once: 1, twice: 2 }[times] ?? Number.parseInt(times, 10));
  },
);

Then(
  /^"([\w.-]+)" ended (once|twice|never)$/,
  function (this: PlanWorld, step: string, times: "once" | "twice" | "never") {
    assert.equal(this.place.count(step, "end"), { never: 0, once: 1, twice: 2 }[times]);
  },
);

Then(/^one of them wins, and (\d+) are refused with (\w+)$/, function (this: PlanWorld, count: string, code: string) {
  const refused = this.crowd.filter((one) => one.stderr.includes(`Error: ${code}:`) && one.code === 3);
  const others = this.crowd.filter((one) => !refused.includes(one));
  assert.equal(refused.length, Number(count), this.crowd.map((one) => `${one.code}: ${one.stderr}`).join("\n"));
  const won = others.length + (this.background === null ? 0 : 1);
  assert.equal(won, 1, `${won} won`);
  for (const one of others) assert.equal(one.code, 0, one.stderr);
});

Then(/^each step has one live job at most$/, async function (this: PlanWorld) {
  assert.deepEqual(await this.place.violations(), []);
});

Then(/^its history has$/, async function (this: PlanWorld, table: DataTable) {
  const events = await this.place.json<{ type: string; step?: string }[]>("history", PLAN_ID);
  for (const [type, step, count] of table.rows()) {
    const found = events.filter((event) => event.type === type && (step === "" || event.step === step));
    assert.equal(found.length, Number(count), `${type} ${step}: ${JSON.stringify(found)}`);
  }
});

Then(/^it gives the same answer$/, function (this: PlanWorld) {
  const [before, now] = [this.answer, this.last.stdout].map((text) => {
    const { outcome: _, ...answer } = JSON.parse(text) as Record<string, unknown>;
    return answer;
  });
  assert.deepEqual(now, before);
});

Then(/^both processes end, and the plan is (\w+)$/, async function (this: PlanWorld, state: string) {
  const ends = await Promise.all([this.running.finished, this.other!.finished]);
  for (const end of ends) assert.equal(end.code, 0, end.stderr);
  assert.equal((await this.plan()).state, state);
});

Then(/^its steps began at least (\d+) ms apart$/, async function (this: PlanWorld, apart: string) {
  const events = await this.place.json<{ type: string; at: string }[]>("history", PLAN_ID);
  const starts = events.filter(({ type }) => type === "step.started").map(({ at }) => Date.parse(at));
  assert.ok(starts.length >= 2, `${starts.length} starts`);
  for (const [i, at] of starts.entries()) assert.ok(i === 0 || at - starts[i - 1]! >= Number(apart), starts.join(", "));
});

Then(/^the delays before its attempts grew$/, async function (this: PlanWorld) {
  const events = await this.place.json<{ type: string; retry_in_ms: number | null }[]>("history", PLAN_ID);
  const delays = events.flatMap((event) => event.retry_in_ms ?? []);
  assert.ok(delays.length >= 2, `${delays.length} delays`);
  for (const [i, delay] of delays.entries()) assert.ok(i === 0 || delay > delays[i - 1]!, delays.join(", "));
});

function assertSays(said: string, text: string): void {
  assert.ok(said.includes(text), `Instead of ${JSON.stringify(text)} it says:\n${said}`);
}

function withWords(world: PlanWorld, text: string): string {
  return text.replace(/\{(\w+)\}/g, (whole, name: string) => world.words.get(name) ?? whole);
}

/** `…` stands for anything in a line. */
function pattern(expected: string): RegExp {
  return new RegExp(
    `^${expected
      .split("…")
      .map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"))
      .join(".*")}$`,
  );
}

function at(document: unknown, path: string): unknown {
  return path.split(".").reduce((value, key) => (value as Record<string, unknown>)[key], document);
}
