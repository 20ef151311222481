import { describe, expect, test } from "vitest";
import { assess } from "../../src/core/eligibility.js";
import * as errors from "../../src/core/errors.js";
import { type ErrorDocument, EXIT_CODES, WaymarkError } from "../../src/core/errors.js";
import type { ForkSummary } from "../../src/core/fork.js";
import type { ResumeSummary } from "../../src/core/resume-summary.js";
import { aDefinition } from "../support/plans.js";
import { aView } from "./a-view.js";

/** What the contract promises to scripts. */
const PROMISED: Readonly<Record<number, readonly string[]>> = {
  1: ["STEP_FAILED", "STEP_QUARANTINED", "SANDBOX_UNSUPPORTED", "NOT_CRASH_SAFE", "INTERNAL"],
  2: ["INVALID_PLAN", "INVALID_INPUT", "INVALID_CHOICE", "PAYLOAD_TOO_LARGE", "HANDLER_NOT_FOUND", "USAGE"],
  3: [
    "PLAN_TERMINAL",
    "PLAN_ACTIVE",
    "PLAN_WAITING",
    "SANDBOX_MISSING",
    "SANDBOX_CORRUPT",
    "WORKDIR_MISSING",
    "DEFINITION_DRIFT",
    "ACK_REQUIRED",
    "NOT_WAITING",
  ],
  4: ["PLAN_NOT_FOUND", "CHECKPOINT_NOT_FOUND", "STEP_NOT_FOUND", "DECISION_NOT_FOUND", "SCHEDULE_NOT_FOUND"],
  5: ["PREVIEW_STALE", "PLAN_EXISTS", "FENCED"],
  6: ["STORE_UNAVAILABLE", "STORE_UNSUITABLE", "REDIS_NOT_FOUND", "SANDBOX_UNAVAILABLE"],
};

test("every code has the exit status that the contract gives it, and there are no others", () => {
  const promised = Object.entries(PROMISED).flatMap(([exit, codes]) => codes.map((code) => [code, Number(exit)]));

  expect(Object.fromEntries(Object.entries(EXIT_CODES))).toEqual(Object.fromEntries(promised));
});

interface Sample {
  readonly error: WaymarkError;
  readonly document: ErrorDocument;
  /** What a handler of the error can read besides. */
  readonly facts?: Readonly<Record<string, unknown>>;
}

const FAULT = { message: "there is no step b", line: 4, column: 9, path: "steps[1].needs[0]" };
const ISSUES = [
  { path: "tag", message: "is missing" },
  { path: "", message: "is no object" },
];

const DIFFERENCE: errors.Difference = { step: "pay", what: "output", path: "at", expected: 1, actual: 2 };

