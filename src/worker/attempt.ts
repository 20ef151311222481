/** One attempt in this process: its abort signal, its log, and the ways in which it can be ended from outside. */

import type { StepDefinition } from "../core/definition.js";
import type { GroupRegister } from "../core/handler.js";
import type { Outcome } from "../core/outcome.js";
import type { StartedStep } from "../core/ports.js";
import type { SandboxAccess } from "../core/sandbox.js";
import { AttemptLog } from "./attempt-log.js";
import { Redactor } from "./redactor.js";

/** Why a handler is told to stop. */
export type AbortReason = "timeout" | "drain" | "cancel" | "pause" | "failed" | "lost";

export class AttemptAbortedError extends Error {
  override readonly name = "AttemptAbortedError";
  constructor(readonly reason: AbortReason) {
    super(ABORT_TEXTS[reason]);
  }
}

const ABORT_TEXTS: Readonly<Record<AbortReason, string>> = {
  timeout: "the step's timeout is over",
  drain: "this worker is draining",
  cancel: "the plan was cancelled",
  pause: "the plan was paused",
  failed: "another step of the plan failed",
  lost: "the step is not this worker's any more",
};

const NONE: readonly StepDefinition[] = [];

export class Attempt {
  /** The newest cursor (JSON) that an attempt of the step saved. */
  saved: string | null = null;
  /** The plan's files, while they are this attempt's to read or write. */
  sandbox: SandboxAccess | null = null;
  /** Steps that the plan has with this attempt's completion. */
  appended: readonly StepDefinition[] = NONE;
  private lines: AttemptLog | null = null;
  private controller: AbortController | null = null;
  private redactor: Redactor | null = null;
  private abortedFor: AbortReason | null = null;
  private endNow: (outcome: Outcome) => void = () => {};
  /** What it was ended with, whatever its handler goes on to do. */
  endedWith: Outcome | null = null;

  constructor(
    readonly step: StartedStep,
    private readonly sendLog: (text: string, bytes: number) => void,
    readonly groups: GroupRegister,
  ) {}

  /** Keeps a secret that the attempt was given out of everything that it leaves behind. */
  hide(secret: string): void {
    this.redactor ??= new Redactor();
    this.redactor.hide(secret);
  }

  /** Null where the attempt was given no secret. */
  get hidden(): Redactor | null {
    return this.redactor;
  }

  /** Appends to the attempt's log. */
  write(text: string): void {
    this.lines ??= new AttemptLog(this.sendLog, this.redactor);
    this.lines.write(text);
  }

  /** Sends all that was written so far. */
  flush(): void {
    this.lines?.flush();
  }

  /** The outcome of `execution`, or the one that the attempt is ended with before, whatever its handler goes on to do. */
  outcomeOf<T>(execution: Promise<T>): Promise<T | Outcome> {
    return new Promise((resolve, reject) => {
      this.endNow = resolve;
      execution.then(resolve, reject);
    });
  }

  /** Made when somebody looks at it: most steps never do, and a controller costs more than their record. */
  get signal(): AbortSignal {
    if (!this.controller) {
      this.controller = new AbortController();
      if (this.abortedFor) this.controller.abort(new AttemptAbortedError(this.abortedFor));
    }
    return this.controller.signal;
  }

  get aborted(): AbortReason | null {
    return this.abortedFor;
  }

  abort(reason: AbortReason): void {
    if (this.abortedFor) return;
    this.abortedFor = reason;
    this.controller?.abort(new AttemptAbortedError(reason));
  }

  end(outcome: Outcome): void {
    this.endedWith = outcome;
    this.endNow(outcome);
  }
}
