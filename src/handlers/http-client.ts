/**
 * The request of an `http` step: guarded addresses, redirects, and what each answer means for the step.
 *
 * The address is checked in the lookup that the connection itself uses, so it can't change between the check and the
 * connection; each request gets a connection of its own. Messages carry method, host and path, never more of a URL.
 */
import { type LookupAddress, lookup as systemLookup } from "node:dns";
import http, { type IncomingMessage, STATUS_CODES } from "node:http";
import https from "node:https";
import type { LookupFunction } from "node:net";
import { formatDurationMs } from "../core/duration.js";
import { NonRetryableError, RetryAfterError } from "../core/errors.js";
import type { HandlerCall } from "../core/handler.js";
import { type Json, parseJson, toStoredJson } from "../core/json.js";
import { type AllowEntry, allowsAddress, allowsHost, parseAddress, specialKind } from "./address-guard.js";
import { coded } from "./coded-error.js";

export interface HttpRequest {
  readonly method: string;
  readonly url: URL;
  /** By lower-case name. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | null;
  readonly timeoutMs: number;
  readonly allow: readonly AllowEntry[];
  /** Statuses that are a success; null for 2xx. */
  readonly expect: readonly number[] | null;
  /** For the body as it arrives, and for the output as it is stored. */
  readonly limitBytes: number;
  readonly signal: AbortSignal;
  readonly write: HandlerCall["write"];
}

export interface HttpAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, Json>>;
  readonly body: Json;
}

export const MAX_REDIRECTS = 5;
const MAX_RETRY_AFTER_MS = 86_400_000;
const MAX_TIMER_MS = 2 ** 31 - 1;
/** What the log keeps of the body of an answer that is no success. */
const EXCERPT_BYTES = 4 * 1024;
const LABEL_PATH_CHARS = 200;

/** One request of a chain of redirects. */
interface Hop {
  readonly method: string;
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | null;
}

/** @throws NonRetryableError, RetryAfterError, or an error with a code for what another attempt may cure. */
export async function sendRequest(request: HttpRequest): Promise<HttpAnswer> {
  const expired = new AbortController();
  const timer = setTimeout(() => expired.abort(), Math.min(request.timeoutMs, MAX_TIMER_MS));
  const signal = AbortSignal.any([request.signal, expired.signal]);
  let hop: Hop = request;
  try {
    for (let redirects = 0; ; redirects++) {
      const response = await exchange(hop, request.allow, signal);
      request.write("log", `${label(hop)} answered ${statusText(response)}\n`);
      const next = redirectOf(hop, response, request.expect);
      if (next === null) return await conclude(hop, response, request);
      response.destroy();
      if (redirects === MAX_REDIRECTS) {
        throw refusal(`${label(request)} was redirected more than ${MAX_REDIRECTS} times`, "HTTP_REDIRECTS");
      }
      hop = next;
    }
  } catch (error) {
    request.signal.throwIfAborted();
    if (isVerdict(error)) throw error;
    if (!expired.signal.aborted) throw connectionError(hop, error);
    const message = `${label(hop)} had no complete answer within ${formatDurationMs(request.timeoutMs)}`;
    throw coded(new Error(message), "HTTP_TIMEOUT");
  } finally {
    clearTimeout(timer);
  }
}

type Resolve = (
  hostname: string,
  options: { all: true },
  callback: (error: NodeJS.ErrnoException | null, addresses: LookupAddress[]) => void,
) => void;

/** A lookup that fails where any address of the host is special, whichever of them would be connected to. */
export function guardedLookup(allow: readonly AllowEntry[], resolve: Resolve = systemLookup): LookupFunction {
  return (hostname, options, callback) => {
    resolve(hostname, { ...options, all: true }, (error, addresses) => {
      if (error) return callback(error, []);
      for (const { address } of addresses) {
        const kind = allowsAddress(allow, address) ? null : specialKind(address);
        if (kind !== null) return callback(forbidden(`${hostname} resolves to ${address}`, kind, hostname), []);
      }
      const first = addresses[0];
      if (first === undefined) return callback(coded(new Error(`${hostname} has no address`), "ENOTFOUND"), []);
      if (options.all) callback(null, addresses);
      else callback(null, first.address, first.family);
    });
  };
}

