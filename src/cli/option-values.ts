/** Values of options: checked, with an error that names the option. */
import { parseDurationMs } from "../core/duration.js";
import { UsageError } from "../core/errors.js";
import { PLAN_STATES, type PlanState } from "../core/plan.js";

export function wholeNumber(option: string, value: string, least: number): number {
  const number = Number(value);
  if (/^\d+$/.test(value) && Number.isSafeInteger(number) && number >= least) return number;
  throw new UsageError(`${option} takes a whole number of at least ${least}, not "${value}"`);
}

export function durationMs(option: string, value: string): number {
  const ms = parseDurationMs(/^\d+$/.test(value) ? Number(value) : value);
  if (ms !== null) return ms;
  throw new UsageError(`${option} takes a duration such as 30s, 25m or 24h, not "${value}"`);
}

export function planStates(option: string, value: string): PlanState[] {
  return value.split(",").map((word) => {
    const state = PLAN_STATES.find((known) => known === word.trim());
    if (state !== undefined) return state;
    throw new UsageError(`${option} knows the states ${PLAN_STATES.join(", ")}, not "${word.trim()}"`);
  });
}
