import { expect, test } from "vitest";
import { explainState } from "../../src/core/state-sentences.js";
import { anOpenStep, aView, NOW, QUEUE } from "./a-view.js";

const STOP = { by: "sam", reason: "late", at: NOW } as never;

test.each([
  ["cancelled", aView({ meta: { stop: STOP } }), "it was cancelled by sam: late"],
  ["paused", aView({ meta: { stop: { by: "sam", reason: null } as never } }), "it was paused by sam"],
  ["completed", aView({ meta: { total: 1 } }), "its step is done"],
  ["queued", aView(), "no step is released yet"],
  ["queued", aView({ open: [anOpenStep("a", "queued")], served: [QUEUE] }), "waiting for a worker on queue work"],
  [
    "running",
    aView({ open: [anOpenStep("a", "running", { workerId: "w-live" })], meta: { stop: STOP } }),
    "a is executing; then the plan pauses, as asked by sam: late",
  ],
  [
    "running",
    aView({ open: [anOpenStep("a", "queued"), anOpenStep("b", "backlog")], served: [QUEUE] }),
    "a, b are queued",
  ],
  [
    "failed",
    aView({ open: [anOpenStep("a", "failed", { quarantined: true })] }),
    "a was taken out after killing workers",
  ],
  [
    "failed",
    aView({ open: [anOpenStep("a", "failed", { quarantined: true }), anOpenStep("b", "failed")] }),
    "a, b failed; a was taken out after killing workers",
  ],
  ["waiting", aView({ open: [anOpenStep("a", "waiting", { wait: "choice" })] }), "waits for a choice of a"],
  [
    "waiting",
    aView({ open: [anOpenStep("a", "waiting", { wait: "signal", dueAt: NOW })] }),
    "waits for a signal to a (until 2026-01-01T12:00:00.000Z)",
  ],
  [
    "interrupted",
    aView({ open: [anOpenStep("a", "uncertain")] }),
    "a cannot be undone, was cut off, and left no record",
  ],
  [
    "interrupted",
    aView({ open: [anOpenStep("a", "waiting", { wait: "timer", dueAt: NOW })] }),
    "a waits for its timer and no live worker serves queue work",
  ],
  [
    "interrupted",
    aView({ open: [anOpenStep("a", "waiting", { wait: "signal", dueAt: NOW })] }),
    "a waits for an answer that has a time limit and no live worker serves queue work",
  ],
  ["interrupted", aView(), "nothing is left that could run it"],
] as const)("%s: the sentence has its facts (%#)", (state, view, sentence) => {
  expect(explainState(view, state)).toBe(sentence);
});
