/** `http`: sends one request and follows its redirects, to public hosts only. */
import { parseDurationMs } from "../core/duration.js";
import { formatPath } from "../core/expression.js";
import type { HandlerCall, StepHandler } from "../core/handler.js";
import type { Json, JsonObject } from "../core/json.js";
import { DEFAULT_PAYLOAD_LIMIT_BYTES } from "../core/payload-limit.js";
import { parseAllowEntry } from "./address-guard.js";
import {
  type CheckMode,
  checkFields,
  type FieldFault,
  type Fields,
  field,
  hasExpression,
  isObject,
  listOf,
  refuseFaults,
} from "./check-fields.js";
import type { HttpRequest } from "./http-client.js";

export const DEFAULT_HTTP_TIMEOUT_MS = 60_000;
const METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
/** Those say how the message is framed or where it goes, which is not for a plan to choose. */
const OWN_HEADERS = new Set([
  "accept-encoding",
  "connection",
  "content-length",
  "expect",
  "host",
  "keep-alive",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);

const FIELDS: Fields = {
  required: ["url"],
  checks: new Map([
    ["method", field(`one of ${METHODS.join(", ")}`, (value) => METHODS.includes(String(value).toUpperCase()))],
    ["url", field("an http or https URL without a user name or password", isHttpUrl)],
    ["headers", checkHeaders],
    ["json", () => []],
    ["body", field("a string", (value) => typeof value === "string")],
    ["timeout", field('a duration above 0, such as "30s"', (value) => (parseDurationMs(value) ?? 0) > 0)],
    ["allow", listOf("hosts", field("a host, host:port or CIDR", isAllowEntry))],
    ["expect", listOf("statuses", field("a status from 200 to 599", isStatus))],
  ]),
};

/**
 * `with: { method?, url, headers?, json? | body?, timeout?, allow?, expect? }`; the output is `{ status, headers, body }`,
 * body being JSON where the answer says that it is, else text, null where there is none.
 *
 * - Hosts that aren't public are refused, by the address that is connected to, for each redirect again. `allow` lists
 *   exceptions: a host or host:port as it stands in the URL, or a CIDR of addresses.
 * - `expect` lists the statuses that are a success (default: 2xx). 408, 425, 429, 5xx and a broken connection are
 *   retried, after Retry-After where there is one, at most a day; anything else fails the step.
 * - `timeout` (default 1 m) covers redirects and the whole answer.
 * - `Idempotency-Key` is sent unless `headers` has one. No message names the query of a URL or the value of a header.
 */
export function createHttpHandler(limitBytes = DEFAULT_PAYLOAD_LIMIT_BYTES): StepHandler {
  return {
    name: "http",
    check: (input) => checkHttp(input, "declared"),
    async run(call) {
      refuseFaults(call, checkHttp(call.with, "resolved"));
      call.signal.throwIfAborted();
      const { sendRequest } = await import("./http-client.js");
      return { kind: "completed", output: await sendRequest(requestOf(call, limitBytes)) };
    },
  };
}

function checkHttp(input: JsonObject, mode: CheckMode): readonly FieldFault[] {
  const faults = checkFields(input, FIELDS, mode);
  const both = Object.hasOwn(input, "json") && Object.hasOwn(input, "body");
  return both ? [...faults, { path: "body", message: "json and body exclude each other" }] : faults;
}

function isHttpUrl(value: Json): boolean {
  if (typeof value !== "string" || !URL.canParse(value)) return false;
  const url = new URL(value);
  return /^https?:$/.test(url.protocol) && url.username === "" && url.password === "";
}

const HEADER_NAME = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
const HEADER_VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;
const headerValue = field(
  "a string of one line, in Latin-1",
  (value) => typeof value === "string" && HEADER_VALUE.test(value),
);

function checkHeaders(value: Json, path: string, mode: CheckMode): readonly FieldFault[] {
  if (mode === "declared" && hasExpression(value)) return [];
  if (!isObject(value)) return [{ path, message: `${path} must be an object of strings` }];
  const seen = new Set<string>();
  return Object.entries(value).flatMap(([name, content]) => {
    const at = formatPath(path, [name]);
    const key = name.toLowerCase();
    if (!HEADER_NAME.test(name)) return [{ path: at, message: `${at} is not the name of a header` }];
    if (OWN_HEADERS.has(key)) return [{ path: at, message: `${at} can't be set: it is sent as the request needs it` }];
    if (seen.has(key)) return [{ path: at, message: `${at} is there twice` }];
    seen.add(key);
    return headerValue(content, at, mode);
  });
}

function isAllowEntry(value: Json): boolean {
  return typeof value === "string" && parseAllowEntry(value) !== null;
}

function isStatus(value: Json): boolean {
  return typeof value === "number" && Number.isInteger(value) && value >= 200 && value <= 599;
}

function requestOf(call: HandlerCall, limitBytes: number): HttpRequest {
  const { method, url, headers, json, body, timeout, allow, expect } = call.with;
  const given = Object.entries((headers ?? {}) as Record<string, string>).map(([name, value]) => [
    name.toLowerCase(),
    value,
  ]);
  return {
    method: typeof method === "string" ? method.toUpperCase() : "GET",
    url: new URL(url as string),
    headers: {
      accept: "*/*",
      "user-agent": "waymark",
      "idempotency-key": call.idempotencyKey,
      ...(json === undefined ? {} : { "content-type": "application/json" }),
      ...Object.fromEntries(given),
    },
    body: json === undefined ? ((body as string | undefined) ?? null) : JSON.stringify(json),
    timeoutMs: parseDurationMs(timeout) ?? DEFAULT_HTTP_TIMEOUT_MS,
    allow: ((allow ?? []) as readonly string[]).map((entry) => parseAllowEntry(entry)!),
    expect: (expect as readonly number[] | undefined) ?? null,
    limitBytes,
    signal: call.signal,
    write: call.write,
  };
}
