import pc from "picocolors";
import { afterEach, describe, expect, test, vi } from "vitest";
import { renderEvent } from "../../src/cli/render/event-line.js";
import { fitTo, LiveFrame } from "../../src/cli/render/live-frame.js";
import { LiveTree } from "../../src/cli/render/live-tree.js";
import { ago, planMark, stateWord, stepMark } from "../../src/cli/render/marks.js";
import { renderPlan } from "../../src/cli/render/plan-tree.js";
import { renderResumeSummary } from "../../src/cli/render/resume-summary.js";
import { StepLines } from "../../src/cli/render/step-lines.js";
import type { EventDocument, StepDocument, StepState } from "../../src/client/documents.js";
import { PLAN_STATES } from "../../src/core/plan.js";
import type { ResumeSummary } from "../../src/core/resume-summary.js";
import { aPlan, aStep, AT as at } from "./render/a-plan.js";

const plain = pc.createColors(false);

function anEvent(fields: object): EventDocument {
  return { seq: 7, at, planId: "web-42", epoch: 2, ...fields } as EventDocument;
}

describe("plan get", () => {
  test("says of each step what a person would ask about it", () => {
    const chained = (id: string, state: StepState, needs: string[], facts: Partial<StepDocument> = {}) =>
      aStep(id, state, { needs, ...facts });
    const text = renderPlan(
      aPlan(
        [
          aStep("a", "completed", { durationMs: 1_200, attempts: 2, crashes: 1 }),
          chained("b", "skipped", ["a"]),
          chained("c", "failed", ["b"], { attempts: 3, error: { code: "X", message: "boom\u001b[31m" } }),
          chained("d", "running", ["a"], { worker: "w1", workerLabel: "vm:1", durationMs: 3_000, attempts: 2 }),
          chained("e", "lost", ["a"], { worker: "vm:2", crashes: 2 }),
          chained("f", "queued", ["a"]),
          chained("g", "held", ["a"]),
          chained("h", "delayed", ["a"], { dueAt: at, error: { code: "X", message: "flaky" } }),
          chained("i", "waiting", ["a"], {
            wait: "approval",
            ask: { question: "Ship?", options: [], onReject: "cancel", schema: null },
          }),
          chained("j", "waiting", ["a"], { wait: "signal" }),
          chained("k", "waiting", ["a"], { wait: "timer", dueAt: at }),
          chained("l", "waiting", ["a"], { wait: "timer" }),
          chained("m", "uncertain", ["a"], { worker: "vm:3" }),
          aStep("n", "pending", { needs: ["a", "b", "c", "d", "e", "f"] }),
          aStep("o", "pending"),
          chained("p", "pending", ["o"], { phase: "apply" }),
        ],
        {
          done: 2,
          resumeCount: 2,
          epoch: 3,
          lastCompletedStep: "b",
          lastCheckpointId: "ckp_1",
          finishedAt: "2026-01-01T10:00:09.000Z",
          try: "plan resume web-42",
          decisions: [
            {
              decisionId: "dec_2",
              parent: null,
              step: "a",
              key: null,
              question: "how?",
              options: [],
              choice: "patch",
              rationale: null,
              madeBy: "x",
              at,
              current: true,
            },
          ],
        },
      ),
      Date.parse(at) + 60_000,
      plain,
    );

    expect(text).toContain("State      running  (epoch 3, resumed 2 times)\n");
    expect(text).toContain("after 9s\n");
    expect(text).toContain("by sam@laptop, 1m ago\n");
    expect(text).toContain("Checkpoint ckp_1 after b\nTry        plan resume web-42\n");
    expect(
      text
        .slice(text.indexOf("execute 2/15"))
        .replace(/\d{4}-\d\d-\d\d \d\d:\d\d:\d\d/g, "TIME")
        .split("\n"),
    ).toEqual([
      "execute 2/15",
      '├─ ✔ a  1.2s  2 attempts  1 crash  dec_2 "patch"',
      "├─ ⊘ b  skipped",
      "├─ ✖ c  failed after 3 attempts: boom\\x1b[31m",
      "├─ ● d  3s on vm:1, attempt 2",
      "├─ ✖ e  lost with worker vm:2  2 crashes",
      "├─ ○ f  queued",
      "├─ ○ g  held back",
      "├─ ◷ h  attempt 2 at TIME, after: flaky",
      "├─ ◷ i  waits for an approval: Ship?",
      "├─ ◷ j  waits for a signal",
      "├─ ◷ k  waits until TIME",
      "├─ ◷ l  waits for its timer",
      "├─ ✖ m  may have happened: worker vm:3 was lost in it",
      "├─ ○ n  needs a, b, c, d and 2 more",
      "└─ ○ o  needs nothing",
      "apply 0/1",
      "└─ ○ p",
    ]);
  });

  test("shortens a big plan, but never its frontier", () => {
    const steps = Array.from({ length: 10_000 }, (_, i) =>
      aStep(`s${i}`, i < 5_000 ? "completed" : i === 5_000 ? "running" : "pending", { durationMs: 1 }),
    );

    const lines = renderPlan(aPlan(steps), Date.parse(at), plain).split("\n");

    expect(lines.length).toBeLessThan(40);
    expect(lines).toContain("├─ ┆ 4992 done");
    expect(lines.some((line) => line.includes("● s5000"))).toBe(true);
    expect(lines).toContain("├─ ┆ 4991 pending");
    expect(lines.at(-1)).toContain("s9999");
  });

  test("has a mark and a word for every state, in colours only where they are wanted", () => {
    const colours = pc.createColors(true);
    for (const state of PLAN_STATES) {
      expect(planMark(state, plain)).toMatch(/^[✔✖●◷○]$/);
      expect(stateWord(state, plain)).toBe(state);
    }
    expect(planMark("failed", colours)).toContain("\u001b[31m");
    expect(stepMark("skipped", plain)).toBe("⊘");
    expect(ago(at, Date.parse(at))).toBe("just now");
  });
});

