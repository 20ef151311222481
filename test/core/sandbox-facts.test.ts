/** What a resume says of a plan's files, given what was found of them. */
import { describe, expect, test } from "vitest";
import { assess } from "../../src/core/eligibility.js";
import type { ResumeFacts, ResumeRequest } from "../../src/core/resume-request.js";
import type { SandboxFacts } from "../../src/core/sandbox-facts.js";
import { A_SANDBOX, aDefinition, aSnapshot } from "../support/plans.js";
import { AHistory, anOpenStep, aView } from "./a-view.js";

const LEFT = { changed: ["a"], added: ["b"], removed: ["c", "d"], digest: aSnapshot(9).digest };
const FROM_HERE: ResumeRequest = {
  from: { kind: "frontier" },
  onDrift: "report",
  excludesOthers: false,
  choose: null,
  acks: new Map(),
  reason: null,
};

/** A plan that started from snapshot 1, and whose step `edit` left snapshot 2. */
function facts(files: SandboxFacts | null, changes: Partial<ResumeFacts> = {}): ResumeFacts {
  const steps = [
    { id: "edit", sandbox: "write" as const },
    { id: "more", needs: ["edit"], sandbox: "write" as const },
  ];
  const compiled = aDefinition(steps, { sandbox: A_SANDBOX });
  return {
    view: aView({ meta: { total: 2, done: 1, sandboxPlace: 2 }, open: [anOpenStep("more", "running")] }),
    compiled,
    doneSteps: ["edit"],
    events: new AHistory().did("edit").events,
    decisions: [],
    snapshots: [],
    inForce: aSnapshot(2),
    offered: null,
    files,
    missingWorkdir: null,
    ...changes,
  };
}

describe("a plan with files", () => {
  test("goes back to those in force, and what an attempt left here is kept", () => {
    const { summary } = assess(facts({ fault: null, left: LEFT }), FROM_HERE);

    expect(summary.sandbox).toEqual({
      checkpoint: "ckp_1",
      digest: aSnapshot(2).digest,
      files: 2,
      bytes: 2,
      changed: ["a"],
      added: ["b"],
      removed: ["c", "d"],
      changedCount: 1,
      addedCount: 1,
      removedCount: 2,
      discardedSnapshot: LEFT.digest,
    });
  });

  test("names them also where nobody has looked at a directory", () => {
    for (const files of [null, { fault: null, left: null }]) {
      const { sandbox } = assess(facts(files), FROM_HERE).summary;
      expect(sandbox).toMatchObject({ digest: aSnapshot(2).digest, changed: [], discardedSnapshot: null });
    }
  });

  test("loses nothing where what was left is the files in force, or those of another checkpoint", () => {
    const same = { changed: [], added: [], removed: [], digest: aSnapshot(2).digest };
    expect(assess(facts({ fault: null, left: same }), FROM_HERE).summary.sandbox?.discardedSnapshot).toBeNull();

    const known = facts({ fault: null, left: LEFT }, { snapshots: [aSnapshot(1), aSnapshot(2), aSnapshot(9)] });
    expect(assess(known, FROM_HERE).summary.sandbox?.discardedSnapshot).toBeNull();
  });

  test("goes back to where it started when nothing that wrote them is kept", () => {
    const all = facts({ fault: null, left: LEFT }, { snapshots: [aSnapshot(1), aSnapshot(2)] });

    const { summary } = assess(all, { ...FROM_HERE, from: { kind: "step", stepId: "edit" } });

    expect(summary.sandbox).toMatchObject({ checkpoint: null, digest: aSnapshot(1).digest });
  });

  test("is refused where they can't be had, by what was found", () => {
    const fault = { code: "SANDBOX_MISSING", message: "gone", details: {}, try: "plan checkpoints web-42" } as const;

    const { summary, actions } = assess(facts({ fault, left: null }), FROM_HERE);

    expect(actions).toBeNull();
    expect(summary).toMatchObject({ eligible: false, error: fault });
  });

  test("lists many paths up to a limit, and counts them all", () => {
    const added = Array.from({ length: 1_000 }, (_, i) => `f${i}`);

    const { sandbox } = assess(facts({ fault: null, left: { ...LEFT, added } }), FROM_HERE).summary;

    expect(sandbox?.added).toHaveLength(500);
    expect(sandbox?.addedCount).toBe(1_000);
  });
});

test("the token stands for the files too", () => {
  const token = (files: SandboxFacts | null) => assess(facts(files), FROM_HERE).summary.resumeToken;

  expect(token({ fault: null, left: LEFT })).toBe(token({ fault: null, left: { ...LEFT } }));
  expect(token({ fault: null, left: LEFT })).not.toBe(token({ fault: null, left: null }));
  expect(token({ fault: null, left: LEFT })).not.toBe(
    token({ fault: null, left: { ...LEFT, digest: aSnapshot(8).digest } }),
  );
});

test("a plan without files says so", () => {
  const compiled = aDefinition([{ id: "edit" }, { id: "more", needs: ["edit"] }]);

  expect(assess(facts(null, { compiled, inForce: null }), FROM_HERE).summary.sandbox).toBeNull();
});
