import { existsSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, inject, test } from "vitest";
import type { ResumeSummary } from "../../src/core/resume-summary.js";
import { createClient } from "../../src/index.js";
import { aDefinition } from "../support/plans.js";
import { aPrefix } from "../support/store.js";
import { until } from "../support/until.js";
import { aDocument, Cli } from "./a-cli.js";
import { aFleet } from "./a-fleet.js";

const { cli, prefix, store, aWorker } = await aFleet();

describe("submit", () => {
  test("enqueues, says who is missing, and a worker then completes it", async () => {
    const file = cli.file("job.yaml", aDocument("job", { one: "echo 1", two: "echo 2" }));

    const submitted = await cli.run("submit", file, "--id", "job-1");
    expect(submitted).toMatchObject({ code: 0, stdout: "Plan job-1 is submitted.\n" });
    expect(submitted.stderr).toBe("Plan job-1 waits: no live worker serves queue documents.\nTry: plan worker\n");

    const worker = await aWorker("--allow-shell");
    const watched = await cli.run("watch", "job-1", "--exit-status");
    expect(watched.code).toBe(0);
    expect(watched.stdout).toMatch(/✔ Plan job-1 is completed: 2 steps/);
    const [listed] = await cli.json("workers");
    expect(listed).toMatchObject({ state: "accepting", queues: ["documents"] });
    expect((await cli.run("workers")).stdout).toMatch(/^WORKER +STATE +ACTIVE/);

    worker.signal("SIGTERM");
    expect((await worker.ended).code).toBe(0);
    expect(await cli.json("workers")).toEqual([]);
    expect((await cli.run("workers")).stderr).toBe("No workers.\n");
  });

  test("with an id is idempotent: the same content is the same plan, other content a conflict", async () => {
    cli.file("idem.yaml", "plan: idem\ninput: { n: { type: integer } }\nsteps: [{ uses: noop }]\n");
    const first = await cli.json("submit", "idem.yaml", "--id", "idem-1", "--input", "n=1");
    const second = await cli.json("submit", "idem.yaml", "--id", "idem-1", "--input", '{"n": 1}');
    const other = await cli.run("submit", "idem.yaml", "--id", "idem-1", "--input", "n=2");

    expect([first.existing, second.existing]).toEqual([false, true]);
    expect(other.code).toBe(5);
    expect(other.stderr).toMatch(/^Error: PLAN_EXISTS: .*\nTry: plan get idem-1\n$/);
    expect((await cli.run("submit", "idem.yaml", "--id", "no:good", "--input", "n=1")).code).toBe(2);
  });

  test("--wait ends with the plan: 0 when it completed, 1 with the error when it failed", async () => {
    await aWorker("--allow-shell");
    cli.file("good.yaml", aDocument("good", { one: `echo '"fine"'` }));
    cli.file("sad.yaml", aDocument("sad", { one: "exit 7" }));

    expect(await cli.json("submit", "good.yaml", "--wait")).toMatchObject({ state: "completed", output: "fine" });
    const failed = await cli.run("submit", "sad.yaml", "--wait", "--id", "sad-1");
    expect(failed.code).toBe(1);
    expect(failed.stderr).toContain("Error: STEP_FAILED: Step one of plan sad-1 failed: exit code 7");
  });
});