const SAMPLES: Readonly<Record<string, Sample>> = {
  NotCrashSafeError: {
    error: new errors.NotCrashSafeError("web", { when: "after", step: "pay", attempt: 1 }, DIFFERENCE),
    document: {
      code: "NOT_CRASH_SAFE",
      message: expect.stringMatching(
        /^Plan web comes to something else when its worker dies after attempt 1 of step pay: step pay recorded 2 instead of 1 at at\. A step/,
      ) as string,
      details: { plan: "web", crash: { when: "after", step: "pay", attempt: 1 }, difference: DIFFERENCE },
      try: null,
    },
    facts: { planName: "web", difference: DIFFERENCE },
  },
  PlanNotFoundError: {
    error: new errors.PlanNotFoundError("web-42"),
    document: {
      code: "PLAN_NOT_FOUND",
      message: "No plan web-42 in this store",
      details: { planId: "web-42" },
      try: "plan list",
    },
    facts: { planId: "web-42" },
  },
  PlanExistsError: {
    error: new errors.PlanExistsError("web-42"),
    document: {
      code: "PLAN_EXISTS",
      message: "Plan web-42 exists already, with other content",
      details: { planId: "web-42" },
      try: "plan get web-42",
    },
    facts: { planId: "web-42" },
  },
  FencedError: {
    error: new errors.FencedError("web-42", 3, 5),
    document: {
      code: "FENCED",
      message: "Plan web-42 is in epoch 5; this attempt carried 3",
      details: { planId: "web-42", carried: 3, current: 5 },
      try: null,
    },
    facts: { planId: "web-42", carried: 3, current: 5 },
  },
  InvalidChoiceError: {
    error: new errors.InvalidChoiceError("The decision how of fix", "both", ["patch", "rewrite"], "plan get web-42"),
    document: {
      code: "INVALID_CHOICE",
      message: 'The decision how of fix can\'t be "both": the options are patch, rewrite',
      details: { choice: "both", options: ["patch", "rewrite"] },
      try: "plan get web-42",
    },
    facts: {},
  },
  NotWaitingError: {
    error: new errors.NotWaitingError("web-42", "ci", "it is done"),
    document: {
      code: "NOT_WAITING",
      message: "Step ci of plan web-42 takes no such answer: it is done",
      details: { planId: "web-42", step: "ci", wait: null },
      try: "plan get web-42",
    },
    facts: { planId: "web-42", stepId: "ci" },
  },
  InvalidPlanError: {
    error: new errors.InvalidPlanError("a.yaml", [FAULT]),
    document: {
      code: "INVALID_PLAN",
      message: "a.yaml has 1 fault: a.yaml:4:9 there is no step b",
      details: { source: "a.yaml", faults: [FAULT] },
      try: null,
    },
    facts: { source: "a.yaml", faults: [FAULT] },
  },
  InvalidDefinitionError: {
    error: new errors.InvalidDefinitionError('Step "ship" of plan web', "exists already"),
    document: {
      code: "INVALID_PLAN",
      message: 'Step "ship" of plan web exists already',
      details: { subject: 'Step "ship" of plan web', fault: "exists already" },
      try: null,
    },
    facts: { subject: 'Step "ship" of plan web', fault: "exists already" },
  },
  InvalidInputError: {
    error: new errors.InvalidInputError("The input of plan release", ISSUES),
    document: {
      code: "INVALID_INPUT",
      message: "The input of plan release is not valid: tag: is missing; (root): is no object",
      details: { issues: ISSUES },
      try: null,
    },
    facts: { issues: ISSUES },
  },
  PayloadTooLargeError: {
    error: new errors.PayloadTooLargeError("The output of scan", 300_000, 262_144),
    document: {
      code: "PAYLOAD_TOO_LARGE",
      message:
        "The output of scan has 300000 bytes; the limit is 262144: keep it elsewhere and pass a reference, or raise the limit " +
        "with --payload-limit, WAYMARK_PAYLOAD_LIMIT or the option payloadLimit of clients and workers",
      details: { what: "The output of scan", bytes: 300_000, limitBytes: 262_144 },
      try: null,
    },
    facts: { what: "The output of scan", bytes: 300_000, limitBytes: 262_144 },
  },
  SandboxMissingError: {
    error: new errors.SandboxMissingError("sha256:77", "its manifest"),
    document: {
      code: "SANDBOX_MISSING",
      message: "Snapshot sha256:77 can't be restored: its manifest is gone",
      details: { digest: "sha256:77", part: "its manifest" },
      try: null,
    },
    facts: { digest: "sha256:77", part: "its manifest" },
  },
  SandboxCorruptError: {
    error: new errors.SandboxCorruptError("sha256:77", "a.txt has other bytes"),
    document: {
      code: "SANDBOX_CORRUPT",
      message: "Snapshot sha256:77 can't be restored: a.txt has other bytes",
      details: { digest: "sha256:77", reason: "a.txt has other bytes" },
      try: null,
    },
    facts: { digest: "sha256:77", reason: "a.txt has other bytes" },
  },
  SandboxUnsupportedError: {
    error: new errors.SandboxUnsupportedError("run/db.sock", "is a socket"),
    document: {
      code: "SANDBOX_UNSUPPORTED",
      message: '"run/db.sock" can\'t be part of a snapshot: it is a socket',
      details: { path: "run/db.sock", reason: "is a socket" },
      try: null,
    },
    facts: { path: "run/db.sock", reason: "is a socket" },
  },
  SandboxUnavailableError: {
    error: new errors.SandboxUnavailableError("/var/snapshots", "no space left on device"),
    document: {
      code: "SANDBOX_UNAVAILABLE",
      message: "Snapshots can't be kept in /var/snapshots: no space left on device",
      details: { store: "/var/snapshots", reason: "no space left on device" },
      try: null,
    },
    facts: { store: "/var/snapshots", reason: "no space left on device" },
  },
  UsageError: {
    error: new errors.UsageError("No command retry", { try: "plan resume", details: { command: "retry" } }),
    document: { code: "USAGE", message: "No command retry", details: { command: "retry" }, try: "plan resume" },
  },
  StoreUnavailableError: {
    error: new errors.StoreUnavailableError("redis://box:6379", "connection refused"),
    document: {
      code: "STORE_UNAVAILABLE",
      message: "No answer from Redis at redis://box:6379: connection refused",
      details: { store: "redis://box:6379" },
      try: "plan doctor",
    },
  },
  StoreUnsuitableError: {
    error: new errors.StoreUnsuitableError("Redis 6.2 is too old", { version: "6.2" }),
    document: {
      code: "STORE_UNSUITABLE",
      message: "Redis 6.2 is too old",
      details: { version: "6.2" },
      try: "plan doctor",
    },
  },
  PayloadKeyError: {
    error: new errors.PayloadKeyError("The input of plan web-42", "is encrypted with key k1, and no key is given"),
    document: {
      code: "STORE_UNSUITABLE",
      message: "The input of plan web-42 is encrypted with key k1, and no key is given",
      details: { what: "The input of plan web-42", why: "is encrypted with key k1, and no key is given" },
      try: null,
    },
    facts: { what: "The input of plan web-42" },
  },
  StepFailedError: {
    error: new errors.StepFailedError("web-42", "push", "exit status 1"),
    document: {
      code: "STEP_FAILED",
      message: "Step push of plan web-42 failed: exit status 1",
      details: { planId: "web-42", step: "push", reason: "exit status 1" },
      try: "plan resume web-42",
    },
    facts: { planId: "web-42", stepId: "push" },
  },
  StepQuarantinedError: {
    error: new errors.StepQuarantinedError("web-42", "push", "it killed its worker 3 times"),
    document: {
      code: "STEP_QUARANTINED",
      message: "Step push of plan web-42 was taken out: it killed its worker 3 times",
      details: { planId: "web-42", step: "push", reason: "it killed its worker 3 times" },
      try: "plan get web-42",
    },
    facts: { planId: "web-42", stepId: "push" },
  },
};

