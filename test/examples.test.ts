/** Every example runs as a reader would run it: as processes, from the built package. */
import { createHash } from "node:crypto";
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { execa } from "execa";
import { Redis } from "ioredis";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, test } from "vitest";
import { createDirectoryProvider } from "../src/sandbox/directory-provider.js";
import { aDefinition, aStore } from "./support/plans.js";
import { aPrefix } from "./support/store.js";
import { until } from "./support/until.js";

const BIN = resolve("dist/src/cli/bin.js");
const DEMO = resolve("examples/demo.mjs");
const FLEET = resolve("examples/fleet/main.ts");
const BUILD_DEADLINE_MS = 120_000;
const RUN_DEADLINE_MS = 60_000;

/** Everything of one test, its embedded store and socket included; a short path, because sockets need one. */
let folder: string;

beforeAll(async () => {
  if (!isBuilt()) await execa("npm", ["run", "--silent", "build"]);
}, BUILD_DEADLINE_MS);

beforeEach(() => {
  folder = mkdtempSync("/tmp/wm-ex-");
});

afterEach(() => {
  const sockets = findFiles(folder, (name) => name.endsWith(".sock"));
  rmSync(folder, { recursive: true, force: true });
  // The last command out stops the embedded server, and its socket goes with it.
  expect(sockets).toEqual([]);
});

describe("bull-board", { timeout: RUN_DEADLINE_MS }, () => {
  test("lists the queues of plans and shows the job of a step, with no right to touch it", async () => {
    const prefix = aPrefix();
    const env = { WAYMARK_REDIS_URL: inject("redisUrl"), WAYMARK_PREFIX: prefix, PORT: "0" };
    const store = await aStore(env.WAYMARK_REDIS_URL, { prefix });
    await store.submit(aDefinition([{ id: "build", queue: "documents" }]), "web-1");
    const board = execa("node", ["examples/bull-board/board.mjs", "documents"], { env });
    let said = "";
    board.stdout.on("data", (text: Buffer) => {
      said += String(text);
    });
    try {
      const url = await until("the board", () => /http:\S+/.exec(said)?.[0]);

      const { queues } = (await (
        await fetch(`${url}/api/queues?activeQueue=documents&status=waiting`)
      ).json()) as Board;
      const page = await (await fetch(url)).text();
      const removed = await fetch(`${url}/api/queues/documents/${encodeURIComponent("web-1/build/1")}/clean`, {
        method: "PUT",
      });

      expect(queues).toMatchObject([{ name: "documents", readOnlyMode: true, counts: { waiting: 1 } }]);
      expect(queues[0]!.jobs).toMatchObject([
        { id: "web-1/build/1", data: { plan: "web-1", step: "build", epoch: 1 } },
      ]);
      expect(page).toContain("<title>");
      expect(removed.ok).toBe(false);
      const worker = await store.worker(["documents"]);
      expect(await worker.take()).toMatchObject({ planId: "web-1", stepId: "build" });
    } finally {
      board.kill("SIGTERM");
      await board;
      await store.drop();
    }
  });
});

interface Board {
  readonly queues: readonly { readonly name: string; readonly jobs: readonly { readonly id: string }[] }[];
}

