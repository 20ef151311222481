/**
 * What does and does not compile. Nothing here runs: the compiler is the test, and an `@ts-expect-error` above a line
 * that compiles is an error itself.
 */
import type { StandardSchemaV1 } from "@standard-schema/spec";
import { z } from "zod";
import { defineHandler } from "../../src/define/define-handler.js";
import { definePlan, services } from "../../src/define/define-plan.js";
import type {
  AnyPlan,
  Approval,
  PlanHandle,
  PlanInput,
  PlanOutput,
  PlanOutputs,
  PlanServices,
} from "../../src/define/typed-plan.js";

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
declare function holds<_T extends true>(): void;
declare function submit<D extends AnyPlan>(
  plan: D,
  input: PlanInput<D>,
  options?: { planId?: string },
): Promise<PlanHandle<D>>;
declare function createWorker<const D extends readonly AnyPlan[]>(options: {
  plans: D;
  services: PlanServices<D[number]>;
}): void;

interface Finding {
  file: string;
  severity: "low" | "high";
}
interface Git {
  lint(dir: string): Promise<Finding[]>;
  push(options: { key: string; fence: number }): Promise<{ url: string }>;
}
interface Model {
  pick(question: string): Promise<"patch" | "rewrite">;
}

const notify = defineHandler(
  "notify",
  { with: z.object({ text: z.string(), at: z.coerce.date().optional() }) },
  async (call) => {
    holds<Equal<typeof call.with, { text: string; at?: Date | undefined }>>();
    call.log.info({ attempt: call.attempt, fence: call.fence }, call.idempotencyKey);
  },
);

export const refactor = definePlan("refactor", {
  version: 3,
  input: z.object({ repo: z.string(), since: z.coerce.date() }),
  services: services<{ git: Git; model: Model }>(),
})
  .step("scan", async ({ services, input }) => ({
    findings: await services.git.lint(input.repo),
    year: input.since.getFullYear(),
  }))
  .step("choose", async ({ outputs, services, decide }) => ({
    how: await decide(
      "how",
      { question: `Fix ${outputs.scan.findings.length} findings how?`, options: ["patch", "rewrite"] },
      async () => ({ choice: await services.model.pick("how?"), rationale: "the model said so", madeBy: "model" }),
    ),
  }))
  .step(
    "fix",
    { timeout: "10m", retry: { attempts: 5, delay: "2s" }, queue: "big" },
    async ({ outputs, progress, signal }) =>
      outputs.scan.findings.map((finding, index, all) => {
        signal.throwIfAborted();
        progress((index + 1) / all.length, finding.file);
        return { file: finding.file, how: outputs.choose.how };
      }),
  )
  .approve("sign-off", { phase: "apply", message: ({ outputs }) => `Push ${outputs.fix.length} fixes?` })
  .step("push", { effect: "irreversible", rev: "2" }, async ({ outputs, services, idempotencyKey, fence }) => ({
    url: (await services.git.push({ key: idempotencyKey, fence })).url,
    approvedBy: outputs["sign-off"].by,
  }))
  .waitFor("ci", { signal: z.object({ ok: z.boolean(), at: z.coerce.date() }) })
  .use("tell", notify, {
    with: ({ outputs }) => ({ text: `${outputs.push.url} ${outputs.ci.ok} ${outputs.ci.at.getTime()}` }),
  });

type Outputs = PlanOutputs<typeof refactor>;
holds<Equal<Outputs["scan"], { findings: Finding[]; year: number }>>();
holds<Equal<Outputs["choose"], { how: "patch" | "rewrite" }>>();
holds<Equal<Outputs["fix"], { file: string; how: "patch" | "rewrite" }[]>>();
holds<Equal<Outputs["sign-off"], Approval>>();
holds<Equal<Outputs["ci"], { ok: boolean; at: Date }>>();
holds<Equal<Outputs["tell"], null>>();
holds<Equal<keyof Outputs, "scan" | "choose" | "fix" | "sign-off" | "push" | "ci" | "tell">>();
holds<Equal<PlanOutput<typeof refactor>, null>>();
holds<Equal<PlanInput<typeof refactor>, { repo: string; since: unknown }>>();
holds<Equal<PlanServices<typeof refactor>, { git: Git; model: Model }>>();

const base = definePlan("base", { input: z.object({ n: z.number() }) })
  .step("a", async ({ input }) => ({ x: input.n }))
  .step("b", async () => "s");
