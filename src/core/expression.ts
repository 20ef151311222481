/**
 * Expressions of plan documents: `${{ path }}`, a plain path into the input, the outputs and errors of steps, the plan, or
 * the worker's secrets. Nothing is evaluated. `$${{` stands for a literal `${{`.
 */
import type { StepDefinition } from "./definition.js";
import { InvalidInputError } from "./errors.js";
import type { Json } from "./json.js";
import { suggestion } from "./nearest.js";
import type { AttemptError } from "./outcome.js";

export type Segment = string | number;

export const PLAN_FIELDS = ["id", "name", "version"] as const;
export type PlanField = (typeof PLAN_FIELDS)[number];

export const ERROR_FIELDS = ["code", "message"] as const;
export type ErrorField = (typeof ERROR_FIELDS)[number];

/** What one expression refers to. `path` goes on from there. */
export type Expression =
  | { readonly root: "input"; readonly path: readonly Segment[] }
  | { readonly root: "steps"; readonly step: string; readonly path: readonly Segment[] }
  /** Why a step failed that the plan went on without; null where it did not fail. */
  | { readonly root: "errors"; readonly step: string; readonly field: ErrorField | null }
  /** The item that a step of a map does. */
  | { readonly root: "item"; readonly path: readonly Segment[] }
  | { readonly root: "plan"; readonly field: PlanField }
  | { readonly root: "secrets"; readonly name: string };

/** An expression inside a text: `start` is the offset of `${{`, `end` the one after `}}`. */
export type FoundExpression = { readonly start: number; readonly end: number } & (
  | { readonly kind: "expression"; readonly expression: Expression }
  | { readonly kind: "fault"; readonly message: string }
);

/** What expressions are resolved against. */
export interface ExpressionScope {
  readonly input: Json;
  /** By step id; at least those that `stepReferences` lists. */
  readonly outputs: ReadonlyMap<string, Json>;
  /** Of those of them that failed, why. */
  readonly errors: ReadonlyMap<string, AttemptError>;
  /** Of a step that does an item of a map. */
  readonly item?: Json;
  readonly plan: { readonly id: string; readonly name: string; readonly version: number };
  /** The secret of that name, or null where this worker has none. */
  readonly secret: (name: string) => string | null;
}

/** Every expression of a text, in order, also those that are wrong. */
export function findExpressions(text: string): FoundExpression[] {
  return scan(text).filter((piece) => typeof piece !== "string");
}

/** The expression as a path, such as `steps["a.b"].output.files[0]`. */
export function formatExpression(expression: Expression): string {
  switch (expression.root) {
    case "input":
    case "item":
      return formatPath(expression.root, expression.path);
    case "steps":
      return formatPath(formatPath("steps", [expression.step, "output"]), expression.path);
    case "errors":
      return formatPath("errors", expression.field === null ? [expression.step] : [expression.step, expression.field]);
    case "plan":
      return `plan.${expression.field}`;
    case "secrets":
      return formatPath("secrets", [expression.name]);
    default:
      return expression satisfies never;
  }
}

/** A path that stands alone, as in `when`, with or without `${{ }}` around it; or what is wrong with it. */
export function parsePath(text: string): Expression | string {
  const bare = text.trim();
  const [found, more] = scan(bare.startsWith(OPEN) ? bare : `${OPEN} ${bare} ${CLOSE}`);
  if (found === undefined || typeof found === "string" || more !== undefined) return notAPath(bare, 0);
  return found.kind === "fault" ? found.message : found.expression;
}

/** What one expression refers to. @throws InvalidInputError where it leads nowhere */
export function valueAt(expression: Expression, scope: ExpressionScope, what: string): Json {
  const issues: Issue[] = [];
  const value = lookUp(expression, scope, issues);
  if (issues.length > 0) throw new InvalidInputError(what, issues);
  return value;
}

export function formatPath(base: string, path: readonly Segment[]): string {
  let text = base;
  for (const segment of path) {
    if (typeof segment === "number") text += `[${segment}]`;
    else if (!PLAIN_NAME.test(segment)) text += `[${JSON.stringify(segment)}]`;
    else text += text === "" ? segment : `.${segment}`;
  }
  return text;
}

/**
 * Puts values in the place of expressions, in strings at any depth; keys stay as they are. A string that is exactly
 * one expression becomes the value itself; inside a longer text a string is inserted as is, any other value as JSON.
 * @throws InvalidInputError with every path that leads nowhere, and how far it led
 */
export function resolve(template: Json, scope: ExpressionScope, what = "An expression"): Json {
  const issues: Issue[] = [];
  const value = resolveValue(template, scope, issues);
  if (issues.length > 0) throw new InvalidInputError(what, issues);
  return value;
}