describe("the resume summary", () => {
  const summary: ResumeSummary = {
    planId: "web-42",
    name: "refactor",
    version: 3,
    state: "interrupted",
    why: "worker laptop:4121 was lost in fix",
    eligible: true,
    phase: "execute",
    step: "fix",
    stepNumber: 3,
    total: 6,
    decisionId: "dec_01J",
    lastCompletedStep: "choose",
    lastCheckpointId: "ckp_01J",
    sandbox: null,
    epoch: 1,
    nextEpoch: 2,
    reuse: ["scan", "choose"],
    reuseCount: 2,
    run: ["fix", "sign-off", "push", "tell"],
    runCount: 4,
    ackRequired: [],
    repeated: [],
    happened: [],
    newKey: [],
    drift: [],
    from: null,
    reason: null,
    workers: 0,
    resumeToken: "wmk1.4f",
    dryRun: true,
    error: null,
  };

  test("says which files are put back, and what becomes of what was done to them since", () => {
    const digest = `sha256:9f2c41d7${"0".repeat(56)}`;
    const paths = { changed: ["a", "b"], added: ["c"], removed: [] };
    const counts = { changedCount: 2, addedCount: 1, removedCount: 0 };
    const sandbox = { checkpoint: "ckp_01J", digest, files: 212, bytes: 1, ...paths, ...counts };
    const shown = (changes: object) => {
      const s = { ...summary, sandbox: { ...sandbox, discardedSnapshot: null, ...changes } };
      return renderResumeSummary(s, { choice: "patch" }, plain).split("\n")[5];
    };

    const kept = `sha256:77ab90c1${"0".repeat(56)}`;
    expect(shown({ discardedSnapshot: kept })).toBe(
      "Sandbox    sha256:9f2c41d7… 212 files   2 changed, 1 added since: restored (kept as sha256:77ab90c1…)",
    );
    expect(shown({})).toBe("Sandbox    sha256:9f2c41d7… 212 files   2 changed, 1 added since: restored");
    expect(shown({ changedCount: 0, addedCount: 0, files: 1 })).toBe("Sandbox    sha256:9f2c41d7… 1 file");
  });

  test("has the shape of the contract", () => {
    expect(renderResumeSummary(summary, { choice: "patch" }, plain).split("\n")).toEqual([
      "Plan       web-42  refactor v3          state  interrupted  (epoch 1 → 2)",
      "Why        worker laptop:4121 was lost in fix",
      "Phase      execute",
      "Step       fix (3 of 6)                 last completed  choose",
      'Checkpoint ckp_01J after choose         decision  dec_01J "patch"  will not be asked again',
      "Sandbox    none",
      "Reuse      scan, choose",
      "Run        fix, sign-off, push, tell",
      "Ask        nothing: no irreversible step had started",
      "Token      wmk1.4f",
    ]);
  });

  test.each<[readonly string[] | null, string]>([
    [["push"], "nothing: push is done and not run again"],
    [["push", "tell"], "nothing: push, tell are done and not run again"],
    [null, "nothing"],
  ])("asks nothing where irreversible steps are done: %j", (happened, ask) => {
    const text = renderResumeSummary({ ...summary, happened }, { choice: "patch" }, plain);

    expect(text.split("\n")).toContain(`Ask        ${ask}`);
  });

  test("names the point, what gets a new key, and what nobody knows; counts what it doesn't list", () => {
    const text = renderResumeSummary(
      {
        ...summary,
        eligible: false,
        nextEpoch: 1,
        step: null,
        stepNumber: null,
        lastCompletedStep: null,
        lastCheckpointId: null,
        reuse: Array.from({ length: 100 }, (_, i) => `r${i}`),
        reuseCount: 5_000,
        run: [],
        runCount: 0,
        ackRequired: ["pay", "ship"],
        repeated: ["ship"],
        newKey: ["ship"],
        from: "step pay",
        reason: "typo\u001b",
      },
      { choice: undefined },
      plain,
    );

    expect(text).toContain("(epoch 1)");
    expect(text).toContain("Step       none");
    expect(text).toContain("Checkpoint none");
    expect(text).toContain("dec_01J (submission)");
    expect(text).toContain("r99 and 4900 more\n");
    expect(text).toContain("Run        nothing\n");
    expect(text).toContain(
      "Ask        whether pay happened: it is irreversible and has no record; whether ship shall run again: it is irreversible\n",
    );
    expect(text).toContain("From       step pay\nNew key    ship\nReason     typo\\x1b\n");
    expect(renderResumeSummary({ ...summary, stepNumber: null }, { choice: 1 }, plain)).toContain("fix (of 6)");
  });
});

