/** What a test of a plan may say. Nothing here runs: the compiler is the test, as in typed-plan.ts. */
import { z } from "zod";
import { defineHandler } from "../../src/define/define-handler.js";
import { definePlan, services } from "../../src/define/define-plan.js";
import type { AnyPlan } from "../../src/define/typed-plan.js";
import { testPlan } from "../../src/testing/index.js";
import { chain } from "./chain-200.js";

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
declare function holds<_T extends true>(): void;

interface Git {
  lint(dir: string): Promise<{ file: string }[]>;
}
declare const git: Git;

const notify = defineHandler("notify", { with: z.object({ text: z.string() }) }, async () => ({ sent: true }));
const plan = definePlan("refactor", {
  input: z.object({ repo: z.string(), since: z.coerce.date() }),
  services: services<{ git: Git }>(),
})
  .step("scan", async ({ services, input }) => ({ findings: await services.git.lint(input.repo) }))
  .map("fix", { over: ({ outputs }) => outputs.scan.findings }, async ({ file }) => ({ file, lines: 1 }))
  .step("docs", { when: ({ outputs }) => outputs.fix.length > 1 }, async () => ({ pages: 3 }))
  .approve("sign-off", { message: () => "Push?" })
  .ask("how", { question: () => "How?", options: ["patch"] })
  .waitFor("ci", { signal: z.object({ ok: z.boolean() }) })
  .use("tell", notify, { with: ({ outputs }) => ({ text: String(outputs.ci.ok) }) });
const plain = definePlan("plain", { input: z.object({}) }).map(
  "each",
  { over: () => JSON.parse("[]") as number[] },
  async () => 1,
);

const input = { repo: "acme/web", since: "2026-01-01" };
const needed = { input, services: { git } };

export async function whatCompiles(): Promise<void> {
  const run = await testPlan(plan, {
    ...needed,
    steps: {
      scan: { findings: [{ file: "a.ts" }] },
      fix: (finding, { outputs, services, input }) => {
        holds<Equal<typeof finding, { file: string }>>();
        holds<Equal<typeof services, { git: Git }>>();
        holds<Equal<typeof input.since, Date>>();
        return { file: finding.file, lines: outputs.scan.findings.length + Object.keys(services).length };
      },
      docs: async ({ attempt }) => (attempt > 1 ? { pages: 1 } : null),
      tell: ({ with: given }) => ({ sent: given !== null }),
    },
    decisions: { "sign-off": "approve", how: { choice: "patch", madeBy: "ada" }, "scan/any": "x" },
    signals: { ci: { ok: true } },
    crashAt: { before: "fix#a.ts", attempt: 2 },
  });
  holds<Equal<typeof run.output, { sent: boolean } | undefined>>();
  holds<Equal<typeof run.services, { git: Git }>>();
  const pages: number | undefined = run.outputs.docs?.pages;
  const lines: number | undefined = run.outputs.fix?.[0]?.lines;
  const appended: unknown = run.outputs.appended;
  const attempts: number = run.steps["sign-off"].attempts;
  const item: number | undefined = run.steps["fix#a.ts"]?.attempts;
  for (const { crash, services } of run.crashes) console.log(crash.when, services.git);
  console.log(pages, lines, appended, attempts, item);

  await testPlan(plan, { input, services: () => ({ git }), crashAt: "everywhere" });
  await testPlan(plain, { input: {} });
  await testPlan(chain, { input: { n: 1 }, steps: { s200: { n: 1 }, s1: ({ input }) => ({ n: input.n }) } });
}

export function whatDoesNotCompile(any: AnyPlan): void {
  // @ts-expect-error a service is missing
  void testPlan(plan, { input });
  // @ts-expect-error a fake of the wrong type
  void testPlan(plan, { input, services: { git: { lint: 1 } } });
  // @ts-expect-error the input is what goes into the schema
  void testPlan(plan, { ...needed, input: { repo: 1 } });
  // @ts-expect-error a step that isn't there
  void testPlan(plan, { ...needed, steps: { skan: { findings: [] } } });
  // @ts-expect-error what it doesn't record
  void testPlan(plan, { ...needed, steps: { scan: { findings: [1] } } });
  // @ts-expect-error nor its function
  void testPlan(plan, { ...needed, steps: { scan: async () => ({ findings: "none" }) } });
  // @ts-expect-error an item's fake makes one item's output
  void testPlan(plan, { ...needed, steps: { fix: () => [{ file: "a", lines: 1 }] } });
  // @ts-expect-error and is no list
  void testPlan(plan, { ...needed, steps: { fix: [{ file: "a", lines: 1 }] } });
  // @ts-expect-error who waits has no function
  void testPlan(plan, { ...needed, steps: { ci: { ok: true } } });
  // @ts-expect-error nor has who asks
  void testPlan(plan, { ...needed, steps: { "sign-off": { choice: "approve", by: "ada" } } });
  // @ts-expect-error the worker dies before or after
  void testPlan(plan, { ...needed, crashAt: "nowhere" });
  // @ts-expect-error a plan that nobody knows has services that nobody knows
  void testPlan(any, { input: {} });
}
