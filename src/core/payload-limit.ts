/** What one payload may weigh: an input, an output, a cursor, a decision, a signal, the `with` of an appended step. */

export const DEFAULT_PAYLOAD_LIMIT_BYTES = 256 * 1024;

/** Less wouldn't hold what Waymark itself records; more would keep everybody waiting while Redis takes it. */
const LEAST_BYTES = 1024;
const MOST_BYTES = 32 * 1024 ** 2;
export const PAYLOAD_LIMITS = 'a size such as "1MiB", from 1 KiB to 32 MiB';

const UNITS: Readonly<Record<string, number>> = { "": 1, B: 1, KiB: 1024, MiB: 1024 ** 2 };

/** Bytes of a number, or of a text such as "512KiB"; null where it is none of PAYLOAD_LIMITS. */
export function parsePayloadLimit(value: unknown): number | null {
  const [, digits, unit] = /^(\d{1,8}) ?(B|KiB|MiB|)$/.exec(String(value)) ?? [];
  const bytes = digits === undefined ? 0 : Number(digits) * UNITS[unit!]!;
  return bytes >= LEAST_BYTES && bytes <= MOST_BYTES ? bytes : null;
}
