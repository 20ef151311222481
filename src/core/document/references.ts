/** Expressions of a document's steps: whether each is well formed, allowed where it stands, and leads somewhere. */
import { type Expression, findExpressions, formatExpression } from "../expression.js";
import type { JsonObject } from "../json.js";
import type { StepGraph } from "./graph.js";
import type { Located, LocatedDocument } from "./located.js";
import type { DraftStep } from "./step.js";

type Place = { readonly offset: number; readonly path: string };

/** A step that refers to the output of another, which has to be among all that it needs. */
interface Reference {
  readonly from: number;
  readonly to: number;
  readonly at: Place;
}

export function checkReferences(
  document: LocatedDocument,
  steps: readonly DraftStep[],
  graph: StepGraph,
  inputSchema: JsonObject | null,
): void {
  const references: Reference[] = [];
  const inputs = inputSchema === null ? null : new Set(Object.keys(inputSchema.properties as JsonObject));
  steps.forEach((step, from) => {
    for (const { expression, at, secretsAllowed, itemAllowed } of expressionsOf(document, step)) {
      const fault = (message: string) => document.fault(at, message);
      switch (expression.root) {
        case "plan":
          break;
        case "item":
          if (!itemAllowed)
            fault(`${formatExpression(expression)} can't stand here: only what the items of a map do has one`);
          break;
        case "input":
          checkInputPath(document, expression, inputs, fault);
          break;
        case "secrets":
          if (!secretsAllowed)
            fault(`${formatExpression(expression)} can't stand here: secrets are for env and for http`);
          break;
        case "steps":
        case "errors": {
          const to = graph.indexOf.get(expression.step);
          if (to !== undefined) references.push({ from, to, at });
          else fault(`there is no step "${expression.step}"${document.suggest(expression.step, graph.indexOf.keys())}`);
          if (expression.root === "errors" && to !== undefined && steps[to]!.onFailure === undefined) {
            fault(`nothing runs after "${expression.step}" has failed: give it onFailure: continue`);
          } else if (expression.root === "errors" && to !== undefined && steps[to]!.map !== undefined) {
            fault(`"${expression.step}" is a map: its items fail one by one, and are null in its output`);
          }
          break;
        }
        default:
          expression satisfies never;
      }
    }
  });
  for (const { from, to, at } of notAbove(references, graph)) {
    const id = steps[to]!.id;
    const message =
      from === to
        ? `step "${id}" can't use its own output`
        : `step "${steps[from]!.id}" doesn't wait for "${id}": add "${id}" to its needs`;
    document.fault(at, message);
  }
}

interface PlacedExpression {
  readonly expression: Expression;
  readonly at: Place;
  readonly secretsAllowed: boolean;
  readonly itemAllowed: boolean;
}

const MARK = "${{";

function* expressionsOf(document: LocatedDocument, step: DraftStep): Generator<PlacedExpression> {
  for (const path of [step.whenPath, step.mapPath]) {
    if (path !== null) yield { ...path, secretsAllowed: false, itemAllowed: false };
  }
  for (const [value, inEnv] of [
    [step.withAt, false],
    [step.envAt, true],
  ] as const) {
    if (value === null) continue;
    for (const { at, text, key } of document.strings(value)) {
      if (!text.includes(MARK)) continue;
      const inShellText = !inEnv && step.uses === "shell" && [value.path, `${value.path}.run`].includes(at.path);
      for (const { found, place } of placed(document, at, text)) {
        if (found.kind === "fault") document.fault(place, found.message);
        else if (key) document.fault(place, "expressions are for values, not for keys");
        else if (inShellText) {
          const path = formatExpression(found.expression);
          document.fault(
            place,
            `${path} can't stand in shell text, where a value could become a command: pass it by env`,
          );
        } else
          yield {
            expression: found.expression,
            at: place,
            secretsAllowed: inEnv || step.uses === "http",
            itemAllowed: step.map !== undefined,
          };
      }
    }
  }
}

function placed(document: LocatedDocument, at: Located, text: string) {
  const marks: number[] = [];
  for (let mark = text.indexOf(MARK); mark !== -1; mark = text.indexOf(MARK, mark + 1)) marks.push(mark);
  return findExpressions(text).map((found) => ({
    found,
    place: document.within(at, MARK, marks.indexOf(found.start)),
  }));
}

function checkInputPath(
  document: LocatedDocument,
  expression: Expression & { root: "input" },
  inputs: ReadonlySet<string> | null,
  fault: (message: string) => void,
): void {
  const [first] = expression.path;
  if (inputs === null || first === undefined || inputs.has(String(first))) return;
  fault(`the input has no "${first}"${document.suggest(String(first), inputs)}`);
}

const BITS = 32;

/**
 * The references to steps that are not above. Sets of all steps above would be quadratic in a chain, so the targets
 * are taken 32 at a time, a bit each, and their bits handed down from step to step in topological order.
 */
function notAbove(references: readonly Reference[], graph: StepGraph): Reference[] {
  const position = new Map(graph.order.map((index, at) => [index, at]));
  const wrong: Reference[] = [];
  const open: Reference[] = [];
  for (const reference of references) {
    const { from, to } = reference;
    if (from === to) wrong.push(reference);
    // What stands on a cycle has no order; the cycle is the fault to mend first.
    else if (position.has(from) && position.has(to) && !graph.needs[from]!.includes(to)) open.push(reference);
  }
  const byTarget = new Map<number, Reference[]>(open.map(({ to }) => [position.get(to)!, []]));
  for (const reference of open) byTarget.get(position.get(reference.to)!)!.push(reference);
  const targets = [...byTarget.keys()].sort((a, b) => a - b);
  const above = new Uint32Array(graph.order.length);
  for (let first = 0; first < targets.length; first += BITS) {
    const batch = targets.slice(first, first + BITS);
    const waiting = batch.flatMap((target) => byTarget.get(target)!);
    const start = batch[0]!;
    const end = waiting.reduce((latest, { from }) => Math.max(latest, position.get(from)!), start);
    const bitOf = new Map(batch.map((target, bit) => [target, 1 << bit]));
    for (let at = start; at <= end; at++) {
      let bits = 0;
      for (const need of graph.needs[graph.order[at]!]!) {
        const of = position.get(need)!;
        if (of >= start) bits |= above[of]! | (bitOf.get(of) ?? 0);
      }
      above[at] = bits;
    }
    wrong.push(
      ...waiting.filter(({ from, to }) => (above[position.get(from)!]! & bitOf.get(position.get(to)!)!) === 0),
    );
  }
  return wrong;
}