describe("trust", () => {
  test("a worker runs the shell steps of documents that were named to it, and of no others", async () => {
    cli.file("mine.yaml", aDocument("mine", { one: "echo mine" }));
    cli.file("theirs.yaml", aDocument("theirs", { one: "echo theirs" }));
    await aWorker("--plans", "mi*.yaml");

    expect((await cli.run("submit", "mine.yaml", "--wait")).code).toBe(0);
    await cli.run("submit", "theirs.yaml", "--id", "theirs-1");
    await until(
      "the step to be handed back",
      async () =>
        (await cli.run("history", "theirs-1")).stdout.includes("handed back") ||
        (await cli.json("get", "theirs-1")).steps[0].state === "delayed",
    );
    expect((await cli.json("get", "theirs-1")).done).toBe(0);
    await cli.run("cancel", "theirs-1");
  });

  test("resume --here runs a definition from Redis only with --allow-shell or its file", async () => {
    cli.file("here.yaml", aDocument("here", { one: "echo here" }));
    await cli.run("submit", "here.yaml", "--id", "here-1");
    await cli.run("submit", "here.yaml", "--id", "here-2");

    const refused = await cli.run("resume", "here-1", "--here");
    expect(refused.code).toBe(2);
    expect(refused.stderr).toMatch(
      /^Error: USAGE: .*comes from Redis.*\nTry: plan resume here-1 --here --allow-shell\n$/,
    );
    expect((await cli.run("resume", "here-1", "--here", "--allow-shell")).code).toBe(0);
    expect((await cli.run("resume", "here-2", "--here", "--plans", "here.yaml")).code).toBe(0);
  });

  test("plan run of a local file executes here on a given Redis too", async () => {
    cli.file("local.yaml", aDocument("local", { one: "echo local" }));

    expect((await cli.json("run", "local.yaml")).output).toEqual({ stdout: "local" });
    expect((await cli.run("run", "local", "-o", "json")).stdout).toContain("comes from Redis");
  });
});

describe("resume on a given Redis", () => {
  async function failed(id: string): Promise<void> {
    cli.file("flaky.yaml", aDocument("flaky", { one: "echo 1", two: "test -e flaky.ok", three: "echo 3" }));
    expect((await cli.run("run", "flaky.yaml", "--id", id)).code).toBe(1);
  }

  test("enqueues and returns, and says on stderr when nobody can take it", async () => {
    await failed("flaky-1");

    const { code, stdout, stderr } = await cli.run("resume", "flaky-1");

    expect(code).toBe(0);
    expect(stdout).toMatch(/Plan flaky-1 is resumed: epoch 2, queued|running|interrupted/);
    expect(stderr).toBe("No live worker can take two of plan flaky-1: start one with plan worker\n");
    expect(await cli.json("resume", "flaky-1", "--dry-run")).toMatchObject({ workers: 0 });
  });

  test("--expect holds the resume to its dry-run", async () => {
    await failed("flaky-2");
    const { resume_token } = await cli.json("resume", "flaky-2", "--dry-run");
    await cli.run("resume", "flaky-2", "--detach");

    const stale = await cli.run("resume", "flaky-2", "--expect", resume_token);
    expect(stale.code).toBe(5);
    expect(stale.stderr).toMatch(/^Error: PREVIEW_STALE: /m);
    expect(await cli.json("resume", "flaky-2", "--expect", resume_token, "--dry-run")).toMatchObject({
      eligible: false,
      error: { code: "PREVIEW_STALE" },
    });
    const fresh = await cli.json("resume", "flaky-2", "--dry-run");
    expect(await cli.json("resume", "flaky-2", "--expect", fresh.resume_token)).toMatchObject({
      eligible: true,
      dry_run: false,
    });
  });

  test("of eight concurrent resumes one wins, and with one request id all get its answer", async () => {
    await failed("flaky-3");
    await aWorker("--allow-shell", "--queues", "documents");
    cli.file("wait.yaml", aDocument("wait", { two: "while ! test -e wait.ok; do sleep 0.05; done" }));
    const client = createClient({ redis: inject("redisUrl"), prefix });

    const race = await Promise.allSettled(Array.from({ length: 8 }, () => client.resume("flaky-3")));
    const won = race.filter((outcome) => outcome.status === "fulfilled");
    expect(won).toHaveLength(1);
    for (const outcome of race) {
      if (outcome.status === "rejected") expect(["PLAN_ACTIVE", "FENCED"]).toContain(outcome.reason.code);
    }

    await until("the plan to fail again", async () => (await client.summary("flaky-3")).state === "failed");
    const same = await Promise.all(Array.from({ length: 8 }, () => client.resume("flaky-3", { requestId: "r-1" })));
    expect(new Set(same.map((summary: ResumeSummary) => JSON.stringify(summary))).size).toBe(1);
    await client.close();
  });

  test("several plans are resumed one after the other, and stdin may name them", async () => {
    await failed("bulk-1");
    await failed("bulk-2");
    const piped = cli.start("resume", "-", "--dry-run", "-o", "json");
    piped.stdin.end("bulk-1\nbulk-2\n\nbulk-1\n");
    const documents = JSON.parse((await piped.ended).stdout);
    expect(documents.map((document: { plan_id: string }) => document.plan_id)).toEqual(["bulk-1", "bulk-2"]);

    const mixed = await cli.run("resume", "bulk-1", "nosuch", "bulk-2", "-o", "jsonl");
    expect(mixed.code).toBe(4);
    const lines = mixed.stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(lines).toMatchObject([
      { plan_id: "bulk-1", eligible: true },
      { plan_id: "nosuch", error: { code: "PLAN_NOT_FOUND" } },
      { plan_id: "bulk-2", eligible: true },
    ]);
  });

  test("--all needs a yes, given or typed, and takes the states it is told", async () => {
    await failed("all-1");

    const unasked = await cli.run("resume", "--all", "--name", "flaky", "--state", "failed");
    expect(unasked.code).toBe(2);
    expect(unasked.stderr).toContain("Try: plan resume --all --name flaky --state failed --yes\n");
    const done = await cli.run("resume", "--all", "--name", "flaky", "--state", "failed", "--yes", "-o", "json");
    expect(JSON.parse(done.stdout).some((document: { plan_id: string }) => document.plan_id === "all-1")).toBe(true);
    expect((await cli.run("resume", "--all", "--name", "nobody", "--yes")).stderr).toBe(
      "No plan is in these states.\n",
    );
  });

  test.each([
    [["resume"], "takes the id of a plan"],
    [["resume", "x", "--all"], "not both"],
    [["resume", "x", "--state", "failed"], "for --all"],
    [["resume", "x", "y", "--from-step", "a"], "is for one plan"],
    [["resume", "x", "--allow-shell"], "goes with --here"],
    [["resume", "x", "--on-drift", "maybe"], "--on-drift is refuse, keep or rerun"],
    [["resume", "x", "--choose", "a"], "A choice is for a decision: name it with --from-decision"],
    [["resume", "x", "--ack", "pay=maybe"], "--ack takes STEP=done"],
  ])("%j is refused", async (argv, sentence) => {
    const { code, stderr } = await cli.run(...argv);

    expect(code).toBe(2);
    expect(stderr).toContain(sentence);
  });

  test("a folder that is not on this machine is named, and --workdir gives another", async () => {
    await failed("moved-1");
    const planKey = store.keys.planPart("moved-1", "origin");
    await store.redis.hset(planKey, "workdir", join(cli.cwd, "gone"));

    const refused = await cli.run("resume", "moved-1", "--here", "--allow-shell");
    expect(refused.code).toBe(3);
    expect(refused.stderr).toMatch(/Error: WORKDIR_MISSING: .*gone/);
    cli.file("flaky.ok", "");
    expect((await cli.run("resume", "moved-1", "--here", "--allow-shell", "--workdir", ".")).code).toBe(0);
  });
});

