/**
 * Every error that Waymark raises on purpose: a stable code, the facts as fields, a sentence with the numbers in
 * it and, where there is one, the command to try next. docs/errors.md lists exactly these codes; a test holds the
 * two together. Never match on `message`.
 */
import type { ForkSummary } from "./fork.js";
import type { WaitKind } from "./plan.js";
import type { ResumeSummary } from "./resume-summary.js";

/** Exit status of the command line for each code. */
export const EXIT_CODES = {
  PLAN_NOT_FOUND: 4,
  PLAN_TERMINAL: 3,
  PLAN_ACTIVE: 3,
  PLAN_WAITING: 3,
  CHECKPOINT_NOT_FOUND: 4,
  STEP_NOT_FOUND: 4,
  DECISION_NOT_FOUND: 4,
  SCHEDULE_NOT_FOUND: 4,
  SANDBOX_MISSING: 3,
  SANDBOX_CORRUPT: 3,
  WORKDIR_MISSING: 3,
  DEFINITION_DRIFT: 3,
  ACK_REQUIRED: 3,
  PREVIEW_STALE: 5,
  INVALID_PLAN: 2,
  INVALID_INPUT: 2,
  INVALID_CHOICE: 2,
  PAYLOAD_TOO_LARGE: 2,
  HANDLER_NOT_FOUND: 2,
  USAGE: 2,
  NOT_WAITING: 3,
  PLAN_EXISTS: 5,
  FENCED: 5,
  STORE_UNAVAILABLE: 6,
  STORE_UNSUITABLE: 6,
  REDIS_NOT_FOUND: 6,
  STEP_FAILED: 1,
  STEP_QUARANTINED: 1,
  SANDBOX_UNSUPPORTED: 1,
  SANDBOX_UNAVAILABLE: 6,
  NOT_CRASH_SAFE: 1,
  INTERNAL: 1,
} as const;

export type ErrorCode = keyof typeof EXIT_CODES;

/** What an error looks like as data: on stdout with `-o json`, and in history. */
export interface ErrorDocument {
  readonly code: ErrorCode;
  readonly message: string;
  readonly details: Readonly<Record<string, unknown>>;
  /** A command that can be run as printed. */
  readonly try: string | null;
}

export interface ErrorOptions {
  readonly details?: Readonly<Record<string, unknown>>;
  readonly try?: string;
  readonly cause?: unknown;
}

/** The base of all of them. Codes are stable, messages are not. */
export class WaymarkError extends Error {
  readonly code: ErrorCode;
  readonly details: Readonly<Record<string, unknown>>;
  readonly try: string | null;

  constructor(code: ErrorCode, message: string, options: ErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = new.target.name;
    this.code = code;
    this.details = options.details ?? {};
    this.try = options.try ?? null;
  }

  get exitCode(): number {
    return EXIT_CODES[this.code];
  }

  toDocument(): ErrorDocument {
    return { code: this.code, message: this.message, details: this.details, try: this.try };
  }
}

export class PlanNotFoundError extends WaymarkError {
  constructor(readonly planId: string) {
    // What is longer than an id can be is no id, and would bury the message. A caller in plain JavaScript may give anything.
    const text = String(planId);
    const shown = text.length <= 128 ? text : `${text.slice(0, 128)}…`;
    super("PLAN_NOT_FOUND", `No plan ${shown} in this store`, { details: { planId: shown }, try: "plan list" });
  }
}

/** The same id was submitted before with other content. */
export class PlanExistsError extends WaymarkError {
  constructor(readonly planId: string) {
    super("PLAN_EXISTS", `Plan ${planId} exists already, with other content`, {
      details: { planId },
      try: `plan get ${planId}`,
    });
  }
}

/** Another epoch has taken the plan since this attempt began. The only safe reaction is to stop. */
export class FencedError extends WaymarkError {
  constructor(
    readonly planId: string,
    readonly carried: number,
    readonly current: number,
  ) {
    super("FENCED", `Plan ${planId} is in epoch ${current}; this attempt carried ${carried}`, {
      details: { planId, carried, current },
    });
  }
}

/** A resume was refused. Carries what a dry-run would have shown. */
export class NotEligibleError extends WaymarkError {
  constructor(readonly summary: ResumeSummary & { readonly error: ErrorDocument }) {
    const { code, message, details, try: next } = summary.error;
    super(code, message, next === null ? { details } : { details, try: next });
  }
}

/** A fork was refused. Carries what a dry-run would have shown. */
export class NotForkableError extends WaymarkError {
  constructor(readonly summary: ForkSummary & { readonly error: ErrorDocument }) {
    const { code, message, details, try: next } = summary.error;
    super(code, message, next === null ? { details } : { details, try: next });
  }
}

