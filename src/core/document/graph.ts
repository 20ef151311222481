/** The steps of a document as a graph: every name resolved, every order checked, phases given where none was. */
import { defaultPhase, findCycle, impliedPhases } from "../definition.js";
import type { Located, LocatedDocument } from "./located.js";
import type { DraftStep } from "./step.js";

export interface StepGraph {
  readonly phases: readonly string[];
  /** By place in the document: where each need stands in the document. Only needs that exist. */
  readonly needs: readonly (readonly number[])[];
  readonly phaseOf: readonly string[];
  readonly indexOf: ReadonlyMap<string, number>;
  /** Every step after all that it needs. Steps on a cycle, and those that need them, are missing. */
  readonly order: readonly number[];
}

export function linkSteps(
  document: LocatedDocument,
  steps: readonly DraftStep[],
  listedPhases: readonly string[] | null,
): StepGraph {
  const indexOf = indexSteps(document, steps);
  const needs = steps.map((step, index) => resolveNeeds(document, steps, step, index, indexOf));
  reportCycles(document, steps, needs);
  const order = topologicalOrder(needs);
  const phases = listedPhases ?? impliedPhases(steps.flatMap((step) => step.phase?.name ?? []));
  const phaseOf = assignPhases(document, steps, needs, order, phases, listedPhases);
  return { phases, needs, phaseOf, indexOf, order };
}

function indexSteps(document: LocatedDocument, steps: readonly DraftStep[]): Map<string, number> {
  const indexOf = new Map<string, number>();
  steps.forEach((step, index) => {
    const first = indexOf.get(step.id);
    if (first === undefined) {
      indexOf.set(step.id, index);
    } else {
      const { line } = document.position(steps[first]!.idAt.offset);
      document.fault(step.idAt, `the step id "${step.id}" is taken; the first is in line ${line}`);
    }
  });
  return indexOf;
}

function resolveNeeds(
  document: LocatedDocument,
  steps: readonly DraftStep[],
  step: DraftStep,
  index: number,
  indexOf: ReadonlyMap<string, number>,
): number[] {
  if (step.needs === null) return index === 0 ? [] : [index - 1];
  const found: number[] = [];
  for (const { id, at } of step.needs) {
    const need = indexOf.get(id);
    if (need === undefined) {
      document.fault(at, `there is no step "${id}"${document.suggest(id, indexOf.keys())}`);
    } else if (steps[need] === step) {
      document.fault(at, `step "${id}" needs itself`);
    } else {
      found.push(need);
    }
  }
  return found;
}

const REPORTED_CYCLES = 20;
const NAMED_STEPS = 10;

/** One fault for each of the cycles that share no step, at the first of its steps. */
function reportCycles(
  document: LocatedDocument,
  steps: readonly DraftStep[],
  needs: readonly (readonly number[])[],
): void {
  let nodes = needs.map((of, index) => ({ id: String(index), needs: of.map(String) }));
  for (let reported = 0; reported < REPORTED_CYCLES; reported++) {
    const cycle = findCycle(nodes)?.map(Number);
    if (!cycle) return;
    const start = cycle.indexOf(cycle.reduce((a, b) => Math.min(a, b)));
    const circle = [...cycle.slice(start), ...cycle.slice(0, start)];
    const names = circle.map((index) => steps[index]!.id);
    const shown =
      names.length <= NAMED_STEPS
        ? names
        : [...names.slice(0, NAMED_STEPS - 1), `… ${names.length - NAMED_STEPS + 1} more`];
    const first = steps[circle[0]!]!;
    const need = first.needs?.find(({ id }) => id === names[1]);
    document.fault(need?.at ?? first.at, `steps need each other in a circle: ${[...shown, names[0]].join(" → ")}`);
    const gone = new Set(cycle.map(String));
    nodes = nodes.filter((node) => !gone.has(node.id));
  }
}

function topologicalOrder(needs: readonly (readonly number[])[]): number[] {
  const dependents = needs.map((): number[] => []);
  const missing = needs.map((of) => of.length);
  needs.forEach((of, index) => {
    for (const need of of) dependents[need]!.push(index);
  });
  const order = [...missing.keys()].filter((index) => missing[index] === 0);
  // Grows while it is read: each step follows when its last need has been passed.
  for (let at = 0; at < order.length; at++) {
    for (const dependent of dependents[order[at]!]!) if (--missing[dependent]! === 0) order.push(dependent);
  }
  return order;
}

function assignPhases(
  document: LocatedDocument,
  steps: readonly DraftStep[],
  needs: readonly (readonly number[])[],
  order: readonly number[],
  phases: readonly string[],
  listedPhases: readonly string[] | null,
): string[] {
  for (const { phase } of steps) if (phase && !phases.includes(phase.name)) reportUnknownPhase(document, phase, phases);
  const phaseOf = steps.map((step) => step.phase?.name ?? defaultPhase(listedPhases, phases, []));
  for (const index of order) {
    const step = steps[index]!;
    if (step.phase === null) {
      const ofNeeds = needs[index]!.map((need) => phaseOf[need]!);
      phaseOf[index] = defaultPhase(listedPhases, phases, ofNeeds);
    } else if (phases.includes(step.phase.name)) {
      const { name, at } = step.phase;
      for (const need of needs[index]!) {
        if (phases.indexOf(phaseOf[need]!) <= phases.indexOf(name)) continue;
        const later = `step "${steps[need]!.id}" of the later phase ${phaseOf[need]}`;
        const needAt = step.needs?.find(({ id }) => id === steps[need]!.id)?.at;
        document.fault(needAt ?? at, `step "${step.id}" of phase ${name} needs ${later}`);
      }
    }
  }
  return phaseOf;
}

function reportUnknownPhase(
  document: LocatedDocument,
  phase: { name: string; at: Located },
  phases: readonly string[],
): void {
  const known = `the plan's phases are ${phases.join(", ")}`;
  document.fault(phase.at, `there is no phase "${phase.name}": ${known}${document.suggest(phase.name, phases)}`);
}
