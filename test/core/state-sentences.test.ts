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
  ["running", aView({ open: [anOpenStep("a", "limited"), anOpenStep("b", "queued")], served: [QUEUE] }), "b is queued"],
  [
    "running",
    aView({ open: [anOpenStep("a", "limited"), anOpenStep("b", "limited")], served: [QUEUE] }),
    "a, b wait for the limit api (3 of 3 in use)",
  ],
  [
    "queued",
    aView({
      open: [anOpenStep("a", "limited", { limit: { kind: "rate", key: "web", max: 2, perMs: 1_000 } })],
      served: [QUEUE],
    }),
    "a waits for the rate web (2 in 1s)",
  ],
  [
    "running",
    aView({ open: [anOpenStep("a", "delayed", { rate: { key: "web", max: 2, perMs: 1_000 } })], served: [QUEUE] }),
    "a starts in 5s: the rate web (2 in 1s)",
  ],
  [
    "interrupted",
    aView({ open: [anOpenStep("a", "limited")] }),
    "a was handed back and no live worker serves queue work",
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
