import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  compile,
  DEFAULT_RETRY,
  type Definition,
  defaultPhase,
  descendants,
  findCycle,
  impliedPhases,
  type StepDefinition,
} from "../../src/core/definition.js";

function aStep(id: string, needs: readonly string[] = [], changes: Partial<StepDefinition> = {}): StepDefinition {
  const action = { uses: "shell", with: { run: "true" }, env: {}, passEnv: [], queue: "documents" };
  const rules = { effect: "idempotent", sandbox: "none", retry: DEFAULT_RETRY, timeoutMs: 1_000, rev: null } as const;
  return { id, phase: "execute", needs, ...action, ...rules, ...changes };
}

function aDefinition(steps: readonly StepDefinition[], changes: Partial<Definition> = {}): Definition {
  const base = { name: "demo", version: 1, source: "document", phases: ["execute"], inputSchema: null } as const;
  return { ...base, steps, failFast: false, sandbox: null, ...changes };
}

const DIAMOND = [aStep("a"), aStep("b", ["a"]), aStep("c", ["a"]), aStep("d", ["b", "c"]), aStep("lone")];

test("a compiled definition has its edges in both directions", () => {
  const compiled = compile(aDefinition(DIAMOND));

  expect(compiled.roots).toEqual(["a", "lone"]);
  expect([...compiled.steps.values()].map(({ id, index, next }) => [id, index, next])).toEqual([
    ["a", 0, ["b", "c"]],
    ["b", 1, ["d"]],
    ["c", 2, ["d"]],
    ["d", 3, []],
    ["lone", 4, []],
  ]);
});

test("steps may have the names of Object's own properties", () => {
  const compiled = compile(aDefinition([aStep("constructor"), aStep("toString", ["constructor"])]));

  expect(compiled.steps.get("constructor")?.next).toEqual(["toString"]);
  expect(compiled.steps.get("hasOwnProperty")).toBeUndefined();
});

test.each<[string, Partial<StepDefinition>]>([
  ["phase", { phase: "apply" }],
  ["uses", { uses: "noop" }],
  ["with", { with: { run: "false" } }],
  ["env", { env: { A: "1" } }],
  ["effect", { effect: "irreversible" }],
  ["rev", { rev: "2" }],
  ["needs", { needs: ["b"] }],
])("a step's digest changes with its %s", (_, change) => {
  const digest = (step: StepDefinition) => compile(aDefinition([step, aStep("b")])).steps.get("a")!.digest;

  expect(digest(aStep("a", [], change))).not.toBe(digest(aStep("a")));
});

test.each<[string, Partial<StepDefinition>]>([
  ["retry", { retry: { ...DEFAULT_RETRY, attempts: 9 } }],
  ["timeout", { timeoutMs: 5 }],
  ["queue", { queue: "other" }],
])("a step's digest ignores its %s, the definition's digest does not", (_, change) => {
  const plain = compile(aDefinition([aStep("a")]));
  const changed = compile(aDefinition([aStep("a", [], change)]));

  expect(changed.steps.get("a")!.digest).toBe(plain.steps.get("a")!.digest);
  expect(changed.digest).not.toBe(plain.digest);
});

test("the descendants of a step are it and all that needs it, in listed order", () => {
  const compiled = compile(aDefinition([...DIAMOND].reverse()));

  expect(descendants(compiled, ["b"])).toEqual(["d", "b"]);
  expect(descendants(compiled, ["a"])).toEqual(["d", "c", "b", "a"]);
  expect(descendants(compiled, ["lone", "d"])).toEqual(["lone", "d"]);
});

test("a plan that lists no phases has one, or the conventional three once a step names one of them", () => {
  expect(impliedPhases([])).toEqual(["execute"]);
  expect(impliedPhases(["ship"])).toEqual(["execute"]);
  expect(impliedPhases(["ship", "apply"])).toEqual(["strategize", "execute", "apply"]);
});

test("a step that names no phase is of the latest one among its needs, and never before the plan's default", () => {
  const conventional = impliedPhases(["apply"]);

  expect(defaultPhase(null, conventional, [])).toBe("execute");
  expect(defaultPhase(null, conventional, ["strategize"])).toBe("execute");
  expect(defaultPhase(null, conventional, ["apply", "strategize"])).toBe("apply");
  expect(defaultPhase(["build", "ship"], ["build", "ship"], [])).toBe("build");
  expect(defaultPhase(["build", "ship"], ["build", "ship"], ["ship", "build"])).toBe("ship");
});

describe("cycles", () => {
  test("a graph without one has none", () => {
    expect(findCycle(DIAMOND)).toBeNull();
    expect(findCycle([])).toBeNull();
    expect(findCycle([aStep("a", ["nowhere"])])).toBeNull();
  });

  test("a chain of 100,000 steps is walked without recursion", () => {
    const chain = Array.from({ length: 100_000 }, (_, i) => ({ id: `s${i}`, needs: i < 99_999 ? [`s${i + 1}`] : [] }));

    expect(findCycle(chain)).toBeNull();
  });

  test("random graphs have one exactly when removing free steps doesn't empty them, and the one named is real", () => {
    const graphs = fc
      .integer({ min: 1, max: 12 })
      .chain((n) => fc.array(fc.tuple(fc.nat(n - 1), fc.nat(n - 1)), { maxLength: 24 }).map((edges) => ({ n, edges })));
    fc.assert(
      fc.property(graphs, ({ n, edges }) => {
        const steps = Array.from({ length: n }, (_, i) => ({
          id: `s${i}`,
          needs: [...new Set(edges.filter(([from]) => from === i).map(([, to]) => `s${to}`))],
        }));

        const cycle = findCycle(steps);

        expect(cycle !== null).toBe(!canBeEmptied(steps));
        cycle?.forEach((id, i) => {
          expect(steps.find((step) => step.id === id)!.needs).toContain(cycle[(i + 1) % cycle.length]);
        });
      }),
      { numRuns: 500 },
    );
  });
});

function canBeEmptied(steps: readonly { id: string; needs: readonly string[] }[]): boolean {
  let left = [...steps];
  for (;;) {
    const ids = new Set(left.map((step) => step.id));
    const blocked = left.filter((step) => step.needs.some((need) => ids.has(need)));
    if (blocked.length === left.length) return left.length === 0;
    left = blocked;
  }
}
