/** Steps with files: what they find, what of it is kept, and what becomes of it where an attempt ends otherwise. */
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, inject, onTestFinished, test } from "vitest";
import { z } from "zod";
import { sandboxesOf } from "../../src/client/sandboxes.js";
import type { CompiledDefinition } from "../../src/core/definition.js";
import { NonRetryableError } from "../../src/core/errors.js";
import type { SandboxDeclaration } from "../../src/core/sandbox.js";
import { definePlan } from "../../src/define/define-plan.js";
import { checkInvariants } from "../support/invariants.js";
import { A_SANDBOX, aDefinition, aStore, type StepSpec, type TestStore } from "../support/plans.js";
import { aFolder, filesOfCheckpoints, readTree, submitWithFiles, type Tree } from "../support/sandboxes.js";
import { type Act, gate, type RunningWorker, type RunOptions, runWorker } from "../support/step-workers.js";
import { until } from "../support/until.js";

let t: TestStore;
let dataDir: string;
const plans: string[] = [];

beforeEach(async () => {
  t = await aStore(inject("redisUrl"));
  dataDir = aFolder();
  plans.length = 0;
});

afterEach(async () => {
  for (const plan of plans) expect(await checkInvariants(t.store, plan)).toEqual([]);
  await t.drop();
});

async function start(act: Act, options: RunOptions = {}): Promise<RunningWorker> {
  const running = await runWorker(t, act, { sandboxes: sandboxesOf({ dataDir }), ...options });
  onTestFinished(() => running.close());
  return running;
}

function withFiles(steps: readonly StepSpec[], sandbox: Partial<SandboxDeclaration> = {}): CompiledDefinition {
  return aDefinition(steps, { sandbox: { ...A_SANDBOX, from: "project", ...sandbox } });
}

async function submitted(compiled: CompiledDefinition, tree: Tree = { "a.txt": "one" }): Promise<string> {
  const plan = await submitWithFiles(t, compiled, tree, dataDir);
  plans.push(plan);
  return plan;
}

async function ended(plan: string, state = "completed"): Promise<void> {
  await until(`plan ${plan} to be ${state}`, async () => (await t.state(plan)) === state, 20_000);
}

function write(id: string, needs: readonly string[] = []): StepSpec {
  return { id, needs, sandbox: "write" };
}

describe("a step that writes the sandbox", () => {
  test("finds the files of the checkpoint before it, and leaves its own as the next one", async () => {
    const seen: Record<string, unknown> = {};
    await start(({ stepId, sandbox, workdir }) => {
      expect(workdir).toBe(sandbox?.path ?? null);
      if (sandbox === null) return;
      seen[stepId] = readTree(sandbox.path);
      writeFileSync(join(sandbox.path, `${stepId}.txt`), stepId);
    });

    const plan = await submitted(
      withFiles([
        write("fix"),
        { id: "look", needs: ["fix"], sandbox: "read" },
        { id: "tell", needs: ["look"] },
        write("more", ["tell"]),
      ]),
    );
    await ended(plan);

    const one = { "a.txt": "one" };
    expect(seen).toEqual({ fix: one, look: { ...one, "fix.txt": "fix" }, more: { ...one, "fix.txt": "fix" } });
    expect(await filesOfCheckpoints(t, plan, dataDir)).toEqual({
      fix: { ...one, "fix.txt": "fix" },
      look: { ...one, "fix.txt": "fix" },
      tell: { ...one, "fix.txt": "fix" },
      more: { ...one, "fix.txt": "fix", "more.txt": "more" },
    });
  });

  test("is followed by the next one where its files are, although another worker waits for work", async () => {
    const paths: string[] = [];
    const act: Act = ({ sandbox }) => void paths.push(sandbox!.path);
    await start(act);
    // On another machine, with the same store.
    const store = join(dataDir, "sandboxes", "store");
    await start(act, { sandboxes: sandboxesOf({ dataDir: aFolder(), store }) });
    const steps = Array.from({ length: 6 }, (_, i) => write(`s${i}`, i === 0 ? [] : [`s${i - 1}`]));

    await ended(await submitted(withFiles(steps)));

    expect(paths).toHaveLength(6);
    expect(new Set(paths).size).toBe(1);
  });

  test("that changes nothing adds no snapshot", async () => {
    await start(() => null);
    const plan = await submitted(withFiles([write("look"), write("again", ["look"])]));
    await ended(plan);

    expect(await t.redis.llen(t.keys.planPart(plan, "sandboxes"))).toBe(1);
  });

  test("begins anew where an attempt has failed: what that one did to the files is gone", async () => {
    const found: Tree[] = [];
    await start(({ sandbox, attempt }) => {
      found.push(readTree(sandbox!.path));
      writeFileSync(join(sandbox!.path, "a.txt"), `by ${attempt}`);
      writeFileSync(join(sandbox!.path, `${attempt}.txt`), "x");
      rmSync(join(sandbox!.path, "b.txt"));
      if (attempt === 1) throw new Error("boom");
    });
    const tree = { "a.txt": "one", "b.txt": "two" };
    const plan = await submitted(withFiles([write("fix")]), tree);
    await ended(plan);

    expect(found).toEqual([tree, tree]);
    expect(await filesOfCheckpoints(t, plan, dataDir)).toEqual({ fix: { "a.txt": "by 2", "2.txt": "x" } });
  });

  test("can't wait for somebody with files in its hands", async () => {
    await start(() => ({ kind: "parked", wait: "signal", dueInMs: null, ask: null }));
    const plan = await submitted(withFiles([write("fix")]));
    await ended(plan, "failed");

    expect((await t.store.detail(plan)).errors.get("fix")?.message).toBe("a step with files can't wait");
  });

  test("fails where its snapshot is gone, and says what to look at", async () => {
    await start(() => null);
    const plan = await t.submit(withFiles([write("fix")]));
    await ended(plan, "failed");

    expect((await t.store.detail(plan)).errors.get("fix")?.code).toBe("SANDBOX_MISSING");
  });

  test("fails where what it leaves can't be kept, with the path, and is tried again", async () => {
    const attempts: number[] = [];
    await start(async ({ sandbox, attempt }) => {
      attempts.push(attempt);
      if (attempt === 1) {
        const { createServer } = await import("node:net");
        const server = createServer().listen(join(sandbox!.path, "db.sock"));
        onTestFinished(() => void server.close());
        await new Promise((resolve) => server.once("listening", resolve));
      }
    });
    const plan = await submitted(withFiles([write("fix")]));
    await ended(plan, "failed");

    expect(attempts).toEqual([1]);
    expect((await t.store.detail(plan)).errors.get("fix")?.message).toContain("db.sock");
  });

  test("is ended by its timeout while its directory is prepared", async () => {
    await start(() => null, { trust: { kind: "all" } });
    const compiled = withFiles(
      [{ ...write("fix"), timeoutMs: 200, retry: { attempts: 1, backoff: "fixed", delayMs: 1, maxMs: 1 } }],
      { prepare: { run: "sleep 60" } },
    );
    const plan = await submitted(compiled);
    await ended(plan, "failed");

    expect((await t.store.detail(plan)).errors.get("fix")?.message).toContain("timed out");
  });
});