test.each(Object.entries(SAMPLES))(
  "%s is a sentence with its facts, as data too",
  (name, { error, document, facts }) => {
    expect(error.toDocument()).toEqual(document);
    expect(error).toMatchObject({ name, exitCode: EXIT_CODES[document.code], ...facts });
    expect(error).toBeInstanceOf(WaymarkError);
    expect(error).toBeInstanceOf(Error);
    expect(JSON.parse(JSON.stringify(error.toDocument()))).toEqual(document);
  },
);

test("every error of the module is held by these tests", () => {
  const classes = Object.entries(errors).filter(
    ([name, value]) =>
      typeof value === "function" && value.prototype instanceof WaymarkError && !/^Not(Eligible|Forkable)/.test(name),
  );

  expect(classes.map(([name]) => name).sort()).toEqual(Object.keys(SAMPLES).sort());
});

test("a plan with several faults lists them all, each where an editor would underline it", () => {
  const faults = [FAULT, { ...FAULT, line: 7, message: "there is no step c" }];

  expect(new errors.InvalidPlanError("a.yaml", faults).message).toBe(
    "a.yaml has 2 faults: a.yaml:4:9 there is no step b; a.yaml:7:9 there is no step c",
  );
});

describe("an error without more to say", () => {
  const error = new WaymarkError("INTERNAL", "It broke");

  test("has no details, no command to try, and no cause", () => {
    expect(error.toDocument()).toEqual({ code: "INTERNAL", message: "It broke", details: {}, try: null });
    expect("cause" in error).toBe(false);
  });
});

test("the cause of an error stays with it, and out of its document", () => {
  const cause = new Error("ECONNREFUSED");
  const error = new errors.StoreUnavailableError("redis://box:6379", "connection refused", { cause });

  expect(error.cause).toBe(cause);
  expect(JSON.stringify(error.toDocument())).not.toContain("ECONNREFUSED");
});

test("a refused resume throws what its dry-run would have shown", () => {
  const compiled = aDefinition([{ id: "a" }]);
  const view = aView({ meta: { storedState: "cancelled", total: 1, done: 0 } });
  const { summary } = assess(
    {
      view,
      compiled,
      doneSteps: [],
      events: [],
      decisions: [],
      snapshots: [],
      inForce: null,
      offered: null,
      files: null,
      missingWorkdir: null,
    },
    {
      from: { kind: "frontier" },
      onDrift: "report",
      excludesOthers: false,
      choose: null,
      acks: new Map(),
      reason: null,
    },
  );
  const refused = { ...summary, error: summary.error! };

  const error = new errors.NotEligibleError(refused);

  expect(error.toDocument()).toEqual(refused.error);
  expect(error).toMatchObject({ name: "NotEligibleError", exitCode: 3, summary: refused });
});

test("a refusal with no command to try has none as an error", () => {
  const error: ErrorDocument = { code: "PLAN_ACTIVE", message: "It is active", details: { step: "a" }, try: null };

  expect(new errors.NotEligibleError({ error } as ResumeSummary & { error: ErrorDocument }).toDocument()).toEqual(
    error,
  );
  expect(new errors.NotForkableError({ error } as ForkSummary & { error: ErrorDocument }).toDocument()).toEqual(error);
});

test("what handlers throw to steer retries has names of its own and no codes", () => {
  const cause = new Error("429");
  const later = new errors.RetryAfterError("busy", 5_000, { cause });

  expect(later).toMatchObject({ name: "RetryAfterError", message: "busy", delayMs: 5_000, cause });
  expect(new errors.NonRetryableError("never")).toMatchObject({ name: "NonRetryableError", message: "never" });
  expect(later).not.toBeInstanceOf(WaymarkError);
});

test.each<[Partial<errors.Difference>, string]>([
  [{ what: "state", expected: "completed", actual: "failed" }, "step pay is failed instead of completed"],
  [
    { what: "output", path: "", expected: null, actual: "x".repeat(300) },
    `step pay recorded "${"x".repeat(199)}… instead of null`,
  ],
  [{ what: "effect" }, "step pay is irreversible and was called twice under one key"],
  [{ what: "files", step: null, expected: "sha256:a", actual: null }, 'its files are null instead of "sha256:a"'],
])("a plan that comes to something else without a crash, by %o", (difference, sentence) => {
  const error = new errors.NotCrashSafeError("web", null, { ...DIFFERENCE, ...difference });

  expect(error.message).toContain(`each time that it runs, also without a crash: ${sentence}. A step`);
});

test("what is too long for an id is cut in the message", () => {
  expect(new errors.PlanNotFoundError("x".repeat(5_000)).message).toBe(`No plan ${"x".repeat(128)}… in this store`);
});
