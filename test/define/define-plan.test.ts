import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import { DEFAULT_RETRY } from "../../src/core/definition.js";
import { InvalidDefinitionError } from "../../src/core/errors.js";
import type { Context, Seen } from "../../src/define/context.js";
import { defineHandler } from "../../src/define/define-handler.js";
import { definePlan, services } from "../../src/define/define-plan.js";
import type { AnyPlan, StepCode } from "../../src/define/typed-plan.js";

const input = z.object({ n: z.number() });
const notify = defineHandler("notify", { with: z.object({ text: z.string() }) }, async () => {});

describe("what a plan declares", () => {
  test("a step declares the defaults where it names nothing", () => {
    const plan = definePlan("web", { input }).step("build", async () => 1);

    expect(plan.compiled.definition).toEqual({
      name: "web",
      version: 1,
      source: "code",
      phases: ["execute"],
      inputSchema: null,
      failFast: false,
      sandbox: null,
      steps: [
        {
          id: "build",
          phase: "execute",
          needs: [],
          uses: "code",
          with: {},
          env: {},
          passEnv: [],
          queue: "web",
          effect: "idempotent",
          sandbox: "none",
          retry: DEFAULT_RETRY,
          timeoutMs: 3_600_000,
          rev: null,
        },
      ],
    });
  });

  test("a plan declares its sandbox, and steps what they do with it", () => {
    const plan = definePlan("web", { input, sandbox: { from: "./repo", ignore: ["node_modules/"] } })
      .step("scan", { sandbox: "read" }, async ({ sandbox }) => sandbox.path)
      .step("fix", { sandbox: "write" }, async ({ sandbox }) => sandbox.fresh)
      .step("tell", async () => 1);

    const { sandbox, steps } = plan.compiled.definition;
    expect(sandbox).toEqual({
      from: "./repo",
      exclude: [],
      ignore: ["node_modules/"],
      include: [],
      prepare: null,
      provider: "directory",
    });
    expect(steps.map((step) => step.sandbox)).toEqual(["read", "write", "none"]);
  });

  test("a step declares all that it names", () => {
    const plan = definePlan("web", { input, version: 7, failFast: true, queue: "shared" })
      .step("a", async () => 1)
      .step("b", async () => 2)
      .step(
        "c",
        {
          needs: ["a"],
          phase: "apply",
          queue: "big",
          rev: "2",
          timeout: "90s",
          effect: "irreversible",
          retry: { attempts: 5, backoff: "fixed", delay: "2s", max: 5_000 },
        },
        async () => 3,
      );

    const { definition, steps } = plan.compiled;
    expect(definition).toMatchObject({ version: 7, failFast: true, phases: ["strategize", "execute", "apply"] });
    expect(steps.get("b")).toMatchObject({ needs: ["a"], queue: "shared" });
    expect(steps.get("c")).toMatchObject({
      needs: ["a"],
      phase: "apply",
      queue: "big",
      rev: "2",
      timeoutMs: 90_000,
      effect: "irreversible",
      retry: { attempts: 5, backoff: "fixed", delayMs: 2_000, maxMs: 5_000 },
    });
    expect(plan.compiled.roots).toEqual(["a"]);
  });

  test("each kind of step names what runs it, and none puts a function into the definition", () => {
    const plan = definePlan("web", { input })
      .step("run", async () => 1)
      .approve("sign-off", { message: () => "Go?" })
      .ask("how", { question: () => "How?", options: ["a", "b"] })
      .waitFor("ci", { signal: z.object({ ok: z.boolean() }) })
      .use("tell", notify, { with: () => ({ text: "done" }) });

    const { definition } = plan.compiled;
    expect(definition.steps.map((step) => [step.id, step.uses, step.needs])).toEqual([
      ["run", "code", []],
      ["sign-off", "approve", ["run"]],
      ["how", "ask", ["sign-off"]],
      ["ci", "wait", ["how"]],
      ["tell", "notify", ["ci"]],
    ]);
    // What there is to choose from is part of what the step declares.
    expect(definition.steps[2]!.with).toEqual({ options: ["a", "b"] });
    expect(JSON.parse(JSON.stringify(definition))).toEqual(definition);
  });

  test("a wait's time limit is declared as in a document; without one nothing is", () => {
    const plan = definePlan("web", { input })
      .waitFor("ci", { signal: z.object({}), timeout: "30m", onTimeout: "continue" })
      .waitFor("done", { signal: z.object({}), timeout: 5_000 })
      .waitFor("ever", { signal: z.object({}) });

    const { steps } = plan.compiled.definition;
    expect(steps.map((step) => step.with)).toEqual([
      { timeout: 1_800_000, onTimeout: "continue" },
      { timeout: 5_000 },
      {},
    ]);
    expect(steps.map((step) => step.timeoutMs)).toEqual([3_600_000, 3_600_000, 3_600_000]);
  });

  test("the digest is that of what is declared, whatever the functions do", () => {
    const once = definePlan("web", { input }).step("a", async () => 1);
    const again = definePlan("web", { input: z.object({ other: z.string() }) }).step("a", async () => "else");
    const changed = definePlan("web", { input }).step("a", { rev: "2" }, async () => 1);

    expect(again.compiled.digest).toBe(once.compiled.digest);
    expect(changed.compiled.digest).not.toBe(once.compiled.digest);
    expect(once.compiled).toBe(once.compiled);
    expect(once.code).toBe(once.code);
  });

  test("a delay longer than the usual cap raises the cap", () => {
    const plan = definePlan("web", { input }).step("a", { retry: { delay: "5m" } }, async () => 1);

    expect(plan.compiled.steps.get("a")!.retry).toEqual({ ...DEFAULT_RETRY, delayMs: 300_000, maxMs: 300_000 });
  });

  test("a retry may follow at once", () => {
    const plan = definePlan("web", { input }).step("a", { retry: { delay: 0 } }, async () => 1);

    expect(plan.compiled.steps.get("a")!.retry.delayMs).toBe(0);
  });

  test("ids such as `constructor` are ordinary", () => {
    const plan = definePlan("toString", { input })
      .step("constructor", async () => 1)
      .step("hasOwnProperty", { needs: ["constructor"] }, async () => 2);

    expect(plan.compiled.steps.get("hasOwnProperty")!.needs).toEqual(["constructor"]);
    expect(plan.code.get("constructor")!.kind).toBe("run");
  });

  test("changing an array after it was given changes nothing", () => {
    const phases = ["one", "two"];
    const needs: "a"[] = ["a"];
    const plan = definePlan("web", { input, phases })
      .step("a", async () => 1)
      .step("b", { needs }, async () => 2);
    phases.push("three");
    needs.length = 0;

    expect(plan.compiled.definition.phases).toEqual(["one", "two"]);
    expect(plan.compiled.steps.get("b")!.needs).toEqual(["a"]);
  });
});