describe("steps that read the sandbox", () => {
  test("overlap, and nothing that they do to the files is kept", async () => {
    const together = gate();
    let inside = 0;
    const found: Tree[] = [];
    await start(
      async ({ sandbox, stepId }) => {
        found.push(readTree(sandbox!.path));
        if (stepId === "last") return;
        inside += 1;
        if (inside === 2) together.open();
        await together.passed;
        writeFileSync(join(sandbox!.path, `${stepId}.txt`), "left behind");
      },
      { concurrency: 2 },
    );
    const plan = await submitted(
      withFiles([
        { id: "a", sandbox: "read" },
        { id: "b", sandbox: "read" },
        { id: "last", sandbox: "read", needs: ["a", "b"] },
      ]),
    );
    await ended(plan);

    expect(found).toEqual([{ "a.txt": "one" }, { "a.txt": "one" }, { "a.txt": "one" }]);
    expect(await t.redis.llen(t.keys.planPart(plan, "sandboxes"))).toBe(1);
  });

  test("keep what they found while a writer goes on", async () => {
    const reading = gate();
    const wrote = gate();
    await start(
      async ({ sandbox, stepId }) => {
        if (stepId === "write") {
          await reading.passed;
          writeFileSync(join(sandbox!.path, "a.txt"), "two");
          wrote.open();
          return;
        }
        reading.open();
        await wrote.passed;
        return readFileSync(join(sandbox!.path, "a.txt"), "utf8");
      },
      { concurrency: 2 },
    );
    const plan = await submitted(withFiles([{ id: "read", sandbox: "read" }, write("write")]));
    await ended(plan);

    expect(await t.store.output(plan, "read")).toBe('"one"');
  });
});

