/**
 * The input of plan documents: a JSON Schema for each property. `checkInputSchema` says what is wrong with the
 * schemas, without the validator, so that reading a document stays cheap; `validateInput` loads it when there is input.
 */
import type { AnySchema, ErrorObject, ValidateFunction } from "ajv";
import { InvalidInputError, UsageError } from "./errors.js";
import { formatPath, type Segment } from "./expression.js";
import { type Json, type JsonObject, parseJson } from "./json.js";
import { suggestion } from "./nearest.js";

export interface SchemaFault {
  readonly path: readonly Segment[];
  readonly message: string;
}

interface Issue {
  readonly path: string;
  readonly message: string;
}

/**
 * Checks an input and fills in what it leaves out. The input itself stays as it is.
 * @param schema `inputSchema` of a definition; null takes any input
 * @throws InvalidInputError with every issue and its path
 */
export async function validateInput(schema: JsonObject | null, input: unknown): Promise<unknown> {
  const given = input === undefined ? {} : input;
  if (schema === null) return given;
  const properties = schema.properties as JsonObject;
  if (!isObject(given)) {
    throw new InvalidInputError("The input", [{ path: "", message: `must be an object, not ${typeName(given)}` }]);
  }
  const complete = withDefaults(properties, given);
  const validate = await validatorOf(schema);
  const issues: Issue[] = Object.keys(complete)
    .filter((name) => !Object.hasOwn(properties, name))
    .map((name) => ({
      path: formatPath("", [name]),
      message: `there is no such input${suggestion(name, Object.keys(properties))}`,
    }));
  if (!validate(complete)) issues.push(...validate.errors!.map(issueOf));
  if (issues.length > 0) throw new InvalidInputError("The input", issues);
  return complete;
}

/**
 * Faults of the schemas of a document's input: unknown keywords, and values that a keyword can't have. Paths start at
 * the name of the property.
 */
export function checkInputSchema(properties: JsonObject): SchemaFault[] {
  return checkSchemas(properties, []);
}

/** Faults of one whole schema. Paths start with `path`. */
export function checkValueSchema(schema: JsonObject, path: string): { path: string; message: string }[] {
  return checkSchema(schema, [path]).map((fault) => ({ ...fault, path: formatPath("", fault.path) }));
}

/**
 * Checks a value against one whole schema.
 * @throws InvalidInputError with every issue and its path
 */
export async function validateValue(schema: JsonObject, value: unknown, what: string): Promise<void> {
  const validate = await validatorOf(schema);
  if (!validate(value)) throw new InvalidInputError(what, validate.errors!.map(issueOf));
}

/**
 * `key=value` pairs of a command line. A value that parses as JSON is that value, unless its schema wants a string.
 * @throws UsageError
 */
export function parseInputPairs(pairs: readonly string[], schema: JsonObject | null = null): JsonObject {
  const values = new Map<string, Json>();
  for (const pair of pairs) {
    const equals = pair.indexOf("=");
    if (equals < 1) throw new UsageError(`${JSON.stringify(pair)} is not a pair such as tag=v1`);
    const name = pair.slice(0, equals);
    if (values.has(name)) throw new UsageError(`The input ${JSON.stringify(name)} is given twice`);
    values.set(name, readPairValue(pair.slice(equals + 1), propertyOf(schema, name)));
  }
  return Object.fromEntries(values);
}

/** A copy with the defaults of absent properties, also inside objects that are there. */
function withDefaults(properties: JsonObject, given: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const complete = { ...given };
  for (const [name, property] of Object.entries(properties)) {
    if (!isObject(property)) continue;
    const value = complete[name];
    if (!Object.hasOwn(complete, name)) {
      if (Object.hasOwn(property, "default")) complete[name] = property.default;
    } else if (isObject(property.properties) && isObject(value)) {
      complete[name] = withDefaults(property.properties as JsonObject, value);
    }
  }
  return complete;
}

type Test = (value: Json) => boolean;

const TYPES = ["string", "number", "integer", "boolean", "object", "array", "null"];

