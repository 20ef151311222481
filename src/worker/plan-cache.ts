/**
 * Inputs and outputs of plans that this worker has met. A step may look at everything above it; what a worker has seen
 * once it doesn't read again, so a chain costs one read for each output and not one for each pair of steps.
 */
import type { CompiledDefinition } from "../core/definition.js";
import type { AttemptError } from "../core/outcome.js";
import type { StartedStep } from "../core/ports.js";

export interface PayloadSource {
  /** An input that came with the start of a step. @throws PayloadKeyError */
  openInput(planId: string, stored: string): string;
  payloads(
    planId: string,
    stepIds: readonly string[],
  ): Promise<{ input: string; workdir: string | null; outputs: string[] }>;
  /** Why steps failed that the plan went on without; of those that did. */
  failures(planId: string, stepIds: readonly string[]): Promise<ReadonlyMap<string, AttemptError>>;
}

/** What is kept at most, over all plans, in characters of JSON; the plans used longest ago go first. */
const MOST_CHARS = 64 * 1024 * 1024;
/** Outputs asked for in one read. */
const READ_CHUNK = 1_000;

export interface Payloads {
  readonly input: string;
  readonly workdir: string | null;
  /** Serialised output of a step above. */
  output(stepId: string): string;
}

interface Entry {
  /** Created and epoch: another run under the same id makes everything here stale, and a resume the folder and what a rewind takes. */
  readonly generation: string;
  input: string | null;
  workdir: string | null;
  readonly outputs: Map<string, string>;
  /** Of steps that are done: why they failed, or null where they did not. */
  readonly failures: Map<string, AttemptError | null>;
  /** Steps of which everything above is here. */
  readonly closed: Set<string>;
  chars: number;
}

export class PlanCache {
  private readonly entries = new Map<string, Entry>();
  private chars = 0;

  constructor(private readonly source: PayloadSource) {}

  /** Payloads with the outputs of `stepIds`, or of everything above the step where that is `"above"`. */
  async load(step: StartedStep, compiled: CompiledDefinition, stepIds: readonly string[] | "above"): Promise<Payloads> {
    const entry = this.entryOf(step);
    const missing =
      stepIds === "above" ? unknownAbove(entry, compiled, step.stepId) : stepIds.filter((id) => !entry.outputs.has(id));
    if (entry.input === null && step.input !== null) {
      entry.input = this.source.openInput(step.planId, step.input);
      entry.workdir = step.workdir;
      this.grow(entry, step.input.length);
    }
    if (missing.length > 0 || entry.input === null) await this.read(entry, step.planId, missing);
    if (stepIds === "above") for (const need of compiled.steps.get(step.stepId)!.needs) entry.closed.add(need);
    this.evict(entry);
    return {
      input: entry.input!,
      workdir: entry.workdir,
      output: (id) => entry.outputs.get(id) ?? "null",
    };
  }

  /** Why steps above failed that the plan went on without; of those that did. */
  async failures(step: StartedStep, stepIds: readonly string[]): Promise<ReadonlyMap<string, AttemptError>> {
    const { failures } = this.entryOf(step);
    const unknown = stepIds.filter((id) => !failures.has(id));
    if (unknown.length > 0) {
      const read = await this.source.failures(step.planId, unknown);
      for (const id of unknown) failures.set(id, read.get(id) ?? null);
    }
    return new Map(stepIds.flatMap((id) => (failures.get(id) ? [[id, failures.get(id)!]] : [])));
  }

  /** Remembers what a step of this worker recorded. */
  keep(step: StartedStep, output: string): void {
    const entry = this.entryOf(step);
    if (entry.outputs.has(step.stepId)) return;
    entry.outputs.set(step.stepId, output);
    this.grow(entry, output.length + step.stepId.length);
  }

  /** Forgets a plan that another worker may have changed. */
  drop(planId: string): void {
    const entry = this.entries.get(planId);
    if (!entry) return;
    this.entries.delete(planId);
    this.chars -= entry.chars;
  }

  private async read(entry: Entry, planId: string, stepIds: readonly string[]): Promise<void> {
    for (let from = 0; from === 0 || from < stepIds.length; from += READ_CHUNK) {
      const ids = stepIds.slice(from, from + READ_CHUNK);
      const { input, workdir, outputs } = await this.source.payloads(planId, ids);
      if (entry.input === null) this.grow(entry, input.length);
      entry.input = input;
      entry.workdir = workdir;
      ids.forEach((id, i) => {
        entry.outputs.set(id, outputs[i]!);
        this.grow(entry, outputs[i]!.length + id.length);
      });
    }
  }

  private entryOf(step: StartedStep): Entry {
    const generation = `${step.createdAt}/${step.epoch}`;
    let entry = this.entries.get(step.planId);
    if (entry && entry.generation !== generation) {
      this.drop(step.planId);
      entry = undefined;
    }
    if (entry) this.entries.delete(step.planId);
    entry ??= {
      generation,
      input: null,
      workdir: null,
      outputs: new Map(),
      failures: new Map(),
      closed: new Set(),
      chars: 0,
    };
    this.entries.set(step.planId, entry);
    return entry;
  }

  private grow(entry: Entry, chars: number): void {
    entry.chars += chars;
    this.chars += chars;
  }

  private evict(inUse: Entry): void {
    for (const [planId, entry] of this.entries) {
      if (this.chars <= MOST_CHARS) return;
      if (entry !== inUse) this.drop(planId);
    }
  }
}

/**
 * Steps above whose output isn't here. Stops at closed steps, so that a chain is walked once and not at every step. The
 * items of a map that is above are in its output; its list is only for them.
 */
function unknownAbove(entry: Entry, compiled: CompiledDefinition, stepId: string): string[] {
  const unknown: string[] = [];
  const seen = new Set<string>();
  const direct = compiled.steps.get(stepId)!.needs;
  const stack = [...direct];
  for (let id = stack.pop(); id !== undefined; id = stack.pop()) {
    const step = compiled.steps.get(id)!;
    if (seen.has(id) || step.itemOf !== undefined) continue;
    seen.add(id);
    const isHidden = step.lists !== undefined && !direct.includes(id);
    if (!entry.outputs.has(id) && !isHidden) unknown.push(id);
    if (!entry.closed.has(id)) stack.push(...step.needs);
  }
  return unknown;
}
