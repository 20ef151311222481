// biome-ignore-all lint/suspicious/noTemplateCurlyInString: that is what an expression looks like
/** Steps that append steps, as functions and handlers write them, on real workers. */
import { tmpdir } from "node:os";
import { beforeEach, expect, test } from "vitest";
import { z } from "zod";
import type { AppendedStep, StepHandler } from "../../src/core/handler.js";
import { expression } from "../../src/define/append.js";
import { defineHandler, toStepHandler } from "../../src/define/define-handler.js";
import { definePlan } from "../../src/define/define-plan.js";
import type { AnyPlan } from "../../src/define/typed-plan.js";
import { aStoreForThisTest, startWorker } from "../support/one-test.js";
import { aDefinition, aPlanId, aStore, type TestStore } from "../support/plans.js";
import { until } from "../support/until.js";

const input = z.object({ files: z.array(z.string()) });
const fix = defineHandler("fix", { with: z.object({ file: z.string() }) }, async (call) => ({
  fixed: call.with.file,
  key: call.idempotencyKey.split("/")[1],
}));
const sum = defineHandler("sum", { with: z.object({ all: z.array(z.string()) }) }, async (call) =>
  call.with.all.join("+"),
);
const handlers = new Map<string, StepHandler>([fix, sum].map((one) => [one.name, toStepHandler(one)]));

let t: TestStore;

beforeEach(async () => {
  t = await aStoreForThisTest();
});

test("a step in code appends one step a file and a join that sees what they recorded", async () => {
  const plan = definePlan("grow", { input }).step("look", async ({ input, append }) => {
    append(input.files.map((file, i) => ({ id: `fix-${i}`, uses: fix, with: { file } })));
    append([
      {
        id: "report",
        uses: "sum",
        with: { all: input.files.map((_, i) => expression(`steps.fix-${i}.output.fixed`)) },
      },
    ]);
    return input.files.length;
  });
  await start([plan]);

  const id = await run(plan, { files: ["a.ts", "${{ input.files }}", "$${{ x"] });

  expect(JSON.parse(await t.store.output(id, "report"))).toBe("a.ts+${{ input.files }}+$${{ x");
  expect(JSON.parse(await t.store.output(id, "fix-1"))).toEqual({ fixed: "${{ input.files }}", key: "fix-1" });
  expect((await t.store.view(id)).meta).toMatchObject({ total: 5, done: 5 });
});

test("an item of a map appends steps that anybody can run", async () => {
  const plan = definePlan("grow", { input }).map(
    "look",
    { over: ({ input }) => input.files, key: (file) => file },
    async (file, { append }) => append([{ id: `fix-${file}`, uses: fix, with: { file }, needs: ["look"] }]),
  );
  await start([plan]);

  const id = await run(plan, { files: ["a", "b"] });

  const stranger = await aStore(t.url, { prefix: t.prefix });
  const { view, compiled } = await stranger.store.detail(id);
  stranger.redis.disconnect();
  expect(view.meta).toMatchObject({ total: 6, done: 6 });
  expect(compiled.steps.get("fix-a")).toMatchObject({ appendedBy: "look#a", needs: ["look#a", "look"] });
});

test("a plan goes on by what its steps decide, each of them appending the next", async () => {
  const turn: ReturnType<typeof defineHandler> = defineHandler(
    "turn",
    { with: z.object({ n: z.number() }) },
    async ({ with: { n }, append, decide }) => {
      const next = await decide("next", { question: "Go on?", options: ["yes", "no"] }, () => (n < 20 ? "yes" : "no"));
      if (next === "yes") append([{ id: `turn-${n + 1}`, uses: "turn", with: { n: n + 1 } }]);
      return n;
    },
  ) as never;
  const plan = definePlan("agent", { input }).use("turn-0", turn as never, { with: () => ({ n: 0 }) as never });
  const more = new Map([...handlers, ["turn", toStepHandler(turn as never)]]);
  await start([plan], more);
  await start([plan], more);

  const id = await run(plan, { files: [] });

  expect(JSON.parse(await t.store.output(id, "turn-20"))).toBe(20);
  expect((await t.store.view(id)).meta).toMatchObject({ total: 21, done: 21, grown: 20 });
  expect(await t.store.decisions(id)).toHaveLength(22);
});

