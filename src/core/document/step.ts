/** One step of a plan document, read and checked by itself; what depends on other steps is checked afterwards. */
import {
  DEFAULT_RETRY,
  DEFAULT_STEP_TIMEOUT_MS,
  type Effect,
  LEAST_URGENT_PRIORITY,
  ON_FAILURES,
  type RetryPolicy,
  type SandboxUse,
  type StepDefinition,
  WAITING_HANDLERS,
} from "../definition.js";
import { isReservedVariable, type StepHandler } from "../handler.js";
import type { JsonObject } from "../json.js";
import { type DraftCondition, type PlacedPath, readCondition } from "./condition.js";
import { checkKeys } from "./keys.js";
import { readLimits } from "./limits.js";
import { type Field, type Located, type LocatedDocument, segmentsOf } from "./located.js";
import { readMap } from "./map.js";
import { readDurationMs, readId } from "./values.js";

/** A step as it is written. Null where nothing was, or nothing usable. */
export interface DraftStep extends Omit<StepDefinition, "phase" | "needs"> {
  readonly at: Located;
  readonly idAt: Located;
  readonly phase: { readonly name: string; readonly at: Located } | null;
  /** Null: the step listed before it. */
  readonly needs: readonly { readonly id: string; readonly at: Located }[] | null;
  readonly withAt: Located | null;
  readonly envAt: Located | null;
  /** Where the list of a map is. */
  readonly mapPath: PlacedPath | null;
  /** What the condition looks at. */
  readonly whenPath: PlacedPath | null;
}

export interface StepDefaults {
  readonly retry: RetryPolicy;
  readonly timeoutMs: number;
  readonly queue: string;
  readonly priority: number | null;
  /** Whether the plan has one. */
  readonly hasSandbox: boolean;
}

type Fields = ReadonlyMap<string, Field>;

const ACTION_KEYS = ["run", "uses", "with", "env", "pass-env"];
const KEYS = [
  "id",
  "phase",
  "needs",
  ...ACTION_KEYS,
  "effect",
  "sandbox",
  "retry",
  "timeout",
  "queue",
  "rev",
  "when",
  "onFailure",
  "priority",
  "map",
  "key",
  "concurrency",
  "rate",
];
const KEYS_OF_LATER_VERSIONS = ["prepare"];
const RETRY_KEYS = ["attempts", "backoff", "delay", "max"];
const EFFECTS: readonly Effect[] = ["idempotent", "irreversible"];
const SANDBOX_USES: readonly SandboxUse[] = ["none", "read", "write"];
const BACKOFFS: readonly RetryPolicy["backoff"][] = ["exponential", "fixed"];
const VARIABLE_PATTERN = /^[A-Za-z_][A-Za-z0-9_]*$/;

export function readStep(
  document: LocatedDocument,
  at: Located,
  index: number,
  defaults: StepDefaults,
  handlers: ReadonlyMap<string, StepHandler>,
): DraftStep | null {
  const fields = document.fields(at);
  if (fields === null) return null;
  checkKeys(document, at, fields, KEYS, KEYS_OF_LATER_VERSIONS);
  const id = fields.get("id");
  const phase = fields.get("phase");
  const phaseName = phase ? readId(document, phase) : null;
  const action = readAction(document, at, fields, handlers);
  const retry = fields.get("retry");
  const timeout = fields.get("timeout");
  const queue = fields.get("queue");
  const rev = fields.get("rev");
  const env = fields.get("env");
  const when = fields.get("when");
  const map = readMap(document, fields, action.uses);
  const priority = readPriority(document, fields.get("priority")) ?? defaults.priority;
  const condition: DraftCondition | null = when ? readCondition(document, when) : null;
  const continues = readChoice(document, fields.get("onFailure"), ON_FAILURES) === "continue";
  return {
    at,
    idAt: id ?? at,
    id: (id ? readId(document, id) : null) ?? `step-${index + 1}`,
    phase: phase && phaseName !== null ? { name: phaseName, at: phase } : null,
    needs: readNeeds(document, fields),
    ...action,
    env: env ? readEnv(document, env) : {},
    envAt: env ?? null,
    passEnv: readPassEnv(document, fields),
    effect: readChoice(document, fields.get("effect"), EFFECTS) ?? "idempotent",
    sandbox: readSandboxUse(document, fields.get("sandbox"), action.uses, defaults),
    retry: retry ? readRetry(document, retry, defaults.retry) : defaults.retry,
    timeoutMs: (timeout ? readTimeoutMs(document, timeout) : null) ?? defaults.timeoutMs,
    queue: (queue ? readId(document, queue) : null) ?? defaults.queue,
    rev: rev ? document.plainText(rev) : null,
    whenPath: condition?.path ?? null,
    mapPath: map?.path ?? null,
    ...(map && { map: map.declaration }),
    ...(priority !== null && { priority }),
    ...(condition && { when: condition.condition }),
    ...(continues && { onFailure: "continue" }),
    ...readLimits(document, fields, action.uses),
  };
}