describe("phases", () => {
  test("a step without a phase is of the latest phase among its needs", () => {
    const plan = definePlan("web", { input })
      .step("think", { phase: "strategize" }, async () => 1)
      .step("do", async () => 2)
      .step("push", { phase: "apply" }, async () => 3)
      .step("tell", async () => 4)
      .step("also", { needs: ["do"] }, async () => 5);

    const phases = plan.compiled.definition.steps.map((step) => [step.id, step.phase]);
    expect(phases).toEqual([
      ["think", "strategize"],
      ["do", "execute"],
      ["push", "apply"],
      ["tell", "apply"],
      ["also", "execute"],
    ]);
  });

  test("in a plan with phases of its own the first is the default", () => {
    const plan = definePlan("web", { input, phases: ["build", "ship"] })
      .step("a", async () => 1)
      .step("b", { phase: "ship" }, async () => 2)
      .step("c", { needs: [] }, async () => 3);

    expect(plan.compiled.definition.phases).toEqual(["build", "ship"]);
    expect(plan.compiled.definition.steps.map((step) => step.phase)).toEqual(["build", "ship", "build"]);
  });
});

test("a step's priority is its own, or the plan's; one that BullMQ can't hold is refused", () => {
  const plan = definePlan("web", { input, priority: 7 })
    .step("a", async () => 1)
    .step("b", { priority: 1 }, async () => 1);

  expect(plan.compiled.definition.steps.map((step) => step.priority)).toEqual([7, 1]);
  expect(() => plan.step("c", { priority: 0 }, async () => 1)).toThrow(
    'Step "c" of plan web has the priority 0, which is not a whole number from 1 to 2097151',
  );
  expect(() => definePlan("web", { input, priority: 2 ** 21 })).toThrow("has the priority 2097152");
});