describe("at a terminal", () => {
  test("a bulk resume asks, and only yes is yes", async () => {
    cli.file("ask.yaml", aDocument("ask", { one: "exit 1" }));
    await cli.run("run", "ask.yaml", "--id", "ask-1");
    const answered = async (answer: string) => {
      const running = cli.startAtTerminal("resume", "--all", "--name", "ask");
      await until("the question", () => running.stderr.includes("Resume 1 plan? [y/N]"));
      running.stdin.write(`${answer}\n`);
      return running.ended;
    };

    expect(await answered("nope")).toMatchObject({ code: 2 });
    expect((await cli.json("get", "ask-1")).epoch).toBe(1);
    expect(await answered("y")).toMatchObject({ code: 0 });
    expect((await cli.json("get", "ask-1")).epoch).toBe(2);
  });

  test("plan watch draws its tree on stdout and ends with Ctrl-C", async () => {
    cli.file("hold.yaml", "plan: hold\nsteps: [{ id: ci, uses: wait }]\n");
    await cli.run("submit", "hold.yaml", "--id", "hold-1");
    const running = cli.startAtTerminal("watch", "hold-1");
    await until("the tree", () => /○.* .*ci/.test(running.stdout));

    running.signal("SIGINT");

    expect(await running.ended).toMatchObject({ code: 130, stderr: "" });
  });
});