describe("agent-refactor", { timeout: 2 * RUN_DEADLINE_MS }, () => {
  test("killed half-way through its edits, it goes on with the files of the checkpoint, and takes the other way from there", async () => {
    const hold = join(folder, "hold");
    writeFileSync(hold, "");
    const dataDir = join(folder, "data");
    const command = (...args: string[]) =>
      execa("node", [BIN, "--data-dir", dataDir, ...args], {
        cwd: "examples/agent-refactor",
        env: { AGENT_HOLD: hold, WAYMARK_REDIS_URL: "", REDIS_URL: "" },
        reject: false,
      });
    const json = async (...args: string[]) => JSON.parse((await command(...args, "-o", "json")).stdout);
    const running: ReturnType<typeof command>[] = [];
    const started = (...args: string[]) => {
      const child = command(...args);
      running.push(child);
      return child;
    };
    const waiting = () => until("it to ask", async () => (await json("get", "agent")).state === "waiting", 40_000);
    try {
      const killed = started("run", "plan.ts", "--id", "agent");
      await until("an edited file", () => editedIn(dataDir), 40_000);
      killed.kill("SIGKILL");
      await killed;

      const preview = await json("resume", "agent", "--dry-run");
      expect(preview.sandbox).toMatchObject({ changed: ["src/cart.js"], added: [], removed: [] });
      rmSync(hold);
      const resumed = started("resume", "agent");
      await waiting();
      resumed.kill("SIGINT");
      expect((await resumed).exitCode).toBe(130);

      const [decision] = (await json("decisions", "agent")).filter((made: { key: string }) => made.key === "how");
      expect(decision).toMatchObject({ choice: "patch", made_by: "agent" });
      const rewound = started("resume", "agent", "--from-decision", decision.decision_id, "--choose", "rewrite");
      await until("the new epoch", async () => (await json("get", "agent")).epoch === 3, 40_000);
      await waiting();
      expect((await command("approve", "agent", "sign-off")).exitCode).toBe(0);
      expect((await rewound).exitCode).toBe(0);

      const trees = await Promise.all(
        (await json("checkpoints", "agent"))
          .filter((point: { step: string }) => point.step === "edit" || point.step === "choose")
          .map((point: { sandbox: string }) => cartAt(dataDir, point.sandbox)),
      );
      const [before, patched, again, rewritten] = trees;
      expect(before).toContain("var sum");
      expect(patched).toContain("let sum");
      expect(again).toBe(before);
      expect(rewritten).toContain("reduce");
    } finally {
      for (const child of running) child.kill("SIGKILL");
      await Promise.all(running);
    }
  });
});

/** Whether an attempt that works in this data directory has changed its first file. */
function editedIn(dataDir: string): boolean {
  const work = join(dataDir, "sandboxes", "work");
  if (!existsSync(work)) return false;
  return findFiles(work, (name) => name === "cart.js").some((path) => readFileSync(path, "utf8").includes("let sum"));
}

/** The file in a snapshot. */
async function cartAt(dataDir: string, digest: string): Promise<string> {
  const target = mkdtempSync(join(folder, "tree-"));
  const rules = { exclude: [], ignore: [], include: [] };
  const snapshot = { provider: "directory", digest, files: 0, bytes: 0 };
  await createDirectoryProvider({ dataDir }).restore(snapshot, target, rules);
  return readFileSync(join(target, "src/cart.js"), "utf8");
}

describe("release", { timeout: RUN_DEADLINE_MS }, () => {
  test("a release ends with an archive that has the digest of its index", async () => {
    const cwd = copyOf("release");

    const run = await plan(cwd, "run", "plan.yaml", "--input", "tag=v1.2.0", "--id", "pace", "-o", "json");

    expect(run.exitCode).toBe(0);
    const index = JSON.parse(readFileSync(join(cwd, "out/registry/index.json"), "utf8"));
    const archive = readFileSync(join(cwd, "out/registry/pace-1.2.0.tgz"));
    expect(index["1.2.0"].sha256).toBe(createHash("sha256").update(archive).digest("hex"));
    expect(JSON.parse(run.stdout)).toMatchObject({ state: "completed", phase: "apply", done: 7, total: 7 });
  });

  test("a tag that is not the project's version fails before anything is built", async () => {
    const cwd = copyOf("release");

    const run = await plan(cwd, "run", "plan.yaml", "--input", "tag=v9.9.9");

    expect(run.exitCode).toBe(1);
    expect(run.stderr).toContain("the tag is v9.9.9, and project/package.json says 1.2.0");
    expect(existsSync(join(cwd, "out"))).toBe(false);
  });

  test("a test that fails keeps the release from being packaged; mended, resume goes on from there", async () => {
    const cwd = copyOf("release");
    const source = join(cwd, "project/test/pace.test.js");
    const good = readFileSync(source, "utf8");
    writeFileSync(source, good.replace('["waym"]', '["way"]'));

    const failed = await plan(cwd, "run", "plan.yaml", "--input", "tag=v1.2.0", "--id", "pace");
    writeFileSync(source, good);
    const resumed = await plan(cwd, "resume", "pace", "-o", "json");

    expect(failed.exitCode).toBe(1);
    expect(resumed.exitCode).toBe(0);
    const { reuse, run, outcome } = JSON.parse(resumed.stdout);
    expect({ reuse, run }).toEqual({
      reuse: ["assess", "build", "check"],
      run: ["test", "package", "verify", "publish"],
    });
    expect(outcome.state).toBe("completed");
  });
});

