/** Marks and words for states, the same everywhere. */
import type { StepState } from "../../client/documents.js";
import { formatDurationMs } from "../../core/duration.js";
import type { PlanState } from "../../core/plan.js";
import type { Colors } from "./terminal.js";

/** Nothing more happens to a step in one of them, and what needs it may run. */
export const DONE_STATES: ReadonlySet<StepState> = new Set(["completed", "skipped", "continued"]);

export function stepMark(state: StepState, c: Colors): string {
  switch (state) {
    case "completed":
      return c.green("✔");
    case "skipped":
      return c.dim("⊘");
    case "failed":
      return c.red("✖");
    case "lost":
    case "uncertain":
    case "continued":
      return c.yellow("✖");
    case "running":
      return c.cyan("●");
    case "waiting":
    case "delayed":
      return c.yellow("◷");
    case "queued":
    case "exclusive":
    case "limited":
    case "held":
    case "pending":
      return c.dim("○");
    default:
      return state satisfies never;
  }
}

export function planMark(state: PlanState, c: Colors): string {
  switch (state) {
    case "completed":
      return c.green("✔");
    case "failed":
    case "cancelled":
      return c.red("✖");
    case "interrupted":
      return c.yellow("✖");
    case "running":
      return c.cyan("●");
    case "waiting":
    case "paused":
      return c.yellow("◷");
    case "queued":
      return c.dim("○");
    default:
      return state satisfies never;
  }
}

export function stateWord(state: PlanState, c: Colors): string {
  switch (state) {
    case "completed":
      return c.green(state);
    case "failed":
    case "cancelled":
      return c.red(state);
    case "interrupted":
    case "waiting":
    case "paused":
      return c.yellow(state);
    case "running":
      return c.cyan(state);
    case "queued":
      return state;
    default:
      return state satisfies never;
  }
}

/** `3m 12s ago`, of a date in ISO 8601. */
export function ago(date: string, now: number): string {
  const ms = now - Date.parse(date);
  return ms < 1_000 ? "just now" : `${formatDurationMs(ms)} ago`;
}

/** `2026-11-22 11:02:31`: local time, as the rest of the terminal shows it. */
export function localTime(date: string): string {
  const at = new Date(date);
  const two = (n: number) => String(n).padStart(2, "0");
  const day = [at.getFullYear(), two(at.getMonth() + 1), two(at.getDate())].join("-");
  return `${day} ${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
}
