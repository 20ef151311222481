/** Turns the library's camelCase documents into the command line's snake_case ones. */

/** Fields whose values belong to users or are in their final form: nothing inside them is renamed. */
const OPAQUE = new Set(["input", "output", "choice", "data", "schema"]);

export function toSnakeCase(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(toSnakeCase);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [snakeKey(key), OPAQUE.has(key) ? item : toSnakeCase(item)]),
  );
}

export function snakeKey(key: string): string {
  return key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
