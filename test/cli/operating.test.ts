import { existsSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, inject, test } from "vitest";
import { aStore } from "../support/plans.js";
import { startPrivateRedis } from "../support/private-redis.js";
import { aPrefix } from "../support/store.js";
import { until } from "../support/until.js";
import { aDocument } from "./a-cli.js";
import { aFleet } from "./a-fleet.js";

const library = new URL("../../src/index.ts", import.meta.url).href;
const { cli, store, aWorker } = await aFleet();
cli.file("noop.yaml", "plan: noop\nsteps: [{ uses: noop }]\n");

/** A plan that failed in its only step, and fails there until there is a file of its name. */
async function aFailedPlan(id: string): Promise<void> {
  cli.file(`${id}.yaml`, aDocument(id, { one: `test -e ${id}.ok` }));
  expect((await cli.run("run", `${id}.yaml`, "--id", id)).code).toBe(1);
}

describe("plan doctor", () => {
  test("of a store that evicts keys exits 6, says why, and what to do", async () => {
    const server = await startPrivateRedis({ settings: { "maxmemory-policy": "allkeys-lru" } });

    const { code, stdout } = await cli.run("doctor", "--redis-url", server.url);
    const document = await cli.json("doctor", "--redis-url", server.url);
    await server.stop();

    expect(code).toBe(6);
    expect(stdout).toContain(`Store  ${server.url}\n`);
    expect(stdout).toMatch(
      /^fail {2}eviction +maxmemory-policy allkeys-lru\n +→ CONFIG SET maxmemory-policy noeviction/m,
    );
    expect(document).toMatchObject({ suitable: false });
  });

  test("of a store that is not there exits 6", async () => {
    expect(await cli.run("doctor", "--redis-url", "redis://127.0.0.1:1")).toMatchObject({
      code: 6,
      stderr: /^Error: STORE_UNAVAILABLE: /,
    });
  });
});

describe("plan workers", () => {
  test("shows who accepts, who drains and who is dead", async () => {
    const at = aPrefix();
    const other = await aStore(inject("redisUrl"), { prefix: at });
    await other.worker(["work"], { label: "vm:1", plans: "" });
    await other.worker(["work"], { label: "vm:2", state: "draining" });
    const gone = await other.worker(["work"], { label: "vm:3" });
    await other.redis.zadd(other.keys.workers, 1, gone.id);

    const { stdout } = await cli.run("workers", "--prefix", at);
    const lines = (await cli.run("workers", "--prefix", at, "-o", "jsonl")).stdout.trim().split("\n");
    await other.drop();

    for (const row of [/^vm:1 +accepting +0\/1/m, /^vm:2 +draining/m, /^vm:3 +dead/m]) expect(stdout).toMatch(row);
    expect(lines.map((line) => JSON.parse(line).state).sort()).toEqual(["accepting", "dead", "draining"]);
  });
});

