/** `when`: whether a step runs at all. Decided once, before the step's first handler begins, and recorded. */
import { InvalidInputError } from "./errors.js";
import { type Expression, type ExpressionScope, parsePath, valueAt } from "./expression.js";
import { canonicalJson, type Json } from "./json.js";

/** What a definition declares. A function of a TypeScript definition is not part of it, only that there is one. */
export type Condition = "code" | PathCondition;

/** Without a list the value itself decides: `false`, `null`, `0` and the empty string don't hold, everything else does. */
export interface PathCondition {
  /** A plain path, as `formatExpression` writes it. */
  readonly value: string;
  readonly in?: readonly Json[];
  readonly notIn?: readonly Json[];
}

/** @throws InvalidInputError where the path leads nowhere */
export function holds(condition: PathCondition, scope: ExpressionScope, what: string): boolean {
  const value = conditionValue(expressionAt(condition.value), scope, what);
  if (condition.in !== undefined) return isAmong(value, condition.in);
  if (condition.notIn !== undefined) return !isAmong(value, condition.notIn);
  return Boolean(value);
}

/** What a path of a definition leads to. @throws InvalidInputError where it is none */
export function expressionAt(path: string): Expression {
  const expression = parsePath(path);
  if (typeof expression === "string") throw new InvalidInputError("A path", [{ path, message: expression }]);
  return expression;
}

/** A step that was skipped, or that the plan went on without, left nothing: whatever is asked of it is null. */
function conditionValue(expression: Expression, scope: ExpressionScope, what: string): Json {
  if (expression.root === "steps" && scope.outputs.get(expression.step) === null) return null;
  return valueAt(expression, scope, what);
}

function isAmong(value: Json, list: readonly Json[]): boolean {
  const text = canonicalJson(value);
  return list.some((item) => canonicalJson(item) === text);
}
