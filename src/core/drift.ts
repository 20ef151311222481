/**
 * How a definition that is offered now differs from the one that a plan runs under, step by step. Only what steps declare
 * counts, not their retries, timeouts and queues: those change nothing of what was done.
 */
import { type CompiledDefinition, grow } from "./definition.js";
import { itemStep } from "./map.js";

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

/** What a plan's own steps appended is in no definition: it follows the steps that appended it. */
export function driftBetween(stored: CompiledDefinition, offered: CompiledDefinition): Drift {
  const isDeclared = (id: string) => stored.steps.has(id) && stored.steps.get(id)!.appendedBy === undefined;
  const ids = [...stored.steps.keys()].filter(isDeclared);
  return {
    changed: ids.filter((id) => {
      const now = offered.steps.get(id);
      return now !== undefined && now.digest !== stored.steps.get(id)!.digest;
    }),
    added: [...offered.steps.keys()].filter((id) => !isDeclared(id)),
    removed: ids.filter((id) => !offered.steps.has(id)),
  };
}

/**
 * The offered definition with what was appended to the plan, as far as the steps that appended it are there. An item of a map does what
 * the map declares now; other steps bring their definition along. Where the offered definition has a step of the same id,
 * that is the one.
 */
export function carryOver(stored: CompiledDefinition, offered: CompiledDefinition): CompiledDefinition {
  const appended = stored.definition.steps.filter((step) => step.appendedBy !== undefined);
  const there = new Set(offered.steps.keys());
  for (let size = -1; size !== there.size; ) {
    size = there.size;
    for (const { id, appendedBy } of appended) if (there.has(appendedBy!)) there.add(id);
  }
  const carried = appended
    .filter(({ id }) => there.has(id) && !offered.steps.has(id))
    .map((step) => (step.itemOf === undefined ? step : itemStep(offered, step.itemOf, step.id, step.item!)));
  return carried.length === 0 ? offered : grow(offered, carried);
}

/** Such as `build changed`; empty where no step differs. */
export function describeDrift({ changed, added, removed }: Drift): string[] {
  return [
    ...changed.map((id) => `${id} changed`),
    ...added.map((id) => `${id} added`),
    ...removed.map((id) => `${id} removed`),
  ];
}