/** The same for a map of texts, such as `env`: every value stays a text. @throws InvalidInputError */
export function resolveTexts(
  templates: Readonly<Record<string, string>>,
  scope: ExpressionScope,
  what = "An expression",
): Record<string, string> {
  const resolved = resolve(templates, scope, what) as Record<string, Json>;
  return Object.fromEntries(Object.entries(resolved).map(([name, value]) => [name, asText(value)]));
}

/** Ids of the steps whose outputs and errors a step refers to: all that a worker has to load for it. */
export function stepReferences(step: Pick<StepDefinition, "with" | "env" | "when" | "map" | "lists">): {
  readonly outputs: readonly string[];
  readonly errors: readonly string[];
} {
  const outputs = new Set<string>();
  const errors = new Set<string>();
  const add = (expression: Expression | string) => {
    if (typeof expression === "string") return;
    if (expression.root === "steps") outputs.add(expression.step);
    if (expression.root === "errors") errors.add(expression.step);
  };
  for (const text of [...textsOf(step.with), ...Object.values(step.env)]) {
    for (const found of findExpressions(text)) if (found.kind === "expression") add(found.expression);
  }
  if (typeof step.when === "object") add(parsePath(step.when.value));
  if (step.lists !== undefined && step.map !== undefined) add(parsePath(step.map.over));
  return { outputs: [...outputs], errors: [...errors] };
}

interface Issue {
  readonly path: string;
  readonly message: string;
}

const OPEN = "${{";
const CLOSE = "}}";
const PLAIN_NAME = /^[A-Za-z0-9_][A-Za-z0-9_-]*$/;
const NAME = /[A-Za-z0-9_][A-Za-z0-9_-]*/y;
const ACCESSOR = /\.([A-Za-z0-9_][A-Za-z0-9_-]*)|\[\s*(?:(\d{1,15})|("(?:[^"\\]|\\.)*")|'([^']*)')\s*\]/y;
const SPACE = /\s*/y;

/** The text cut into literal pieces, unescaped, and expressions. */
function scan(text: string): (string | FoundExpression)[] {
  const pieces: (string | FoundExpression)[] = [];
  let from = 0;
  for (let open = text.indexOf(OPEN); open !== -1; open = text.indexOf(OPEN, from)) {
    if (text[open - 1] === "$" && open > from) {
      pieces.push(text.slice(from, open - 1) + OPEN);
      from = open + OPEN.length;
      continue;
    }
    if (open > from) pieces.push(text.slice(from, open));
    const found = parseExpression(text, open);
    pieces.push(found);
    from = found.end;
  }
  if (from < text.length) pieces.push(text.slice(from));
  return pieces;
}

function parseExpression(text: string, start: number): FoundExpression {
  const begin = skip(SPACE, text, start + OPEN.length);
  const fault = (message: string): FoundExpression => {
    const close = text.indexOf(CLOSE, begin);
    return { start, end: close === -1 ? text.length : close + CLOSE.length, kind: "fault", message };
  };
  const root = match(NAME, text, begin);
  if (root === null) {
    return fault(text.startsWith(CLOSE, begin) ? "the expression is empty" : notAPath(text, begin));
  }
  const path: Segment[] = [];
  let at = begin + root[0].length;
  for (let accessor = match(ACCESSOR, text, at); accessor !== null; accessor = match(ACCESSOR, text, at)) {
    const segment = segmentOf(accessor);
    if (segment === null) return fault(`${accessor[3]} is not a string that JSON knows`);
    path.push(segment);
    at += accessor[0].length;
  }
  at = skip(SPACE, text, at);
  if (!text.startsWith(CLOSE, at)) return fault(notAPath(text, at));
  const expression = expressionOf(root[0], path);
  if (typeof expression === "string") return fault(expression);
  return { start, end: at + CLOSE.length, kind: "expression", expression };
}

function skip(pattern: RegExp, text: string, at: number): number {
  return at + (match(pattern, text, at)?.[0].length ?? 0);
}

function match(pattern: RegExp, text: string, at: number): RegExpExecArray | null {
  pattern.lastIndex = at;
  return pattern.exec(text);
}

function notAPath(text: string, at: number): string {
  const rest = text.slice(at, at + 40);
  const end = rest.search(/\s|\}\}/);
  const word = end === -1 ? rest : rest.slice(0, Math.max(end, 1));
  if (word === "" || text.indexOf(CLOSE, at) === -1) return "the expression has no closing }}";
  return `${JSON.stringify(word)} can't stand in an expression, which is a plain path such as input.tag or steps.build.output.files[0]`;
}

function segmentOf(accessor: RegExpExecArray): Segment | null {
  const [, name, index, quoted, plain] = accessor;
  if (index !== undefined) return Number(index);
  if (quoted === undefined) return name ?? plain!;
  try {
    return JSON.parse(quoted) as string;
  } catch {
    return null;
  }
}

