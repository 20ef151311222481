/** Runs a plan again and again, each time with a crash at another point, and holds what it comes to against the run without one. */
import { type CompiledDefinition, descendants } from "../core/definition.js";
import { type Difference, NotCrashSafeError } from "../core/errors.js";
import type { Json } from "../core/json.js";
import { type Call, type Crash, type MemoryRun, runInMemory, type Subject } from "./run-in-memory.js";

export interface CrashedRun {
  readonly crash: Crash;
  readonly run: MemoryRun;
}

/**
 * Before and after each call of the plain run, in its order.
 * @throws NotCrashSafeError at the first run that comes to something else
 */
export async function crashEverywhere(subject: Subject, plain: MemoryRun): Promise<readonly CrashedRun[]> {
  const { name } = subject.plan;
  // What differs by itself would be found at any crash, and the crash would be blamed for it.
  const unstable = differenceOf(plain, await runInMemory(subject, null));
  if (unstable !== null) throw new NotCrashSafeError(name, null, unstable);
  const runs: CrashedRun[] = [];
  for (const { step, attempt } of plain.calls) {
    for (const when of ["before", "after"] as const) {
      const crash = { when, step, attempt };
      const run = await runInMemory(subject, crash);
      const difference = differenceOf(plain, run) ?? repeatedEffect(run.memory.compiled, run.calls);
      if (difference !== null) throw new NotCrashSafeError(name, crash, difference);
      runs.push({ crash, run });
    }
  }
  return runs;
}

/** The first thing in which a run differs, but for what nobody goes on with before a person has said whether it happened. */
function differenceOf(plain: MemoryRun, run: MemoryRun): Difference | null {
  const { compiled } = plain.memory;
  const held = heldSteps(run);
  const excused = new Set(descendants(compiled, held));
  for (const id of new Set([...compiled.steps.keys(), ...run.memory.compiled.steps.keys()])) {
    if (excused.has(id)) continue;
    const [expected, actual] = [stepOf(plain, id), stepOf(run, id)];
    if (expected.state !== actual.state) {
      return { step: id, what: "state", path: "", expected: expected.state, actual: actual.state };
    }
    const path = differingPath(expected.output, actual.output, "");
    if (path !== null) return { step: id, what: "output", ...path };
  }
  if (held.length > 0) return null;
  const [expected, actual] = [plain.memory.sandbox?.digest ?? null, run.memory.sandbox?.digest ?? null];
  return expected === actual ? null : { step: null, what: "files", path: "", expected, actual };
}

/** Irreversible, and cut off by the crash. */
export function heldSteps({ memory }: MemoryRun): string[] {
  return [...memory.open].flatMap(([id, { state }]) => (state === "uncertain" ? [id] : []));
}

/** The store lets nobody repeat one: that it doesn't is what this checks. */
export function repeatedEffect(compiled: CompiledDefinition, calls: readonly Call[]): Difference | null {
  const seen = new Set<string>();
  for (const { step, idempotencyKey } of calls) {
    if (compiled.steps.get(step)!.effect !== "irreversible") continue;
    if (seen.has(idempotencyKey)) return { step, what: "effect", path: "", expected: 1, actual: 2 };
    seen.add(idempotencyKey);
  }
  return null;
}

function stepOf({ memory }: MemoryRun, id: string): { readonly state: string; readonly output: Json } {
  const state = memory.done.get(id)?.state ?? memory.open.get(id)?.state ?? "pending";
  return { state, output: JSON.parse(memory.outputs.get(id) ?? "null") as Json };
}

/** The first place where two values differ, and what stands there. */
function differingPath(
  expected: Json | undefined,
  actual: Json | undefined,
  path: string,
): Pick<Difference, "path" | "expected" | "actual"> | null {
  if (isComposite(expected) && isComposite(actual) && Array.isArray(expected) === Array.isArray(actual)) {
    for (const key of new Set([...Object.keys(expected), ...Object.keys(actual)])) {
      const deeper = Array.isArray(expected) ? `${path}[${key}]` : path === "" ? key : `${path}.${key}`;
      const found = differingPath(expected[key], actual[key], deeper);
      if (found !== null) return found;
    }
    return null;
  }
  return expected === actual ? null : { path, expected: expected ?? null, actual: actual ?? null };
}

function isComposite(value: Json | undefined): value is { readonly [key: string]: Json } {
  return typeof value === "object" && value !== null;
}
