/** Applies a Standard Schema to a value from outside. */
import type { StandardSchemaV1 } from "@standard-schema/spec";
import { InvalidInputError } from "../core/errors.js";

/**
 * The schema's output for a stored value. A plan's input is stored as it was given, and its schema is applied again
 * wherever it is read: what a transform makes of it, such as a Date, never has to be JSON.
 * @throws InvalidInputError with every issue and its path
 */
export async function parseInput<S extends StandardSchemaV1>(
  schema: S,
  stored: unknown,
  what = "Input",
): Promise<StandardSchemaV1.InferOutput<S>> {
  const result = await schema["~standard"].validate(stored);
  if (result.issues) throw new InvalidInputError(what, result.issues.map(describeIssue));
  return result.value;
}

export function describeIssue(issue: StandardSchemaV1.Issue): { path: string; message: string } {
  return { path: issuePath(issue).reduce<string>(joinPath, ""), message: issue.message };
}

export function issuePath(issue: StandardSchemaV1.Issue): PropertyKey[] {
  return (issue.path ?? []).map((segment) => (typeof segment === "object" ? segment.key : segment));
}

/** Whether a value that is said to be a Standard Schema is one. Some libraries' schemas are functions. */
export function isStandardSchema(value: unknown): value is StandardSchemaV1 {
  if ((typeof value !== "object" && typeof value !== "function") || value === null) return false;
  const standard = (value as Partial<StandardSchemaV1>)["~standard"];
  return typeof standard?.validate === "function";
}

function joinPath(path: string, key: PropertyKey): string {
  if (typeof key === "number") return `${path}[${key}]`;
  return path === "" ? String(key) : `${path}.${String(key)}`;
}