test("a step's limits are checked, and are its own; those of a map are its items'", () => {
  const api = { key: "api", limit: 3 };
  const plan = definePlan("web", { input })
    .step("a", { concurrency: api, rate: { key: "api", max: 2, per: "10s" } }, async () => 1)
    .map("b", { over: () => [1], concurrency: api }, async (item) => item);

  const [a, b] = plan.compiled.definition.steps;
  expect(a).toMatchObject({ concurrency: api, rate: { key: "api", max: 2, perMs: 10_000 } });
  expect(b).toMatchObject({ concurrency: api, map: { concurrency: null } });
  expect(plan.compiled.steps.get("b#")).not.toHaveProperty("concurrency");
});

test.each<[string, unknown]>([
  ["has a concurrency that has 4 for its options", { concurrency: 4 }],
  ['has a concurrency that has the unknown option "max"', { concurrency: { key: "a", limit: 1, max: 2 } }],
  ['has a concurrency that has the key "a b", which is no id', { concurrency: { key: "a b", limit: 1 } }],
  [
    "has a concurrency that has the limit 0, which is not a whole number from 1",
    { concurrency: { key: "a", limit: 0 } },
  ],
  ["has a rate that has the max undefined, which is not a whole number", { rate: { key: "a", per: 1 } }],
  ["has a rate that has the max 100001; the limit is 100000", { rate: { key: "a", max: 100_001, per: 1 } }],
  ["has a rate that has no `per`", { rate: { key: "a", max: 1 } }],
  ["has a rate that has a per of 0, which is no window", { rate: { key: "a", max: 1, per: 0 } }],
  ['has a rate that has the per "soon", which is not a duration', { rate: { key: "a", max: 1, per: "soon" } }],
])("a limit is refused: %s", (fault, options) => {
  expect(() => definePlan("web", { input }).step("a", options as never, async () => 1)).toThrow(
    `Step "a" of plan web ${fault}`,
  );
});

test("who only waits takes no limit", () => {
  const options = { message: () => "Go?", concurrency: { key: "a", limit: 1 } } as never;
  expect(() => definePlan("web", { input }).approve("a", options)).toThrow('has the unknown option "concurrency"');
});

describe("a map", () => {
  const over = () => [1, 2];

  test("declares where its list is, and stands for its list step too", () => {
    const plan = definePlan("web", { input })
      .step("a", async () => 1)
      .map("fix", { over, when: () => true, onFailure: "continue", effect: "irreversible" }, async (item) => item)
      .map("more", { over, key: String, concurrency: 3 }, async (item) => item)
      .step("last", async () => 1);

    const { definition, steps } = plan.compiled;
    expect(definition.steps.map(({ id, map }) => ({ id, map }))).toEqual([
      { id: "a" },
      { id: "fix", map: { over: "code", key: null, concurrency: null } },
      { id: "more", map: { over: "code", key: "code", concurrency: 3 } },
      { id: "last" },
    ]);
    expect([...steps.values()].map(({ id, needs, next }) => [id, needs, next])).toEqual([
      ["a", [], ["fix#"]],
      ["fix#", ["a"], ["fix"]],
      ["fix", ["fix#"], ["more#"]],
      ["more#", ["fix"], ["more"]],
      ["more", ["more#"], ["last"]],
      ["last", ["more"], []],
    ]);
    expect(steps.get("fix#")).toMatchObject({ when: "code", effect: "idempotent", lists: "fix" });
    expect(steps.get("fix")).not.toHaveProperty("onFailure");
  });

  test("that can't be is refused", () => {
    const base = definePlan("web", { input });
    const odd = (options: object, run: unknown = async () => 1) => {
      return () => base.map("fix", { over, ...options } as never, run as never);
    };

    expect(odd({ over: [1] })).toThrow('Step "fix" of plan web has no function `over`');
    expect(odd({ key: "name" })).toThrow('has the key "name", not a function');
    expect(odd({ concurrency: 0 })).toThrow("has the concurrency 0, which is not a whole number from 1");
    expect(odd({}, null)).toThrow("has no function to run");
    expect(odd({ every: 1 })).toThrow('has the unknown option "every"');
  });
});

