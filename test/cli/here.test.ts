import { existsSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { until } from "../support/until.js";
import { aDocument } from "./a-cli.js";
import { anEmbeddedCli } from "./a-fleet.js";

const { cli, redis } = await anEmbeddedCli({ env: { WAYMARK_SECRET_TOKEN: "s3cret" } });

const exists = (name: string) => existsSync(join(cli.cwd, name));

/** A plan that failed in `gate`, and fails there until there is a file of its name. */
async function aFailedPlan(id: string): Promise<void> {
  cli.file(`${id}.yaml`, aDocument(id, { first: "echo 1", gate: `test -e ${id}.ok`, last: "echo 3" }));
  expect((await cli.run("run", `${id}.yaml`, "--id", id)).code).toBe(1);
}

test("a plan that nobody executes is resumed on the embedded store, which has no fleet", async () => {
  cli.file("queued.yaml", aDocument("queued", { one: "echo 1" }));

  expect((await cli.run("submit", "queued.yaml", "--id", "queued-1")).stderr).toContain("Try: plan resume queued-1\n");
  expect((await cli.run("get", "queued-1")).stdout).toMatch(/^Try +plan resume queued-1$/m);
  expect(await cli.json("get", "queued-1")).toMatchObject({ state: "queued", try: "plan resume queued-1" });
  expect((await cli.run("resume", "queued-1")).code).toBe(0);
  expect((await cli.run("get", "queued-1")).stdout).not.toMatch(/^Try/m);
});

describe("a run", () => {
  test("gives a step the secrets that it declares", async () => {
    cli.file(
      "secret.yaml",
      // biome-ignore lint/suspicious/noTemplateCurlyInString: an expression of the document
      'plan: secret\nsteps:\n  - { env: { T: "${{ secrets.TOKEN }}" }, run: "test \\"$T\\" = s3cret && echo yes" }\n',
    );

    expect((await cli.json("run", "secret.yaml")).output).toEqual({ stdout: "yes" });
  });

  test("that is interrupted prints the plan as it stands, as its one document", async () => {
    cli.file("doc.yaml", aDocument("doc", { one: "touch doc.started; sleep 60" }));
    const running = cli.start("run", "doc.yaml", "--id", "doc-1", "-o", "json");
    await until("the step to run", () => exists("doc.started"));

    running.signal("SIGINT");
    running.signal("SIGINT");
    const { code, stdout } = await running.ended;

    expect(code).toBe(130);
    expect(JSON.parse(stdout)).toMatchObject({ plan_id: "doc-1", state: "interrupted", existing: false });
  });

  test("whose last step ends while it drains is completed, and exits 0", async () => {
    cli.file("end.yaml", aDocument("end", { one: "touch end.started; while ! test -e end.go; do sleep 0.02; done" }));
    const running = cli.start("run", "end.yaml", "--id", "end-1");
    await until("the step to run", () => exists("end.started"));

    running.signal("SIGTERM");
    cli.file("end.go", "");

    expect(await running.ended).toMatchObject({ code: 0, stdout: /Plan end-1 is completed: 1 step,/ });
  });

  test("of a step that fails without a word shows no empty log", async () => {
    cli.file("mute.yaml", aDocument("mute", { one: "exit 4" }));
    cli.file("terse.yaml", aDocument("terse", { one: "echo one line; exit 4" }));

    expect((await cli.run("run", "mute.yaml")).stderr).not.toContain("│");
    const { stderr } = await cli.run("run", "terse.yaml");
    expect(stderr).toContain("│ one line\n");
    expect(stderr).not.toContain("more: plan logs");
  });
});

describe("a resume that executes here", () => {
  test("answers a repeated request with the first answer, and executes nothing again", async () => {
    await aFailedPlan("twice-1");
    const first = await cli.json("resume", "twice-1", "--request-id", "r");
    expect(first.outcome.state).toBe("failed");

    const again = await cli.run("resume", "twice-1", "--request-id", "r", "-o", "json");
    expect(again.code).toBe(0);
    expect(again.stderr).toContain("was resumed by an earlier request of this id; this is its answer.");
    expect(JSON.parse(again.stdout)).toMatchObject({ resume_token: first.resume_token, outcome: { state: "failed" } });
    expect((await cli.run("resume", "twice-1", "--request-id", "r")).stdout).toMatch(/\(epoch 1 → 2\)/);
    expect((await cli.json("get", "twice-1")).epoch).toBe(2);
  });

  test("needs the document's folder only for shell steps that are left", async () => {
    cli.file(
      "folder.yaml",
      "plan: folder\ndefaults: { retry: { attempts: 1 } }\nsteps:\n  - { id: a, run: echo a }\n  - { id: b, uses: http, with: { url: 'http://127.0.0.1:1/' } }\n",
    );
    expect((await cli.run("run", "folder.yaml", "--id", "folder-1")).code).toBe(1);
    await redis.hset("{waymark:0}:plan:folder-1:origin", "workdir", join(cli.cwd, "gone"));
    const [checkpoint] = await cli.json("checkpoints", "folder-1");
    const [root] = await cli.json("decisions", "folder-1");
    const dryRun = (...point: string[]) => cli.json("resume", "folder-1", "--dry-run", ...point);

    expect(await dryRun()).toMatchObject({ eligible: true, run: ["b"] });
    expect(await dryRun("--from-step", "a")).toMatchObject({ error: { code: "WORKDIR_MISSING" } });
    expect(await dryRun("--from-decision", root.decision_id)).toMatchObject({ error: { code: "WORKDIR_MISSING" } });
    expect(await dryRun("--from-checkpoint", checkpoint.checkpoint_id, "--workdir", ".")).toMatchObject({
      eligible: true,
      from: `checkpoint ${checkpoint.checkpoint_id}`,
    });
  });

  test("of several plans stops at Ctrl-C: the ones after it are not touched", async () => {
    cli.file("long.yaml", aDocument("long", { one: "test -e long.go || exit 1; touch long.started; sleep 60" }));
    for (const id of ["long-1", "long-2"]) expect((await cli.run("run", "long.yaml", "--id", id)).code).toBe(1);
    cli.file("long.go", "");
    const running = cli.start("resume", "long-1", "long-2");
    await until("the step to run", () => exists("long.started"));

    running.signal("SIGINT");
    running.signal("SIGINT");

    expect((await running.ended).code).toBe(130);
    expect((await cli.json("get", "long-2")).epoch).toBe(1);
  });

  test("of several plans says of each what it did, and exits with the first failure", async () => {
    await aFailedPlan("many-1");
    await aFailedPlan("many-2");
    cli.file("many-2.ok", "");

    const { code, stdout, stderr } = await cli.run("resume", "many-1", "nosuch", "many-2");

    expect(code).toBe(1);
    expect(stdout).toMatch(/^Plan {7}many-1 [\s\S]+\n✖ Plan many-1 has failed[^\n]*\n\n+Plan {7}many-2 /);
    expect(stdout).toMatch(/✔ Plan many-2 is completed/);
    expect(stderr).toContain("Error: PLAN_NOT_FOUND: No plan nosuch in this store.\n");
  });

  test("tells a rewound plan's checkpoints that count from those that don't", async () => {
    await aFailedPlan("back-1");
    cli.file("back-1.ok", "");
    expect((await cli.run("resume", "back-1", "--from-step", "first")).code).toBe(0);

    const { stdout } = await cli.run("checkpoints", "back-1");
    const lines = (await cli.run("checkpoints", "back-1", "-o", "jsonl")).stdout.trim().split("\n");

    expect(stdout.match(/superseded$/gm)).toHaveLength(1);
    expect(lines.map((line) => JSON.parse(line).current)).toEqual([false, true, true, true]);
  });
});

describe("a dry-run", () => {
  test("of a plan that can be resumed says what it would do, and exits 0", async () => {
    await aFailedPlan("dry-1");

    const { code, stdout, stderr } = await cli.run("resume", "dry-1", "--dry-run");

    expect(code).toBe(0);
    expect(stdout).toMatch(/\nRun {8}gate, last\n[\s\S]*\(dry run\) nothing was written\n$/);
    expect(stderr).toBe("");
    expect((await cli.run("resume", "dry-1", "--dry-run", "-o", "jsonl")).stdout.trim().split("\n")).toHaveLength(1);
  });
});

describe("what a person says of an irreversible step", () => {
  async function cutOff(id: string): Promise<void> {
    cli.file(
      `${id}.yaml`,
      `plan: pay\nsteps:\n  - { id: pay, effect: irreversible, run: "touch ${id}.started; test -e ${id}.ok || sleep 60" }\n  - { run: echo done }\n`,
    );
    const running = cli.start("run", `${id}.yaml`, "--id", id);
    await until("the payment to start", () => exists(`${id}.started`));
    running.signal("SIGTERM");
    running.signal("SIGTERM");
    await running.ended;
  }

  test("redo runs it again; done without an output records null", async () => {
    await cutOff("pay-redo");
    cli.file("pay-redo.ok", "");
    expect((await cli.run("resume", "pay-redo", "--ack", "pay=redo:{}")).code).toBe(2);
    expect((await cli.run("resume", "pay-redo", "--ack", "pay=redo")).code).toBe(0);
    expect((await cli.json("get", "pay-redo")).steps[0]).toMatchObject({ state: "completed", attempts: 2 });

    await cutOff("pay-done");
    expect((await cli.run("resume", "pay-done", "--ack", "pay=done")).code).toBe(0);
    expect((await cli.json("get", "pay-done")).steps[0]).toMatchObject({ state: "completed", attempts: 1 });
  });
});

describe("logs", () => {
  test("say when there are none, and when a part of one is gone", async () => {
    cli.file("still.yaml", "plan: still\nsteps: [{ uses: noop }]\n");
    await cli.run("submit", "still.yaml", "--id", "still-1");
    expect((await cli.run("logs", "still-1")).stderr).toBe("Nothing was written yet.\n");
    expect((await cli.run("resume", "still-1", "--here")).code).toBe(0);
    expect((await cli.run("logs", "still-1")).stderr).toBe("Nothing was written.\n");

    cli.file("wordy.yaml", aDocument("wordy", { one: "head -c 70000 /dev/zero | tr '\\0' x >&2" }));
    await cli.run("run", "wordy.yaml", "--id", "wordy-1");
    expect((await cli.run("logs", "wordy-1")).stdout).toMatch(
      /^── one {2}attempt 1 {2}\(the last 65536 of 70000 bytes\)/,
    );
    expect(await cli.json("logs", "wordy-1")).toMatchObject([{ step: "one", attempt: 1, bytes: 70_000 }]);
  });

  test("that are followed repeat nothing", async () => {
    cli.file(
      "say.yaml",
      "plan: say\nsteps:\n  - { id: a, run: echo early }\n  - { id: ok, uses: approve, with: { message: Go? } }\n  - { id: z, run: echo late }\n",
    );
    const running = cli.start("run", "say.yaml", "--id", "say-1");
    await until("the approval", () => running.stderr.includes("plan approve say-1 ok"));
    const logs = cli.start("logs", "say-1", "--follow");
    await until("the first line", () => logs.stdout.includes("early"));

    await cli.run("approve", "say-1", "ok");

    expect((await running.ended).code).toBe(0);
    expect((await logs.ended).stdout).toBe("── a  attempt 1\nearly\n── z  attempt 1\nlate\n");
  });
});

describe("a command line", () => {
  test("without a command shows the commands on stdout", async () => {
    expect(await cli.run()).toMatchObject({ code: 0, stdout: /^Usage: plan <command>[\s\S]*\n$/, stderr: "" });
    expect(await cli.run("--debug")).toMatchObject({ code: 0, stdout: /^Usage: plan <command>/ });
  });

  test("is refused in the format that it asked for", async () => {
    expect(JSON.parse((await cli.run("list", "--state", "sad", "-o", "jsonl")).stdout)).toMatchObject({
      error: { code: "USAGE" },
    });
    expect((await cli.run("run", "--input", "a=1", "b=2")).stderr).toContain("Name one file or plan; none is named");
    expect((await cli.run("list", "--since", "3600000", "-o", "ids")).code).toBe(0);
  });

  test("with --debug tells what an error was caused by, down to the first cause", async () => {
    cli.file("cause.mjs", `const e = new Error("no stack here"); delete e.stack; throw e;`);

    expect((await cli.run("validate", "cause.mjs", "--debug")).stderr).toMatch(
      /\n {4}at .*[\s\S]*\nCaused by: no stack/,
    );
    expect((await cli.run("validate", "cause.mjs")).stderr).not.toContain("Caused by");
  });
});

describe("validate", () => {
  test("counts one as one, and gives JSON", async () => {
    cli.file("one.yaml", "plan: one\nversion: 2\nsteps: [{ uses: noop }]\n");
    cli.file("fault.yaml", "plan: fault\nsteps: [{ uses: nope }]\n");

    expect((await cli.run("validate", "one.yaml")).stdout).toBe("✔ one.yaml is valid: one v2, 1 step\n");
    expect(await cli.json("validate", "one.yaml")).toMatchObject({ valid: true, name: "one", version: 2, steps: 1 });
    expect((await cli.run("validate", "fault.yaml")).stderr).toContain("fault.yaml has 1 fault, the first in line 2");
  });

  test("names a file that can't be read, and a module that throws what is no error", async () => {
    cli.file("odd.mjs", `throw "just text";`);
    cli.file("copy.mjs", `throw Object.assign(new Error("Step a is twice there"), { code: "INVALID_PLAN" });`);

    expect((await cli.run("validate", "odd.mjs/plan.yaml")).stderr).toContain("Can't read odd.mjs/plan.yaml: ENOTDIR");
    expect((await cli.run("validate", "odd.mjs")).stderr).toContain("Can't load odd.mjs: just text");
    expect((await cli.run("validate", "copy.mjs")).stderr).toBe("Error: INVALID_PLAN: Step a is twice there.\n");
  });
});
