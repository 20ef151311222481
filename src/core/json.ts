/** JSON values: what can be stored, and the refusal, with its path, of what can't. */
import { createHash } from "node:crypto";
import { InvalidInputError, PayloadTooLargeError } from "./errors.js";

export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };
export type JsonObject = { readonly [key: string]: Json };

/**
 * Serialises a value for the store. `undefined` at the top is null, as a property it is left out.
 * @throws InvalidInputError with the path of the first value that JSON can't hold
 * @throws PayloadTooLargeError
 */
export function toStoredJson(value: unknown, what: string, limitBytes: number): string {
  const text = toJson(value, what);
  requireFits(text, what, limitBytes);
  return text;
}

/** The same, for somebody who will ask whether it fits. @throws InvalidInputError */
export function toJson(value: unknown, what: string): string {
  const fault = findUnstorable(value, "", new Set());
  if (fault) throw new InvalidInputError(what, [fault]);
  return JSON.stringify(value ?? null);
}

/** @throws PayloadTooLargeError */
export function requireFits(text: string, what: string, limitBytes: number): void {
  const bytes = text.length * 4 <= limitBytes ? text.length : Buffer.byteLength(text);
  if (bytes > limitBytes) throw new PayloadTooLargeError(what, bytes, limitBytes);
}

/** Fewer digits are held by any number; only where there are more, a text is looked through. */
const LONG_NUMBER = /\d{16}/;
const STRINGS_AND_NUMBERS = /"[^"\\]*(?:\\.[^"\\]*)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;

/**
 * Reads JSON from outside. A whole number that would be rounded becomes the text of its digits: it is an identifier.
 * @throws SyntaxError
 */
export function parseJson(text: string): Json {
  const value = JSON.parse(text) as Json;
  if (!LONG_NUMBER.test(text)) return value;
  const exact = text.replace(STRINGS_AND_NUMBERS, (token) => (isRounded(token) ? `"${token}"` : token));
  return JSON.parse(exact) as Json;
}

function isRounded(token: string): boolean {
  return /^-?\d{16,}$/.test(token) && String(Number(token)) !== token;
}

/** The same JSON for equal values, whatever the order of their keys. */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map((item) => canonicalJson(item ?? null)).join(",")}]`;
  if (value !== null && typeof value === "object") {
    const entries = Object.entries(value).filter(([, v]) => v !== undefined);
    entries.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
    return `{${entries.map(([k, v]) => `${JSON.stringify(k)}:${canonicalJson(v)}`).join(",")}}`;
  }
  return JSON.stringify(value ?? null);
}

/** SHA-256 of the canonical JSON, in hex. */
export function digestOf(value: unknown): string {
  return createHash("sha256").update(canonicalJson(value)).digest("hex");
}

function findUnstorable(value: unknown, path: string, above: Set<object>): { path: string; message: string } | null {
  switch (typeof value) {
    case "string":
    case "boolean":
    case "undefined":
      return null;
    case "number":
      return Number.isFinite(value) ? null : { path, message: `${value} is not a JSON number` };
    case "object":
      break;
    default:
      return { path, message: `a ${typeof value} is not JSON` };
  }
  if (value === null) return null;
  if (above.has(value)) return { path, message: "it contains itself" };
  above.add(value);
  try {
    if (Array.isArray(value)) {
      for (let i = 0; i < value.length; i++) {
        const fault = findUnstorable(value[i], `${path}[${i}]`, above);
        if (fault) return fault;
      }
      return null;
    }
    const proto = Object.getPrototypeOf(value);
    if (proto !== Object.prototype && proto !== null) {
      return { path, message: `a ${proto.constructor?.name ?? "class instance"} is not plain JSON` };
    }
    for (const [key, item] of Object.entries(value)) {
      const fault = findUnstorable(item, path ? `${path}.${key}` : key, above);
      if (fault) return fault;
    }
    return null;
  } finally {
    above.delete(value);
  }
}
