import { describe, expect, test } from "vitest";
import { canProgress, isTerminal, type OpenStep, PLAN_STATES, type PlanState, planState } from "../../src/core/plan.js";
import { anOpenStep, aView, NOW, QUEUE } from "./a-view.js";

/** Every way in which a step can be open, and the state of a plan that has only it: queue served, queue not served. */
const OPEN: readonly (readonly [string, OpenStep, PlanState, PlanState])[] = [
  ["a step that a live worker runs", anOpenStep("a", "running", { workerId: "w-live" }), "running", "running"],
  ["a queued step", anOpenStep("a", "queued"), "running", "interrupted"],
  ["a delayed step", anOpenStep("a", "delayed"), "running", "interrupted"],
  ["a step in the backlog", anOpenStep("a", "backlog"), "running", "interrupted"],
  ["a timer that is over", anOpenStep("a", "waiting", { wait: "timer", dueAt: NOW }), "running", "interrupted"],
  ["a failed step", anOpenStep("a", "failed"), "failed", "failed"],
  ["an approval", anOpenStep("a", "waiting", { wait: "approval" }), "waiting", "waiting"],
  ["a signal", anOpenStep("a", "waiting", { wait: "signal" }), "waiting", "waiting"],
  ["a timer", anOpenStep("a", "waiting", { wait: "timer", dueAt: NOW + 1 }), "waiting", "waiting"],
  ["a step that a dead worker ran", anOpenStep("a", "running", { workerId: "w-dead" }), "interrupted", "interrupted"],
  [
    "a step of an unknown worker",
    anOpenStep("a", "running", { workerId: "w-forgotten" }),
    "interrupted",
    "interrupted",
  ],
  ["a held step", anOpenStep("a", "held"), "interrupted", "interrupted"],
  ["an uncertain step", anOpenStep("a", "uncertain", { effect: "irreversible" }), "interrupted", "interrupted"],
];
const FINAL = ["cancelled", "completed", "paused"] as const;
const COMPUTED = PLAN_STATES.filter((state) => !(FINAL as readonly string[]).includes(state));

describe.each(FINAL)("a plan that was %s", (storedState) => {
  test.each(OPEN)("stays so with %s, whoever lives", (_, step) => {
    for (const served of [[], [QUEUE]]) {
      expect(planState(aView({ meta: { storedState }, open: [step], served }))).toBe(storedState);
    }
  });
});

describe.each(COMPUTED)("whatever was written last, here %s,", (storedState) => {
  test.each(OPEN)("%s decides the state by who lives now", (_, step, whenServed, whenNot) => {
    expect(planState(aView({ meta: { storedState }, open: [step], served: [QUEUE] }))).toBe(whenServed);
    expect(planState(aView({ meta: { storedState }, open: [step] }))).toBe(whenNot);
  });

  test("a plan with nothing open and steps left has nobody who could go on", () => {
    expect(planState(aView({ meta: { storedState }, open: [], served: [QUEUE] }))).toBe("interrupted");
  });
});

test.each<[PlanState, boolean]>([
  ["waiting", true],
  ["failed", true],
  ["paused", false],
])("what is over in a plan that is %s can go on by itself: %s", (storedState, expected) => {
  const over = anOpenStep("a", "waiting", { wait: "signal", dueAt: NOW });

  expect(canProgress(over, aView({ meta: { storedState }, open: [over], served: [QUEUE] }))).toBe(expected);
});

describe.each([true, false])("of two open steps, the queue being served: %s,", (isServed) => {
  const served = isServed ? [QUEUE] : [];
  const ofOne = ([, , whenServed, whenNot]: (typeof OPEN)[number]) => (isServed ? whenServed : whenNot);

  test.each(OPEN)("with %s, the first state that holds of both is the plan's", (...first) => {
    for (const second of OPEN) {
      const alone = [ofOne(first), ofOne(second)];
      // The table's order; waiting needs everything on the frontier to wait.
      const strongest = (["running", "failed"] as const).find((state) => alone.includes(state));
      const expected = strongest ?? (alone.every((state) => state === "waiting") ? "waiting" : "interrupted");
      const open = [first[1], { ...second[1], stepId: "b" }];

      expect(planState(aView({ open, served })), second[0]).toBe(expected);
      expect(planState(aView({ open: open.reverse(), served })), second[0]).toBe(expected);
    }
  });
});

describe("a plan of which no step has started", () => {
  const meta = { done: 0, lastCompletedStep: null, storedState: "queued" } as const;
  const open = [anOpenStep("a", "queued", { attempts: 0 }), anOpenStep("b", "delayed", { attempts: 0 })];

  test("is queued, whether or not a worker can take it", () => {
    expect(planState(aView({ meta, open }))).toBe("queued");
    expect(planState(aView({ meta, open, served: [QUEUE] }))).toBe("queued");
  });

  test("is interrupted where only one process could have run it, and that is gone", () => {
    const alone = { ...meta, privateQueue: "run~w1" };

    expect(planState(aView({ meta: alone, open }))).toBe("interrupted");
    expect(planState(aView({ meta: alone, open, served: [QUEUE] }))).toBe("queued");
  });

  test("is queued no longer once a step was started, or is done", () => {
    const started = [anOpenStep("a", "queued", { attempts: 1 }), open[1]!];

    expect(planState(aView({ meta, open: started }))).toBe("interrupted");
    expect(planState(aView({ meta, open: started, served: [QUEUE] }))).toBe("running");
    expect(planState(aView({ meta: { ...meta, storedState: "running", done: 1 }, open }))).toBe("interrupted");
  });

  test("is queued also with what it inherited as done when it was forked", () => {
    expect(planState(aView({ meta: { ...meta, done: 1 }, open }))).toBe("queued");
  });
});

test("a timer whose only possible worker is gone is interrupted before it is over", () => {
  const open = [anOpenStep("nap", "waiting", { wait: "timer", dueAt: NOW + 60_000, queue: "run~w1" })];
  const meta = { privateQueue: "run~w1" };

  expect(planState(aView({ meta, open }))).toBe("interrupted");
  expect(planState(aView({ meta, open, served: ["run~w1"] }))).toBe("waiting");
});

test("a worker helps only the steps of the queues that it serves", () => {
  const here = anOpenStep("a", "queued");
  const elsewhere = anOpenStep("b", "queued", { queue: "gpu" });
  const view = aView({ open: [here, elsewhere], served: [QUEUE] });

  expect([canProgress(here, view), canProgress(elsewhere, view)]).toEqual([true, false]);
  expect(planState(view)).toBe("running");
  expect(planState(aView({ open: [elsewhere], served: [QUEUE] }))).toBe("interrupted");
});

test.each(OPEN)("%s can progress exactly where it makes its plan run", (_, step, whenServed, whenNot) => {
  expect(canProgress(step, aView({ open: [step], served: [QUEUE] }))).toBe(whenServed === "running");
  expect(canProgress(step, aView({ open: [step] }))).toBe(whenNot === "running");
});

test("exactly the cancelled and the completed never change again", () => {
  expect(PLAN_STATES.filter(isTerminal)).toEqual(["cancelled", "completed"]);
});