describe("a directory", () => {
  test("is prepared once, by a command that only a trusted definition may have", async () => {
    const prepare = { run: "mkdir -p installed && echo run >> installed/log" };
    const compiled = withFiles([write("a"), write("b", ["a"])], { prepare, ignore: ["installed/"] });
    const seen: string[] = [];
    const act: Act = ({ sandbox }) => {
      seen.push(`${sandbox!.fresh} ${readFileSync(join(sandbox!.path, "installed/log"), "utf8").trim()}`);
      writeFileSync(join(sandbox!.path, "b.txt"), "x");
    };
    const wary = await start(act);
    const plan = await submitted(compiled);
    await until("the step to be handed back", async () => {
      const { unserved } = await t.store.detail(plan);
      return unserved.get("a")?.reason.includes("may run commands");
    });
    await wary.close();
    expect(existsSync(join(dataDir, "sandboxes", "work"))).toBe(false);

    await start(act, { trust: { kind: "digests", digests: new Set([compiled.digest]) } });
    await ended(plan);

    expect(seen).toEqual(["true run", "false run"]);
    expect(await filesOfCheckpoints(t, plan, dataDir)).toMatchObject({ b: { "a.txt": "one", "b.txt": "x" } });
  });

  test("that could not be prepared fails the attempt, and is prepared by the next", async () => {
    const flag = join(aFolder(), "flag");
    const prepare = { run: `test -e ${flag} || { touch ${flag}; echo no network >&2; exit 3; }` };
    const compiled = withFiles([write("a")], { prepare });
    await start(() => null, { trust: { kind: "all" } });
    const plan = await submitted(compiled);
    await ended(plan);

    const failed = (await t.store.history(plan)).find((event) => event.type === "step.failed");
    expect(failed).toMatchObject({ error: { message: expect.stringContaining("no network") } });
  });
});

describe("a plan in code", () => {
  const input = z.object({});

  test("gives its steps the sandbox they ask for", async () => {
    const plan = definePlan("web", { input, queue: "work", sandbox: { from: "project" } })
      .step("fix", { sandbox: "write" }, async ({ sandbox }) => {
        writeFileSync(join(sandbox.path, "a.txt"), "two");
        return sandbox.fresh;
      })
      .step("look", { sandbox: "read" }, async ({ sandbox }) => readFileSync(join(sandbox.path, "a.txt"), "utf8"))
      .step("tell", async (context) => "sandbox" in context && context.sandbox !== undefined);
    await start(() => null, { plans: [plan] });

    const planId = await submitted(plan.compiled);
    await ended(planId);

    const outputs = await Promise.all(["fix", "look", "tell"].map((step) => t.store.output(planId, step)));
    expect(outputs).toEqual(["true", '"two"', "false"]);
  });

  test("is left to a worker whose plan keeps the same files and prepares them by the same command", async () => {
    const own = definePlan("web", { input, queue: "work", sandbox: {} }).step(
      "fix",
      { sandbox: "write" },
      async ({ sandbox }) => sandbox.fresh,
    );
    const { definition } = own.compiled;
    const forged = { ...definition.sandbox!, prepare: { run: "touch /tmp/forged" }, include: [".env"] };
    const { compile } = await import("../../src/core/definition.js");
    await start(() => null, { plans: [own], trust: { kind: "all" } });

    const planId = await submitted(compile({ ...definition, sandbox: forged }));

    await until("the step to be handed back", async () => {
      const { unserved } = await t.store.detail(planId);
      return unserved.get("fix")?.reason === "no worker has web v1";
    });
  });
});

test("a step without retries fails where its function says so, and the next writer begins with the checkpoint", async () => {
  const found: Tree[] = [];
  await start(({ sandbox, stepId }) => {
    found.push(readTree(sandbox!.path));
    writeFileSync(join(sandbox!.path, "a.txt"), stepId);
    if (stepId === "a") throw new NonRetryableError("no");
  });
  const plan = await submitted(withFiles([write("a"), write("b")]));
  await ended(plan, "failed");

  expect(found).toEqual([{ "a.txt": "one" }, { "a.txt": "one" }]);
  expect(await filesOfCheckpoints(t, plan, dataDir)).toEqual({ b: { "a.txt": "b" } });
});

test("a worker removes the directories of plans that have ended, and leaves the others'", async () => {
  const { close } = await start(({ stepId }) => {
    if (stepId === "fails") throw new NonRetryableError("no");
  });
  const done = await submitted(withFiles([write("fix")]));
  const failed = await submitted(withFiles([write("fails")]));
  await ended(done);
  await ended(failed, "failed");
  const { workspaces } = await sandboxesOf({ dataDir })();
  expect(workspaces.leftBehind(done)).not.toBeNull();

  await close();

  expect(workspaces.leftBehind(done)).toBeNull();
  expect(workspaces.leftBehind(failed)).not.toBeNull();
});

test("a snapshot that Waymark did not write fails the step that would begin with it, and costs no slot", async () => {
  const retry = { attempts: 1, backoff: "fixed", delayMs: 1, maxMs: 1 } as const;
  const forged = await submitWithFiles(t, withFiles([{ ...write("fix"), retry }]), { "a.txt": "one" }, dataDir);
  await t.redis.lset(t.keys.planPart(forged, "sandboxes"), 0, "{}");
  await start(() => null, { concurrency: 1 });
  await ended(forged, "failed");

  const { errors } = await t.store.detail(forged).catch((error: Error) => ({ errors: error }));
  expect(String(errors)).toContain("did not write");
  await ended(await submitted(withFiles([write("fix")])));
});
