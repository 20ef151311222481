import pc from "picocolors";
import { expect, test } from "vitest";
import { renderEvent } from "../../../src/cli/render/event-line.js";
import type { EventDocument } from "../../../src/client/documents.js";

const plain = pc.createColors(false);
const FACTS = { seq: 7, at: "2026-01-02T03:04:05.000Z", planId: "web-1", epoch: 2 };

test.each<[object, string]>([
  [
    { type: "step.failed", step: "a", attempt: 1, final: true, retryInMs: null, error: { message: "no" } },
    "a  attempt 1 for good: no",
  ],
  [
    { type: "step.failed", step: "a", attempt: 1, final: false, retryInMs: 2_000, error: { message: "no" } },
    "a  attempt 1 again in 2s: no",
  ],
  [{ type: "step.released", step: "a", attempt: 1, reason: "drain" }, "a  attempt 1 handed back: drain"],
  [{ type: "step.crashed", step: "a", attempt: 1, workerId: "w1" }, "a  attempt 1 lost with worker w1"],
  [{ type: "decision.recorded", step: "a", decisionId: "dec_1", actor: "sam" }, "a  dec_1 by sam"],
  [{ type: "plan.grown", step: "a", appended: ["b", "c"] }, "a appended b, c"],
  [{ type: "plan.cancelled", actor: "sam", reason: "late" }, "by sam: late"],
  [{ type: "plan.pause_requested", actor: "sam", reason: null }, "by sam"],
  [
    { type: "plan.resumed", actor: "sam", reason: null, from: "step a", superseded: 2 },
    "epoch 2 from step a by sam, 2 superseded",
  ],
  [{ type: "plan.resumed", actor: "sam", reason: "go", from: null, superseded: 0 }, "epoch 2 by sam: go"],
  [{ type: "sandbox.kept", sandbox: "sha256:77" }, "sha256:77"],
  [{ type: "plan.redefined", version: 3, definitionDigest: "0123456789abcdef" }, "v3  0123456789ab"],
  [{ type: "steps.superseded", steps: ["a", "b"] }, "a, b"],
])("%j says it in one line", (event, words) => {
  const line = renderEvent({ ...FACTS, ...event } as unknown as EventDocument, plain, false);

  expect(line.endsWith(`  ${words}`)).toBe(true);
  expect(renderEvent({ ...FACTS, ...event } as unknown as EventDocument, plain, true)).toContain("web-1");
});
