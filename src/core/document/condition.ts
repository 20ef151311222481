/** `when` of a step: a path, or a value that has to be, or not to be, on a list. */
import type { PathCondition } from "../condition.js";
import { type Expression, formatExpression, parsePath } from "../expression.js";
import type { Json } from "../json.js";
import { checkKeys } from "./keys.js";
import type { Field, Located, LocatedDocument } from "./located.js";

const FORM = "a path such as steps.scan.output.found, or { value, in } or { value, notIn }";

/** A path as it stands in the document. */
export interface PlacedPath {
  readonly expression: Expression;
  readonly at: Located;
}

export interface DraftCondition {
  readonly condition: PathCondition;
  readonly path: PlacedPath;
}

export function readCondition(document: LocatedDocument, at: Field): DraftCondition | null {
  if (typeof document.scalar(at) === "string") {
    const path = readPath(document, at);
    return path && { condition: { value: formatExpression(path.expression) }, path };
  }
  if (document.scalar(at) !== undefined) return wrongForm(document, at);
  const fields = document.fields(at);
  if (fields === null) return null;
  checkKeys(document, at, fields, ["value", "in", "notIn"], []);
  const value = fields.get("value");
  const list = fields.get("in") ?? fields.get("notIn");
  if (!value || !list || (fields.has("in") && fields.has("notIn"))) return wrongForm(document, at);
  const path = readPath(document, value);
  const values = readValues(document, list);
  if (path === null || values === null) return null;
  return { condition: { value: formatExpression(path.expression), [list.key as "in" | "notIn"]: values }, path };
}

/** A path that stands alone. */
export function readPath(document: LocatedDocument, at: Field): PlacedPath | null {
  const text = document.string(at, "a path such as steps.scan.output.found");
  const expression = text === null ? null : parsePath(text);
  if (expression === null) return null;
  if (typeof expression !== "string") return { expression, at };
  document.fault(at, expression);
  return null;
}

function readValues(document: LocatedDocument, at: Field): readonly Json[] | null {
  const items = document.items(at, "a list of values");
  if (items === null) return null;
  for (const item of items) {
    for (const { text, at: place } of document.strings(item)) {
      if (text.includes("${{"))
        document.fault(place, "the values of a condition are taken as they are: no expressions");
    }
  }
  return items.map((item) => document.json(item));
}

function wrongForm(document: LocatedDocument, at: Located): null {
  document.fault(at, `${at.path} must be ${FORM}, not ${document.describe(at)}`);
  return null;
}