/** A step takes no such answer, or not now. */
export class NotWaitingError extends WaymarkError {
  constructor(
    readonly planId: string,
    readonly stepId: string,
    why: string,
    options: { readonly wait?: WaitKind | null; readonly try?: string } = {},
  ) {
    const { wait = null, try: next = `plan get ${planId}` } = options;
    super("NOT_WAITING", `Step ${stepId} of plan ${planId} takes no such answer: ${why}`, {
      details: { planId, step: stepId, wait },
      try: next,
    });
  }
}

/** One fault of a plan document, where an editor would underline it. Lines and columns count from 1. */
export interface Fault {
  readonly message: string;
  readonly line: number;
  readonly column: number;
  /** Where in the document, such as `steps[2].needs[0]`. */
  readonly path: string;
}

/** A definition can't be run. Carries every fault, not the first. */
export class InvalidPlanError extends WaymarkError {
  constructor(
    readonly source: string,
    readonly faults: readonly Fault[],
  ) {
    const list = faults.map((f) => `${source}:${f.line}:${f.column} ${f.message}`).join("; ");
    super("INVALID_PLAN", `${source} has ${faults.length} fault${faults.length === 1 ? "" : "s"}: ${list}`, {
      details: { source, faults },
    });
  }
}

/** A definition in code can't be run. Thrown by the call that is wrong, so that the stack shows its line. */
export class InvalidDefinitionError extends WaymarkError {
  /** @param subject what the fault is about, such as `Step "ship" of plan web` */
  constructor(
    readonly subject: string,
    readonly fault: string,
  ) {
    super("INVALID_PLAN", `${subject} ${fault}`, { details: { subject, fault } });
  }
}

/** A value from outside doesn't fit its schema. */
export class InvalidInputError extends WaymarkError {
  constructor(
    what: string,
    readonly issues: readonly { readonly path: string; readonly message: string }[],
  ) {
    const list = issues.map((i) => `${i.path || "(root)"}: ${i.message}`).join("; ");
    super("INVALID_INPUT", `${what} is not valid: ${list}`, { details: { issues } });
  }
}

/** Something else was chosen than what there is to choose from. */
export class InvalidChoiceError extends WaymarkError {
  constructor(what: string, choice: unknown, options: readonly string[], next?: string) {
    const shown = JSON.stringify(choice) ?? String(choice);
    super("INVALID_CHOICE", `${what} can't be ${shown}: the options are ${options.join(", ")}`, {
      details: { choice: typeof choice === "string" ? choice : shown, options },
      ...(next !== undefined && { try: next }),
    });
  }
}

/** Something that goes into the store is larger than this process lets it be. */
export class PayloadTooLargeError extends WaymarkError {
  constructor(
    readonly what: string,
    readonly bytes: number,
    readonly limitBytes: number,
  ) {
    super(
      "PAYLOAD_TOO_LARGE",
      `${what} has ${bytes} bytes; the limit is ${limitBytes}: keep it elsewhere and pass a reference, or raise the limit ` +
        "with --payload-limit, WAYMARK_PAYLOAD_LIMIT or the option payloadLimit of clients and workers",
      { details: { what, bytes, limitBytes } },
    );
  }
}

/** The command line or a setting is wrong. */
export class UsageError extends WaymarkError {
  constructor(message: string, options: ErrorOptions = {}) {
    super("USAGE", message, options);
  }
}

export class StoreUnavailableError extends WaymarkError {
  constructor(where: string, reason: string, options: { cause?: unknown } = {}) {
    super("STORE_UNAVAILABLE", `No answer from Redis at ${where}: ${reason}`, {
      details: { store: where },
      try: "plan doctor",
      ...options,
    });
  }
}

/** The store answers, but can't hold plans safely: version, eviction policy, shard count. */
export class StoreUnsuitableError extends WaymarkError {
  constructor(message: string, details: Readonly<Record<string, unknown>> = {}) {
    super("STORE_UNSUITABLE", message, { details, try: "plan doctor" });
  }
}

/** A payload can't be opened with the keys that this process has. */
export class PayloadKeyError extends WaymarkError {
  /** @param what such as `The output of step build of plan web-42` */
  constructor(
    readonly what: string,
    readonly why: string,
  ) {
    super("STORE_UNSUITABLE", `${what} ${why}`, { details: { what, why } });
  }
}

/** A step has failed for good. */
export class StepFailedError extends WaymarkError {
  constructor(
    readonly planId: string,
    readonly stepId: string,
    reason: string,
  ) {
    super("STEP_FAILED", `Step ${stepId} of plan ${planId} failed: ${reason}`, {
      details: { planId, step: stepId, reason },
      try: `plan resume ${planId}`,
    });
  }
}

