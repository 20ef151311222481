/**
 * What payloads go through on their way into the store and back: inputs, outputs, signals, saved cursors, questions, and
 * what decisions say. Everything else in the store is about the plan, not of it.
 */
import { createCipheriv, createDecipheriv, randomBytes } from "node:crypto";
import { PayloadKeyError, UsageError } from "./errors.js";

export interface PayloadCodec {
  /** @param place what it is, and of which step of which plan: it opens nowhere else */
  seal(text: string, place: string): string;
  /** @throws PayloadKeyError */
  open(stored: string, place: string): string;
}

/** Sealed payloads start with it; JSON never does. */
const MARK = "~";

/** As they are. What was sealed by others is refused, never taken for data. */
export const PLAIN_PAYLOADS: PayloadCodec = {
  seal: (text) => text,
  open(stored, place) {
    if (!stored.startsWith(MARK)) return stored;
    throw new PayloadKeyError(place, `is encrypted with key ${keyIn(stored)}, and no key is given`);
  },
};

/** What a codec is given: 32 bytes, as they are or in base64. */
export type PayloadKey = string | Uint8Array;

const CIPHER = "aes-256-gcm";
const KEY_BYTES = 32;
const IV_BYTES = 12;
const TAG_BYTES = 16;
const KEY_ID = /^[A-Za-z0-9._-]{1,32}$/;

/**
 * AES-256-GCM, bound to plan and step: a payload that was moved, changed or left in plain is refused.
 * @param keys by id; the first one seals, each of them opens, so that keys can be changed while plans run
 * @throws UsageError
 */
export function aesPayloads(keys: Readonly<Record<string, PayloadKey>>): PayloadCodec {
  const known = new Map(Object.entries(keys).map(([id, key]) => [id, keyBytes(id, key)]));
  const [current] = known;
  if (current === undefined) throw new UsageError("No payload key is given");
  return {
    seal(text, place) {
      const [id, key] = current;
      const iv = randomBytes(IV_BYTES);
      const cipher = createCipheriv(CIPHER, key, iv).setAAD(boundTo(id, place));
      const sealed = Buffer.concat([iv, cipher.update(text, "utf8"), cipher.final(), cipher.getAuthTag()]);
      return `${MARK}${id}${MARK}${sealed.toString("base64url")}`;
    },
    open(stored, place) {
      if (!stored.startsWith(MARK))
        throw new PayloadKeyError(place, "is not encrypted, and only what is can be trusted");
      const id = keyIn(stored);
      const key = known.get(id);
      if (!key)
        throw new PayloadKeyError(place, `is encrypted with key ${id}; known are ${[...known.keys()].join(", ")}`);
      try {
        const sealed = Buffer.from(stored.slice(id.length + 2 * MARK.length), "base64url");
        const decipher = createDecipheriv(CIPHER, key, sealed.subarray(0, IV_BYTES)).setAAD(boundTo(id, place));
        decipher.setAuthTag(sealed.subarray(-TAG_BYTES));
        const text = decipher.update(sealed.subarray(IV_BYTES, -TAG_BYTES));
        return Buffer.concat([text, decipher.final()]).toString("utf8");
      } catch {
        // The cause says nothing more, and an error of the cipher is no place to look for secrets.
        throw new PayloadKeyError(
          place,
          `does not open with key ${id}: that is another key, or the payload was changed`,
        );
      }
    },
  };
}

function keyBytes(id: string, key: PayloadKey): Buffer {
  if (!KEY_ID.test(id))
    throw new UsageError(
      `The id ${JSON.stringify(id)} of a payload key is not 1 to 32 letters, digits, ".", "_" or "-"`,
    );
  const bytes = typeof key === "string" ? Buffer.from(key, "base64") : Buffer.from(key);
  if (bytes.length !== KEY_BYTES) {
    throw new UsageError(`The payload key ${id} has ${bytes.length} bytes; it needs ${KEY_BYTES}, in base64`);
  }
  return bytes;
}

function boundTo(id: string, place: string): Buffer {
  return Buffer.from(`${id}\n${place}`);
}

function keyIn(stored: string): string {
  return stored.slice(MARK.length, stored.indexOf(MARK, MARK.length));
}
