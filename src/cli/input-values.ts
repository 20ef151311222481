/** Input and data as they are written on a command line. */
import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { text } from "node:stream/consumers";
import { InvalidInputError, UsageError } from "../core/errors.js";
import { parseInputPairs, validateInput } from "../core/input.js";
import { parseJson, toJson } from "../core/json.js";
import type { Io } from "./io.js";
import type { LoadedDefinition } from "./load-definition.js";

/** The `--input` values, checked against the definition and serialised. @throws InvalidInputError, UsageError */
export async function planInput(values: readonly string[], loaded: LoadedDefinition, io: Io): Promise<string> {
  const { inputSchema } = loaded.compiled.definition;
  const pairs = values.filter(isPair);
  const whole = values.filter((value) => !isPair(value));
  if (whole.length > 1 || (whole.length === 1 && pairs.length > 0)) {
    throw new UsageError("Give --input once as JSON or @file, or as pairs such as tag=v1; not both", {
      details: { values: values.length },
    });
  }
  const given = whole.length === 1 ? await jsonValue("--input", whole[0]!, io) : parseInputPairs(pairs, inputSchema);
  if (loaded.kind !== "code") return toJson(await validateInput(inputSchema, given), "Input");
  // Stored as given: what the schema makes of it, such as a date, need not be JSON.
  const stored = toJson(given, "Input");
  const { parseInput } = await import("../define/parse-input.js");
  await parseInput(loaded.plan.inputSchema, JSON.parse(stored), "The input");
  return stored;
}

/** JSON, `@file`, or `@-` for stdin. @throws InvalidInputError where it is not JSON */
export async function jsonValue(option: string, value: string, io: Io): Promise<unknown> {
  const source = value === "@-" ? "stdin" : value.startsWith("@") ? value.slice(1) : option;
  const content = await readValue(option, value, io);
  try {
    return parseJson(content);
  } catch (cause) {
    throw new InvalidInputError(`The JSON of ${source}`, [{ path: "", message: (cause as Error).message }]);
  }
}

/** The value of `--choose`: JSON or `@file` where it is that, else the text itself: the name of an option needs no quotes. */
export async function chosenValue(given: string, io: Io): Promise<unknown> {
  if (given.startsWith("@")) return jsonValue("--choose", given, io);
  try {
    return JSON.parse(given);
  } catch {
    return given;
  }
}

async function readValue(option: string, value: string, io: Io): Promise<string> {
  if (value === "@-") return text(io.stdin);
  if (!value.startsWith("@")) return value;
  try {
    return await readFile(resolve(io.cwd, value.slice(1)), "utf8");
  } catch (cause) {
    throw new UsageError(
      `Can't read ${value.slice(1)}, which ${option} names: ${(cause as NodeJS.ErrnoException).code}`,
      {
        cause,
      },
    );
  }
}

function isPair(value: string): boolean {
  return /^[^\s{}[\]"@=][^\s{}[\]"=]*=/.test(value);
}
