/** `defineHandler`: a function with a name and checked arguments, for `.use()` and for `uses:` in plan documents. */
import type { StandardSchemaV1 } from "@standard-schema/spec";
import { CODE_HANDLER } from "../core/definition.js";
import { InvalidDefinitionError, InvalidInputError, NonRetryableError } from "../core/errors.js";
import type { HandlerCall, StepHandler } from "../core/handler.js";
import { isId } from "../core/ids.js";
import type { JsonObject } from "../core/json.js";
import type { SandboxAccess } from "../core/sandbox.js";
import type { AttemptContext } from "./context.js";
import { logTo } from "./log.js";
import { describeIssue, isStandardSchema, issuePath, parseInput } from "./parse-input.js";
import type { MustBeJson, Recorded } from "./recorded.js";

/** What a handler's function gets: one attempt, and its arguments as their schema gives them out. */
export interface HandlerContext<With = unknown> extends AttemptContext {
  readonly with: With;
  /** The plan's files, where the step reads or writes them. */
  readonly sandbox: SandboxAccess | null;
}

/** A handler made with `defineHandler`. `With` is what its user writes, `Output` what its step records. */
export interface Handler<With = never, Output = unknown> {
  readonly name: string;
  /** Checks the arguments. */
  readonly schema: StandardSchemaV1;
  run(context: HandlerContext): Promise<unknown>;
  /** Only for the compiler. */
  readonly "~types"?: { readonly with: (value: With) => void; readonly output: Output };
}

/** Names that mean something in every plan; a handler of that name would never run. */
const RESERVED_NAMES: ReadonlySet<string> = new Set([
  CODE_HANDLER,
  "shell",
  "http",
  "sleep",
  "wait",
  "ask",
  "approve",
  "noop",
]);

/** @throws InvalidDefinitionError when the name is malformed or a built-in handler's */
export function defineHandler<W extends StandardSchemaV1, R>(
  name: string,
  options: { readonly with: W },
  run: (context: HandlerContext<StandardSchemaV1.InferOutput<W>>) => Promise<R> & MustBeJson<R>,
): Handler<StandardSchemaV1.InferInput<W>, Recorded<R>> {
  const refuse = (fault: string) => new InvalidDefinitionError(`Handler ${JSON.stringify(name)}`, fault);
  if (!isId(name)) throw refuse("has a name that is not an id: letters, digits, '.', '_' and '-', at most 128");
  if (RESERVED_NAMES.has(name)) throw refuse("has the name of a built-in handler");
  if (!isStandardSchema(options?.with)) throw refuse("has no Standard Schema in `with`");
  if (typeof run !== "function") throw refuse("has no function to run");
  return Object.freeze({ name, schema: options.with, run: run as Handler["run"] });
}

/** Whether a value is a handler, whichever copy of this library made it. */
export function isHandler(value: unknown): value is Handler {
  const handler = value as Partial<Handler> | null;
  return isId(handler?.name) && typeof handler?.run === "function" && isStandardSchema(handler.schema);
}

/**
 * The handler as workers and documents see it. Its `run` checks the arguments first, and fails the step at once when
 * they don't fit: they would not fit in the next attempt either.
 */
export function toStepHandler(handler: Handler): StepHandler {
  return {
    name: handler.name,
    check: (input) => checkArguments(handler, input),
    async run(call) {
      const output = await handler.run(handlerContext(call, await parseArguments(handler, call.with)));
      return { kind: "completed", output };
    },
  };
}

/**
 * Faults that are certain before expressions are resolved. An issue about a value that holds an expression, or lies
 * inside one, may vanish; so may those of a schema that answers later. They are found when the step runs.
 */
function checkArguments(handler: Handler, input: JsonObject): { path: string; message: string }[] {
  let result: ReturnType<StandardSchemaV1["~standard"]["validate"]>;
  try {
    result = handler.schema["~standard"].validate(input);
  } catch (error) {
    // A transform may choke on an expression that isn't resolved yet.
    return holdsExpression(input) ? [] : [{ path: "", message: String(error) }];
  }
  if (result instanceof Promise) {
    // Not an answer to wait for here, and its rejection must not end the process.
    result.catch(() => {});
    return [];
  }
  return (result.issues ?? []).filter((issue) => isCertain(issue, input)).map(describeIssue);
}

function isCertain(issue: StandardSchemaV1.Issue, input: JsonObject): boolean {
  let value: unknown = input;
  for (const key of issuePath(issue)) {
    if (typeof value === "string") return !holdsExpression(value);
    value = typeof value === "object" && value !== null ? (value as Record<PropertyKey, unknown>)[key] : undefined;
  }
  return !holdsExpression(value);
}

function holdsExpression(value: unknown): boolean {
  if (typeof value === "string") return value.includes("${{");
  return typeof value === "object" && value !== null && Object.values(value).some(holdsExpression);
}

async function parseArguments(handler: Handler, input: unknown): Promise<unknown> {
  try {
    return await parseInput(handler.schema, input, `The \`with\` of handler ${handler.name}`);
  } catch (error) {
    if (error instanceof InvalidInputError) throw new NonRetryableError(error.message, { cause: error });
    throw error;
  }
}

function handlerContext(call: HandlerCall, parsed: unknown): HandlerContext {
  return {
    with: parsed,
    sandbox: call.sandbox,
    // A getter, because a worker may make the signal only when somebody asks for it.
    get signal() {
      return call.signal;
    },
    attempt: call.attempt,
    idempotencyKey: call.idempotencyKey,
    fence: call.fence,
    log: logTo((text) => call.write("log", text)),
    progress: call.progress,
    decide: call.decide,
    save: call.save,
    append: call.append,
    get saved() {
      return call.saved;
    },
  };
}
