/** The handlers that every worker has. */
import { env } from "node:process";
import type { StepHandler } from "../core/handler.js";
import { approveHandler } from "./approve.js";
import { askHandler } from "./ask.js";
import { createHttpHandler } from "./http.js";
import { noopHandler } from "./noop.js";
import { createShellHandler } from "./shell.js";
import { sleepHandler } from "./sleep.js";
import { waitHandler } from "./wait.js";

export interface BuiltinHandlerOptions {
  /** Where a shell step's PATH and its `pass-env` come from; the environment of this process unless given. */
  readonly workerEnv?: Readonly<Record<string, string | undefined>>;
  /** How large an output may be; 256 KiB unless given. */
  readonly payloadLimitBytes?: number;
}

/** By name, in the order in which documentation lists them. */
export function builtinHandlers(options: BuiltinHandlerOptions = {}): ReadonlyMap<string, StepHandler> {
  const handlers = [
    createShellHandler(options.workerEnv ?? env, options.payloadLimitBytes),
    createHttpHandler(options.payloadLimitBytes),
    sleepHandler,
    waitHandler,
    askHandler,
    approveHandler,
    noopHandler,
  ];
  return new Map(handlers.map((handler) => [handler.name, handler]));
}