function forbidden(what: string, kind: string, host: string): Error {
  return refusal(
    `${what}, ${kind === "unspecified" ? "an" : "a"} ${kind} address; list ${host} in allow if that is meant`,
    "HTTP_ADDRESS",
  );
}

function refusal(message: string, code: string): NonRetryableError {
  return coded(new NonRetryableError(message), code);
}

async function exchange(hop: Hop, allow: readonly AllowEntry[], signal: AbortSignal): Promise<IncomingMessage> {
  const { url } = hop;
  const secure = url.protocol === "https:";
  const port = url.port === "" ? (secure ? 443 : 80) : Number(url.port);
  const host = url.hostname.replace(/^\[|\]$/g, "");
  const isFree = allowsHost(allow, host, port);
  // The lookup is not asked where the host is an address already.
  if (!isFree && parseAddress(host) !== null && !allowsAddress(allow, host)) {
    const kind = specialKind(host);
    if (kind !== null) throw forbidden(`${label(hop)} goes to ${host}`, kind, host);
  }
  return new Promise((resolve, reject) => {
    const sent = (secure ? https : http).request({
      protocol: url.protocol,
      hostname: host,
      port,
      path: url.pathname + url.search,
      method: hop.method,
      headers: framed(hop),
      agent: false,
      signal,
      ...(isFree ? {} : { lookup: guardedLookup(allow) }),
    });
    sent.once("response", resolve);
    sent.on("error", reject);
    sent.end(hop.body ?? undefined);
  });
}

function framed(hop: Hop): Record<string, string> {
  const length = hop.body === null ? {} : { "content-length": String(Buffer.byteLength(hop.body)) };
  return { ...hop.headers, "accept-encoding": "identity", ...length };
}

/** Method, host and path. The query stays out of every message: it is where keys are put. */
function label(hop: Hop): string {
  return `${hop.method} ${hop.url.origin}${hop.url.pathname.slice(0, LABEL_PATH_CHARS)}`;
}

function statusText(response: IncomingMessage): string {
  const status = response.statusCode!;
  return `${status} ${STATUS_CODES[status] ?? ""}`.trim();
}

/** Names whose values are for one host alone. */
const CREDENTIAL = /auth|cookie|credential|key|passw|secret|signature|token/;

/** The request that an answer redirects to, or null where it doesn't. */
function redirectOf(hop: Hop, response: IncomingMessage, expect: readonly number[] | null): Hop | null {
  const status = response.statusCode!;
  const { location } = response.headers;
  if (![301, 302, 303, 307, 308].includes(status) || location === undefined || expect?.includes(status)) return null;
  const url = URL.canParse(location, hop.url.href) ? new URL(location, hop.url.href) : null;
  if (url === null || !/^https?:$/.test(url.protocol) || url.username !== "" || url.password !== "") {
    throw refusal(`${label(hop)} redirects to what is no http or https URL, or has a password in it`, "HTTP_REDIRECTS");
  }
  const headers = { ...hop.headers };
  if (url.origin !== hop.url.origin) {
    for (const name of Object.keys(headers))
      if (name !== "idempotency-key" && CREDENTIAL.test(name)) delete headers[name];
  }
  const becomesGet =
    (status === 303 && hop.method !== "HEAD") || ((status === 301 || status === 302) && hop.method === "POST");
  if (!becomesGet) return { ...hop, url, headers };
  for (const name of Object.keys(headers)) if (name.startsWith("content-")) delete headers[name];
  return { method: "GET", url, headers, body: null };
}

async function conclude(hop: Hop, response: IncomingMessage, request: HttpRequest): Promise<HttpAnswer> {
  const status = response.statusCode!;
  const isSuccess = request.expect === null ? status >= 200 && status < 300 : request.expect.includes(status);
  if (!isSuccess) throw await failure(hop, response, request);
  const body = await readBody(hop, response, request.limitBytes);
  const answer: HttpAnswer = {
    status,
    headers: lowerCased(response),
    body: parseBody(body, response, request.limitBytes),
  };
  const bytes = Buffer.byteLength(JSON.stringify(answer));
  if (bytes > request.limitBytes) throw tooLarge(hop, `an output of ${bytes} bytes`, request.limitBytes);
  return answer;
}

/** An answer that another attempt may change. */
class AnswerError extends Error {
  override readonly name = "AnswerError";
}

