import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { until } from "../support/until.js";
import { anEmbeddedCli } from "./a-fleet.js";

const { cli } = await anEmbeddedCli();

const FILES = `plan: files
defaults: { retry: { attempts: 1 } }
sandbox: { from: ./project }
steps:
  - { id: add, run: "echo added > added.txt; echo 2 > kept.txt" }
  - { id: gate, run: "cat added.txt; echo more > more.txt; echo 3 > kept.txt; rm -f old.txt; test -e '__OK__'" }
  - { id: last, run: "cat kept.txt" }
`;

function aProject(): void {
  mkdirSync(join(cli.cwd, "project"), { recursive: true });
  writeFileSync(join(cli.cwd, "project/kept.txt"), "1");
  writeFileSync(join(cli.cwd, "project/old.txt"), "old");
  cli.file("files.yaml", FILES.replace("__OK__", join(cli.cwd, "ok")));
}

test("a resume says what was done to the files since the checkpoint, keeps it, and goes on from the checkpoint", async () => {
  aProject();
  expect((await cli.run("run", "files.yaml", "--id", "files-1")).code).toBe(1);

  const preview = await cli.json("resume", "files-1", "--dry-run");
  expect(preview).toMatchObject({ eligible: true, step: "gate", reuse: ["add"], run: ["gate", "last"] });
  expect(preview.sandbox).toMatchObject({ files: 3, digest: expect.stringMatching(/^sha256:/) });
  const shown = await cli.run("resume", "files-1", "--dry-run");
  expect(shown.stdout).toMatch(/^Sandbox +sha256:/m);

  cli.file("ok", "");
  const { code, stdout } = await cli.run("resume", "files-1", "--expect", preview.resume_token);
  expect(stdout).toMatch(/^Run +gate, last$/m);
  expect(code).toBe(0);
  expect((await cli.json("get", "files-1")).state).toBe("completed");

  const checkpoints = await cli.json("checkpoints", "files-1");
  expect(checkpoints.map((checkpoint: { step: string }) => checkpoint.step)).toEqual(["add", "gate", "last"]);
  expect(new Set(checkpoints.map((checkpoint: { sandbox: string }) => checkpoint.sandbox)).size).toBe(2);
  expect((await cli.run("checkpoints", "files-1")).stdout).toMatch(/ SANDBOX .*\n.* add .* sha256:[0-9a-f]{8}…/);
  const history = await cli.run("history", "files-1");
  expect(history.stdout).toMatch(/plan.resumed/);
});

test("a snapshot that is gone is named, and nothing is resumed", async () => {
  aProject();
  rmSync(join(cli.cwd, "ok"), { force: true });
  expect((await cli.run("run", "files.yaml", "--id", "gone-1")).code).toBe(1);
  rmSync(join(cli.cwd, ".waymark/sandboxes/store/manifests"), { recursive: true });

  const refused = await cli.run("resume", "gone-1");
  expect(refused).toMatchObject({ code: 3, stderr: expect.stringContaining("SANDBOX_MISSING") });
  expect((await cli.json("get", "gone-1")).state).toBe("failed");
});

test("what an attempt left and no snapshot can hold is named before anything is resumed; without it the resume goes on", async () => {
  aProject();
  expect((await cli.run("run", "files.yaml", "--id", "pipe-1")).code).toBe(1);
  const work = join(cli.cwd, ".waymark/sandboxes/work/pipe-1");
  const [left] = readdirSync(work).filter((name) => !name.endsWith(".json"));
  execFileSync("mkfifo", [join(work, left!, "pipe")]);

  const refused = await cli.json("resume", "pipe-1", "--dry-run");
  expect(refused).toMatchObject({ eligible: false, error: { code: "SANDBOX_UNSUPPORTED" } });
  expect(refused.error.message).toContain("can't be kept");

  rmSync(work, { recursive: true });
  expect(await cli.json("resume", "pipe-1", "--dry-run")).toMatchObject({ eligible: true, sandbox: { changed: [] } });
});

test("a document that can't be read any more says nothing of drift, unless drift is asked for", async () => {
  cli.file("broken.yaml", "plan: broken\nsteps: [{ run: test -e broken.ok }]\ndefaults: { retry: { attempts: 1 } }\n");
  expect((await cli.run("run", "broken.yaml", "--id", "broken-1")).code).toBe(1);
  cli.file("broken.yaml", "plan: [");

  expect(await cli.run("resume", "broken-1", "--on-drift", "refuse")).toMatchObject({
    code: 2,
    stderr: expect.stringContaining("INVALID_PLAN"),
  });
  cli.file("broken.ok", "");
  expect((await cli.run("resume", "broken-1")).code).toBe(0);
});

