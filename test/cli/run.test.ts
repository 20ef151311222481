import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { until } from "../support/until.js";
import { aDocument } from "./a-cli.js";
import { anEmbeddedCli } from "./a-fleet.js";

const { cli, redis } = await anEmbeddedCli();

/** Everything in the store. Hashes by their fields: a hash that is being read may be dumped in another order. */
async function dump(): Promise<Map<string, unknown>> {
  const all = new Map<string, unknown>();
  for (const key of (await redis.keys("*")).sort()) {
    if ((await redis.type(key)) === "hash") all.set(key, await redis.hgetall(key));
    else all.set(key, (await redis.dumpBuffer(key))?.toString("base64"));
  }
  return all;
}

describe("plan run", () => {
  test("executes a document to the end, with a line for each step", async () => {
    const file = cli.file("hello.yaml", aDocument("hello", { greet: "echo hi", last: `echo '{"userCount": 1}'` }));

    const { code, stdout, stderr } = await cli.run("run", file, "--id", "hello-1");

    expect(code).toBe(0);
    expect(stdout).toMatch(/^✔ Plan hello-1 is completed: 2 steps, in .*\.\n$/);
    expect(stderr).toMatch(/✔ greet \d+ms\n✔ last \d+ms/);
  });

  test("as JSON prints one document, in snake_case, with the output as the step gave it", async () => {
    const file = cli.file("out.yaml", aDocument("out", { last: `echo '{"userCount": 1}'` }));

    const plan = await cli.json("run", file, "--id", "out-1");

    expect(plan).toMatchObject({ plan_id: "out-1", state: "completed", output: { userCount: 1 }, existing: false });
    expect(plan.steps[0]).toMatchObject({ id: "last", state: "completed", attempts: 1 });
    expect(JSON.stringify({ ...plan, output: null })).not.toMatch(/"[a-z]+[A-Z]\w*":/);
  });

  test("shows the tail of a failed step's log, fails with STEP_FAILED, and resume runs only what is left", async () => {
    const file = cli.file(
      "fail.yaml",
      aDocument("fail", {
        once: "echo x >> once.txt",
        gate: "for i in $(seq 20); do echo line $i; done; test -e open || { echo locked >&2; exit 3; }",
        last: "echo done",
      }),
    );

    const failed = await cli.run("run", file, "--id", "fail-1");

    expect(failed.code).toBe(1);
    expect(failed.stderr).toContain("│ line 20");
    expect(failed.stderr).toContain("│ locked");
    expect(failed.stderr).not.toContain("│ line 5\n");
    expect(failed.stderr).toMatch(
      /Error: STEP_FAILED: Step gate of plan fail-1 failed: exit code 3.*\.\nTry: plan resume fail-1\n$/,
    );
    expect(failed.stdout).toMatch(/^✖ Plan fail-1 has failed: 1 of 3 steps done/);

    cli.file("open", "");
    const resumed = await cli.run("resume", "fail-1", "--reason", "opened");

    expect(resumed.code).toBe(0);
    expect(resumed.stdout).toMatch(/^Plan {7}fail-1 {2}fail v1 +state {2}failed {2}\(epoch 1 → 2\)\n/);
    expect(resumed.stdout).toContain("\nReuse      once\nRun        gate, last\n");
    expect(resumed.stdout).toContain("\nReason     opened\n");
    expect(resumed.stdout).toMatch(/✔ Plan fail-1 is completed: 3 steps/);
    expect(readFileSync(join(cli.cwd, "once.txt"), "utf8")).toBe("x\n");
    expect((await cli.run("logs", "fail-1", "--failed")).stdout).toMatch(/── gate {2}attempt 1\nline 1\n/);
    expect((await cli.run("logs", "fail-1", "gate", "--attempt", "2", "-o", "jsonl")).stdout).toMatch(
      /^\{"step":"gate","attempt":2,/,
    );
  });

  test("a failed run as JSON is one document with the error in it", async () => {
    const file = cli.file("bad.yaml", aDocument("bad", { no: "exit 4" }));

    const plan = await cli.json("run", file, "--id", "bad-1");

    expect(plan).toMatchObject({
      plan_id: "bad-1",
      state: "failed",
      error: { code: "STEP_FAILED", try: "plan resume bad-1" },
    });
  });

  test("refuses an input above the limit, and says how to raise it; an output may be as large", async () => {
    const file = cli.file(
      "large.yaml",
      `input: { text: { type: string } }\n${aDocument("large", { say: "cat large.json" })}`,
    );
    cli.file("large.json", JSON.stringify({ text: "x".repeat(300_000) }));

    const refused = await cli.run("run", file, "--input", "@large.json");
    const taken = await cli.json("run", file, "--input", "@large.json", "--payload-limit", "1MiB");

    expect(refused).toMatchObject({ code: 2, stdout: "" });
    expect(refused.stderr).toMatch(
      /^Error: PAYLOAD_TOO_LARGE: Input has 300011 bytes; the limit is 262144: .* or raise the limit with --payload-limit/,
    );
    expect(taken).toMatchObject({ state: "completed", output: { text: "x".repeat(300_000) } });
  });

  test("refuses a bad input and a bad document before anything is submitted", async () => {
    const file = cli.file(
      "input.yaml",
      'plan: input\ninput: { tag: { type: string, pattern: "^v" } }\nsteps: [{ run: echo hi }]\n',
    );
    cli.file("broken.yaml", "plan: broken\nsteps:\n  - { id: a, uses: shel }\n  - { id: a, run: x, neds: [] }\n");
    const before = await dump();

    const missing = await cli.run("run", file);
    const wrong = await cli.run("run", file, "--input", "tag=1.0");
    const notJson = await cli.run("run", file, "--input", "{tag");
    const broken = await cli.run("run", "broken.yaml");

    expect([missing.code, wrong.code, notJson.code, broken.code]).toEqual([2, 2, 2, 2]);
    expect(wrong.stderr).toMatch(/^Error: INVALID_INPUT: .*tag/);
    expect(broken.stderr).toMatch(/^Error: INVALID_PLAN: broken.yaml has 3 faults: broken.yaml:3:\d+ .*\n$/);
    expect(await dump()).toEqual(before);
  });

  test("takes input as pairs, JSON, a file or stdin", async () => {
    const file = cli.file(
      "say.yaml",
      // biome-ignore lint/suspicious/noTemplateCurlyInString: an expression of the document
      'plan: say\ninput: { a: { type: string }, b: { type: integer, default: 2 } }\nsteps: [{ env: { A: "${{ input.a }}" }, run: "echo $A" }]\n',
    );
    cli.file("in.json", '{"a":"from file"}');

    expect((await cli.json("run", file, "--input", "a=x", "b=3")).output).toEqual({ stdout: "x" });
    expect((await cli.json("run", "--input", "a=y", file)).output).toEqual({ stdout: "y" });
    expect((await cli.json("run", file, "--input", "@in.json")).output).toEqual({ stdout: "from file" });
    const piped = cli.start("run", file, "--input", "@-", "-o", "json");
    piped.stdin.end('{"a":"from stdin"}');
    expect(JSON.parse((await piped.ended).stdout).output).toEqual({ stdout: "from stdin" });
    expect((await cli.run("run", file, "--input", '{"a":"1"}', "--input", "b=2")).code).toBe(2);
  });

  test("with the id of a plan that is there shows that plan and executes nothing again", async () => {
    const file = cli.file("again.yaml", aDocument("again", { one: "echo x >> again.txt" }));
    await cli.run("run", file, "--id", "again-1");

    const second = await cli.run("run", file, "--id", "again-1");

    expect(second.code).toBe(0);
    expect(second.stderr).toContain("Plan again-1 exists already; it is completed.");
    expect(readFileSync(join(cli.cwd, "again.txt"), "utf8")).toBe("x\n");
  });

  test("a name stands for the newest plan's definition", async () => {
    cli.file("named.yaml", aDocument("named", { one: "echo named" }));
    await cli.run("run", "named.yaml");
    mkdirSync(join(cli.cwd, "named"));

    expect((await cli.json("run", "named")).state).toBe("completed");
    expect((await cli.run("run", "nobody")).stderr).toMatch(
      /^Error: USAGE: There is no file nobody, and no plan of that name/,
    );
  });

  test("runs a plan module, with its services", async () => {
    const library = new URL("../../src/index.ts", import.meta.url).href;
    cli.file(
      "greet.mjs",
      `import { definePlan } from ${JSON.stringify(library)};
       const any = { "~standard": { version: 1, vendor: "test", validate: (value) => ({ value }) } };
       export const services = { greeting: "hello" };
       export const greet = definePlan("greet", { input: any })
         .step("say", async ({ input, services }) => ({ text: services.greeting + " " + input.name }));`,
    );

    const plan = await cli.json("run", "greet.mjs", "--input", "name=you", "--id", "greet-1");

    expect(plan).toMatchObject({ state: "completed", output: { text: "hello you" } });
  });
});

describe("a plan module", () => {
  const library = new URL("../../src/index.ts", import.meta.url).href;
  const module = (body: string) =>
    `import { defineHandler, definePlan, NonRetryableError } from ${JSON.stringify(library)};
     import { existsSync } from "node:fs";
     const any = { "~standard": { version: 1, vendor: "test", validate: (value) => ({ value }) } };
     ${body}`;

  test("is found again by resume", async () => {
    cli.file(
      "code.mjs",
      module(`export const services = () => ({ flag: new URL("code.ok", import.meta.url) });
        export default definePlan("code", { input: any })
          .step("a", async () => 1)
          .step("b", async ({ services, outputs }) => {
            if (!existsSync(services.flag)) throw new NonRetryableError("no flag");
            return outputs.a + 1;
          });`),
    );
    expect((await cli.run("run", "code.mjs", "--id", "code-1")).code).toBe(1);
    cli.file("code.ok", "");

    const resumed = await cli.json("resume", "code-1");

    expect(resumed).toMatchObject({ run: ["b"], outcome: { state: "completed", output: 2 } });
    expect((await cli.run("run", "code")).stderr).toMatch(/^Error: HANDLER_NOT_FOUND: Plan code is written in code/);
  });

  test("that is gone, or has become another, is named by the refusal, and --plans gives another", async () => {
    cli.file(
      "moved.mjs",
      module(
        `export const moved = definePlan("moved", { input: any }).step("a", async () => { throw new NonRetryableError("no"); });`,
      ),
    );
    expect((await cli.run("run", "moved.mjs", "--id", "moved-1")).code).toBe(1);
    cli.file("other.mjs", module(`export const other = definePlan("other", { input: any }).step("a", async () => 1);`));
    const place = (name: string) => redis.hset("{waymark:0}:plan:moved-1:origin", "workdir", join(cli.cwd, name));
    await place("gone.mjs");
    expect((await cli.run("resume", "moved-1")).stderr).toMatch(/Error: WORKDIR_MISSING: .*gone\.mjs/);
    await place("other.mjs");
    expect((await cli.run("resume", "moved-1")).stderr).toMatch(
      /Error: HANDLER_NOT_FOUND: .*other\.mjs has no plan moved/,
    );

    cli.file("here.mjs", module(`export const moved = definePlan("moved", { input: any }).step("a", async () => 1);`));
    expect((await cli.run("resume", "moved-1", "--plans", "here.mjs")).code).toBe(0);
  });

  test.each([
    ["none.mjs", "export const x = 1;", "none.mjs exports no plan made with definePlan"],
    [
      "two.mjs",
      `const p = (n) => definePlan(n, { input: any }).step("a", async () => 1); export const a = p("a"), b = p("b");`,
      "exports 2 plans (a, b)",
    ],
    [
      "dup.mjs",
      `export const a = definePlan("a", { input: any }).step("a", async () => 1).step("a", async () => 1);`,
      "INVALID_PLAN",
    ],
    ["throws.mjs", `throw new Error("module broken");`, "Can't load throws.mjs: module broken"],
    ["nothing.mjs", "throw undefined;", "Can't load nothing.mjs: undefined"],
    ["empty.mjs", `export const a = definePlan("a", { input: any });`, 'Error: INVALID_PLAN: Plan "a" has no steps'],
    [
      "services.mjs",
      `export const services = async () => { throw new Error("no key"); }; export const a = definePlan("a", { input: any }).step("a", async () => 1);`,
      "The services of services.mjs can't be made: no key",
    ],
    [
      "unnamed.mjs",
      `export const handlers = [{ name: "x" }]; export const a = definePlan("a", { input: any }).step("a", async () => 1);`,
      "is an array of defineHandler handlers",
    ],
    [
      "handlers.mjs",
      `export const handlers = {}; export const a = definePlan("a", { input: any }).step("a", async () => 1);`,
      "is an array of defineHandler handlers",
    ],
  ])("%s is refused with what is wrong", async (name, body, sentence) => {
    cli.file(name, module(body));

    const { code, stderr } = await cli.run("validate", name);

    expect(code).toBe(2);
    expect(stderr).toContain(sentence);
  });

  test("appends steps, and its output is still that of the step that it defines last", async () => {
    cli.file(
      "grows.mjs",
      module(`const late = defineHandler("late", { with: any }, async () => "late");
        export const handlers = [late];
        export const grows = definePlan("grows", { input: any })
          .step("a", async ({ append }) => append([{ id: "z", uses: late }]))
          .step("b", async () => "last");`),
    );

    expect(await cli.json("run", "grows.mjs")).toMatchObject({ state: "completed", total: 3, output: "last" });
  });

  test("may bring handlers", async () => {
    cli.file(
      "own.mjs",
      module(`const shout = defineHandler("shout", { with: any }, async ({ with: { text } }) => text.toUpperCase());
        export const handlers = [shout];
        export const own = definePlan("own", { input: any }).use("say", shout, { with: ({ input }) => ({ text: input.text }) });`),
    );

    expect((await cli.json("run", "own.mjs", "--input", "text=hi")).output).toBe("HI");
  });
});

describe("interruption", () => {
  test("a signal drains: the active step ends, the plan is interrupted, exit 130, and resume goes on", async () => {
    const file = cli.file(
      "slow.yaml",
      aDocument("slow", { a: "echo a", b: "touch b.started; while ! test -e b.go; do sleep 0.05; done", c: "echo c" }),
    );
    const running = cli.start("run", file, "--id", "slow-1");
    await until("step b to run", () => safeExists("b.started"));

    running.signal("SIGINT");
    cli.file("b.go", "");
    const { code, stderr } = await running.ended;

    expect(code).toBe(130);
    expect(stderr).toMatch(/Interrupted after step "b"\. Resume with: plan resume slow-1\n$/);
    const dryRun = await cli.json("resume", "slow-1", "--dry-run");
    expect(dryRun).toMatchObject({ eligible: true, state: "interrupted", reuse: ["a", "b"], run: ["c"] });
    expect((await cli.run("resume", "slow-1")).code).toBe(0);
  });

  test("at a terminal it says so above the live tree, where the next frame doesn't wipe it", async () => {
    const file = cli.file(
      "above.yaml",
      aDocument("above", { a: "touch above.started; while ! test -e above.go; do sleep 0.05; done", b: "echo b" }),
    );
    const running = cli.startAtTerminal("run", file, "--id", "above-1");
    await until("the step to run", () => safeExists("above.started"));
    await until("the tree", () => running.stderr.includes("above-1"));

    running.signal("SIGINT");
    cli.file("above.go", "");

    // biome-ignore lint/suspicious/noControlCharactersInRegex: the frame is erased before the line
    expect((await running.ended).stderr).toMatch(/\u001b\[\d+A\r\u001b\[JStopping: active steps have 25s to end/);
  });

  test("a second signal hands the active step back at once, and costs it no attempt", async () => {
    const file = cli.file("stuck.yaml", aDocument("stuck", { b: "touch stuck.started; sleep 60", c: "echo c" }));
    const running = cli.start("run", file, "--id", "stuck-1");
    await until("step b to run", () => safeExists("stuck.started"));

    running.signal("SIGTERM");
    running.signal("SIGTERM");
    const { code, stderr } = await running.ended;

    expect(code).toBe(130);
    expect(stderr).toContain("Interrupted before its first step was done.");
    const plan = await cli.json("get", "stuck-1");
    expect(plan.state).toBe("interrupted");
    expect(plan.steps[0]).toMatchObject({ state: "queued", failures: 0 });
  });
});

test("a resume that executes here can be interrupted like a run", async () => {
  const file = cli.file("more.yaml", aDocument("more", { a: "test -e more.go", b: "touch more.b; sleep 60" }));
  expect((await cli.run("run", file, "--id", "more-1")).code).toBe(1);
  cli.file("more.go", "");
  const running = cli.start("resume", "more-1", "-o", "json");
  await until("step b to run", () => safeExists("more.b"));

  running.signal("SIGINT");
  running.signal("SIGINT");

  const { code, stdout, stderr } = await running.ended;
  expect(code).toBe(130);
  expect(JSON.parse(stdout)).toMatchObject({
    plan_id: "more-1",
    dry_run: false,
    outcome: { state: "interrupted", done: 1 },
  });
  expect(stderr).toMatch(/Interrupted after step "a"\. Resume with: plan resume more-1\n$/);
});

test("--debug tells what the worker of this process does", async () => {
  expect(
    (await cli.run("run", cli.file("debug.yaml", aDocument("debug", { one: "echo 1" })), "--debug")).stderr,
  ).toMatch(/accepting steps \{"worker":"w/);
});

describe("approval", () => {
  const document =
    'plan: gate\nsteps:\n  - { id: ok, uses: approve, with: { message: "Ship \\u001b[31mit?" } }\n  - { run: echo shipped }\n';

  test("without a terminal the command that answers is printed once, and another process answers", async () => {
    const running = cli.start("run", cli.file("gate.yaml", document), "--id", "gate-1");
    await until("the question", () => running.stderr.includes("plan approve gate-1 ok"));

    expect((await cli.run("resume", "gate-1")).code).toBe(3);
    const approved = await cli.run("approve", "gate-1", "ok", "--rationale", "looks good", "--actor", "sam");

    expect(approved).toMatchObject({ code: 0 });
    const { code, stderr } = await running.ended;
    expect(code).toBe(0);
    expect(stderr.match(/plan approve/g)).toHaveLength(1);
    expect(stderr).not.toContain("\u001b");
    const decisions = await cli.json("decisions", "gate-1");
    expect(decisions[1]).toMatchObject({ step: "ok", choice: "approve", rationale: "looks good", made_by: "sam" });
    expect((await cli.run("decisions", "gate-1")).stdout).toMatch(
      /└─ dec_\w+ {2}ok: .*"approve" of approve, reject \(looks good\)/,
    );
    expect((await cli.run("approve", "gate-1", "ok")).code).toBe(3);
    expect((await cli.run("approve", "gate-1", "nosuch")).code).toBe(4);
  });

  test("at a terminal the person there is asked, and a live tree is drawn", async () => {
    const running = cli.startAtTerminal("run", cli.file("gate.yaml", document), "--id", "gate-2");
    await until("the question", () => running.stderr.includes("[approve/reject]"));

    running.stdin.write("what?\n");
    await until("the question again", () => running.stderr.includes("Type approve or reject"));
    running.stdin.write("approve\n");
    const { code, stderr } = await running.ended;

    expect(code).toBe(0);
    expect(stderr).toContain("\u001b[?25l");
    expect(stderr.lastIndexOf("\u001b[?25h")).toBeGreaterThan(stderr.lastIndexOf("\u001b[?25l"));
    expect(stderr).toContain("Ship \\x1b[31mit?");
  });

  test("a rejection cancels the plan", async () => {
    const running = cli.start("run", cli.file("gate.yaml", document), "--id", "gate-3");
    await until("the question", () => running.stderr.includes("plan approve gate-3 ok"));

    await cli.run("approve", "gate-3", "ok", "--reject");

    const { code, stdout } = await running.ended;
    expect(code).toBe(1);
    expect(stdout).toMatch(/^✖ Plan gate-3 is cancelled/);
  });
});

describe("a dry-run", () => {
  const KEYS =
    "plan_id name version state why eligible phase step decision_id last_completed_step last_checkpoint_id sandbox epoch next_epoch reuse run ack_required new_key drift from reason workers resume_token dry_run".split(
      " ",
    );

  test("has every key of the contract and changes nothing, in any state", async () => {
    const before = await dump();
    const plans = await cli.json("list");

    for (const { plan_id } of plans) {
      const summary = await cli.json("resume", plan_id, "--dry-run");
      for (const key of KEYS) expect(summary).toHaveProperty(key);
      expect(summary).toMatchObject({ plan_id, dry_run: true });
    }

    expect(plans.length).toBeGreaterThan(5);
    expect(await dump()).toEqual(before);
  });

  test("of a plan that is over says so on both streams, and exits 3", async () => {
    const { code, stdout, stderr } = await cli.run("resume", "hello-1", "--dry-run");

    expect(code).toBe(3);
    expect(stdout).toMatch(/\(dry run\) nothing was written\n$/);
    expect(stderr).toMatch(/^Error: PLAN_TERMINAL: Plan hello-1 is completed/);
    expect(await cli.json("resume", "hello-1", "--dry-run")).toMatchObject({
      eligible: false,
      error: { code: "PLAN_TERMINAL" },
    });
    expect(await cli.json("resume", "hello-1")).toMatchObject({ eligible: false, dry_run: false });
  });
});

describe("reading", () => {
  test("@latest is the newest plan, and plan get shows its steps as a tree", async () => {
    const file = cli.file("tree.yaml", aDocument("tree", { one: "echo 1", two: "exit 1", three: "echo 3" }));
    await cli.run("run", file, "--id", "tree-1");

    const { stdout } = await cli.run("get", "@latest");

    expect(stdout).toContain("Plan       tree-1  tree v1\n");
    expect(stdout).toContain("Why        two failed\n");
    expect(stdout).toMatch(
      /execute 1\/3\n├─ ✔ one +\d+ms\n├─ ✖ two +failed after 1 attempt: exit code 1.*\n└─ ○ three\n$/,
    );
  });

  test("logs never bring control characters of a step to the terminal", async () => {
    const file = cli.file("evil.yaml", aDocument("evil", { one: "printf 'a\\033[31mb\\033]0;title\\007c\\010d\\n'" }));
    await cli.run("run", file, "--id", "evil-1");

    expect((await cli.run("logs", "evil-1")).stdout).toBe("── one  attempt 1\nabc\\x08d\n");
  });

  test("history, checkpoints and lists come as text, JSON and lines", async () => {
    const history = await cli.run("history", "hello-1");
    expect(history.stdout.split("\n")[0]).toMatch(/ {4}1 {2}plan\.submitted +by /);
    expect(history.stdout).toMatch(/plan\.completed\n$/);
    const events = (await cli.run("history", "hello-1", "--follow", "-o", "jsonl")).stdout.trim().split("\n");
    expect(events.map((line) => JSON.parse(line).seq)).toEqual(events.map((_, i) => i + 1));
    expect(await cli.json("history", "hello-1")).toHaveLength(events.length);

    expect((await cli.run("checkpoints", "hello-1")).stdout).toMatch(/^CHECKPOINT +AFTER +EPOCH/);
    expect(await cli.json("checkpoints", "hello-1")).toHaveLength(2);

    expect((await cli.run("list", "--name", "hell*", "-o", "ids")).stdout).toBe("hello-1\n");
    expect((await cli.run("list", "--name", "hello")).stdout).toMatch(
      /^PLAN +NAME +STATE +DONE +SUBMITTED +WHY\nhello-1 +hello v1 +✔ completed +2\/2/,
    );
    expect((await cli.run("list", "--state", "queued")).stderr).toBe("No plans.\n");
    expect(
      (await cli.json("list", "--state", "failed", "--since", "1h")).every(
        (p: { state: string }) => p.state === "failed",
      ),
    ).toBe(true);
    expect((await cli.run("list", "--limit", "2", "-o", "jsonl")).stdout.trim().split("\n")).toHaveLength(2);
  });

  test("what has no end can't be one document", async () => {
    expect((await cli.run("history", "hello-1", "--follow", "-o", "json")).stdout).toContain("use -o jsonl");
    expect((await cli.run("logs", "hello-1", "--follow", "-o", "json")).stdout).toContain("use -o jsonl");
    expect((await cli.run("logs", "hello-1", "--follow", "-o", "jsonl")).stdout.trim().split("\n")).toHaveLength(2);
    const watched = (await cli.run("watch", "hello-1", "-o", "jsonl")).stdout.trim().split("\n");
    expect(JSON.parse(watched.at(-1)!)).toMatchObject({ type: "plan.completed" });
    expect(await cli.json("watch", "hello-1")).toMatchObject({ plan_id: "hello-1", state: "completed" });
    expect((await cli.run("watch", "bad-1")).code).toBe(0);
    expect((await cli.run("watch", "bad-1", "--exit-status")).code).toBe(1);
  });

  test("what isn't there is a code, a sentence and an exit status", async () => {
    expect(await cli.run("get", "nosuch")).toEqual({
      code: 4,
      stdout: "",
      stderr: "Error: PLAN_NOT_FOUND: No plan nosuch in this store.\nTry: plan list\n",
    });
    expect(await cli.json("get", "nosuch")).toMatchObject({
      error: { code: "PLAN_NOT_FOUND", details: { plan_id: "nosuch" }, try: "plan list" },
    });
    expect((await cli.run("get", "../{x}\n")).code).toBe(4);
    expect((await cli.run("logs", "hello-1", "nosuch")).code).toBe(4);
    expect((await cli.run("retry", "x", "-o", "json")).stdout).toContain('"try": "plan resume x -o json"');
    expect((await cli.run("list", "--limit", "0")).code).toBe(2);
    expect((await cli.run("list", "--since", "soon")).code).toBe(2);
    expect((await cli.run("list", "--state", "sad")).code).toBe(2);
    expect((await cli.run("run", "a.yaml", "b.yaml")).code).toBe(2);
    expect((await cli.run("run", ".")).stderr).toContain("it is a directory");
    expect((await cli.run("run", "hello.yaml", "--input", "@nosuch.json")).stderr).toContain("Can't read nosuch.json");
    expect((await cli.run("history")).code).toBe(2);
    expect((await cli.run("history", "hello-1", "--all")).code).toBe(2);
    const debugged = await cli.run("get", "nosuch", "--debug");
    expect(debugged.stderr).toMatch(/\n {4}at /);
  });

  test("validate lists every fault with line and column", async () => {
    cli.file("faulty.yaml", "plan: faulty\nsteps:\n  - { id: a, uses: shel }\n  - { id: a, run: x, neds: [] }\n");

    const { code, stdout, stderr } = await cli.run("validate", "faulty.yaml");

    expect(code).toBe(2);
    expect(
      stdout
        .trim()
        .split("\n")
        .every((line) => /^faulty\.yaml:[34]:\d+ {2}\S/.test(line)),
    ).toBe(true);
    expect(stderr).toMatch(/^Error: INVALID_PLAN: faulty\.yaml has 3 faults, the first in line 3, column \d+\.\n$/);
    expect(await cli.json("validate", "faulty.yaml")).toMatchObject({ valid: false, error: { code: "INVALID_PLAN" } });
    expect((await cli.run("validate", "hello.yaml")).stdout).toBe("✔ hello.yaml is valid: hello v1, 2 steps\n");
    expect((await cli.run("validate", "nosuch.yaml")).stderr).toMatch(
      /^Error: USAGE: Can't read nosuch\.yaml: there is no such file\.\n/,
    );
  });

  test("doctor finds the embedded store well", async () => {
    const { code, stdout } = await cli.run("doctor");

    expect(code).toBe(0);
    expect(stdout).toMatch(/^Store {2}embedded in /);
    expect(stdout.match(/^(?:ok|warn) /gm)).toHaveLength(10);
    // Redis before 7.2 has no WAITAOF.
    expect(stdout.match(/^warn .*$/gm) ?? []).toHaveLength(stdout.includes("waitaof      Redis 7.0") ? 1 : 0);
    expect(await cli.json("doctor")).toMatchObject({ suitable: true });
  });
});

function safeExists(name: string): boolean {
  try {
    readFileSync(join(cli.cwd, name));
    return true;
  } catch {
    return false;
  }
}