describe("pause, cancel, signal", () => {
  test("as JSON say what they did", async () => {
    cli.file(
      "js.yaml",
      "plan: js\nsteps: [{ id: ok, uses: approve, with: { message: Go? } }, { id: ci, uses: wait }]\n",
    );
    const running = cli.start("run", "js.yaml", "--id", "js-1");
    await until("the approval", () => running.stderr.includes("plan approve js-1 ok"));
    expect(await cli.json("approve", "js-1", "ok", "--actor", "sam")).toEqual({
      plan_id: "js-1",
      step: "ok",
      choice: "approve",
      by: "sam",
    });
    await until("the signal's turn", () => running.stderr.includes("plan signal js-1 ci --data JSON"));
    expect((await cli.run("signal", "js-1", "ci")).stdout).toBe("Step ci of plan js-1 has its signal and is done.\n");
    expect((await running.ended).code).toBe(0);

    cli.file("js2.yaml", "plan: js2\nsteps: [{ uses: noop }]\n");
    await cli.run("submit", "js2.yaml", "--id", "js-2");
    expect(await cli.json("pause", "js-2")).toMatchObject({ plan_id: "js-2", state: "paused" });
    expect(await cli.json("cancel", "js-2")).toMatchObject({ plan_id: "js-2", state: "cancelled" });
  });

  test("a paused plan stays until it is resumed; a cancelled one is over", async () => {
    cli.file("noop.yaml", "plan: noop\nsteps: [{ uses: noop }]\n");
    await cli.run("submit", "noop.yaml", "--id", "noop-1");

    expect((await cli.run("pause", "noop-1", "--reason", "freeze")).stdout).toBe(
      "Plan noop-1 is paused. Resume with: plan resume noop-1\n",
    );
    expect(await cli.json("get", "noop-1")).toMatchObject({ state: "paused", try: "plan resume noop-1" });
    expect((await cli.run("resume", "noop-1")).code).toBe(0);
    expect((await cli.run("cancel", "noop-1", "--reason", "enough")).stdout).toMatch(
      /^Plan noop-1 is cancelled: 0 of 1/,
    );
    const history = (await cli.run("history", "noop-1")).stdout;
    expect(history).toMatch(/: freeze$/m);
    expect(history).toMatch(/: enough$/m);
    expect((await cli.run("pause", "noop-1")).code).toBe(3);
    expect((await cli.run("resume", "noop-1")).code).toBe(3);
  });

  test("a signal is the output of the step that waits; one that comes early is kept", async () => {
    cli.file(
      "sig.yaml",
      "plan: sig\nsteps:\n  - { id: hold, uses: approve, with: { message: Go? } }\n  - { id: ci, uses: wait }\n",
    );
    const running = cli.start("run", "sig.yaml", "--id", "sig-1");
    await until("the approval", () => running.stderr.includes("plan approve sig-1 hold"));

    for (const data of ['{"buildId":7}', '{"buildId":8}']) {
      const early = await cli.json("signal", "sig-1", "ci", "--data", data, "--signal-id", "s1");
      expect(early).toEqual({ plan_id: "sig-1", step: "ci", kept: true });
    }
    const forged = await cli.run("signal", "sig-1", "hold", "--data", '{"choice":"approve"}');
    expect(forged.code).toBe(3);
    expect(forged.stderr).toMatch(/^Error: NOT_WAITING: .*\nTry: plan approve sig-1 hold\n$/);
    await cli.run("approve", "sig-1", "hold");
    expect((await running.ended).code).toBe(0);
    expect((await cli.json("get", "sig-1")).state).toBe("completed");
    expect((await cli.run("signal", "sig-1", "ci")).code).toBe(3);
    expect((await cli.run("signal", "sig-1", "nosuch")).code).toBe(4);
    expect((await cli.run("signal", "sig-1", "ci", "--data", "{no")).code).toBe(2);
  });

  test("followed history and logs end with the plan, or with a signal", async () => {
    cli.file("slow.yaml", aDocument("slow", { one: "echo first; sleep 0.4; echo second" }));
    const running = cli.start("run", "slow.yaml", "--id", "slow-2");
    await until("the plan", async () => (await cli.run("get", "slow-2")).code === 0);
    const all = cli.start("history", "--all", "--follow");
    const logs = await cli.run("logs", "slow-2", "--follow");
    await running.ended;
    expect(logs.stdout).toBe("── one  attempt 1\nfirst\nsecond\n");

    await until("an event", () => all.stdout.includes("plan.completed"));
    const piped = cli.start("history", "--all", "--follow");
    await until("it to follow", () => piped.isFollowing);
    piped.readerLeaves();
    expect((await piped.ended).code).toBe(0);
    all.signal("SIGINT");
    expect((await all.ended).code).toBe(130);
  });

  test("the history of all plans is each plan's, oldest first", async () => {
    cli.file("pair.yaml", aDocument("pair", { one: "echo 1" }));
    for (const id of ["pair-b", "pair-a"]) await cli.run("run", "pair.yaml", "--id", id);

    const all: { plan_id: string; at: string }[] = await cli.json("history", "--all");

    expect(all.map(({ at }) => at)).toEqual(all.map(({ at }) => at).sort());
    for (const id of ["pair-b", "pair-a"]) {
      expect(all.filter(({ plan_id }) => plan_id === id)).toEqual(await cli.json("history", id));
    }
    expect((await cli.run("history", "--all")).stdout).toMatch(/pair-b +plan\.submitted[\s\S]*pair-a +plan\.submitted/);
  });

  test("a followed log goes on in the line in which it paused", async () => {
    cli.file(
      "dots.yaml",
      aDocument("dots", { a: "printf one; while ! test -e dots.go; do sleep 0.05; done; printf ' two'" }),
    );
    const running = cli.start("run", "dots.yaml", "--id", "dots-1");
    await until("the plan", async () => (await cli.run("get", "dots-1")).code === 0);
    const logs = cli.start("logs", "dots-1", "--follow");
    await until("the first piece", () => logs.stdout.includes("one"));
    cli.file("dots.go", "");
    await running.ended;

    expect((await logs.ended).stdout).toBe("── a  attempt 1\none two\n");
  });
});