test("a folder that a sandbox should start from and that is not there is named", async () => {
  cli.file("nowhere.yaml", "plan: nowhere\nsandbox: { from: ./nowhere }\nsteps: [{ run: echo }]\n");

  const refused = await cli.run("run", "nowhere.yaml");
  expect(refused).toMatchObject({ code: 2, stderr: expect.stringContaining("nowhere, which is not there") });
});

const ASKS = `plan: asks
defaults: { retry: { attempts: 1 } }
steps:
  - { id: before, run: echo 1 }
  - { id: way, uses: ask, with: { question: "Which way?", options: [left, right] } }
  - { id: after, run: "test -e after.ok && echo $WAY", env: { WAY: "\${{ steps.way.output.choice }}" } }
`;

test("a decision is made on the command line, shown, and taken the other way", async () => {
  cli.file("asks.yaml", ASKS);
  const running = cli.start("run", "asks.yaml", "--id", "asks-1");
  await until("the question", async () => (await cli.json("get", "asks-1")).state === "waiting");
  expect(await cli.run("resume", "asks-1")).toMatchObject({ code: 3, stderr: expect.stringContaining("PLAN_WAITING") });

  expect(await cli.run("decide", "asks-1", "way")).toMatchObject({
    code: 2,
    stderr: expect.stringContaining("Which way?"),
  });
  expect(await cli.run("decide", "asks-1", "way", "up")).toMatchObject({
    code: 2,
    stderr: expect.stringContaining("INVALID_CHOICE"),
  });
  expect(await cli.run("decide", "asks-1", "after", "left")).toMatchObject({ code: 3 });
  expect((await cli.run("decide", "asks-1", "way", "left", "--rationale", "shorter")).stdout).toContain(
    "has its answer",
  );
  expect((await running.ended).code).toBe(1);

  cli.file("asks.yaml", ASKS.replace("echo 1", "echo one").replace("[left, right]", "[left, right, back]"));
  const drifted = await cli.json("resume", "asks-1", "--dry-run");
  expect(drifted.drift.length).toBeGreaterThan(0);
  expect(await cli.run("resume", "asks-1", "--on-drift", "refuse")).toMatchObject({
    code: 3,
    stderr: expect.stringContaining("DEFINITION_DRIFT"),
  });
  cli.file("asks.yaml", ASKS);
  cli.file("after.ok", "");
  expect((await cli.run("resume", "asks-1", "--from-step", "before", "--dry-run")).code).toBe(0);

  const decisions = await cli.json("decisions", "asks-1");
  const made = decisions.at(-1);
  expect(made).toMatchObject({ step: "way", choice: "left", rationale: "shorter" });
  const taken = await cli.run("resume", "asks-1", "--from-decision", made.decision_id, "--choose", "right");
  expect(taken.code).toBe(0);
  expect((await cli.run("history", "asks-1")).stdout).toMatch(/steps.superseded/);
  expect((await cli.run("decisions", "asks-1")).stdout).toContain("right");
  expect((await cli.run("logs", "asks-1")).stdout).toContain("right");
  expect((await cli.run("get", "asks-1")).stdout).toContain("completed");
});

test("logs are chosen by step, attempt and failure, those of superseded steps as well", async () => {
  expect((await cli.run("logs", "asks-1", "after")).stdout).toContain("right");
  expect((await cli.json("logs", "asks-1", "after", "--attempt", "1")).length).toBeGreaterThan(0);
  expect((await cli.run("logs", "asks-1", "--failed")).code).toBe(0);
  expect((await cli.run("logs", "asks-1", "after", "--failed")).code).toBe(0);
  expect((await cli.run("logs", "asks-1", "-o", "jsonl")).stdout).toContain("right");
  expect((await cli.run("logs", "asks-1", "--follow")).code).toBe(0);
  expect(await cli.run("logs", "asks-1", "nowhere")).toMatchObject({ code: 4 });
  expect((await cli.run("logs", "files-1", "gate")).stdout).toContain("added");
});