/** The expression, or what is wrong with it. */
function expressionOf(root: string, path: readonly Segment[]): Expression | string {
  const [first, second, ...rest] = path;
  switch (root) {
    case "input":
    case "item":
      return { root, path };
    case "steps":
      if (typeof first !== "string") return "steps needs a step's id, such as steps.build.output";
      if (second === "output") return { root, step: first, path: rest };
      return `${formatPath("steps", [first])} is followed by .output, the only thing that a step leaves`;
    case "errors": {
      const field = second === undefined ? null : ERROR_FIELDS.find((name) => name === second);
      if (typeof first === "string" && field !== undefined && path.length <= 2) return { root, step: first, field };
      return "errors needs a step's id, and has code and message: errors.build.code";
    }
    case "plan": {
      const field = PLAN_FIELDS.find((name) => name === first);
      if (field !== undefined && path.length === 1) return { root, field };
      return "plan has only id, name and version";
    }
    case "secrets":
      if (typeof first === "string" && path.length === 1) return { root, name: first };
      return "secrets needs one name, such as secrets.NPM_TOKEN";
    default:
      return `expressions start with input, steps, errors, item, plan or secrets, not ${JSON.stringify(root)}${suggestion(root, ["input", "steps", "errors", "item", "plan", "secrets"])}`;
  }
}

function resolveValue(template: Json, scope: ExpressionScope, issues: Issue[]): Json {
  if (typeof template === "string") return resolveText(template, scope, issues);
  if (template === null || typeof template !== "object") return template;
  if (Array.isArray(template)) return template.map((item: Json) => resolveValue(item, scope, issues));
  // fromEntries defines properties, so a key such as __proto__ stays a key.
  return Object.fromEntries(Object.entries(template).map(([key, item]) => [key, resolveValue(item, scope, issues)]));
}

function resolveText(text: string, scope: ExpressionScope, issues: Issue[]): Json {
  if (!text.includes(OPEN)) return text;
  const values = scan(text).map((piece) => {
    if (typeof piece === "string") return piece;
    if (piece.kind === "expression") return lookUp(piece.expression, scope, issues);
    issues.push({ path: text.slice(piece.start, piece.end), message: piece.message });
    return null;
  });
  return values.length === 1 ? values[0]! : values.map(asText).join("");
}

function asText(value: Json): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}

function lookUp(expression: Expression, scope: ExpressionScope, issues: Issue[]): Json {
  switch (expression.root) {
    case "input":
      return follow(scope.input, "input", expression.path, issues);
    case "item":
      return follow(scope.item ?? null, "item", expression.path, issues);
    case "steps": {
      const output = scope.outputs.get(expression.step);
      const base = formatPath("steps", [expression.step, "output"]);
      if (output !== undefined) return follow(output, base, expression.path, issues);
      issues.push({ path: formatExpression(expression), message: `step "${expression.step}" has no output` });
      return null;
    }
    case "errors": {
      const error = scope.errors.get(expression.step);
      if (error === undefined) return null;
      return expression.field === null ? { code: error.code, message: error.message } : error[expression.field];
    }
    case "plan":
      return scope.plan[expression.field];
    case "secrets": {
      const secret = scope.secret(expression.name);
      if (secret === null) {
        const message = `this worker has no such secret; it is read from WAYMARK_SECRET_${expression.name}`;
        issues.push({ path: formatExpression(expression), message });
      }
      return secret;
    }
    default:
      return expression satisfies never;
  }
}

/** Own properties and elements only: a path never reaches a prototype or the length of a list. */
function follow(from: Json, base: string, path: readonly Segment[], issues: Issue[]): Json {
  let value: Json = from;
  for (let depth = 0; depth < path.length; depth++) {
    const next = childOf(value, path[depth]!);
    if (next === undefined) {
      const message = `it does not exist; ${formatPath(base, path.slice(0, depth))} is ${describe(value)}`;
      issues.push({ path: formatPath(base, path), message });
      return null;
    }
    value = next;
  }
  return value;
}

function childOf(value: Json, segment: Segment): Json | undefined {
  if (value === null || typeof value !== "object") return undefined;
  if (Array.isArray(value)) return typeof segment === "number" ? value[segment] : undefined;
  return Object.hasOwn(value, segment) ? (value as Record<Segment, Json>)[segment] : undefined;
}

const LISTED_KEYS = 8;

function describe(value: Json): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return `a list of ${value.length}`;
  if (typeof value !== "object") return `a ${typeof value}`;
  const keys = Object.keys(value);
  if (keys.length === 0) return "an empty object";
  const more = keys.length > LISTED_KEYS ? ` and ${keys.length - LISTED_KEYS} more` : "";
  return `an object with the keys ${keys.slice(0, LISTED_KEYS).join(", ")}${more}`;
}

function textsOf(value: Json): string[] {
  if (typeof value === "string") return value.includes(OPEN) ? [value] : [];
  if (value === null || typeof value !== "object") return [];
  return Object.values(value).flatMap((item: Json) => textsOf(item));
}