describe("acknowledging", () => {
  test("an irreversible step that was cut off runs again only when a person says so", async () => {
    cli.file(
      "pay.yaml",
      'plan: pay\nsteps:\n  - { id: pay, effect: irreversible, run: "touch pay.started; test -e pay.ok || sleep 60" }\n  - { run: echo done }\n',
    );
    const running = cli.start("run", "pay.yaml", "--id", "pay-1");
    await until("the payment to start", () => existsSync(join(cli.cwd, "pay.started")));
    running.signal("SIGTERM");
    running.signal("SIGTERM");
    await running.ended;

    const refused = await cli.run("resume", "pay-1", "--here", "--allow-shell");
    expect(refused.code).toBe(3);
    expect(refused.stderr).toMatch(/^Error: ACK_REQUIRED: .*\nTry: plan resume pay-1 --ack pay=done\n$/);
    cli.file("receipt.json", '{"id":7}');
    const both = await cli.run("resume", "pay-1", "--ack", "pay=redo", "--ack", "pay=done");
    expect(both.code).toBe(2);
    expect(both.stderr).toContain("--ack says twice what happened to pay");
    const said = ["--here", "--allow-shell", "--ack", "pay=done:@receipt.json", "--request-id", "pay-r1"];
    const done = await cli.run("resume", "pay-1", ...said);
    expect(done.code).toBe(0);
    // Its answer was lost, and it is sent again.
    expect((await cli.run("resume", "pay-1", ...said)).stderr).toContain(
      "was resumed by an earlier request of this id",
    );
    expect((await cli.run("resume", "pay-1", "--ack", "pay=done")).code).toBe(3);
    expect((await cli.json("decisions", "pay-1")).some((d: { step: string }) => d.step === "pay")).toBe(true);
  });
});

test("a request id that was granted gets its answer even when the plan is over", async () => {
  cli.file("req.yaml", aDocument("req", { one: "test -e req.ok" }));
  expect((await cli.run("run", "req.yaml", "--id", "req-1")).code).toBe(1);
  cli.file("req.ok", "");
  const first = await cli.json("resume", "req-1", "--here", "--allow-shell", "--request-id", "r");
  const second = await cli.run("resume", "req-1", "--request-id", "r", "-o", "json");

  expect(first.outcome.state).toBe("completed");
  expect(second.code).toBe(0);
  expect(JSON.parse(second.stdout)).toMatchObject({
    resume_token: first.resume_token,
    outcome: { state: "completed" },
  });
  expect(second.stderr).toContain("was resumed by an earlier request of this id");
});