test.each<[string, AppendedStep, string, string]>([
  ["an id that exists", { id: "look", uses: "fix" }, "INVALID_PLAN", "exists already"],
  ["no id", { id: "a/b", uses: "fix" }, "INVALID_PLAN", "has an id that is not one"],
  ["an unknown handler", { id: "x", uses: "nope" }, "HANDLER_NOT_FOUND", "this worker has no such handler"],
  ["no handler", { id: "x" } as never, "INVALID_PLAN", "names no handler"],
  ["a need that isn't there", { id: "x", uses: fix, with: { file: "a" }, needs: ["y"] }, "INVALID_PLAN", 'needs "y"'],
  ["an unknown phase", { id: "x", uses: fix, with: { file: "a" }, phase: "p" }, "INVALID_PLAN", 'has the phase "p"'],
  ["arguments that don't fit", { id: "x", uses: fix, with: { file: 1 } }, "INVALID_PLAN", "can't use fix: file"],
  ["an unknown key", { id: "x", uses: fix, wiht: {} } as never, "INVALID_PLAN", 'has the unknown option "wiht"'],
  ["a queue that is no id", { id: "x", uses: fix, with: { file: "a" }, queue: " " }, "INVALID_PLAN", "has the queue"],
  ["an unknown effect", { id: "x", uses: fix, effect: "none" as never }, "INVALID_PLAN", "has the effect"],
  [
    "a secret",
    { id: "x", uses: "fix", with: { file: expression("secrets.NPM") } },
    "INVALID_PLAN",
    "can't be given a secret",
  ],
])("%s fails the step that appends it", async (_, appended, code, message) => {
  const plan = definePlan("grow", { input }).step("look", async ({ append }) => append([appended]));
  await start([plan]);

  const id = await submit(plan, { files: [] });
  await until("the failure", async () => (await t.state(id)) === "failed");

  const { errors, view } = await t.store.detail(id);
  expect(errors.get("look")).toMatchObject({ code, message: expect.stringContaining(message) as string });
  expect(view.meta.total).toBe(1);
});

test("an appended command runs where all are trusted, and not for a definition that is trusted by its digest", async () => {
  const grower: StepHandler = {
    name: "grower",
    check: () => [],
    async run(call) {
      call.append([{ id: "command", uses: "shell", with: { run: "echo hi" } }]);
      return { kind: "completed", output: null };
    },
  };
  const compiled = aDefinition([{ id: "a", uses: "grower" }]);
  const all = new Map([...handlers, ["grower", grower] as const]);
  const untrusting = await startWorker(t, () => null, {
    handlers: all,
    trust: { kind: "digests", digests: new Set([compiled.digest]) },
  });
  const id = aPlanId();
  await t.store.submit({
    planId: id,
    compiled,
    input: "{}",
    actor: "tester",
    privateQueue: null,
    workdir: tmpdir(),
  });

  await until("the refusal", async () => (await t.store.detail(id)).unserved.has("command"));
  await untrusting.close();
  await startWorker(t, () => null, { handlers: all, trust: { kind: "all" } });
  await until("the plan to complete", async () => (await t.state(id)) === "completed");

  expect(JSON.parse(await t.store.output(id, "command"))).toEqual({ stdout: "hi" });
});

async function start(plans: readonly AnyPlan[], more: ReadonlyMap<string, StepHandler> = handlers): Promise<void> {
  const queues = plans.map((plan) => plan.name);
  await startWorker(t, () => null, { plans, queues, handlers: more, concurrency: 2 });
}

function submit(plan: AnyPlan, given: z.input<typeof input>): Promise<string> {
  return t.submit(plan.compiled, undefined, JSON.stringify(given));
}

async function run(plan: AnyPlan, given: z.input<typeof input>): Promise<string> {
  const id = await submit(plan, given);
  await until("the plan to complete", async () => (await t.state(id)) === "completed");
  return id;
}