const deploy = definePlan("deploy", {
  input: z.object({}),
  phases: ["build", "ship"],
  services: services<{ git: Git; region: string }>(),
}).step("go", { phase: "ship" }, async () => 1);

holds<Equal<PlanServices<typeof refactor | typeof deploy>["region"], string>>();
holds<Equal<PlanServices<typeof refactor | typeof deploy>["model"], Model>>();

// An input type that differs from the output type: the producer gives a string, the step sees a number.
declare const counted: StandardSchemaV1<{ count: string }, { count: number }>;
const counter = definePlan("counter", { input: counted }).step("double", async ({ input }) => input.count * 2);
holds<Equal<PlanInput<typeof counter>, { count: string }>>();
holds<Equal<PlanOutput<typeof counter>, number>>();

export async function whatCompiles(git: Git, model: Model): Promise<void> {
  const handle = await submit(refactor, { repo: "acme/web", since: "2026-01-01" }, { planId: "r-1" });
  const none: null = await handle.result();
  const text: string = await (await submit(base, { n: 1 })).result();
  createWorker({ plans: [refactor, base], services: { git, model } });
  createWorker({ plans: [refactor, deploy], services: { git, model, region: "eu" } });
  createWorker({ plans: [base], services: {} });
  console.log(none, text);
}

export const shapes = base
  .step("c", { needs: ["a"] }, async ({ outputs }) => outputs.a.x + 1)
  .step("d", { needs: [] }, async () => {})
  .step("e", { needs: ["c", "d"] }, async ({ outputs }) => ({ c: outputs.c.toFixed(), a: outputs.a.x, d: outputs.d }))
  .step("maybe", async ({ input }) => (input.n > 1 ? { k: 1 } : undefined))
  .step(
    "optional",
    async ({ input }): Promise<{ note?: string; list: readonly [number, string] }> => ({ list: [input.n, "x"] }),
  )
  .step("untyped", async () => JSON.parse("[1]"))
  .step("constructor", async () => 1)
  .step("always-fails", async (): Promise<never> => {
    throw new Error("no");
  });
type Shapes = PlanOutputs<typeof shapes>;
holds<Equal<Shapes["d"], null>>();
holds<Equal<Shapes["e"], { c: string; a: number; d: null }>>();
holds<Equal<Shapes["maybe"], { k: number } | null>>();
holds<Equal<Shapes["optional"], { note?: string; list: readonly [number, string] }>>();
holds<Equal<Shapes["constructor"], number>>();
holds<Equal<Shapes["always-fails"], never>>();

// A step that may be skipped, or that the plan may go on without, may have recorded nothing.
const mayBeMissing = base
  .step("docs", { when: ({ outputs, input }) => outputs.b === "s" && input.n > 1 }, async () => ({ pages: 3 }))
  .step("aside", { needs: ["a"], sandbox: "none", when: ({ outputs }) => outputs.a.x > 1 }, async () => 1)
  .step("lint", { needs: ["docs"], onFailure: "continue" }, async ({ outputs }) => outputs.docs?.pages ?? 0)
  .step("strict", { onFailure: "stop" }, async ({ errors }) => errors.lint?.code ?? "fine")
  .approve("sign-off", { when: ({ errors }) => errors.lint === undefined, message: ({ outputs }) => outputs.strict })
  .ask("pick", { when: () => true, question: () => "How?", options: ["x"] })
  .waitFor("ci", { signal: z.object({ ok: z.boolean() }), when: ({ outputs }) => outputs.pick?.choice === "x" })
  .use("tell", notify, { when: ({ outputs }) => outputs.ci?.ok === true, with: () => ({ text: "" }) });
type Missing = PlanOutputs<typeof mayBeMissing>;
holds<Equal<Missing["docs"], { pages: number } | null>>();
holds<Equal<Missing["aside"], number | null>>();
holds<Equal<Missing["lint"], number | null>>();
holds<Equal<Missing["strict"], string>>();
holds<Equal<Missing["sign-off"], Approval | null>>();
holds<Equal<Missing["ci"], { ok: boolean } | null>>();