test("@latest of an empty store is a plan that isn't there", async () => {
  expect((await cli.run("get", "@latest", "--prefix", aPrefix())).stderr).toBe(
    "Error: PLAN_NOT_FOUND: There is no plan in this store yet.\nTry: plan run --help\n",
  );
});

test.each([
  [["worker", "--queues", ","], "--queues names no queue"],
  [["worker", "--queues", "docs,a b"], '--queues names "a b", which no queue can be called'],
  [["signal", "x", "y", "--signal-id", ""], "--signal-id is empty"],
  [["resume", "x", "--request-id", ""], "--request-id is empty"],
  [["list", "--actor", " "], "--actor is empty"],
])("%j is refused: nothing stands where a value belongs", async (argv, message) => {
  expect(await cli.run(...argv)).toMatchObject({ code: 2, stderr: expect.stringContaining(message) });
});

describe("a worker that is watched", () => {
  test("answers on its health port, and logs who did what in every line", async () => {
    const worker = await aWorker("--health-port", "0", "--debug", "--queues", "watched");
    const lines = () =>
      worker.stderr
        .split("\n")
        .filter(Boolean)
        .map((line) => JSON.parse(line) as LogLine);
    const port = lines().find((line) => line.msg.startsWith("answering"))?.port;

    const ready = await fetch(`http://127.0.0.1:${port}/readyz`);
    await store.submit(aDefinition([{ id: "a", uses: "noop", queue: "watched" }]), "watched-1");
    await until("the plan", async () => (await store.state("watched-1")) === "completed");
    const metrics = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();

    expect(ready.status).toBe(200);
    expect(metrics).toContain('waymark_steps_total{plan="test",outcome="completed"} 1');
    const { worker: id } = (await ready.json()) as { worker: string };
    const facts = { plan: "watched-1", step: "a", epoch: 1, attempt: 1, worker: id };
    expect(lines().filter((line) => line.plan !== undefined)).toMatchObject([
      { ...facts, msg: "step started" },
      { ...facts, msg: "step ended: complete" },
    ]);
  });

  test.each([
    [["--health-port", "x"], '--health-port takes a whole number of at least 0, not "x"'],
    [["--health-port", "70000"], '--health-port takes a port up to 65535, not "70000"'],
    [["--health-host", "0.0.0.0"], "--health-host and --health-name go with --health-port"],
  ])("%j is refused", async (flags, message) => {
    expect(await cli.run("worker", ...flags)).toMatchObject({
      code: 2,
      stderr: expect.stringContaining(`Error: USAGE: ${message}`) as string,
    });
  });
});

interface LogLine {
  readonly msg: string;
  readonly port?: number;
  readonly plan?: string;
}

describe("stores that can't be used", () => {
  test("doctor doesn't send to doctor", async () => {
    const { code, stderr } = await cli.run("doctor", "--redis-url", "redis://127.0.0.1:1");

    expect(code).toBe(6);
    expect(stderr).not.toContain("Try:");
  });

  test("a data directory that can't be one is exit 6, with the reason", async () => {
    const local = new Cli();
    local.file("taken", "");
    const { code, stderr } = await local.run("list", "--data-dir", "taken");
    local.remove();

    expect(code).toBe(6);
    expect(stderr).toMatch(/^Error: STORE_UNAVAILABLE: The data directory .*taken can't be used: ENOTDIR: /);
  });

  test("a store that doesn't answer is exit 6 within seconds", async () => {
    const { code, stderr } = await cli.run("get", "x", "--redis-url", "redis://127.0.0.1:1");

    expect(code).toBe(6);
    expect(stderr).toMatch(/^Error: STORE_UNAVAILABLE: No answer from Redis at redis:\/\/127\.0\.0\.1:1: /);
  });

  test("a wrong address never comes back with its password", async () => {
    const { code, stderr } = await cli.run("get", "x", "--redis-url", "ftp://user:hunter2@host");

    expect(code).toBe(2);
    expect(stderr).not.toContain("hunter2");
  });
});
