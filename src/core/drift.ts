/**
 * How a definition that is offered now differs from the one that a plan runs under, step by step. Only what steps declare
 * counts, not their retries, timeouts and queues: those change nothing of what was done.
 */
import type { CompiledDefinition } from "./definition.js";

/**
 * What becomes of the difference: `report` runs the stored definition and says so, `refuse` doesn't resume, `keep` goes on
 * under the offered one with everything that is recorded, `rerun` goes on under it from the first changed step.
 */
export type DriftPolicy = "report" | "refuse" | "keep" | "rerun";

export interface Drift {
  readonly changed: readonly string[];
  readonly added: readonly string[];
  readonly removed: readonly string[];
}

export function driftBetween(stored: CompiledDefinition, offered: CompiledDefinition): Drift {
  // What a plan's own steps appended is in no definition.
  const ids = [...stored.steps.values()].filter((step) => step.appendedBy === undefined).map((step) => step.id);
  return {
    changed: ids.filter((id) => {
      const now = offered.steps.get(id);
      return now !== undefined && now.digest !== stored.steps.get(id)!.digest;
    }),
    added: [...offered.steps.keys()].filter((id) => !stored.steps.has(id)),
    removed: ids.filter((id) => !offered.steps.has(id)),
  };
}

/** Such as `build changed`; empty where no step differs. */
export function describeDrift({ changed, added, removed }: Drift): string[] {
  return [
    ...changed.map((id) => `${id} changed`),
    ...added.map((id) => `${id} added`),
    ...removed.map((id) => `${id} removed`),
  ];
}
