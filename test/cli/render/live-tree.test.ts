import pc from "picocolors";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { LiveFrame } from "../../../src/cli/render/live-frame.js";
import { LiveTree } from "../../../src/cli/render/live-tree.js";
import type { EventDocument, StepDocument } from "../../../src/client/documents.js";
import { AT, anEvent, aPlan, aStep } from "./a-plan.js";

const plain = pc.createColors(false);
let written: string[];
let tree: LiveTree | null;

beforeEach(() => {
  vi.useFakeTimers({ now: Date.parse(AT) });
  written = [];
  tree = null;
});

afterEach(() => {
  tree?.close();
  vi.useRealTimers();
});

function aTree(...steps: StepDocument[]): LiveTree {
  const sink = { isTTY: true, write: (text: string) => written.push(text) };
  tree = new LiveTree(sink, plain, aPlan(steps), Date.now());
  return tree;
}

function happens(...events: object[]): void {
  tree!.update({ plan: aPlan([]), events: events.map(anEvent) as EventDocument[], stopped: false, try: null });
}

const rows = () => (written.at(-1) ?? "").trimEnd().split("\n").slice(1);

test("a tree that keeps still for somebody who types takes events in and draws nothing", () => {
  aTree(aStep("a", "queued"));
  tree!.suspend();
  const before = written.length;

  happens({ type: "step.started", step: "a", attempt: 1 });
  vi.advanceTimersByTime(1_000);
  expect(written).toHaveLength(before);
  tree!.print("note");
  expect(written.slice(before)).toEqual(["note\n"]);

  tree!.resume();
  expect(rows()).toEqual(["● a  1s"]);
});

test("each kind of wait and of failure has its row", () => {
  aTree(aStep("a", "queued"), aStep("b", "queued"), aStep("c", "queued"), aStep("d", "queued"));

  happens(
    { type: "step.waiting", step: "a", wait: "timer" },
    { type: "step.waiting", step: "b", wait: "signal" },
    { type: "step.failed", step: "c", final: true, error: { message: "boom\u001b[2J" } },
    { type: "step.completed", step: "d" },
  );

  // None of them was seen to start, so none says how long it took.
  expect(rows()).toEqual(["◷ a", "◷ b           waits for a signal", "✖ c           boom\\x1b[2J", "✔ d"]);
});

test("an event of the whole plan changes no row", () => {
  aTree(aStep("a", "running", { startedAt: AT }));

  happens({ type: "plan.pause_requested", actor: "sam", reason: null }, { type: "decision.recorded", step: null });

  expect(rows()).toEqual(["● a  0ms"]);
});

test("steps that a rewind makes undone are pending again; those that were appended have rows of their own, once", () => {
  aTree(aStep("a", "completed"), aStep("b", "completed"));

  happens(
    { type: "steps.superseded", steps: ["b", "gone"] },
    { type: "plan.grown", step: "a", appended: ["b", "c"] },
    { type: "step.started", step: "c", attempt: 2 },
  );

  expect(rows()).toEqual(["✔ a", "○ b", "● c  0ms      attempt 2"]);
});

test("a big plan that is not shortened anywhere counts nothing", () => {
  aTree(...Array.from({ length: 21 }, (_, i) => aStep(`s${i}`, i < 5 ? "completed" : i < 17 ? "running" : "pending")));

  expect(rows().filter((row) => row.startsWith("┆"))).toEqual(["┆ 1 more on the frontier"]);
});

test("a frame that was never drawn leaves the cursor alone", () => {
  new LiveFrame({ write: (text: string) => written.push(text) }).release();

  expect(written).toEqual([]);
});