describe("a condition, and what a failure does", () => {
  test("are part of what a step declares, but for the function itself", () => {
    const when = () => true;
    const plan = definePlan("web", { input })
      .step("a", { onFailure: "continue" }, async () => 1)
      .step("b", { when, onFailure: "stop" }, async () => 1)
      .approve("c", { when, message: () => "Go?" });

    const declared = plan.compiled.definition.steps.map(({ id, when, onFailure }) => ({ id, when, onFailure }));
    expect(declared).toEqual([
      { id: "a", onFailure: "continue" },
      { id: "b", when: "code" },
      { id: "c", when: "code" },
    ]);
    expect(plan.code.get("b")!.when).toBe(when);
    expect(plan.code.get("a")).not.toHaveProperty("when");
  });

  test("that can't be are refused", () => {
    const base = definePlan("web", { input });
    const odd = (options: object) => () => base.step("a", options as never, async () => 1);

    expect(odd({ when: true })).toThrow('Step "a" of plan web has true for `when`, not a function');
    expect(odd({ onFailure: "ignore" })).toThrow('has onFailure "ignore"; it can be stop or continue');
  });
});

describe("the functions of a plan", () => {
  test("a worker finds each step's function by its id", async () => {
    const signal = z.object({ ok: z.boolean() });
    const plan = definePlan("web", { input, services: services<{ add(a: number): number }>() })
      .step("sum", async ({ input, services }) => services.add(input.n))
      .approve("sign-off", { message: ({ outputs }) => `Ship ${outputs.sum}?` })
      .waitFor("ci", { signal })
      .use("tell", notify, { with: ({ outputs }) => ({ text: `${outputs.sum} ${outputs["sign-off"].by}` }) });
    const seen: Seen = {
      input: { n: 2 },
      outputs: { sum: 5, "sign-off": { choice: "approve", by: "ada" } },
      errors: {},
    };
    const context = { ...seen, services: { add: (a: number) => a + 3 } } as unknown as Context;

    expect([...plan.code.keys()]).toEqual(["sum", "sign-off", "ci", "tell"]);
    expect(await code(plan, "sum", "run").run(context)).toBe(5);
    expect(code(plan, "sign-off", "approve").message(seen)).toBe("Ship 5?");
    expect(code(plan, "ci", "signal").schema).toBe(signal);
    expect(code(plan, "tell", "use").handler).toBe(notify);
    expect(code(plan, "tell", "use").with(seen)).toEqual({ text: "5 ada" });
  });

  test("a plan carries its name and the schema of its input", () => {
    const plan = definePlan("web", { input });

    expect(plan.name).toBe("web");
    expect(plan.inputSchema).toBe(input);
  });
});

