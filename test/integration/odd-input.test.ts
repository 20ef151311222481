/** What nobody should write, and somebody will. */
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { ACT_RUN, Workplace } from "../support/cli.js";

let place: Workplace;

beforeEach(() => {
  place = new Workplace();
});

afterEach(async () => {
  expect(await place.violations()).toEqual([]);
  await place.close();
});

test("ids that could become part of a key, a path or a command are refused before anything is stored", async () => {
  place.write("plan.yaml", `plan: p\nsteps: [{ run: "true" }]\n`);
  const hostile = [
    "a:b",
    "{}",
    "a\nb",
    "..",
    "../x",
    "__proto__",
    "a b",
    "",
    "-x",
    "*",
    "a/b",
    "é",
    "\u001b[2J",
    "x".repeat(129),
  ];
  const runs = await Promise.all(hostile.map((id) => place.plan("run", "plan.yaml", `--id=${id}`)));
  for (const [i, { code, stderr }] of runs.entries()) {
    expect(code, JSON.stringify(hostile[i])).toBe(2);
    expect(stderr).toContain("Error: USAGE: ");
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not get through
    expect(stderr).not.toMatch(/[\u0000-\u0009\u000b-\u001f]/);
  }
  const reads = await Promise.all(["a:b", "{}", "..", "__proto__", "a\nb"].map((id) => place.plan("get", id)));
  expect(reads.map(({ code }) => code)).toEqual([4, 4, 4, 4, 4]);
  expect(await place.json("list")).toEqual([]);
});

test("names that mean something to JavaScript are names like any others", async () => {
  place.write(
    "plan.yaml",
    `plan: constructor
phases: [toString, valueOf]
steps:
  - { id: constructor, phase: toString, run: "echo '{\\"hasOwnProperty\\": 7}'" }
  - { id: a.b-c_d, phase: valueOf, env: { N: "\${{ steps.constructor.output.hasOwnProperty }}" }, run: 'echo $N' }
  - { id: prototype, phase: valueOf, env: { N: '\${{ steps["a.b-c_d"].output }}' }, run: 'echo $N' }
`,
  );

  const run = await place.plan("run", "plan.yaml", "--id", "constructor", "-o", "json");

  expect(run.code, run.stderr).toBe(0);
  expect(JSON.parse(run.stdout)).toMatchObject({ plan_id: "constructor", state: "completed", output: 7 });
});

test.each([
  ["an empty file", ""],
  ["a list", "- a\n- b\n"],
  ["a lone text", "hello\n"],
  ["a broken YAML", "plan: [x\nsteps: }{\n"],
  ["tabs", "plan: x\nsteps:\n\t- run: y\n"],
  ["two documents", "plan: x\nsteps: [{ run: y }]\n---\nplan: z\nsteps: [{ run: y }]\n"],
  ["a key twice", "plan: x\nplan: y\nsteps: [{ run: y }]\n"],
  ["no steps", "plan: x\nsteps: []\n"],
  ["bytes that are no text", "\u0000\u0001\u0002\ufffd"],
  [
    "an alias that explodes",
    `plan: x\nlol: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nsteps: [*e,*e,*e,*e,*e,*e,*e,*e,*e]\n`,
  ],
  ["a prototype", "plan: x\n__proto__: { polluted: true }\nsteps: [{ run: y }]\n"],
])("a document that is %s is INVALID_PLAN with a line and a column", async (_, text) => {
  place.write("plan.yaml", text);

  const { code, stdout, stderr } = await place.plan("validate", "plan.yaml", "-o", "json");

  expect(code, stderr).toBe(2);
  const { error } = JSON.parse(stdout) as {
    error: { code: string; details: { faults: { line: number; column: number }[] } };
  };
  expect(error.code).toBe("INVALID_PLAN");
  expect(error.details.faults.length).toBeGreaterThan(0);
  for (const fault of error.details.faults)
    expect(fault.line >= 1 && fault.column >= 1, JSON.stringify(fault)).toBe(true);
});

