/** What a plan comes to in memory: the same as on a worker, but at once. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import { RetryAfterError, UsageError } from "../../src/core/errors.js";
import { defineHandler } from "../../src/define/define-handler.js";
import { definePlan, services } from "../../src/define/define-plan.js";
import { testPlan } from "../../src/testing/index.js";
import { MemoryPlan } from "../../src/testing/memory-plan.js";
import { aFolder, writeTree } from "../support/sandboxes.js";

const input = z.object({ n: z.number().default(1) });

describe("what a plan comes to", () => {
  test("its output, that of each step, and how each of them ended", async () => {
    const plan = definePlan("sum", { input })
      .step("left", async ({ input }) => input.n + 1)
      .step("right", { needs: [] }, async ({ input, log, progress }) => {
        log.info("doubling");
        progress(0.5, "half");
        return input.n * 2;
      })
      .step("odd", { needs: ["left"], when: ({ outputs }) => outputs.left % 2 === 1 }, async () => "odd")
      .step("sum", { needs: ["left", "right", "odd"] }, async ({ outputs }) => ({ ...outputs }));

    const run = await testPlan(plan, { input: { n: 3 } });

    expect(run).toMatchObject({ state: "completed", waiting: [], held: [], decisions: [], files: null, crashes: [] });
    expect(run.output).toEqual({ left: 4, right: 6, odd: null });
    expect(run.outputs).toEqual({ left: 4, right: 6, odd: null, sum: run.output });
    expect(run.steps).toEqual({
      left: { state: "completed", attempts: 1, error: null, log: "", progress: null },
      right: {
        state: "completed",
        attempts: 1,
        error: null,
        log: "info doubling\n",
        progress: { fraction: 0.5, note: "half" },
      },
      odd: { state: "skipped", attempts: 1, error: null, log: "", progress: null },
      sum: { state: "completed", attempts: 1, error: null, log: "", progress: null },
    });
    expect(run.calls.map(({ step, ended }) => `${step} ${ended}`)).toEqual([
      "left completed",
      "right completed",
      "odd skipped",
      "sum completed",
    ]);
    expect(run.calls[0]).toEqual({ step: "left", attempt: 1, idempotencyKey: "test/left/1", ended: "completed" });
  });

  test("the input is checked as it is when it is submitted, and seen as its schema gives it out", async () => {
    const dated = definePlan("dated", { input: z.object({ at: z.coerce.date() }) }).step("year", async ({ input }) =>
      input.at.getUTCFullYear(),
    );

    expect((await testPlan(dated, { input: { at: "2026-05-01" } })).output).toBe(2026);
    await expect(testPlan(dated, { input: { at: "never" } })).rejects.toMatchObject({ code: "INVALID_INPUT" });
    await expect(testPlan(dated, { input: { at: 1n } as never })).rejects.toMatchObject({ code: "INVALID_INPUT" });
    expect(
      (
        await testPlan(
          definePlan("d", { input }).step("n", async ({ input }) => input.n),
          { input: {} },
        )
      ).output,
    ).toBe(1);
  });

  test("a step that fails for good fails the plan; what doesn't need it runs, what does doesn't", async () => {
    const plan = definePlan("broken", { input })
      .step("a", async () => {
        throw new TypeError("no");
      })
      .step("b", async () => 1)
      .step("beside", { needs: [] }, async () => 2);

    const run = await testPlan(plan, { input: {} });

    expect(run.state).toBe("failed");
    expect(run.output).toBeUndefined();
    expect(run.outputs).toEqual({ beside: 2 });
    expect(run.steps).toMatchObject({
      a: { state: "failed", attempts: 3, error: { code: "STEP_FAILED", message: "no" } },
      b: { state: "pending", attempts: 0, error: null },
      beside: { state: "completed" },
    });
  });

  test("with failFast nothing more runs, and what could have is held", async () => {
    const plan = definePlan("fast", { input, failFast: true })
      .step("a", { retry: { attempts: 1 } }, async () => {
        throw new Error("no");
      })
      .step("b", { needs: [] }, async () => 1)
      .waitFor("c", { needs: [], signal: z.null() });

    const run = await testPlan(plan, { input: {} });

    expect(run.state).toBe("failed");
    expect(run.steps).toMatchObject({ a: { state: "failed" }, b: { state: "held" }, c: { state: "held" } });
  });

  test("a plan goes on without a step that says so, and the steps below see why", async () => {
    const plan = definePlan("lenient", { input })
      .step("lint", { onFailure: "continue", retry: { attempts: 1 } }, async () => {
        throw Object.assign(new Error("12 warnings"), { code: "LINT" });
      })
      .step("tell", async ({ outputs, errors }) => ({ lint: outputs.lint, why: errors.lint }));

    const run = await testPlan(plan, { input: {} });

    expect(run.output).toEqual({ lint: null, why: { code: "LINT", message: "12 warnings" } });
    expect(run.steps.lint).toMatchObject({ state: "continued", error: { code: "LINT" } });
  });

  test("a map runs one step an item, as many at once as it says, and records a list", async () => {
    const order: string[] = [];
    const plan = definePlan("map", { input })
      .map("each", { over: () => ["a", "b", "c"], key: (item) => item, concurrency: 1 }, async (item, { attempt }) => {
        order.push(item);
        if (item === "a" && attempt === 1) throw new Error("again");
        return `${item}!`;
      })
      .step("join", async ({ outputs }) => outputs.each.join(" "));

    const run = await testPlan(plan, { input: {} });

    expect(run.output).toBe("a! b! c!");
    expect(Object.keys(run.outputs)).toEqual(["each", "join"]);
    expect(run.steps["each#b"]).toMatchObject({ state: "completed", attempts: 1 });
    // While the first one waits for its second attempt it has its turn.
    expect(order).toEqual(["a", "a", "b", "c"]);
  });

  test("steps that are appended run as well", async () => {
    const turn = defineHandler("turn", { with: z.object({ n: z.number() }) }, async ({ with: { n }, append }) => {
      if (n < 3) append([{ id: `turn-${n + 1}`, uses: "turn", with: { n: n + 1 } }]);
      return n;
    });
    const plan = definePlan("agent", { input }).use("turn-0", turn, { with: ({ input }) => ({ n: input.n }) });

    const run = await testPlan(plan, { input: { n: 1 }, handlers: [turn] });

    expect(run.outputs).toEqual({ "turn-0": 1, "turn-2": 2, "turn-3": 3 });
  });

  test("a plan can't grow without end", () => {
    const { compiled } = definePlan("endless", { input }).step("grow", async () => null);
    const plan = new MemoryPlan({ compiled, input: "{}", sandbox: null, answer: () => null });

    plan.settle(plan.take()!, { kind: "complete", output: "null", appended: new Array(100_000) });

    expect(plan.state).toBe("failed");
    expect(plan.errors.get("grow")).toEqual({
      code: "INVALID_PLAN",
      message: "the plan would have 100001 steps; the limit is 100000",
    });
  });
});

describe("time", () => {
  test("retries, timers and timeouts take none", async () => {
    const before = performance.now();
    const plan = definePlan("slow", { input })
      .step("retried", { retry: { attempts: 4, delay: "1h", max: "10h" } }, async ({ attempt, append }) => {
        if (attempt === 2) throw new RetryAfterError("busy", 86_400_000);
        if (attempt < 4) throw new Error("again");
        append([{ id: "nap", uses: "sleep", with: { for: "30d" } }]);
        return attempt;
      })
      .waitFor("ci", { signal: z.boolean(), timeout: "12h", onTimeout: "continue" })
      .step("told", async ({ outputs }) => outputs.ci ?? "nobody came")
      .waitFor("strict", { signal: z.boolean(), timeout: "2d" });

    const run = await testPlan(plan, { input: {} });

    expect(run.state).toBe("failed");
    expect(run.steps).toMatchObject({
      retried: { state: "completed", attempts: 4 },
      nap: { state: "completed", attempts: 2 },
      ci: { state: "completed", attempts: 2 },
      strict: { state: "failed", error: { message: "no signal came within 2d" } },
    });
    expect(run.outputs.told).toBe("nobody came");
    expect(performance.now() - before).toBeLessThan(5_000);
  });

  test("what is due first runs first, and an attempt after a retry is no wait that is over", async () => {
    const order: string[] = [];
    const failing =
      (id: string) =>
      async ({ attempt }: { attempt: number }) => {
        order.push(id);
        if (attempt === 1) throw new Error("again");
        return id;
      };
    let asked = 0;
    const plan = definePlan("due", { input })
      .step("late", { retry: { delay: "2h", max: "2h" } }, failing("late"))
      .step("early", { needs: [], retry: { delay: "1h", max: "2h" } }, failing("early"))
      .waitFor("ci", {
        needs: [],
        signal: z.boolean(),
        timeout: "1m",
        when: () => {
          if (++asked === 1) throw new Error("again");
          return true;
        },
      });

    const run = await testPlan(plan, { input: {}, signals: { ci: true } });

    expect(order).toEqual(["late", "early", "early", "late"]);
    expect(run.outputs.ci).toBe(true);
  });
});

describe("who is waited for", () => {
  const plan = definePlan("gate", { input })
    .step("how", async ({ decide }) =>
      decide("how", { question: "How?", options: ["patch", "rewrite"] }, () => "patch"),
    )
    .ask("which", { question: () => "Which?", options: ["a", "b"] })
    .approve("sign-off", { message: ({ outputs }) => `Ship ${outputs.how} to ${outputs.which.choice}?` })
    .waitFor("ci", { signal: z.object({ at: z.coerce.date() }) })
    .step("done", async ({ outputs }) => `${outputs["sign-off"].by} ${outputs.ci.at.getUTCFullYear()}`);

  test("without an answer the plan waits, and the run says for what", async () => {
    const run = await testPlan(plan, { input: {} });

    expect(run.state).toBe("waiting");
    expect(run.waiting).toEqual([
      {
        step: "which",
        for: "choice",
        ask: { question: "Which?", options: ["a", "b"], onReject: "continue", schema: null },
      },
    ]);
    expect(
      (await testPlan(plan, { input: {}, decisions: { which: "a", "sign-off": "approve" } })).waiting,
    ).toMatchObject([{ step: "ci", for: "signal" }]);
  });

  test("answers, signals and choices are what the test says", async () => {
    const run = await testPlan(plan, {
      input: {},
      decisions: { how: "rewrite", which: "b", "sign-off": { choice: "approve", madeBy: "ada", rationale: "fine" } },
      signals: { ci: { at: "2026-05-01" } },
    });

    expect(run.state).toBe("completed");
    expect(run.output).toBe("ada 2026");
    expect(run.outputs.ci).toEqual({ at: new Date("2026-05-01") });
    expect(run.decisions).toEqual([
      {
        step: "how",
        key: "how",
        question: "How?",
        options: ["patch", "rewrite"],
        choice: "rewrite",
        rationale: null,
        madeBy: "step how",
      },
      {
        step: "which",
        key: null,
        question: "Which?",
        options: ["a", "b"],
        choice: "b",
        rationale: null,
        madeBy: "test",
      },
      {
        step: "sign-off",
        key: null,
        question: "Ship rewrite to b?",
        options: ["approve", "reject"],
        choice: "approve",
        rationale: "fine",
        madeBy: "ada",
      },
      {
        step: "ci",
        key: null,
        question: "Signal of ci?",
        options: [],
        choice: { at: "2026-05-01" },
        rationale: null,
        madeBy: "test",
      },
    ]);
  });

  test("a rejection cancels the plan", async () => {
    const run = await testPlan(plan, { input: {}, decisions: { which: "a", "sign-off": "reject" } });

    expect(run.state).toBe("cancelled");
    expect(run.steps).toMatchObject({ "sign-off": { state: "completed" }, ci: { state: "pending" } });
  });

  test("a choice for one step, in its items and in the handlers that it uses", async () => {
    const chooses = defineHandler("chooses", { with: z.object({}) }, async ({ decide }) =>
      decide("how", { question: "How?", options: ["patch", "rewrite"] }, () => "patch"),
    );
    const many = definePlan("many", { input })
      .map("each", { over: () => [1, 2] }, async (_, { decide }) =>
        decide("how", { question: "How?", options: ["patch", "rewrite"] }, () => "patch"),
      )
      .use("used", chooses, { with: () => ({}) })
      .step("grow", async ({ append }) => append([{ id: "grown", uses: chooses }]))
      .step("own", async ({ decide }) =>
        decide("how", { question: "How?", options: ["patch", "rewrite"] }, () => "patch"),
      );

    const run = await testPlan(many, {
      input: {},
      handlers: [chooses],
      decisions: { how: "rewrite", "own/how": "patch" },
    });

    expect(run.outputs).toMatchObject({
      each: ["rewrite", "rewrite"],
      used: "rewrite",
      grown: "rewrite",
      own: "patch",
    });
  });

  test("an answer that is no option is refused; a choice that is none fails the step, as its chooser's would", async () => {
    await expect(testPlan(plan, { input: {}, decisions: { which: "c" } })).rejects.toMatchObject({
      code: "INVALID_CHOICE",
      message: 'The answer to which can\'t be "c": the options are a, b',
    });
    const run = await testPlan(plan, { input: {}, decisions: { how: "ptach" } });
    expect(run.steps.how.error).toMatchObject({ code: "INVALID_CHOICE" });
  });

  test("a signal that doesn't fit is shown as it was sent, and fails the step below", async () => {
    const run = await testPlan(plan, {
      input: {},
      decisions: { which: "a", "sign-off": "approve" },
      signals: { ci: { at: "never" } },
    });

    expect(run.state).toBe("failed");
    expect(run.outputs.ci).toEqual({ at: "never" });
    expect(run.steps.done.error?.code).toBe("INVALID_INPUT");
  });
});

describe("fakes", () => {
  const push = defineHandler("push", { with: z.object({ to: z.string() }) }, async ({ with: { to } }) => ({ url: to }));
  const plan = definePlan("release", { input, services: services<{ host: string }>() })
    .step("build", { when: ({ input }) => input.n > 0 }, async () => ({ files: ["real"] }))
    .map("sign", { over: ({ outputs }) => outputs.build?.files ?? [] }, async (file) => `${file}.sig`)
    .use("push", push, { with: ({ outputs }) => ({ to: outputs.sign.join() }), when: ({ input }) => input.n < 9 })
    .ask("sure", { question: () => "Sure?", options: ["yes"] })
    .waitFor("ci", { signal: z.null() });
  const given = { input: {}, services: { host: "box" } };

  test("a value is recorded, a function gets what the step's own would", async () => {
    const seen: unknown[] = [];

    const { outputs } = await testPlan(plan, {
      ...given,
      steps: {
        build: { files: ["x", "y"] },
        sign: (file, { services, outputs }) => `${file} ${services.host} ${outputs.build?.files.length}`,
        push: async ({ with: arguments_, attempt, input }) => {
          seen.push(arguments_, attempt, input);
          return { url: "fake" };
        },
      },
    });

    expect(outputs).toMatchObject({
      build: { files: ["x", "y"] },
      sign: ["x box 2", "y box 2"],
      push: { url: "fake" },
    });
    expect(seen).toEqual([{ to: "x box 2,y box 2" }, 1, { n: 1 }]);
  });

  test("conditions hold for fakes, too", async () => {
    const run = await testPlan(plan, { ...given, input: { n: 0 }, steps: { build: { files: [] } } });
    const later = await testPlan(plan, { ...given, input: { n: 9 }, steps: { push: { url: "fake" } } });

    expect(run.steps.build.state).toBe("skipped");
    expect(later.steps.push.state).toBe("skipped");
  });

  test("a used handler's arguments are checked although it is faked", async () => {
    const wrong = definePlan("wrong", { input }).use("push", push, { with: () => ({ to: 1 as never }) });

    const run = await testPlan(wrong, { input: {}, steps: { push: { url: "" } } });

    expect(run.steps.push).toMatchObject({ state: "failed", attempts: 1, error: { code: "INVALID_INPUT" } });
  });

  test("what is no plan, and no place to crash, is refused", async () => {
    await expect(testPlan({ name: "web" } as never, given as never)).rejects.toThrow(
      "The plan must be one that was made",
    );
    await expect(testPlan(plan, { ...given, crashAt: "nowhere" as never })).rejects.toThrow(
      "crashAt must be everywhere, or",
    );
  });

  test.each([
    [{ steps: { biuld: 1 } }, 'fakes "biuld", and plan release has no such step; did you mean "build"?'],
    [{ steps: { nothing: 1 } }, "it has build, sign, push, sure, ci"],
    [{ steps: { sign: [] } }, "The fake of sign must be a function"],
    [{ steps: { sure: 1 } }, "answer it in `decisions`"],
    [{ steps: { ci: 1 } }, "answer it in `signals`"],
  ])("%o is refused", async (options, complaint) => {
    const failing = testPlan(plan, { ...given, ...options } as never);

    await expect(failing).rejects.toThrow(complaint);
    await expect(failing).rejects.toThrow(UsageError);
  });
});

describe("files", () => {
  const plan = definePlan("edit", { input, sandbox: { from: "project", exclude: ["dist"] } })
    .step("write", { sandbox: "write" }, async ({ sandbox, attempt }) => {
      const readme = readFileSync(join(sandbox.path, "README"), "utf8");
      writeFileSync(join(sandbox.path, "README"), `${readme} changed`);
      if (attempt === 1) throw new Error("half done");
      mkdirSync(join(sandbox.path, "src"));
      writeFileSync(join(sandbox.path, "src/a.ts"), "a");
    })
    .step("other", { sandbox: "write", needs: [] }, async ({ sandbox }) => {
      writeFileSync(join(sandbox.path, "other"), "o");
    })
    .step("read", { sandbox: "read", needs: ["write", "other"] }, async ({ sandbox }) =>
      readFileSync(join(sandbox.path, "README"), "utf8"),
    );

  test("a plan has its sandbox, each attempt starts from the checkpoint, and the run shows the files of the last", async () => {
    const folder = writeTree(aFolder(), { "project/README": "first", "project/dist/b.js": "b" });

    const run = await testPlan(plan, { input: {}, folder });

    expect(run.output).toBe("first changed");
    expect(run.files).toEqual({ README: "first changed", "src/a.ts": "a", other: "o" });
    expect(run.calls.map(({ step }) => step)).toEqual(["write", "write", "other", "read"]);
  });

  test("a sandbox that starts from nothing, and one whose directory isn't there", async () => {
    const empty = definePlan("empty", { input, sandbox: {} }).step(
      "look",
      { sandbox: "read" },
      async ({ sandbox }) => sandbox.fresh,
    );

    expect(await testPlan(empty, { input: {} })).toMatchObject({ output: true, files: {} });
    await expect(testPlan(plan, { input: {}, folder: aFolder() })).rejects.toMatchObject({ code: "USAGE" });
  });

  test("a directory that is new is prepared", async () => {
    const prepared = definePlan("prepared", { input, sandbox: { prepare: { run: "echo made > made" } } }).step(
      "look",
      { sandbox: "read" },
      async ({ sandbox }) => readFileSync(join(sandbox.path, "made"), "utf8"),
    );

    expect((await testPlan(prepared, { input: {} })).output).toBe("made\n");
  });

  test("commands that a step appends run only where the test lets them", async () => {
    const plan = definePlan("commands", { input }).step("go", async ({ append }) =>
      append([{ id: "command", uses: "shell", with: { run: "echo '{\"n\":1}'" } }]),
    );

    await expect(testPlan(plan, { input: {} })).rejects.toThrow("Step command can't run in this test");
    await expect(testPlan(plan, { input: {} })).rejects.toThrow(UsageError);
    expect((await testPlan(plan, { input: {}, allowShell: true })).steps.command).toMatchObject({
      state: "failed",
      error: { message: expect.stringContaining("sandbox") as string },
    });
  });
});