/** `defaults` of the document. */
export function readDefaults(
  document: LocatedDocument,
  at: Field | undefined,
  ofPlan: Pick<StepDefaults, "queue" | "priority" | "hasSandbox">,
): StepDefaults {
  const fields = at ? document.fields(at) : null;
  if (at && fields)
    checkKeys(
      document,
      at,
      fields,
      ["retry", "timeout"],
      ["queue", "priority", "env", "when", "onFailure", "map", "key", "concurrency", "rate", ...KEYS_OF_LATER_VERSIONS],
    );
  const retry = fields?.get("retry");
  const timeout = fields?.get("timeout");
  return {
    retry: retry ? readRetry(document, retry, DEFAULT_RETRY) : DEFAULT_RETRY,
    timeoutMs: (timeout ? readTimeoutMs(document, timeout) : null) ?? DEFAULT_STEP_TIMEOUT_MS,
    ...ofPlan,
  };
}

export function readPriority(document: LocatedDocument, at: Field | undefined): number | null {
  const priority = at ? document.count(at) : null;
  if (priority === null || priority <= LEAST_URGENT_PRIORITY) return priority;
  document.fault(at!, `${at!.path} is ${priority}; the limit is ${LEAST_URGENT_PRIORITY}`);
  return null;
}

type Action = Pick<DraftStep, "uses" | "with" | "withAt">;

function readAction(
  document: LocatedDocument,
  at: Located,
  fields: Fields,
  handlers: ReadonlyMap<string, StepHandler>,
): Action {
  const run = fields.get("run");
  const uses = fields.get("uses");
  const arguments_ = fields.get("with");
  if (run) {
    for (const other of [uses, arguments_]) {
      if (!other) continue;
      const place = { offset: other.keyOffset, path: other.path };
      document.fault(place, `${at.path} has both run and ${other.key}; run is short for uses: shell, with: { run }`);
    }
    const command = document.string(run);
    const action: Action = { uses: "shell", with: { run: command ?? "" }, withAt: null };
    if (command !== null && !uses) checkArguments(document, action, run, run, handlers);
    return { ...action, withAt: run };
  }
  const name = uses ? readId(document, uses) : null;
  if (!uses) document.fault(at, `${at.path} needs run or uses`);
  const input: JsonObject | null = arguments_ ? document.object(arguments_) : {};
  const action: Action = { uses: name ?? "", with: input ?? {}, withAt: arguments_ ?? null };
  if (uses && name !== null && input !== null) checkArguments(document, action, uses, arguments_ ?? uses, handlers);
  return action;
}

function checkArguments(
  document: LocatedDocument,
  action: Action,
  usesAt: Located,
  withAt: Located,
  handlers: ReadonlyMap<string, StepHandler>,
): void {
  const handler = handlers.get(action.uses);
  if (handler === undefined) {
    document.fault(usesAt, `there is no handler "${action.uses}"${document.suggest(action.uses, handlers.keys())}`);
    return;
  }
  for (const { path, message } of handler.check(action.with)) {
    const place = action.withAt === null ? withAt : document.find(action.withAt, segmentsOf(path));
    document.fault({ offset: place.offset, path: place.path }, `${action.uses}: ${message}`);
  }
}

