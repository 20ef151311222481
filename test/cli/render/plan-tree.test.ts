import pc from "picocolors";
import { expect, test } from "vitest";
import { renderDecisions } from "../../../src/cli/commands/decisions.js";
import { renderPlan } from "../../../src/cli/render/plan-tree.js";
import { renderResumeSummary } from "../../../src/cli/render/resume-summary.js";
import type { DecisionDocument } from "../../../src/client/documents.js";
import type { ResumeSummary } from "../../../src/core/resume-summary.js";
import { AT, aPlan, aStep } from "./a-plan.js";

const plain = pc.createColors(false);
const render = (...args: Parameters<typeof aPlan>) => renderPlan(aPlan(...args), Date.parse(AT), plain).split("\n");

test("a plan that was resumed once says so in words", () => {
  expect(render([aStep("a", "queued")], { resumeCount: 1 })).toContain("State      running  (epoch 2, resumed once)");
});

test("a step that nobody may run says why instead of when it is tried again", () => {
  const [row] = render([aStep("a", "delayed", { dueAt: AT, unserved: "no worker here may run shell steps" })]).slice(
    -1,
  );

  expect(row).toBe("└─ ◷ a  waits: no worker here may run shell steps");
});

test("a running step says how far it is, where it has said so", () => {
  const told = { worker: "vm:1", progress: { fraction: 0.429, note: "3 of 7\u0007" } };
  const silent = { worker: "vm:1", progress: { fraction: 1, note: null } };
  const rows = render([aStep("a", "running", told), aStep("b", "running", silent)]).slice(-2);

  expect(rows).toEqual(["├─ ● a  0ms on vm:1  42 % 3 of 7\\x07", "└─ ● b  0ms on vm:1  100 %"]);
});

test("what was not recorded is left out, and no gap is shown for it", () => {
  const rows = render([
    aStep("a", "failed"),
    aStep("b", "delayed", { needs: ["a"], dueAt: AT, attempts: 1 }),
    aStep("c", "waiting", { needs: ["b"], wait: "approval" }),
    aStep("d", "completed", { needs: ["c"] }),
    aStep("e", "running", { needs: ["d"], worker: "vm:1" }),
    aStep("f", "pending", { needs: ["a", "b"] }),
  ]).slice(-6);

  expect(rows[0]).toBe("├─ ✖ a  failed after 1 attempt");
  expect(rows[1]).toMatch(/^├─ ◷ b {2}attempt 2 at \S+ \S+$/);
  expect(rows.slice(2)).toEqual([
    "├─ ◷ c  waits for an approval:",
    "├─ ✔ d  0ms",
    "├─ ● e  0ms on vm:1",
    "└─ ○ f  needs a, b",
  ]);
});

test("steps that wait for their turn or for a choice say so", () => {
  const rows = render([
    aStep("a", "exclusive"),
    aStep("b", "waiting", {
      wait: "choice",
      ask: { question: "Which way?", options: ["left", "right"], schema: null, onReject: "cancel" },
    }),
    aStep("c", "waiting", { wait: "choice" }),
    aStep("d", "waiting", { wait: "timer" }),
    aStep("e", "waiting", { wait: "signal" }),
    aStep("f", "limited", { limit: "the limit api (3 of 3 in use)" }),
  ]).slice(-6);

  expect(rows.map((row) => row.replace(/^.*[abcdef] {2}/, ""))).toEqual([
    "waits for its turn to write the sandbox",
    "waits for a choice: Which way? (left, right)",
    "waits for a choice:  ()",
    "waits for its timer",
    "waits for a signal",
    "waits for the limit api (3 of 3 in use)",
  ]);
});

test("of many decisions of one step the last ones are shown, and the others counted", () => {
  const decisions = Array.from({ length: 6 }, (_, i) => ({
    decisionId: `dec_${i}`,
    parent: null,
    step: "a",
    key: `k${i}`,
    question: "how?",
    options: [],
    choice: i,
    rationale: null,
    madeBy: "sam",
    at: AT,
    current: true,
  }));

  const [row] = render([aStep("a", "completed")], { decisions }).slice(-1);

  expect(row).toMatch(/ \d earlier .*dec_5 5$/);
  expect(row).not.toContain("dec_0");
});

