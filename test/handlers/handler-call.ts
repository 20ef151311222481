/** A call as the worker makes it, with what the handler wrote. */
import type { HandlerCall } from "../../src/core/handler.js";
import type { JsonObject } from "../../src/core/json.js";

export interface RecordedCall extends HandlerCall {
  readonly written: { stdout: string; stderr: string; log: string };
}

export function aCall(input: JsonObject, changes: Partial<HandlerCall> = {}): RecordedCall {
  const written = { stdout: "", stderr: "", log: "" };
  return {
    planId: "web-42",
    planName: "release",
    stepId: "build",
    attempt: 2,
    fence: 1_700_000_000_123,
    idempotencyKey: "key-of-build",
    with: input,
    env: {},
    passEnv: [],
    workdir: null,
    sandbox: null,
    signal: new AbortController().signal,
    groups: { prepare() {}, add() {}, remove() {} },
    woken: null,
    decide: () => Promise.reject(new Error("nothing is decided here")),
    save: async () => {},
    append: () => {},
    saved: null,
    progress: () => {},
    write: (stream, text) => {
      written[stream] += text;
    },
    ...changes,
    written,
  };
}