describe("a plan never changes", () => {
  test("each call returns another plan and leaves the one it was called on", () => {
    const base = definePlan("web", { input }).step("a", async () => 1);
    const left = base.step("b", async () => "left");
    const right = base.step("b", { needs: [] }, async () => "right").step("c", async () => 1);

    expect(ids(base)).toEqual(["a"]);
    expect(ids(left)).toEqual(["a", "b"]);
    expect(ids(right)).toEqual(["a", "b", "c"]);
    expect(left.compiled.steps.get("b")!.needs).toEqual(["a"]);
    expect(right.compiled.steps.get("b")!.needs).toEqual([]);
    expect(left.code.get("b")).not.toBe(right.code.get("b"));
    expect(Object.isFrozen(base) && Object.isFrozen(base.code.get("a"))).toBe(true);
  });

  test("a step of another branch is no step above", () => {
    const base = definePlan("web", { input }).step("a", async () => 1);
    base.step("b", async () => 1);

    const needB = () => (base as Loose).step("c", { needs: ["b"] }, async () => 1);

    expect(needB).toThrow(new InvalidDefinitionError('Step "c" of plan web', 'needs "b", which is no step above it'));
  });

  test("a call that was refused leaves nothing behind", () => {
    const base = definePlan("web", { input }).step("a", async () => 1);

    expect(() => (base as Loose).step("b", { phase: "nowhere" }, async () => 1)).toThrow(InvalidDefinitionError);

    expect(ids(base)).toEqual(["a"]);
    expect(ids(base.step("b", async () => 1))).toEqual(["a", "b"]);
  });

  test("whatever the order of branching, every plan has the steps of its own calls", () => {
    // Each pair continues one of the plans made so far with a step of one of a few ids.
    const calls = fc.array(fc.tuple(fc.nat(), fc.constantFrom("a", "b", "c", "d", "e", "f", "g", "h")), {
      maxLength: 60,
    });
    fc.assert(
      fc.property(calls, (chosen) => {
        const made: { plan: Loose; ids: string[] }[] = [
          { plan: definePlan("web", { input }) as unknown as Loose, ids: [] },
        ];
        for (const [pick, id] of chosen) {
          const from = made[pick % made.length]!;
          const add = () => from.plan.step(id, async () => 1);
          if (from.ids.includes(id)) expect(add).toThrow(InvalidDefinitionError);
          else made.push({ plan: add(), ids: [...from.ids, id] });
        }
        for (const { plan, ids } of made) expect([...plan.code.keys()]).toEqual(ids);
      }),
    );
  });

  test("a chain of 100,000 steps is defined and compiled, and the next step is refused", { timeout: 60_000 }, () => {
    let plan = definePlan("long", { input }) as unknown as Loose;
    for (let i = 1; i <= 100_000; i++) plan = plan.step(`s${i}`, async () => i);

    expect(plan.compiled.steps.get("s100000")).toMatchObject({ needs: ["s99999"], index: 99_999 });
    expect(() => plan.step("more", async () => 0)).toThrow(
      new InvalidDefinitionError('Step "more" of plan long', "is step 100001; a plan may have 100000"),
    );
  });
});