describe("plan worker", () => {
  test("refuses what is no file, a folder, and a pattern that matches nothing", async () => {
    expect((await cli.run("worker", "--plans", "nosuch.ts")).stderr).toContain("There is no file nosuch.ts");
    expect(await cli.run("worker", "--plans", ".")).toMatchObject({ code: 2, stderr: /Can't load \// });
    expect(await cli.run("worker", "--plans", "no*.ts")).toMatchObject({ code: 2, stderr: /No file matches no\*\.ts/ });
    expect(await cli.run("worker", "--queues", ",")).toMatchObject({ code: 2 });
  });

  test("serves the queues of the modules that are named to it, and executes their plans", async () => {
    cli.file(
      "greet.mjs",
      `import { definePlan } from ${JSON.stringify(library)};
       const any = { "~standard": { version: 1, vendor: "test", validate: (value) => ({ value }) } };
       export const greet = definePlan("greet", { input: any }).step("say", async ({ input }) => "hello " + input.name);`,
    );
    await aWorker("--plans", "gr*.mjs");

    expect(await cli.json("submit", "greet.mjs", "--input", "name=you", "--wait")).toMatchObject({
      state: "completed",
      output: "hello you",
    });
    expect(await cli.json("workers")).toMatchObject([{ queues: ["documents", "greet"], plans: ["greet"] }]);
  });

  test("hands an active step back at the second signal, and with --debug tells what it does", async () => {
    cli.file("stuck.yaml", aDocument("stuck", { one: "touch stuck.started; sleep 60" }));
    const worker = await aWorker("--plans", "stuck.yaml", "--debug", "--grace", "10m");
    await cli.run("submit", "stuck.yaml", "--id", "stuck-1");
    await until("the step to run", () => existsSync(join(cli.cwd, "stuck.started")));

    worker.signal("SIGTERM");
    worker.signal("SIGTERM");

    expect((await worker.ended).code).toBe(0);
    expect(worker.stderr).toContain('"level":20');
    expect((await cli.json("get", "stuck-1")).steps[0]).toMatchObject({ state: "queued", failures: 0 });
    await cli.run("cancel", "stuck-1");
  });
});

describe("a command that waits for a plan", () => {
  test("ends with 130 at Ctrl-C, and with 1 and the way on when the plan is paused", async () => {
    const interrupted = cli.start("submit", "noop.yaml", "--id", "wait-1", "--wait");
    await until("the plan", async () => (await cli.run("get", "wait-1")).code === 0);
    interrupted.signal("SIGINT");
    expect((await interrupted.ended).code).toBe(130);

    const paused = cli.start("submit", "noop.yaml", "--id", "wait-1", "--wait");
    await until("the first line", () => paused.stderr.includes("waits"));
    await cli.run("pause", "wait-1");
    const { code, stdout, stderr } = await paused.ended;

    expect(code).toBe(1);
    expect(stdout).toMatch(/Plan wait-1 is paused/);
    expect(stderr).toMatch(/Try: plan resume wait-1\n$/);
  });

  test("prints one document with the outcome after a resume", async () => {
    await aFailedPlan("then-1");
    cli.file("then-1.ok", "");
    await aWorker("--plans", "then-1.yaml");

    expect(await cli.json("resume", "then-1", "--wait")).toMatchObject({
      eligible: true,
      workers: 1,
      outcome: { state: "completed" },
    });
  });

  test("watch as lines exits 1 for a plan that failed, where the status is asked for", async () => {
    await aFailedPlan("lines-1");

    const { code, stdout } = await cli.run("watch", "lines-1", "-o", "jsonl", "--exit-status");

    expect(code).toBe(1);
    expect(JSON.parse(stdout.trim().split("\n").at(-1)!)).toMatchObject({ type: "plan.failed" });
    expect((await cli.run("watch", "lines-1", "-o", "jsonl")).code).toBe(0);
  });

  test("asks nothing that has been answered already", async () => {
    cli.file("gate.yaml", "plan: gate\nsteps: [{ id: ok, uses: approve, with: { message: Go? } }]\n");
    const running = cli.start("run", "gate.yaml", "--id", "gate-1");
    await until("the question", () => running.stderr.includes("plan approve gate-1 ok"));
    expect((await cli.run("approve", "gate-1", "ok")).stdout).toMatch(
      /^Step ok of plan gate-1 is approved; the plan is /,
    );
    await running.ended;

    const { stdout, stderr } = await cli.run("watch", "gate-1");

    expect(stdout).not.toContain("Answer with");
    expect(stderr).not.toContain("Answer with");
    const decisions = (await cli.run("decisions", "gate-1", "-o", "jsonl")).stdout.trim().split("\n");
    expect(decisions.map((line) => JSON.parse(line).choice)).toEqual(
      [null, "approve"].map((c) => c ?? expect.anything()),
    );
  });
});

describe("resume on a given Redis", () => {
  test("answers a repeated request for people without claiming to have done anything", async () => {
    await aFailedPlan("again-1");
    await cli.run("resume", "again-1", "--request-id", "r");

    const { code, stdout, stderr } = await cli.run("resume", "again-1", "--request-id", "r");

    expect(code).toBe(0);
    expect(stdout).not.toContain("is resumed");
    expect(stderr).toBe("Plan again-1 was resumed by an earlier request of this id; this is its answer.\n");
  });

  test("of several plans ends at once when the store is gone", async () => {
    const { code, stdout, stderr } = await cli.run("resume", "a", "b", "--redis-url", "redis://127.0.0.1:1");

    expect(code).toBe(6);
    expect(stdout).toBe("");
    expect(stderr.match(/STORE_UNAVAILABLE/g)).toHaveLength(1);
  });

  test.each([
    ["--from-checkpoint", "c"],
    ["--from-decision", "d"],
    ["--expect", "t"],
    ["--ack", "a=done"],
  ])("%s is for one plan", async (...flag) => {
    expect((await cli.run("resume", "a", "b", ...flag)).stderr).toContain(`${flag[0]} is for one plan`);
  });

  test("names all options that are for one plan", async () => {
    expect((await cli.run("resume", "--all", "--from-step", "a", "--expect", "t")).stderr).toContain(
      "--from-step and --expect are for one plan",
    );
  });

  test("of a plan in code needs its module to be named, wherever Redis says that it lies", async () => {
    cli.file(
      "code.mjs",
      `import { definePlan, NonRetryableError } from ${JSON.stringify(library)};
       import { existsSync } from "node:fs";
       const any = { "~standard": { version: 1, vendor: "test", validate: (value) => ({ value }) } };
       export const code = definePlan("code", { input: any }).step("a", async () => {
         if (!existsSync(new URL("code.ok", import.meta.url))) throw new NonRetryableError("not yet");
         return 1;
       });`,
    );
    expect((await cli.run("run", "code.mjs", "--id", "code-1")).code).toBe(1);
    cli.file("code.ok", "");

    expect((await cli.run("resume", "code-1", "--here")).stderr).toContain(
      "Plan code v1 is written in code: name its module with --plans",
    );
    await store.redis.hset(store.keys.planPart("code-1", "origin"), "workdir", join(cli.cwd, "gone.mjs"));
    expect((await cli.run("resume", "code-1", "--here", "--plans", "code.mjs")).code).toBe(0);
  });
});

test("a pause that lets active steps finish says so, and the plan is paused once they have", async () => {
  cli.file(
    "active.yaml",
    aDocument("active", { one: "touch active.started; while ! test -e active.go; do sleep 0.02; done", two: "echo 2" }),
  );
  const running = cli.start("run", "active.yaml", "--id", "active-1");
  await until("the step to run", () => existsSync(join(cli.cwd, "active.started")));

  const { stdout } = await cli.run("pause", "active-1", "--after-step", "--actor", "amy", "--reason", "freeze");
  const pending = await cli.run("get", "active-1");
  cli.file("active.go", "");

  expect(stdout).toMatch(/^Plan active-1 pauses once its active steps are done\./);
  expect(pending.stdout).toContain("one is executing; then the plan pauses, as asked by amy: freeze");
  expect(await running.ended).toMatchObject({ code: 1, stdout: /Plan active-1 is paused: 1 of 2/ });
  expect((await cli.run("get", "active-1")).stdout).toContain("it was paused by amy: freeze");
});

test("what is not there yet is said: a signal is kept, a plan has no checkpoint, an id exists", async () => {
  cli.file(
    "early.yaml",
    "plan: early\nsteps:\n  - { id: hold, uses: approve, with: { message: Go? } }\n  - { id: ci, uses: wait }\n",
  );
  const running = cli.start("run", "early.yaml", "--id", "early-1");
  await until("the approval", () => running.stderr.includes("plan approve early-1 hold"));

  expect((await cli.run("signal", "early-1", "ci")).stdout).toContain(
    "doesn't wait yet: the signal is kept until it does",
  );
  expect((await cli.run("checkpoints", "early-1")).stderr).toBe("No step is done yet.\n");
  expect((await cli.run("submit", "early.yaml", "--id", "early-1")).stdout).toBe(
    "Plan early-1 exists already; it is waiting.\n",
  );

  await cli.run("approve", "early-1", "hold", "--reject");
  expect((await running.ended).code).toBe(1);
});

test("at the end of stdin a bulk resume is not confirmed", async () => {
  await aFailedPlan("eof-1");
  const running = cli.startAtTerminal("resume", "--all", "--name", "eof-1");
  await until("the question", () => running.stderr.includes("Resume 1 plan? [y/N]"));

  running.stdin.end();

  expect(await running.ended).toMatchObject({ code: 2, stderr: /Nothing was resumed/ });
});