// One step an item: its function sees the item, and the steps below a list of what they recorded.
const mapped = base
  .map(
    "each",
    { over: ({ outputs }) => [outputs.a, { x: 2 }], key: (item, index) => item.x + index },
    async (item) => ({
      y: item.x,
    }),
  )
  .map(
    "lazy",
    {
      needs: ["each"],
      over: ({ input }) => ["s", String(input.n)],
      concurrency: 4,
      rate: { key: "api", max: 10, per: "1m" },
      when: ({ outputs }) => outputs.each.length > 1,
    },
    async (item, { outputs, signal }) => (signal.aborted ? 0 : item.length + outputs.each[0]!.y),
  )
  .map(
    "tolerant",
    { over: () => [1], onFailure: "continue", concurrency: { key: "api", limit: 3 } },
    async (item, { outputs }) => item + (outputs.lazy?.length ?? 0),
  )
  .step("total", async ({ outputs }) => outputs.tolerant.map((n) => n ?? 0).length);
type Mapped = PlanOutputs<typeof mapped>;
holds<Equal<Mapped["each"], { y: number }[]>>();
holds<Equal<Mapped["lazy"], number[] | null>>();
holds<Equal<Mapped["tolerant"], (number | null)[]>>();

export function whatDoesNotCompile(git: Git): void {
  // @ts-expect-error a map has a list
  base.map("c", { over: ({ outputs }) => outputs.a }, async () => 1);
  // @ts-expect-error an item is what the list has
  base.map("c", { over: () => [1] }, async (item) => item.length);
  // @ts-expect-error a key is a text or a number
  base.map("c", { over: () => [{ a: 1 }], key: (item) => item }, async () => 1);
  // @ts-expect-error the list is recorded
  base.map("c", { over: () => [new Date()] }, async () => 1);
  // @ts-expect-error so is what an item's step returns
  base.map("c", { over: () => [1] }, async () => 1n);
  // @ts-expect-error a map's outputs are a list
  base.map("c", { over: () => [1] }, async () => 1).step("d", async ({ outputs }) => outputs.c.toFixed());
  // @ts-expect-error a step that may be skipped may have recorded nothing
  mayBeMissing.step("c", { needs: ["docs"] }, async ({ outputs }) => outputs.docs.pages);
  // @ts-expect-error a condition says true or false
  base.step("c", { when: ({ outputs }) => outputs.a.x }, async () => 1);
  // @ts-expect-error a condition sees what is above, and nothing else
  base.step("c", { needs: ["a"], when: ({ outputs }) => outputs.b === "s" }, async () => 1);
  // @ts-expect-error a condition is no promise
  base.step("c", { when: async () => true }, async () => 1);
  // @ts-expect-error a plan stops or goes on
  base.step("c", { onFailure: "ignore" }, async () => 1);
  // @ts-expect-error an error of a step that isn't above
  base.step("c", { needs: ["a"] }, async ({ errors }) => errors.b?.code ?? "");
  const ask = { question: "how?", options: ["patch", "rewrite"] } as const;
  // @ts-expect-error a choice that is not among the options
  base.step("c", async ({ decide }) => decide("how", ask, async () => "rebuild"));
  // @ts-expect-error the same, with a rationale
  base.step("c", async ({ decide }) => decide("how", ask, () => ({ choice: "rebuild", rationale: "why not" })));
  // @ts-expect-error a decision is one of its options
  base.step("c", async ({ decide }) => (await decide("how", ask, () => "patch")) === "rebuild");
  // @ts-expect-error a need that doesn't exist
  base.step("c", { needs: ["aa"] }, async () => 1);
  // @ts-expect-error a step that needs itself
  base.step("c", { needs: ["c"] }, async () => 1);
  // @ts-expect-error an output that isn't there
  base.step("c", { needs: ["a"] }, async ({ outputs }) => outputs.a.y);
  // @ts-expect-error a step that isn't above this one
  base.step("c", { needs: ["a"] }, async ({ outputs }) => outputs.b);
  // @ts-expect-error the first step has nothing above it
  definePlan("p", { input: z.object({}) }).step("a", async ({ outputs }) => outputs.b);
  base.step("c", async ({ outputs }) => {
    // @ts-expect-error outputs are read-only
    outputs.b = "t";
  });
  // @ts-expect-error the same id twice
  base.step("a", async () => 1);
  // @ts-expect-error the same id twice, with options
  base.step("a", { needs: [] }, async () => 1);
  // @ts-expect-error the same id twice, in an approval
  base.approve("a", { message: () => "Go?" });
  // @ts-expect-error not JSON: Date
  base.step("c", async () => ({ at: new Date() }));
  // @ts-expect-error not JSON: bigint
  base.step("c", async () => 1n);
  // @ts-expect-error not JSON: a Map, deep inside
  base.step("c", { needs: [] }, async () => ({ list: [{ byId: new Map<string, number>() }] }));
  // @ts-expect-error not JSON: a promise that nobody awaited
  base.step("c", async () => ({ findings: git.lint(".") }));
  // @ts-expect-error not JSON: bytes
  base.step("c", async () => Buffer.from("x"));
  // @ts-expect-error an undefined element would be read back as null
  base.step("c", async ({ input }) => [input.n > 1 ? "x" : undefined]);
  // @ts-expect-error nobody knows whether it is JSON
  base.step("c", async (): Promise<unknown> => 1);
  // @ts-expect-error not a promise
  base.step("c", () => 1);
  // @ts-expect-error unknown phase
  base.step("c", { phase: "deploy" }, async () => 1);
  // @ts-expect-error a conventional phase in a plan with its own
  deploy.step("c", { phase: "execute" }, async () => 1);
  // @ts-expect-error not a duration
  base.step("c", { timeout: "10 minutes" }, async () => 1);
  base.step("c", { concurrency: { key: "api", limit: 3 }, rate: { key: "api", max: 10, per: 500 } }, async () => 1);
  // @ts-expect-error how many at once, without a key
  base.step("c", { concurrency: 3 }, async () => 1);
  // @ts-expect-error not a duration
  base.step("c", { rate: { key: "api", max: 10, per: "1 minute" } }, async () => 1);
  // @ts-expect-error nobody works while it waits
  base.approve("c", { message: () => "Go?", rate: { key: "api", max: 10, per: "1m" } });
  // @ts-expect-error unknown use of the sandbox
  base.step("c", { sandbox: "all" }, async () => 1);
  base.step("c", { sandbox: "write" }, async ({ sandbox }) => `${sandbox.path} ${sandbox.fresh ? "new" : "kept"}`);
  // @ts-expect-error no sandbox unless asked for
  base.step("c", async ({ sandbox }) => sandbox.path);
  // @ts-expect-error no sandbox where it says none
  base.step("c", { sandbox: "none" }, async ({ sandbox }) => sandbox.path);
  // @ts-expect-error unknown effect
  base.step("c", { effect: "none" }, async () => 1);
  // @ts-expect-error unknown option
  base.step("c", { retries: 3 }, async () => 1);
  // @ts-expect-error a service that the plan doesn't expect
  base.step("c", async ({ services }) => services.git);
  // @ts-expect-error a message is text
  base.approve("c", { message: ({ outputs }) => outputs.a.x });
  // @ts-expect-error a rejection never reaches the steps below
  base.approve("c", { message: () => "Go?" }).step("d", async ({ outputs }) => outputs.c.choice === "reject");
  const waited = base.waitFor("c", { signal: z.object({ ok: z.boolean() }), timeout: "30m", onTimeout: "continue" });
  // @ts-expect-error nothing came where the wait went on without its signal
  waited.step("d", async ({ outputs }) => outputs.c.ok);
  // @ts-expect-error a wait fails or continues
  base.waitFor("c", { signal: z.object({}), timeout: "30m", onTimeout: "retry" });
  // @ts-expect-error an answer is one of the options
  base.ask("c", { question: () => "How?", options: ["a"] }).step("d", async ({ outputs }) => outputs.c.choice === "b");
  // @ts-expect-error a question has options
  base.ask("c", { question: () => "How?" });
  // @ts-expect-error a signal has a schema
  base.waitFor("c", { needs: ["a"] });
  // @ts-expect-error wrong input
  submit(base, { n: "1" });
  // @ts-expect-error the input is what goes into the schema, not what comes out
  submit(counter, { count: 1 });
  // @ts-expect-error no input
  submit(base);
  // @ts-expect-error a service is missing
  createWorker({ plans: [refactor, base], services: { git } });
  // @ts-expect-error handler's `with`
  base.use("c", notify, { with: () => ({ txt: "" }) });
  // @ts-expect-error handler's `with` of the wrong type
  base.use("c", notify, { with: ({ outputs }) => ({ text: outputs.a.x }) });
  // @ts-expect-error a handler's result is recorded too
  defineHandler("clock", { with: z.object({}) }, async () => new Date());
}