describe("what can't be defined is refused where it is written", () => {
  const run = async () => 1;
  const base = definePlan("web", { input, phases: ["build", "ship"] })
    .step("a", run)
    .step("b", { phase: "ship" }, run) as unknown as Loose;

  test.each<[string, () => unknown, string]>([
    ["a bad id", () => base.step("a b", run), 'Step "a b" of plan web has an id that is not an id: letters'],
    ["a hostile id", () => base.step("__proto__", run), 'Step "__proto__" of plan web has an id that is not an id'],
    ["an id with a line break", () => base.step("a\nb", run), 'Step "a\\nb" of plan web has an id'],
    ["no id", () => base.step(undefined, run), "Step undefined of plan web has an id"],
    ["an id that is taken", () => base.step("a", run), 'Step "a" of plan web exists already'],
    [
      "an unknown need",
      () => base.step("c", { needs: ["aa"] }, run),
      'Step "c" of plan web needs "aa", which is no step above',
    ],
    ["a need of itself", () => base.step("c", { needs: ["c"] }, run), 'needs "c", which is no step above it'],
    [
      "a need named twice",
      () => base.step("c", { needs: ["a", "b", "a"] }, run),
      'Step "c" of plan web needs "a" twice',
    ],
    ["needs that are no list", () => base.step("c", { needs: "a" }, run), 'has the needs "a", which are not a list'],
    [
      "an unknown phase",
      () => base.step("c", { phase: "apply" }, run),
      'has the phase "apply"; the plan\'s phases are build, ship',
    ],
    [
      "a need of a later phase",
      () => base.step("c", { phase: "build" }, run),
      'Step "c" of plan web of phase build needs "b" of the later phase ship',
    ],
    [
      "a bad timeout",
      () => base.step("c", { timeout: "10 min" }, run),
      'has the timeout "10 min", which is not a duration',
    ],
    ["a timeout of nothing", () => base.step("c", { timeout: 0 }, run), "has a timeout of 0"],
    ["no attempts", () => base.step("c", { retry: { attempts: 0 } }, run), "has 0 retry attempts"],
    ["half an attempt", () => base.step("c", { retry: { attempts: 1.5 } }, run), "has 1.5 retry attempts"],
    ["an unknown backoff", () => base.step("c", { retry: { backoff: "linear" } }, run), 'has the backoff "linear"'],
    [
      "a bad delay",
      () => base.step("c", { retry: { delay: -1 } }, run),
      "has the retry delay -1, which is not a duration",
    ],
    ["a bad cap", () => base.step("c", { retry: { max: "x" } }, run), 'has the retry max "x", which is not a duration'],
    [
      "a cap below the delay",
      () => base.step("c", { retry: { delay: 20, max: 10 } }, run),
      "a retry delay of 20 ms and a max of only 10 ms",
    ],
    [
      "an unknown key of retry",
      () => base.step("c", { retry: { tries: 3 } }, run),
      'has a retry that has the unknown option "tries"',
    ],
    ["an unknown use of the sandbox", () => base.step("c", { sandbox: "all" }, run), 'has the sandbox "all"'],
    [
      "a sandbox that its plan doesn't have",
      () => base.step("c", { sandbox: "read" }, run),
      'has the sandbox "read", and its plan has no sandbox',
    ],
    ["an unknown effect", () => base.step("c", { effect: "none" }, run), 'has the effect "none"'],
    ["a bad queue", () => base.step("c", { queue: "a:b" }, run), 'has the queue "a:b", which is not an id'],
    ["a rev that is no string", () => base.step("c", { rev: 2 }, run), "has the rev 2, which is not a string"],
    [
      "a misspelt option",
      () => base.step("c", { efect: "irreversible" }, run),
      'has the unknown option "efect"; it can have needs, phase',
    ],
    ["options that are none", () => base.step("c", null, run), "has null for its options"],
    ["no function", () => base.step("c", {}), 'Step "c" of plan web has no function to run'],
    ["nothing but an id", () => base.step("c"), "has undefined for its options"],
    ["text for a function", () => base.step("c", {}, "run"), "has no function to run"],
    ["an approval without a message", () => base.approve("c", {}), "has no function `message`"],
    ["a question that is none", () => base.ask("c", { options: ["a"] }), "has no function `question`"],
    [
      "a question without options",
      () => base.ask("c", { question: () => "", options: [] }),
      "has `options` that are not a list of texts",
    ],
    [
      "a blank option",
      () => base.ask("c", { question: () => "", options: [" "] }),
      'has the option " ", which is no text',
    ],
    ["an option twice", () => base.ask("c", { question: () => "", options: ["a", "a"] }), 'has the option "a" twice'],
    ["a wait without a schema", () => base.waitFor("c", { signal: {} }), "has no Standard Schema in `signal`"],
    ["a wait of no time", () => base.waitFor("c", { signal: input, timeout: 0 }), "has a timeout of 0"],
    [
      "a wait that does something unknown when its time is over",
      () => base.waitFor("c", { signal: input, timeout: "30m", onTimeout: "retry" }),
      'has onTimeout "retry"; it can be fail or continue',
    ],
    [
      "a wait that goes on after no time in particular",
      () => base.waitFor("c", { signal: input, onTimeout: "continue" }),
      "says what a timeout does, and has none",
    ],
    [
      "an approval that is retried",
      () => base.approve("c", { message: () => "", retry: {} }),
      'has the unknown option "retry"',
    ],
    [
      "a handler that is none",
      () => base.use("c", { name: "x" }, { with: () => ({}) }),
      "that `defineHandler` did not make",
    ],
    ["no handler", () => base.use("c", undefined, { with: () => ({}) }), "that `defineHandler` did not make"],
    ["a handler without arguments", () => base.use("c", notify, {}), "has no function `with`"],
  ])("%s", (_what, define, message) => {
    expect(define).toThrow(InvalidDefinitionError);
    expect(define).toThrow(message);
  });

  const loose = definePlan as unknown as (name: unknown, options?: unknown) => Loose;
  test.each<[string, () => unknown, string]>([
    ["a bad name", () => loose("a/b", { input }), 'Plan "a/b" has a name that is not an id'],
    ["no options", () => loose("web"), 'Plan "web" has undefined for its options'],
    ["no schema", () => loose("web", { input: { n: "number" } }), 'Plan "web" has no Standard Schema in `input`'],
    [
      "a version of 0",
      () => loose("web", { input, version: 0 }),
      "has the version 0, which is not a whole number from 1",
    ],
    ["a version in words", () => loose("web", { input, version: "v1" }), 'has the version "v1"'],
    ["no phases", () => loose("web", { input, phases: [] }), "has `phases` that are not a list of names"],
    ["a bad phase", () => loose("web", { input, phases: ["a", ""] }), 'has the phase "", which is not an id'],
    ["a phase twice", () => loose("web", { input, phases: ["a", "b", "a"] }), "has the phase a twice"],
    ["a bad queue", () => loose("web", { input, queue: "" }), 'has the queue "", which is not an id'],
    ["a resume that nobody does", () => loose("web", { input, resume: "always" }), 'has resume "always"'],
    ["failFast in words", () => loose("web", { input, failFast: "yes" }), 'has failFast "yes"'],
    ["an unknown option", () => loose("web", { input, sandbx: { from: "." } }), 'has the unknown option "sandbx"'],
    [
      "an unknown option of its sandbox",
      () => loose("web", { input, sandbox: { form: "." } }),
      'has a sandbox that has the unknown option "form"',
    ],
    [
      "a sandbox from an absolute path",
      () => loose("web", { input, sandbox: { from: "/repo" } }),
      'starts from "/repo", which is not a relative path',
    ],
    [
      "patterns that are no list",
      () => loose("web", { input, sandbox: { ignore: "dist" } }),
      'has a sandbox that has ignore "dist", not a list of patterns',
    ],
    [
      "an empty command to prepare its sandbox",
      () => loose("web", { input, sandbox: { prepare: { run: " " } } }),
      'is prepared by " ", which is not a command',
    ],
    [
      "a provider that can't be a name",
      () => loose("web", { input, sandbox: { provider: "a b" } }),
      'has a sandbox that has the provider "a b"',
    ],
    [
      "the queue of plan documents by accident",
      () => loose("documents", { input }),
      "would share the queue of plan documents",
    ],
    ["a plan without steps", () => loose("web", { input }).compiled, 'Plan "web" has no steps'],
  ])("of a plan: %s", (_what, define, message) => {
    expect(define).toThrow(InvalidDefinitionError);
    expect(define).toThrow(message);
  });

  test("the refusal has the code of every plan that can't be run, and its facts", () => {
    const refusal = new InvalidDefinitionError('Step "c" of plan web', "exists already");

    expect(refusal.exitCode).toBe(2);
    expect(refusal.toDocument()).toEqual({
      code: "INVALID_PLAN",
      message: 'Step "c" of plan web exists already',
      details: { subject: 'Step "c" of plan web', fault: "exists already" },
      try: null,
    });
  });
});

/** A plan as plain JavaScript sees it: for calls that the compiler would refuse. */
interface Loose extends AnyPlan {
  step(...args: unknown[]): Loose;
  approve(...args: unknown[]): Loose;
  ask(...args: unknown[]): Loose;
  waitFor(...args: unknown[]): Loose;
  use(...args: unknown[]): Loose;
}

function ids(plan: AnyPlan): string[] {
  expect([...plan.code.keys()]).toEqual([...plan.compiled.steps.keys()]);
  return [...plan.code.keys()];
}

function code<K extends StepCode["kind"]>(plan: AnyPlan, id: string, kind: K): StepCode & { kind: K } {
  const found = plan.code.get(id);
  if (found?.kind !== kind) throw new Error(`${id} is ${found?.kind}`);
  return found as StepCode & { kind: K };
}