/** The formats that are checked; a schema that asks for another is refused, because it would check nothing. */
const FORMATS: ReadonlyMap<string, RegExp> = new Map([
  ["date", /^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])$/],
  [
    "date-time",
    /^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])[Tt]([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(\.\d+)?([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)$/,
  ],
  ["email", /^[^\s@"(),:;<>[\\\]]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*$/],
  ["ipv4", /^((25[0-5]|2[0-4]\d|1?\d?\d)(\.(?!$)|$)){4}$/],
  ["uri", /^[A-Za-z][A-Za-z0-9+.-]*:[^\s"<>\\^`{|}]+$/],
  ["uuid", /^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$/],
]);

const isText: Test = (value) => typeof value === "string";
const isFlag: Test = (value) => typeof value === "boolean";
const isNumber: Test = (value) => typeof value === "number";
const isSize: Test = (value) => Number.isSafeInteger(value) && Number(value) >= 0;
const isAnything: Test = () => true;

/** What a keyword's value must be, where it isn't a schema itself. */
const VALUE_KEYWORDS: ReadonlyMap<string, readonly [Test, string]> = new Map<string, readonly [Test, string]>([
  ["type", [isType, `one of ${TYPES.join(", ")}, or a list of them`]],
  ["enum", [(value) => Array.isArray(value) && value.length > 0, "a list of at least one value"]],
  ["const", [isAnything, ""]],
  ["default", [isAnything, ""]],
  ["examples", [Array.isArray, "a list"]],
  ["required", [isNames, "a list of names (an input is required unless it has a default)"]],
  ["pattern", [isRegularExpression, "a regular expression"]],
  ["format", [(value) => isText(value) && FORMATS.has(String(value)), `one of ${[...FORMATS.keys()].join(", ")}`]],
  ["multipleOf", [(value) => isNumber(value) && Number(value) > 0, "a number above 0"]],
  ...["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"].map(
    (name) => [name, [isNumber, "a number"]] as const,
  ),
  ...[
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "minContains",
    "maxContains",
  ].map((name) => [name, [isSize, "a whole number of at least 0"]] as const),
  ...["uniqueItems", "deprecated", "readOnly", "writeOnly"].map((name) => [name, [isFlag, "true or false"]] as const),
  ...["title", "description", "$comment"].map((name) => [name, [isText, "a string"]] as const),
]);

const SCHEMA_KEYWORDS = ["items", "additionalProperties", "propertyNames", "contains", "not", "if", "then", "else"];
const SCHEMA_LIST_KEYWORDS = ["allOf", "anyOf", "oneOf", "prefixItems"];
const SCHEMA_MAP_KEYWORDS = ["properties", "patternProperties", "dependentSchemas"];
const KEYWORDS = [...VALUE_KEYWORDS.keys(), ...SCHEMA_KEYWORDS, ...SCHEMA_LIST_KEYWORDS, ...SCHEMA_MAP_KEYWORDS];

function checkSchemas(schemas: JsonObject, path: readonly Segment[]): SchemaFault[] {
  return Object.entries(schemas).flatMap(([name, schema]) => {
    // The validator passes this one name over, so it could hold anything.
    if (name === "__proto__") return [{ path: [...path, name], message: "__proto__ can't be the name of an input" }];
    return checkSchema(schema, [...path, name]);
  });
}

function checkSchema(schema: Json, path: readonly Segment[]): SchemaFault[] {
  if (typeof schema === "boolean") return [];
  if (!isObject(schema)) {
    const message = `${formatPath("", path)} must be a JSON Schema such as { type: string }, not ${typeName(schema)}`;
    return [{ path, message }];
  }
  const faults = Object.entries(schema).flatMap(([name, value]) => checkKeyword(name, value as Json, [...path, name]));
  return faults.length > 0 ? faults : checkDefault(schema, path);
}

function checkKeyword(name: string, value: Json, path: readonly Segment[]): SchemaFault[] {
  const fault = (wanted: string) => [{ path, message: `${formatPath("", path)} must be ${wanted}` }];
  const rule = VALUE_KEYWORDS.get(name);
  if (rule) return rule[0](value) ? [] : fault(rule[1]);
  if (SCHEMA_KEYWORDS.includes(name)) return checkSchema(value, path);
  if (SCHEMA_LIST_KEYWORDS.includes(name)) {
    if (!Array.isArray(value) || value.length === 0) return fault("a list of at least one schema");
    return value.flatMap((schema: Json, index) => checkSchema(schema, [...path, index]));
  }
  if (SCHEMA_MAP_KEYWORDS.includes(name)) {
    if (!isObject(value)) return fault("a mapping of names to schemas");
    const patterns = name === "patternProperties" ? Object.keys(value) : [];
    const malformed = patterns.filter((pattern) => !isRegularExpression(pattern));
    if (malformed.length > 0) return fault(`keyed by regular expressions, not ${JSON.stringify(malformed[0])}`);
    return checkSchemas(value as JsonObject, path);
  }
  const message = `${formatPath("", path)} is not a keyword of a schema${suggestion(name, KEYWORDS)}`;
  return [{ path, message }];
}

/** A default of the wrong type would refuse every input that leaves the property out. */
function checkDefault(schema: Readonly<Record<string, unknown>>, path: readonly Segment[]): SchemaFault[] {
  if (!Object.hasOwn(schema, "default")) return [];
  const value = schema.default as Json;
  const types = typesOf(schema);
  const { enum: choices } = schema;
  const misfit =
    types.length > 0 && !types.some((type) => hasType(value, type))
      ? types.join(" or ")
      : Array.isArray(choices) && !choices.some((choice) => JSON.stringify(choice) === JSON.stringify(value))
        ? `one of ${choices.map((choice) => JSON.stringify(choice)).join(", ")}`
        : null;
  if (misfit === null) return [];
  const at = [...path, "default"];
  return [{ path: at, message: `${formatPath("", at)} is ${JSON.stringify(value)}, which is not ${misfit}` }];
}

function isType(value: Json): boolean {
  const isName = (name: Json) => TYPES.includes(name as string);
  return isName(value) || (Array.isArray(value) && value.length > 0 && value.every(isName));
}

function isNames(value: Json): boolean {
  return Array.isArray(value) && value.every(isText) && new Set(value).size === value.length;
}

function isRegularExpression(value: Json): boolean {
  if (typeof value !== "string") return false;
  try {
    new RegExp(value, "u");
    return true;
  } catch {
    return false;
  }
}

function typesOf(schema: Readonly<Record<string, unknown>>): string[] {
  return [schema.type ?? []].flat() as string[];
}

function hasType(value: Json, type: string): boolean {
  if (type === "integer") return Number.isInteger(value);
  return type === (value === null ? "null" : Array.isArray(value) ? "array" : typeof value);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function typeName(value: unknown): string {
  if (value === null) return "null";
  return Array.isArray(value) ? "a list" : typeof value === "object" ? "an object" : `a ${typeof value}`;
}

const validators = new WeakMap<JsonObject, ValidateFunction>();

async function validatorOf(schema: JsonObject): Promise<ValidateFunction> {
  const known = validators.get(schema);
  if (known) return known;
  const { Ajv2020 } = await import("ajv/dist/2020.js");
  const ajv = new Ajv2020({
    allErrors: true,
    // A property that is only inherited, such as toString, is not there.
    ownProperties: true,
    strict: false,
    validateSchema: false,
    formats: Object.fromEntries(FORMATS),
  });
  const validate = ajv.compile(schema as AnySchema);
  validators.set(schema, validate);
  return validate;
}

function issueOf(error: ErrorObject): Issue {
  const path = error.instancePath
    .split("/")
    .slice(1)
    .map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~"))
    .map((part) => (/^\d+$/.test(part) ? Number(part) : part));
  const { params } = error as { params: Readonly<Record<string, unknown>> };
  switch (error.keyword) {
    case "required":
      return { path: formatPath("", [...path, String(params.missingProperty)]), message: "is required" };
    case "additionalProperties":
      return { path: formatPath("", [...path, String(params.additionalProperty)]), message: "is not known" };
    case "enum": {
      const choices = (params.allowedValues as Json[]).map((choice) => JSON.stringify(choice));
      return { path: formatPath("", path), message: `must be one of ${choices.join(", ")}` };
    }
    case "const":
      return { path: formatPath("", path), message: `must be ${JSON.stringify(params.allowedValue)}` };
    default:
      return { path: formatPath("", path), message: error.message! };
  }
}

function propertyOf(schema: JsonObject | null, name: string): Readonly<Record<string, unknown>> {
  const properties = schema?.properties;
  const property = isObject(properties) && Object.hasOwn(properties, name) ? properties[name] : null;
  return isObject(property) ? property : {};
}

function readPairValue(text: string, schema: Readonly<Record<string, unknown>>): Json {
  const types = typesOf(schema);
  const value = readJson(text);
  if (value === undefined) return text;
  if (types.length > 0) return types.includes("string") && !types.some((type) => hasType(value, type)) ? text : value;
  return value;
}

function readJson(text: string): Json | undefined {
  try {
    return parseJson(text);
  } catch {
    return undefined;
  }
}