describe("pipeline", { timeout: RUN_DEADLINE_MS }, () => {
  test("the result is the published one", async () => {
    const cwd = copyOf("pipeline");

    const run = await plan(cwd, "run", "plan.yaml", "-o", "json");

    expect(run.exitCode).toBe(0);
    expect(JSON.parse(run.stdout)).toMatchObject({
      state: "completed",
      output: { alike: ["n", "meanX", "meanY", "varianceX", "correlation", "slope", "intercept"], apart: ["maxY"] },
    });
  });

  test("a single wrong number in the data fails the check", async () => {
    const cwd = copyOf("pipeline");
    const file = join(cwd, "data/anscombe.csv");
    writeFileSync(file, readFileSync(file, "utf8").replace("III,13,12.74", "III,13,21.74"));

    const run = await plan(cwd, "run", "plan.yaml", "--id", "wrong");
    const found = await plan(cwd, "get", "wrong", "-o", "json");

    expect(run.exitCode).toBe(1);
    const steps = JSON.parse(found.stdout).steps as { id: string; state: string }[];
    expect(steps.filter(({ state }) => state !== "completed").map(({ id }) => id)).toEqual(["check"]);
  });
});

describe("orders", { timeout: RUN_DEADLINE_MS }, () => {
  test("the plan's own tests pass, without a Redis", async () => {
    const files = ["--test-reporter=tap", "--test", "examples/orders/order.test.ts"];
    const run = await execa(process.execPath, ["--import", "tsx", ...files], {
      env: environment(),
      extendEnv: false,
      reject: false,
    });

    expect(run.stdout).toMatch(/^# pass 4$/m);
    expect(run.exitCode).toBe(0);
  });

  test("what they import needs neither a client of Redis nor a queue: it runs where there is none", async () => {
    const installed = join(folder, "node_modules/waymark");
    cpSync(resolve("dist"), join(installed, "dist"), { recursive: true });
    cpSync(resolve("package.json"), join(installed, "package.json"));
    writeFileSync(
      join(folder, "alone.mjs"),
      `import { testPlan } from "waymark/testing";
       const anything = { "~standard": { version: 1, vendor: "none", validate: (value) => ({ value }) } };
       const { definePlan } = await import(new URL("./node_modules/waymark/dist/src/define/define-plan.js", import.meta.url));
       const plan = definePlan("alone", { input: anything }).step("act", async ({ input }) => input.n + 1);
       const { output } = await testPlan(plan, { input: { n: 1 }, crashAt: "everywhere" });
       console.log(output, process.getActiveResourcesInfo().filter((what) => /TCP|Pipe.*Server|Worker/.test(what)).length);`,
    );

    const run = await execa(process.execPath, ["alone.mjs"], { cwd: folder, env: environment(), extendEnv: false });

    expect(run.stdout).toBe("2 0");
  });
});

describe("fleet", { timeout: RUN_DEADLINE_MS }, () => {
  const prefix = aPrefix();
  const redis = new Redis(inject("redisUrl"), { lazyConnect: true });

  afterAll(async () => {
    const keys = await redis.keys(`{${prefix}:*`);
    if (keys.length > 0) await redis.del(keys);
    await redis.quit();
  });

  test("one worker is killed, the other finishes, and every prime is counted once", async () => {
    const env = { ...environment(), WAYMARK_REDIS_URL: inject("redisUrl"), WAYMARK_PREFIX: prefix };

    const run = await execa(process.execPath, ["--import", "tsx", FLEET], { env, extendEnv: false, reject: false });

    expect(run.exitCode).toBe(0);
    expect(run.stdout).toMatch(/killed worker \d+ in step (lower|upper)/);
    expect(run.stdout).toMatch(/primes, \d+ attempts, [12] crashed, 3 completed/);
    expect(run.stdout).toContain("664579 primes below 10000000: correct");
  });
});

describe("demo", { timeout: RUN_DEADLINE_MS }, () => {
  test("shows a kill, what is left of it, what resume would do, and that it does that", async () => {
    const demo = await execa(process.execPath, [DEMO], {
      env: environment(),
      extendEnv: false,
      all: true,
      reject: false,
    });

    expect(demo.exitCode).toBe(0);
    expect(commandsIn(demo.all)).toEqual([
      "plan run plan.yaml --input tag=v1.2.0 --id pace-1.2.0",
      "plan get pace-1.2.0",
      "plan resume pace-1.2.0 --dry-run",
      "plan resume pace-1.2.0",
      "plan get pace-1.2.0",
    ]);
    expect(demo.all).toMatch(/^State +interrupted/m);
    expect(demo.all.match(/^Reuse +assess, build, check$/gm)).toHaveLength(2);
    expect(demo.all.match(/^Run +test, package, verify, publish$/gm)).toHaveLength(2);
    expect(demo.all).toContain("(dry run) nothing was written");
    expect(demo.all).toMatch(/^State +completed {2}\(epoch 2, resumed once\)/m);
    expect(demo.all).toMatch(/test +[\d.]+m?s +2 attempts/);
    expect(foldersOfDemo()).toEqual([]);
  });

  test("with --play it leaves the plan killed, and the commands that it prints finish it", async () => {
    const demo = await execa(process.execPath, [DEMO, "--play"], {
      env: environment(),
      extendEnv: false,
      reject: false,
    });
    expect(demo.exitCode).toBe(0);
    expect(foldersOfDemo()).toHaveLength(1);
    const commands = demo.stdout
      .split("\n")
      .filter((line) => line.startsWith("  "))
      .map((line) => line.trim());
    const script = join(folder, "go-on.sh");
    writeFileSync(script, ["set -e", "shopt -s expand_aliases", ...commands].join("\n"));

    const typed = await execa("bash", [script], { env: environment(), extendEnv: false, all: true, reject: false });

    expect(typed.exitCode).toBe(0);
    expect(typed.all).toMatch(/^State +interrupted/m);
    expect(typed.all).toContain("✔ Plan pace-1.2.0 is completed");
  });

  test("an interrupted demo cleans up as well", async () => {
    const demo = execa(process.execPath, [DEMO], { env: environment(), extendEnv: false, reject: false });
    for await (const line of demo) if (line.includes("What would resume do?")) demo.kill("SIGINT");

    expect((await demo).exitCode).toBe(130);
    expect(foldersOfDemo()).toEqual([]);
  });
});

/** The package as it is built from the sources as they are. */
function isBuilt(): boolean {
  const built = statSync(BIN, { throwIfNoEntry: false })?.mtimeMs ?? 0;
  return findFiles("src", () => true).every((path) => statSync(path).mtimeMs <= built);
}

function copyOf(example: string): string {
  const copy = join(folder, example);
  cpSync(resolve("examples", example), copy, { recursive: true });
  return copy;
}

function plan(cwd: string, ...args: string[]) {
  return execa(process.execPath, [BIN, ...args], { cwd, env: environment(), extendEnv: false, reject: false });
}

/** Nothing of the run's own settings; temporary files where this test can look for what was left. */
function environment(): Record<string, string> {
  return { PATH: process.env.PATH ?? "", HOME: folder, TMPDIR: folder };
}

function commandsIn(text: string): string[] {
  return text
    .split("\n")
    .filter((line) => line.startsWith("$ "))
    .map((line) => line.slice(2));
}

function foldersOfDemo(): string[] {
  return readdirSync(folder).filter((name) => name.startsWith("waymark-demo-"));
}

function findFiles(where: string, wanted: (name: string) => boolean): string[] {
  return readdirSync(where, { recursive: true, withFileTypes: true })
    .filter((entry) => !entry.isDirectory() && wanted(entry.name))
    .map((entry) => join(entry.parentPath, entry.name));
}