async function failure(hop: Hop, response: IncomingMessage, request: HttpRequest): Promise<Error> {
  const status = response.statusCode!;
  const excerpt = (await readExcerpt(response)).trim();
  if (excerpt !== "") request.write("stderr", `${excerpt}\n`);
  const message = `${label(hop)} answered ${statusText(response)}`;
  const code = `HTTP_${status}`;
  if (![408, 425, 429].includes(status) && status < 500) return refusal(message, code);
  const delayMs = retryAfterMs(response.headers["retry-after"]);
  return coded(delayMs === null ? new AnswerError(message) : new RetryAfterError(message, delayMs), code);
}

async function readExcerpt(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const chunk of response as AsyncIterable<Buffer>) {
      chunks.push(chunk);
      bytes += chunk.length;
      if (bytes >= EXCERPT_BYTES) break;
    }
  } catch {
    // The status says what happened; the text only helps whoever reads it, and what has arrived of it is kept.
  }
  return new TextDecoder().decode(Buffer.concat(chunks).subarray(0, EXCERPT_BYTES));
}

/** Seconds or a date; null where it is neither. */
function retryAfterMs(header: string | undefined): number | null {
  if (header === undefined) return null;
  const delayMs = /^\d+$/.test(header) ? Number(header) * 1_000 : Date.parse(header) - Date.now();
  return Number.isNaN(delayMs) ? null : Math.min(Math.max(delayMs, 0), MAX_RETRY_AFTER_MS);
}

async function readBody(hop: Hop, response: IncomingMessage, limitBytes: number): Promise<Buffer> {
  const encoding = response.headers["content-encoding"] ?? "identity";
  if (encoding !== "identity") {
    response.destroy();
    throw refusal(
      `${label(hop)} answered in the encoding ${encoding.slice(0, 40)}, which was not asked for`,
      "HTTP_ENCODING",
    );
  }
  const declared = Number(response.headers["content-length"] ?? 0);
  const chunks: Buffer[] = [];
  let bytes = 0;
  if (declared <= limitBytes || hop.method === "HEAD") {
    for await (const chunk of response as AsyncIterable<Buffer>) {
      chunks.push(chunk);
      bytes += chunk.length;
      if (bytes > limitBytes) break;
    }
    if (bytes <= limitBytes) return Buffer.concat(chunks);
  }
  response.destroy();
  throw tooLarge(hop, `a body of ${declared > limitBytes ? declared : `at least ${bytes}`} bytes`, limitBytes);
}

function tooLarge(hop: Hop, what: string, limitBytes: number): NonRetryableError {
  return refusal(`${label(hop)} answered with ${what}; the limit is ${limitBytes}`, "HTTP_TOO_LARGE");
}

function lowerCased(response: IncomingMessage): Record<string, Json> {
  return Object.fromEntries(
    Object.entries(response.headers).flatMap(([name, value]) => (value === undefined ? [] : [[name, value as Json]])),
  );
}

function parseBody(body: Buffer, response: IncomingMessage, limitBytes: number): Json {
  if (body.length === 0) return null;
  const type = response.headers["content-type"] ?? "";
  if (/^[^;]*[/+]json\s*(;|$)/i.test(type)) {
    try {
      const value = parseJson(body.toString("utf8"));
      toStoredJson(value, "body", limitBytes);
      return value;
    } catch {
      // A body that isn't what it says, or that can't be held as JSON, is given as the text that it is.
    }
  }
  return decoderOf(/;\s*charset="?([\w.:-]+)/i.exec(type)?.[1]).decode(body);
}

function decoderOf(charset = "utf-8"): InstanceType<typeof TextDecoder> {
  try {
    return new TextDecoder(charset);
  } catch {
    return new TextDecoder();
  }
}

function isVerdict(error: unknown): boolean {
  return error instanceof AnswerError || error instanceof RetryAfterError || error instanceof NonRetryableError;
}

/** Node's messages about connections and names hold no more than an address; anything else is told by its code. */
function connectionError(hop: Hop, error: unknown): Error {
  const { code, syscall, message } = error as NodeJS.ErrnoException;
  const reason = syscall === "connect" || syscall === "getaddrinfo" ? message : (code ?? "the connection broke");
  return coded(new Error(`${label(hop)} failed: ${reason}`), code ?? "HTTP_CONNECTION");
}
