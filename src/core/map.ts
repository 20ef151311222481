/**
 * `map`: one step an item of a list that is known only when the plan runs. Such a step stands for three kinds of steps:
 * its list step (`fix#`), which makes the list, once, and appends one step an item; the items' steps (`fix#<key>`), which
 * do what the step declares; and the step itself, which runs when they are all done and records their outputs in order.
 */
import type { CompiledDefinition, StepDefinition } from "./definition.js";
import { InvalidInputError } from "./errors.js";
import { parsePath, type Segment } from "./expression.js";
import type { Json } from "./json.js";

export interface MapDeclaration {
  /** Where the list is: a path, or a function of a TypeScript definition. */
  readonly over: string;
  /** Where in an item its key is; by place where it is null. */
  readonly key: string | null;
  /** How many of its items run at once; null for all. */
  readonly concurrency: number | null;
}

/** Stands for a function in a `MapDeclaration`; no path looks like it. */
export const BY_FUNCTION = "code";

export type MapRole = "list" | "join" | "item";

/** What a step is to a map; null where it has nothing to do with one. */
export function mapRole(step: StepDefinition): MapRole | null {
  if (step.itemOf !== undefined) return "item";
  if (step.lists !== undefined) return "list";
  return step.map === undefined ? null : "join";
}

export function listStepId(mapId: string): string {
  return `${mapId}#`;
}

/** The declared step of which a step does a part; its own id where it is no part of a map. */
export function declaredId(step: StepDefinition): string {
  return step.itemOf ?? step.lists ?? step.id;
}

/** The step of one item. All that it does is what the definition declares: only its id and its place are its own. */
export function itemStep(compiled: CompiledDefinition, mapId: string, id: string, item: number): StepDefinition {
  const { map, when: _, ...does } = compiled.definition.steps.find((step) => step.id === mapId)!;
  const turns = map?.concurrency == null ? {} : { turns: map.concurrency };
  return { ...does, ...turns, id, needs: [listStepId(mapId)], appendedBy: listStepId(mapId), itemOf: mapId, item };
}

/** The steps of a list's items, in its order. @throws InvalidInputError where it is none, or two items have one key */
export function itemSteps(
  compiled: CompiledDefinition,
  mapId: string,
  list: unknown,
  keyOf: (item: Json, index: number) => unknown = (_, index) => index,
): { list: readonly Json[]; steps: StepDefinition[] } {
  const what = `The list of ${mapId}`;
  if (!Array.isArray(list)) throw new InvalidInputError(what, [{ path: "", message: "it is not a list" }]);
  const places = new Map<string, number>();
  const steps = (list as Json[]).map((item, index) => {
    const key = keyText(keyOf(item, index));
    const refuse = (message: string) => new InvalidInputError(what, [{ path: `[${index}]`, message }]);
    if (key === null) throw refuse(`its key must be a text or a number, of 1 to ${LONGEST_KEY} characters`);
    const first = places.get(key);
    if (first !== undefined) throw refuse(`it has the key ${JSON.stringify(key)}, and so has item ${first}`);
    places.set(key, index);
    return itemStep(compiled, mapId, `${listStepId(mapId)}${key}`, index);
  });
  return { list: list as Json[], steps };
}

/** `file` is short for `item.file`. */
export function keyPath(text: string): readonly Segment[] | string {
  const found = parsePath(/^item\s*([.[]|$)/.test(text.trim()) ? text : `item.${text.trim()}`);
  if (typeof found === "string") return found;
  return found.root === "item" ? found.path : "a key is a path into the item, such as item.id";
}

/** The item's step by its id, in the order of the list. */
export function itemsOf(compiled: CompiledDefinition, mapId: string): readonly string[] {
  return compiled.steps.get(mapId)!.needs.slice(1);
}

const LONGEST_KEY = 200;

/** Ids hold no spaces, bars, quotes and other characters that mean something in what is stored. */
function keyText(key: unknown): string | null {
  if (typeof key !== "string" && typeof key !== "number") return null;
  const text = String(key);
  if (text.length === 0 || text.length > LONGEST_KEY || /\p{Cs}/u.test(text)) return null;
  return text.replace(/[\s|%@"\\\p{Cc}]/gu, (character) => encodeURIComponent(character));
}