describe("events", () => {
  const events: [object, string, string | null][] = [
    [{ type: "plan.submitted", actor: "sam" }, "by sam", null],
    [{ type: "step.started", step: "a", attempt: 1, fence: 1, workerId: "w1" }, "a  attempt 1 on w1", null],
    [
      { type: "step.completed", step: "a", attempt: 1, fence: 1, checkpointId: "ckp", decisionId: "dec", actor: "sam" },
      "a  ckp by sam",
      "✔ a 0ms by sam",
    ],
    [
      {
        type: "step.failed",
        step: "a",
        attempt: 1,
        final: false,
        retryInMs: 1_000,
        error: { code: "X", message: "no" },
      },
      "a  attempt 1 again in 1s: no",
      "◷ a 0ms  no (attempt 2 in 1s)",
    ],
    [
      { type: "step.failed", step: "b", attempt: 2, final: true, retryInMs: null, error: { code: "X", message: "no" } },
      "b  attempt 2 for good: no",
      "✖ b  no",
    ],
    [{ type: "step.admitted", step: "a", attempt: 1 }, "a  its condition holds", null],
    [{ type: "step.skipped", step: "a", checkpointId: "ckp_1" }, "a  ckp_1", "⊘ a skipped"],
    [{ type: "step.continued", step: "b", checkpointId: "ckp_2" }, "b  ckp_2", "✖ b has failed, and the plan goes on"],
    [
      { type: "step.released", step: "a", attempt: 1, reason: "drain" },
      "a  attempt 1 handed back: drain",
      "○ a was handed back (drain)",
    ],
    [
      { type: "step.crashed", step: "a", attempt: 1, workerId: "w1" },
      "a  attempt 1 lost with worker w1",
      "✖ a was lost with worker w1",
    ],
    [
      { type: "step.waiting", step: "a", attempt: 1, wait: "approval", dueAt: null },
      "a  for an approval",
      "◷ a waits for an approval",
    ],
    [
      { type: "step.waiting", step: "a", attempt: 1, wait: "signal", dueAt: null },
      "a  for a signal",
      "◷ a waits for a signal",
    ],
    [{ type: "step.waiting", step: "a", attempt: 1, wait: "timer", dueAt: null }, "a  for a timer", "◷ a waits"],
    [{ type: "decision.recorded", decisionId: "dec", step: "a", actor: "sam" }, "a  dec by sam", null],
    [
      { type: "plan.pause_requested", actor: "sam", reason: "lunch" },
      "by sam: lunch",
      "◷ pause asked for by sam: lunch",
    ],
    [{ type: "plan.paused" }, "plan.paused", null],
    [{ type: "plan.cancelled", actor: "sam", reason: null }, "by sam", "✖ cancelled by sam"],
    [{ type: "plan.failed" }, "plan.failed", null],
    [
      { type: "plan.resumed", actor: "sam", reason: "again", from: "step a", superseded: 2 },
      "epoch 2 from step a by sam: again, 2 superseded",
      "↻ resumed by sam (epoch 2)",
    ],
    [{ type: "plan.completed" }, "plan.completed", null],
  ];

  test("each has a line in the history, and those that matter one in the progress", () => {
    const lines = new StepLines(plain);

    for (const [fields, inHistory, inProgress] of events) {
      const event = anEvent(fields);
      expect(
        renderEvent(event, plain, false).endsWith(inHistory),
        `${event.type}: ${renderEvent(event, plain, false)}`,
      ).toBe(true);
      expect(lines.line(event)).toBe(inProgress);
    }
    expect(renderEvent(anEvent({ type: "plan.completed" }), plain, true)).toContain("web-42");
    const due = anEvent({ type: "step.waiting", step: "a", attempt: 1, wait: "timer", dueAt: Date.parse(at) });
    expect(renderEvent(due, plain, false)).toMatch(/for a timer until \d{4}-/);
    expect(lines.line(due)).toMatch(/waits until \d{4}-/);
  });
});