test.each([
  ["JSON", `{ "plan": "odd", "steps": [{ "run": "echo 1" }] }`],
  ["a byte order mark", "\ufeffplan: odd\nsteps: [{ run: echo 1 }]\n"],
  ["CRLF", "plan: odd\r\nsteps:\r\n  - run: echo 1\r\n"],
  ["comments and anchors", "# hello\nplan: odd\nsteps:\n  - &s { run: echo 1 }\n"],
])("a document with %s is as good as any", async (_, text) => {
  place.write("plan.json", text);

  const run = await place.plan("run", "plan.json", "-o", "json");

  expect(run.code, run.stderr).toBe(0);
  expect(JSON.parse(run.stdout)).toMatchObject({ name: "odd", output: 1 });
});

test("what a step writes can't move the terminal's cursor, and binary output stops nothing", async () => {
  place.write(
    "plan.yaml",
    `plan: noisy
defaults: { retry: { attempts: 1 } }
steps:
  - { id: binary, run: "head -c 100000 /dev/urandom" }
  - { id: noisy, run: "printf '\\\\033[2J\\\\033]0;owned\\\\007\\\\r gone'; printf '\\\\033[31mred\\\\033[0m' >&2; exit 3" }
`,
  );

  const run = await place.plan("run", "plan.yaml", "--id", "p1");
  const shown = [run, await place.plan("get", "p1"), await place.plan("logs", "p1"), await place.plan("history", "p1")];

  expect(run.code).toBe(1);
  for (const { stdout, stderr } of shown) {
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not get through
    expect(stdout + stderr).not.toMatch(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/);
  }
});

test("the log keeps the end of what a step wrote, and says how much that was", async () => {
  place.write("plan.yaml", `plan: long\nsteps:\n  - { id: talk, run: "seq 1 100000; echo the end" }\n`);
  await place.plan("run", "plan.yaml", "--id", "p1");

  const [log] = await place.json<{ step: string; attempt: number; bytes: number; text: string }[]>("logs", "p1");

  expect(log).toMatchObject({ step: "talk", attempt: 1, bytes: 588_903 });
  expect(Buffer.byteLength(log!.text)).toBeLessThanOrEqual(64 * 1024);
  expect(log!.text.endsWith("100000\nthe end\n")).toBe(true);
});

test("folders with spaces, percent signs and other letters hold a plan, its store and its socket", async () => {
  const folder = join(place.directory, "été 100%20 'x'");
  mkdirSync(folder);
  place.env.TMPDIR = folder;
  place.furnish("été 100%20 'x'");
  place.write("été 100%20 'x'/plan.yaml", `plan: odd\nsteps:\n  - { id: one, run: "${ACT_RUN}" }\n`);

  const run = await place.plan("run", join(folder, "plan.yaml"), "--data-dir", join(folder, "data"), "-o", "json");

  expect(run.code, run.stderr).toBe(0);
  expect(JSON.parse(run.stdout)).toMatchObject({ state: "completed", workdir: folder, output: { by: "one" } });
});

test("a hundred steps at once stay within the concurrency", async () => {
  place.env.WAYMARK_CONCURRENCY = "3";
  const run = "echo begin >> log; sleep 0.05; echo end >> log";
  const steps = Array.from({ length: 100 }, (_, i) => ({ id: `s${i}`, needs: [], run }));
  place.write("plan.json", JSON.stringify({ plan: "wide", steps }));

  const ended = await place.plan("run", "plan.json");

  expect(ended.code, ended.stderr).toBe(0);
  let active = 0;
  let most = 0;
  for (const what of readFileSync(join(place.directory, "log"), "utf8").trim().split("\n")) {
    active += what === "begin" ? 1 : -1;
    most = Math.max(most, active);
  }
  expect(most).toBe(3);
});