function readNeeds(document: LocatedDocument, fields: Fields): DraftStep["needs"] {
  const field = fields.get("needs");
  if (!field) return null;
  const needs: { id: string; at: Located }[] = [];
  const ids = new Set<string>();
  for (const at of document.items(field, "a list of step ids") ?? []) {
    const id = readId(document, at);
    if (id === null) continue;
    if (ids.has(id)) document.fault(at, `${field.path} names "${id}" twice`);
    else needs.push({ id, at });
    ids.add(id);
  }
  return needs;
}

function readEnv(document: LocatedDocument, at: Located): Record<string, string> {
  const texts: [string, string][] = [];
  for (const field of document.fields(at)?.values() ?? []) {
    checkVariable(document, field.key, { offset: field.keyOffset, path: field.path });
    const text = document.plainText(field);
    if (text !== null) texts.push([field.key, text]);
  }
  return Object.fromEntries(texts);
}

function readPassEnv(document: LocatedDocument, fields: Fields): string[] {
  const field = fields.get("pass-env");
  const names: string[] = [];
  for (const at of field ? (document.items(field, "a list of names of variables") ?? []) : []) {
    const name = document.string(at);
    if (name === null) continue;
    checkVariable(document, name, at);
    if (isReservedVariable(name)) {
      document.fault(at, `${name} can't be passed: settings of Waymark and Redis are never passed to a command`);
    }
    names.push(name);
  }
  return names;
}

function checkVariable(document: LocatedDocument, name: string, at: { offset: number; path: string }): void {
  if (VARIABLE_PATTERN.test(name)) return;
  document.fault(at, `${JSON.stringify(name)} can't be a variable: letters, digits and underscores, no digit first`);
}

export function readChoice<T extends string>(
  document: LocatedDocument,
  at: Field | undefined,
  choices: readonly T[],
): T | null {
  if (!at) return null;
  const text = document.string(at, choices.join(" or "));
  if (text === null || choices.includes(text as T)) return text as T | null;
  const known = `${at.path} must be ${choices.join(" or ")}, not ${document.describe(at)}`;
  document.fault(at, `${known}${document.suggest(text, choices)}`);
  return null;
}

/** A command writes the plan's files unless it says otherwise; other handlers don't see them. */
function readSandboxUse(
  document: LocatedDocument,
  at: Field | undefined,
  uses: string,
  { hasSandbox }: StepDefaults,
): SandboxUse {
  const use = readChoice(document, at, SANDBOX_USES);
  if (use === null) return hasSandbox && uses === "shell" ? "write" : "none";
  if (use === "none") return use;
  if (!hasSandbox) document.fault(at!, `${at!.path} is ${use}, and the plan has no sandbox`);
  else if (WAITING_HANDLERS.has(uses)) document.fault(at!, `${at!.path} is ${use}, but ${uses} only waits`);
  return use;
}

function readRetry(document: LocatedDocument, at: Located, base: RetryPolicy): RetryPolicy {
  const fields = document.fields(at);
  if (fields === null) return base;
  checkKeys(document, at, fields, RETRY_KEYS, []);
  const attempts = fields.get("attempts");
  const delay = fields.get("delay");
  const max = fields.get("max");
  const delayMs = (delay ? readDurationMs(document, delay) : null) ?? base.delayMs;
  const maxMs = max ? readDurationMs(document, max) : null;
  if (max && maxMs !== null && maxMs < delayMs) {
    document.fault(max, `${max.path} is ${maxMs} ms, less than the first delay of ${delayMs} ms`);
  }
  return {
    attempts: (attempts ? document.count(attempts) : null) ?? base.attempts,
    backoff: readChoice(document, fields.get("backoff"), BACKOFFS) ?? base.backoff,
    delayMs,
    // A longer first delay without a word about `max` means that no delay is shorter than it.
    maxMs: maxMs ?? Math.max(base.maxMs, delayMs),
  };
}

function readTimeoutMs(document: LocatedDocument, at: Located): number | null {
  const ms = readDurationMs(document, at);
  if (ms !== 0) return ms;
  document.fault(at, `${at.path} must be longer than 0`);
  return null;
}