describe("a live tree", () => {
  afterEach(() => {
    vi.useRealTimers();
  });

  function aScreen(columns = 60) {
    const written: string[] = [];
    return {
      written,
      last: () => written.at(-1) ?? "",
      sink: { isTTY: true, columns, write: (text: string) => written.push(text) },
    };
  }

  const update = (...events: EventDocument[]) => ({ plan: aPlan([]), events, stopped: false, try: null });

  test("follows each step through its states, and leaves the cursor as it was", () => {
    vi.useFakeTimers({ now: Date.parse(at) });
    const screen = aScreen();
    const tree = new LiveTree(screen.sink, plain, aPlan([aStep("a", "queued"), aStep("b", "pending")]), Date.parse(at));
    const row = () => screen.last().split("\n")[1];

    tree.update(update(anEvent({ type: "step.started", step: "a", attempt: 2 })));
    vi.advanceTimersByTime(3_000);
    expect(row()).toBe("● a  3s       attempt 2");
    tree.update(
      update(
        anEvent({
          type: "step.failed",
          step: "a",
          final: false,
          error: { message: "flaky" },
          at: "2026-01-01T10:00:02.000Z",
        }),
      ),
    );
    expect(row()).toBe("◷ a  2s       flaky");
    tree.update(update(anEvent({ type: "step.crashed", step: "a" })));
    expect(row()).toContain("its worker was lost");
    tree.update(update(anEvent({ type: "step.released", step: "a" })));
    expect(row()).toMatch(/^○ a/);
    tree.update(
      update(anEvent({ type: "step.waiting", step: "a", wait: "approval" }), anEvent({ type: "plan.waiting" })),
    );
    expect(row()).toContain("waits for an approval");
    tree.update(
      update(
        anEvent({ type: "step.completed", step: "a", at: "2026-01-01T10:00:04.000Z" }),
        anEvent({ type: "decision.recorded", step: "a" }),
        anEvent({ type: "step.started", step: "unknown" }),
      ),
    );
    expect(row()).toBe("✔ a  4s");
    tree.update(update(anEvent({ type: "step.admitted", step: "a" }), anEvent({ type: "step.skipped", step: "a" })));
    expect(row()).toMatch(/^⊘ a +skipped$/);
    const failed = { type: "step.failed", step: "a", final: true, error: { message: "no" }, at };
    tree.update(update(anEvent(failed), anEvent({ type: "step.continued", step: "a" })));
    expect(row()).toMatch(/^✖ a .*no$/);
    expect(screen.last()).toContain("1/2");

    tree.print("note");
    expect(screen.written.at(-2)).toMatch(/note\n$/);
    tree.close();
    tree.close();
    expect(screen.last()).toBe("\u001b[?25h");
    const frames = screen.written.length;
    vi.advanceTimersByTime(1_000);
    expect(screen.written).toHaveLength(frames);
  });

  test("of a big plan fits a screen: the last done, the frontier, what comes next", () => {
    const screen = aScreen();
    const states = (i: number): StepState => (i < 300 ? "completed" : i < 340 ? "running" : "pending");
    const steps = Array.from({ length: 1_000 }, (_, i) => aStep(`s${i}`, states(i)));

    const tree = new LiveTree(screen.sink, plain, aPlan(steps), Date.now());
    tree.close();

    const rows = screen.written[0]!.split("\n");
    expect(rows.length).toBeLessThan(30);
    expect(rows).toContain("┆ 295 done");
    expect(rows).toContain("┆ 29 more on the frontier");
    expect(rows).toContain("┆ 656 pending");
  });

  test("never writes a row that the terminal would wrap", () => {
    expect(fitTo("short", 10)).toBe("short");
    expect(fitTo("exactly-10", 10)).toBe("exactly-1…");
    expect(fitTo("名前名前名前", 8)).toBe("名前名…");
    expect(fitTo("✔✔✔", 5)).toBe("✔✔✔");
  });

  test("draws over what it drew before", () => {
    const screen = aScreen();
    const frame = new LiveFrame(screen.sink);

    frame.draw(["one", "two"]);
    frame.draw(["three"]);

    expect(screen.written).toEqual(["\u001b[?25lone\ntwo\n", "\u001b[2A\r\u001b[Jthree\n"]);
  });
});