/** A step was taken out because it kills its workers. */
export class StepQuarantinedError extends WaymarkError {
  constructor(
    readonly planId: string,
    readonly stepId: string,
    reason: string,
  ) {
    super("STEP_QUARANTINED", `Step ${stepId} of plan ${planId} was taken out: ${reason}`, {
      details: { planId, step: stepId, reason },
      try: `plan get ${planId}`,
    });
  }
}

/** A checkpoint's snapshot, or a part of it, is not where snapshots are kept. */
export class SandboxMissingError extends WaymarkError {
  constructor(
    readonly digest: string,
    readonly part: string,
  ) {
    super("SANDBOX_MISSING", `Snapshot ${digest} can't be restored: ${part} is gone`, { details: { digest, part } });
  }
}

/** A checkpoint's snapshot doesn't match its digest. */
export class SandboxCorruptError extends WaymarkError {
  constructor(
    readonly digest: string,
    readonly reason: string,
  ) {
    super("SANDBOX_CORRUPT", `Snapshot ${digest} can't be restored: ${reason}`, { details: { digest, reason } });
  }
}

/** A directory holds something that a snapshot can't keep, or more than it may. */
export class SandboxUnsupportedError extends WaymarkError {
  /** @param path relative to the sandbox, or of the sandbox itself */
  constructor(
    readonly path: string,
    readonly reason: string,
    options: { cause?: unknown } = {},
  ) {
    super("SANDBOX_UNSUPPORTED", `${JSON.stringify(path)} can't be part of a snapshot: it ${reason}`, {
      details: { path, reason },
      ...options,
    });
  }
}

/** Where snapshots are kept can't be read or written: the disk is full, access is denied, a server doesn't answer. */
export class SandboxUnavailableError extends WaymarkError {
  constructor(
    readonly store: string,
    readonly reason: string,
    options: { cause?: unknown } = {},
  ) {
    super("SANDBOX_UNAVAILABLE", `Snapshots can't be kept in ${store}: ${reason}`, {
      details: { store, reason },
      ...options,
    });
  }
}

/** In what one run of a plan differs from another in a test. */
export interface Difference {
  /** Null where it is the plan's files. */
  readonly step: string | null;
  readonly what: "state" | "output" | "effect" | "files";
  /** Where in the output, such as `items[2].at`; empty for all of it. */
  readonly path: string;
  readonly expected: unknown;
  readonly actual: unknown;
}

/** In a test, a plan whose worker died came to something else than without that. */
export class NotCrashSafeError extends WaymarkError {
  /** @param crash null where two runs differ although neither had a crash */
  constructor(
    readonly planName: string,
    readonly crash: { readonly when: "before" | "after"; readonly step: string; readonly attempt: number } | null,
    readonly difference: Difference,
  ) {
    const when =
      crash === null
        ? "each time that it runs, also without a crash"
        : `when its worker dies ${crash.when} attempt ${crash.attempt} of step ${crash.step}`;
    super("NOT_CRASH_SAFE", `Plan ${planName} comes to something else ${when}: ${describe(difference)}. ${ADVICE}`, {
      details: { plan: planName, crash, difference },
    });
  }
}

const ADVICE =
  "A step that runs again must come to the same: take time and chance from `services`, keep a choice with `decide`, hand " +
  "`idempotencyKey` to what has an effect; and where fakes remember calls, give `services` as a function, so that each " +
  "run has its own";

function describe({ step, what, path, expected, actual }: Difference): string {
  const instead = `${shown(actual)} instead of ${shown(expected)}`;
  switch (what) {
    case "state":
      return `step ${step} is ${actual} instead of ${expected}`;
    case "output":
      return `step ${step} recorded ${instead}${path === "" ? "" : ` at ${path}`}`;
    case "effect":
      return `step ${step} is irreversible and was called twice under one key`;
    case "files":
      return `its files are ${instead}`;
    default:
      return what satisfies never;
  }
}

function shown(value: unknown): string {
  const text = JSON.stringify(value);
  return text.length <= 200 ? text : `${text.slice(0, 200)}…`;
}

/** Throw it from a handler to fail the step at once, whatever its retry policy says. */
export class NonRetryableError extends Error {
  override readonly name = "NonRetryableError";
}

/** Throw it from a handler to choose when the next attempt runs, such as an HTTP Retry-After. */
export class RetryAfterError extends Error {
  override readonly name = "RetryAfterError";
  constructor(
    message: string,
    readonly delayMs: number,
    options?: { cause?: unknown },
  ) {
    super(message, options);
  }
}
