/** Which plans `--state`, `--name` and `--since` mean. */
import type { ListOptions } from "../client/client.js";
import { durationMs, planStates } from "./option-values.js";

export interface Selection {
  readonly state?: string;
  readonly name?: string;
  readonly since?: string;
}

export function listQuery(selection: Selection): ListOptions {
  return {
    ...(selection.state !== undefined && { states: planStates("--state", selection.state) }),
    ...(selection.name !== undefined && { name: selection.name }),
    ...(selection.since !== undefined && { createdSince: Date.now() - durationMs("--since", selection.since) }),
  };
}