test("what stopped a plan and what its files are stand in its view", async () => {
  aProject();
  rmSync(join(cli.cwd, "ok"), { force: true });
  await cli.run("run", "files.yaml", "--id", "stop-1");
  expect((await cli.run("pause", "stop-1")).code).toBe(0);
  expect((await cli.run("get", "stop-1")).stdout).toMatch(/paused/);
  expect((await cli.json("resume", "stop-1", "--dry-run", "--from-step", "add")).run).toEqual(["add", "gate", "last"]);
  const [first] = await cli.json("checkpoints", "stop-1");
  const kept = await cli.json("resume", "stop-1", "--dry-run", "--from-checkpoint", first.checkpoint_id);
  expect(kept).toMatchObject({ eligible: true, reuse: ["add"] });
  expect(await cli.run("resume", "stop-1", "--from-checkpoint", "ckp_none")).toMatchObject({ code: 4 });
  expect(await cli.run("resume", "stop-1", "--from-decision", "dec_none")).toMatchObject({ code: 4 });
  expect((await cli.run("cancel", "stop-1", "--reason", "not needed")).code).toBe(0);
  expect((await cli.run("get", "stop-1")).stdout).toContain("not needed");
  expect((await cli.run("history", "stop-1")).stdout).toContain("plan.cancelled");
  expect(await cli.run("resume", "stop-1", "--dry-run")).toMatchObject({ code: 3 });
});

test("what a killed process did to the files is listed, kept, and not there when the plan goes on", async () => {
  aProject();
  const slow = FILES.replace("plan: files", "plan: slow").replace(
    "test -e '__OK__'",
    "touch __OK__.at; test -e __OK__.go || sleep 60",
  );
  cli.file("slow.yaml", slow.replaceAll("__OK__", join(cli.cwd, "slow")));
  const bin = fileURLToPath(new URL("../../dist/src/cli/bin.js", import.meta.url));
  const child = spawn(process.execPath, [bin, "run", "slow.yaml", "--id", "slow-1"], {
    cwd: cli.cwd,
    detached: true,
    stdio: "ignore",
    env: { PATH: process.env.PATH ?? "", HOME: cli.cwd },
  });
  await until("the step to have changed the files", () => existsSync(join(cli.cwd, "slow.at")));
  process.kill(-child.pid!, "SIGKILL");
  await until("the plan to be interrupted", async () => (await cli.json("get", "slow-1")).state === "interrupted");

  const { sandbox } = await cli.json("resume", "slow-1", "--dry-run");
  expect(sandbox).toMatchObject({ changed: ["kept.txt"], added: ["more.txt"], removed: ["old.txt"] });
  expect((await cli.run("resume", "slow-1", "--dry-run")).stdout).toContain("1 changed, 1 added, 1 removed since");

  cli.file("slow.go", "");
  const resumed = await cli.run("resume", "slow-1");
  expect(resumed.stdout).toContain("kept as sha256:");
  expect(resumed.code).toBe(0);
  expect((await cli.run("history", "slow-1")).stdout).toContain("sandbox.kept");
});

test("files in git: each checkpoint is a commit, a resume goes back to it, and one that is gone is named", async () => {
  aProject();
  rmSync(join(cli.cwd, "ok"), { force: true });
  const kept = FILES.replace("plan: files", "plan: in-git").replace("./project }", "./project, provider: git }");
  cli.file("in-git.yaml", kept.replace("__OK__", join(cli.cwd, "ok")));
  const repository = join(cli.cwd, ".waymark/sandboxes/store/snapshots.git");
  const git = (...args: string[]) => execFileSync("git", args, { cwd: repository, encoding: "utf8" }).trim();
  expect((await cli.run("run", "in-git.yaml", "--id", "git-1")).code).toBe(1);

  const { sandbox } = await cli.json("resume", "git-1", "--dry-run");
  const ref = sandbox.digest.replace("sha256:", "refs/waymark/snapshots/");
  expect(git("show", `${ref}:files/added.txt`)).toBe("added");
  const commit = git("rev-parse", ref);
  git("update-ref", "-d", ref);
  const refused = await cli.run("resume", "git-1");
  expect(refused).toMatchObject({ code: 3, stderr: expect.stringContaining("SANDBOX_MISSING") });
  git("update-ref", ref, commit);

  cli.file("ok", "");
  expect((await cli.run("resume", "git-1")).code).toBe(0);

  const digests = (await cli.json("checkpoints", "git-1")).map((point: { sandbox: string }) => point.sandbox);
  const [first, , last] = digests.map((digest: string) => digest.replace("sha256:", "refs/waymark/snapshots/"));
  expect(git("diff", "--name-status", `${first}:files`, `${last}:files`)).toBe("M\tkept.txt\nA\tmore.txt\nD\told.txt");
});