test("a step that was skipped, or that the plan went on without, is done, and says how", () => {
  const rows = render([
    aStep("a", "skipped"),
    aStep("b", "continued", { attempts: 3, error: { code: "EXIT_1", message: "two faults" } }),
  ]).slice(-3);

  expect(rows).toEqual([
    "execute 2/2",
    "├─ ⊘ a  skipped",
    "└─ ✖ b  failed after 3 attempts: two faults (the plan goes on)",
  ]);
});

test("a map says how many of its items are done, and an item that it waits for its turn", () => {
  const rows = render([
    aStep("fix#", "completed"),
    aStep("fix#a", "completed", { needs: ["fix#"] }),
    aStep("fix#b", "exclusive", { needs: ["fix#"] }),
    aStep("fix", "pending", { needs: ["fix#", "fix#a", "fix#b"], items: { done: 1, total: 2 } }),
  ]).slice(-4);

  expect(rows).toEqual([
    "├─ ✔ fix#   0ms",
    "├─ ✔ fix#a  0ms",
    "├─ ○ fix#b  waits for its turn",
    "└─ ○ fix    1 of 2 items",
  ]);
});

test("a big plan with two places at work is shortened between them", () => {
  const steps = Array.from({ length: 200 }, (_, i) =>
    aStep(`s${i}`, i === 50 || i === 100 ? "running" : "pending", { worker: "vm:1" }),
  );

  const rows = render(steps).filter((row) => row.includes("┆"));

  expect(rows).toEqual(["├─ ┆ 42 pending", "├─ ┆ 49 pending", "├─ ┆ 91 pending"]);
});

test("decisions hang below the one that they follow, with options and reasons where there are any", () => {
  const aDecision = (
    decisionId: string,
    parent: string | null,
    facts: Partial<DecisionDocument>,
  ): DecisionDocument => ({
    decisionId,
    parent,
    step: "s",
    key: null,
    question: "how?",
    options: [],
    choice: "x",
    rationale: null,
    madeBy: "sam",
    at: AT,
    current: true,
    ...facts,
  });

  const lines = renderDecisions(
    [
      aDecision("dec_1", null, { step: null }),
      aDecision("dec_2", "dec_1", {}),
      aDecision("dec_3", "dec_2", { options: ["x", "y"], rationale: "cheaper" }),
      aDecision("dec_4", "dec_gone", {}),
    ],
    plain,
  ).map((line) => line.replace(/ {2}\S+ \S+ by sam$/, ""));

  expect(lines).toEqual([
    "dec_1  submission",
    '└─ dec_2  s: how? "x"',
    '   └─ dec_3  s: how? "x" of x, y (cheaper)',
    '└─ dec_4  s: how? "x"',
  ]);
});

test("a summary lists no more steps than a dry-run keeps, and counts the others", () => {
  const reuse = Array.from({ length: 150 }, (_, i) => `r${i}`);
  const summary = {
    ...{ planId: "p", name: "n", version: 1, state: "failed", why: "w", phase: "execute", step: null, total: 150 },
    ...{
      decisionId: "dec",
      lastCompletedStep: null,
      lastCheckpointId: null,
      run: [],
      runCount: 0,
      ackRequired: [],
      repeated: [],
      happened: null,
    },
    ...{
      sandbox: null,
      drift: [],
      reuse,
      reuseCount: 150,
      newKey: [],
      from: null,
      reason: null,
      resumeToken: "t",
      epoch: 1,
      eligible: false,
    },
  } as unknown as ResumeSummary;

  const text = renderResumeSummary(summary, { choice: undefined }, plain);

  expect(text).toMatch(/r99 and 50 more\n/);
});

test("a phase of a big plan that ends out of sight says how much of it is left", () => {
  const steps = Array.from({ length: 200 }, (_, i) =>
    aStep(`s${i}`, "pending", { phase: i < 100 ? "execute" : "apply" }),
  );

  const rows = render(steps);

  expect(rows[rows.indexOf("apply 0/100") - 1]).toBe("└─ ┆ 92 pending");
  expect(rows[rows.indexOf("apply 0/100") + 1]).toBe("├─ ┆ 92 pending");
});
