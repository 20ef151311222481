/**
 * Settings, read once: a flag, else the environment, else `waymark.config.{ts,js,json}`, else the default. Every fault is
 * found before any is reported, in one error.
 */
import { existsSync, readFileSync, realpathSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, resolve, sep } from "node:path";
import { pathToFileURL } from "node:url";
import { formatDurationMs, parseDurationMs } from "./core/duration.js";
import { UsageError } from "./core/errors.js";
import { suggestion } from "./core/nearest.js";
import { PAYLOAD_LIMITS, parsePayloadLimit } from "./core/payload-limit.js";
import { isCount, isPrefix, MOST_CONCURRENCY, MOST_SHARDS, PREFIXES } from "./core/setting-rules.js";
import { parseStoreUrl, type StoreLocation, type StoreTls } from "./core/store-address.js";

export const LOG_LEVELS = ["trace", "debug", "info", "warn", "error", "fatal", "silent"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

export interface Config {
  /** Null stands for the embedded store. */
  readonly redis: StoreLocation | null;
  readonly prefix: string;
  readonly shards: number;
  /** Absolute. */
  readonly dataDir: string;
  /** Where snapshots of sandboxes are kept: an absolute directory or `s3://bucket/prefix`. Null: in the data directory. */
  readonly sandboxStore: string | null;
  /** XDG_RUNTIME_DIR: where the embedded store's socket goes. */
  readonly runtimeDir: string | null;
  readonly logLevel: LogLevel;
  readonly concurrency: number;
  readonly graceMs: number;
  readonly deadAfterMs: number;
  /** What an input, an output, a cursor, a decision or a signal may weigh. */
  readonly payloadLimitBytes: number;
  /** Keys of payloads by id, the one that seals first; null where payloads stay as they are. */
  readonly payloadKeys: Readonly<Record<string, string>> | null;
}

/** What flags and configuration files may set. Durations are written as people write them. */
export interface ConfigInput {
  readonly redisUrl?: string | undefined;
  readonly redisCa?: string | undefined;
  readonly redisCert?: string | undefined;
  readonly redisKey?: string | undefined;
  readonly prefix?: string | undefined;
  readonly shards?: number | string | undefined;
  readonly dataDir?: string | undefined;
  readonly sandboxStore?: string | undefined;
  readonly logLevel?: string | undefined;
  readonly concurrency?: number | string | undefined;
  readonly grace?: number | string | undefined;
  readonly deadAfter?: number | string | undefined;
  readonly payloadLimit?: number | string | undefined;
  readonly payloadKeyFile?: string | undefined;
}

type Environment = Readonly<Record<string, string | undefined>>;
type Key = keyof ConfigInput;

const SETTINGS: Readonly<Record<Key, { readonly flag: string; readonly variables: readonly string[] }>> = {
  redisUrl: { flag: "--redis-url", variables: ["WAYMARK_REDIS_URL", "REDIS_URL"] },
  redisCa: { flag: "--redis-ca", variables: ["WAYMARK_REDIS_CA"] },
  redisCert: { flag: "--redis-cert", variables: ["WAYMARK_REDIS_CERT"] },
  redisKey: { flag: "--redis-key", variables: ["WAYMARK_REDIS_KEY"] },
  prefix: { flag: "--prefix", variables: ["WAYMARK_PREFIX"] },
  shards: { flag: "--shards", variables: ["WAYMARK_SHARDS"] },
  dataDir: { flag: "--data-dir", variables: ["WAYMARK_DATA_DIR"] },
  sandboxStore: { flag: "--sandbox-store", variables: ["WAYMARK_SANDBOX_STORE"] },
  logLevel: { flag: "--log-level", variables: ["WAYMARK_LOG_LEVEL"] },
  concurrency: { flag: "--concurrency", variables: ["WAYMARK_CONCURRENCY"] },
  grace: { flag: "--grace", variables: ["WAYMARK_GRACE"] },
  deadAfter: { flag: "--dead-after", variables: ["WAYMARK_DEAD_AFTER"] },
  payloadLimit: { flag: "--payload-limit", variables: ["WAYMARK_PAYLOAD_LIMIT"] },
  payloadKeyFile: { flag: "--payload-key-file", variables: ["WAYMARK_PAYLOAD_KEY_FILE"] },
};

/** Settings that stand for something else where they aren't given. */
type Optional = "redisUrl" | "redisCa" | "redisCert" | "redisKey" | "sandboxStore" | "payloadKeyFile";

const DEFAULTS: Readonly<Record<Exclude<Key, Optional>, string>> = {
  prefix: "waymark",
  shards: "1",
  dataDir: ".waymark",
  logLevel: "info",
  concurrency: "10",
  grace: "25s",
  deadAfter: "3s",
  payloadLimit: "256KiB",
};

const CONFIG_FILES = ["waymark.config.ts", "waymark.config.js", "waymark.config.json"];
// A worker beats once a second: less than two lost beats is no sign of death.
const MIN_DEAD_AFTER_MS = 2_000;
// Longer than timers can count.
const MAX_DURATION_MS = 2 ** 31 - 1;

/** @throws UsageError with every fault that was found */
export async function readConfig(flags: ConfigInput, env: Environment, cwd: string): Promise<Config> {
  const faults: string[] = [];
  const file = await readConfigFile(cwd, faults);
  const find = (key: Key): Found | null => findValue(key, flags, env, file);
  const read = <T>(key: Exclude<Key, Optional>, parse: (found: Found) => T | Fault): T => {
    const found = find(key) ?? { value: DEFAULTS[key], source: "the default" };
    const parsed = parse(found);
    if (!(parsed instanceof Fault)) return parsed;
    faults.push(`${found.source} ${parsed.message}`);
    return parse({ value: DEFAULTS[key], source: "the default" }) as T;
  };

  const config: Config = {
    redis: readRedis(find, cwd, faults),
    prefix: read("prefix", parsePrefix),
    shards: read("shards", (found) => parseCount(found, MOST_SHARDS)),
    dataDir: read("dataDir", (found) => parseDataDir(found, cwd)),
    sandboxStore: readSandboxStore(find("sandboxStore"), cwd, faults),
    runtimeDir: env.XDG_RUNTIME_DIR || null,
    logLevel: read("logLevel", parseLogLevel),
    concurrency: read("concurrency", (found) => parseCount(found, MOST_CONCURRENCY)),
    graceMs: read("grace", (found) => parseMs(found, 0)),
    deadAfterMs: read("deadAfter", (found) => parseMs(found, MIN_DEAD_AFTER_MS)),
    payloadLimitBytes: read("payloadLimit", parseLimit),
    payloadKeys: readPayloadKeys(env.WAYMARK_PAYLOAD_KEY, find("payloadKeyFile"), cwd, faults),
  };
  if (faults.length > 0) {
    const count = faults.length === 1 ? "A setting is wrong" : `${faults.length} settings are wrong`;
    throw new UsageError(`${count}: ${faults.join("; ")}`, { details: { faults } });
  }
  return config;
}

/**
 * Imports a module of the user's, TypeScript included: natively where Node can, else through the user's `tsx`.
 * @throws UsageError that says what to do when neither is there
 */
export async function importFile(path: string): Promise<unknown> {
  const url = pathToFileURL(path).href;
  if (!/\.[cm]?ts$/.test(path) || "typescript" in process.features) return import(url);
  // Not tsImport: its modules get copies of their own of this library, whose errors and plans would not be ours.
  const { register } = await loadTsx(path);
  register();
  try {
    return await import(url);
  } catch (cause) {
    // How it ends where tsx takes the file for CommonJS.
    if ((cause as NodeJS.ErrnoException).code !== "ERR_REQUIRE_CYCLE_MODULE") throw cause;
    const message = `${path} can't be loaded as an ES module: say "type": "module" in its package.json, or call it .mts`;
    throw new UsageError(message, { cause });
  }
}

/** The user's own tsx: the one that can be seen from the file. */
async function loadTsx(path: string): Promise<typeof import("tsx/esm/api")> {
  let manifest: string;
  try {
    manifest = createRequire(path).resolve("tsx/package.json");
  } catch (cause) {
    const message = `${path} is TypeScript, which Node ${process.versions.node} can't load: run "npm install --save-dev tsx", or use Node 22.18 or newer`;
    throw new UsageError(message, { cause });
  }
  // Resolving "tsx/esm/api" from there would find the CommonJS entry, whose loader looks for its files in the wrong place.
  const { exports } = JSON.parse(readFileSync(manifest, "utf8"));
  return import(pathToFileURL(join(dirname(manifest), exports["./esm/api"].import.default)).href);
}

interface Found {
  readonly value: unknown;
  readonly source: string;
}

/** What is wrong with a value, to be read after where it came from. */
class Fault {
  constructor(readonly message: string) {}
}

interface ConfigFile {
  readonly name: string;
  readonly settings: Readonly<Record<string, unknown>>;
}

async function readConfigFile(cwd: string, faults: string[]): Promise<ConfigFile | null> {
  const [name, other] = CONFIG_FILES.filter((candidate) => existsSync(join(cwd, candidate)));
  if (name === undefined) return null;
  if (other !== undefined) faults.push(`${name} and ${other} both exist, and only one can hold`);
  let settings: unknown;
  try {
    settings = await loadSettings(join(cwd, name));
  } catch (error) {
    if (error instanceof UsageError) throw error;
    faults.push(`${name} can't be read: ${(error as Error).message}`);
    return null;
  }
  if (typeof settings !== "object" || settings === null || Array.isArray(settings)) {
    faults.push(`${name} ${name.endsWith("json") ? "holds" : "exports"} no object with settings`);
    return null;
  }
  for (const key of Object.keys(settings)) {
    if (!Object.hasOwn(SETTINGS, key)) {
      faults.push(`${key} in ${name} is no setting${suggestion(key, Object.keys(SETTINGS))}`);
    }
  }
  return { name, settings: settings as Record<string, unknown> };
}

async function loadSettings(path: string): Promise<unknown> {
  if (path.endsWith(".json")) return JSON.parse(readFileSync(path, "utf8"));
  return ((await importFile(path)) as { default?: unknown }).default;
}

function findValue(key: Key, flags: ConfigInput, env: Environment, file: ConfigFile | null): Found | null {
  const { flag, variables } = SETTINGS[key];
  if (flags[key] !== undefined) return { value: flags[key], source: flag };
  for (const name of variables) {
    // Set to nothing is how shells and compose files say "not set".
    if (env[name]) return { value: env[name], source: name };
  }
  if (file !== null && Object.hasOwn(file.settings, key)) {
    return { value: file.settings[key], source: `${key} in ${file.name}` };
  }
  return null;
}

/**
 * `ID:KEY` of each key, between white space; in the environment also between commas. A fault never repeats what was
 * given: it is a key, or nearly one.
 */
function readPayloadKeys(
  variable: string | undefined,
  file: Found | null,
  cwd: string,
  faults: string[],
): Readonly<Record<string, string>> | null {
  const source = variable ? "WAYMARK_PAYLOAD_KEY" : file?.source;
  if (source === undefined) return null;
  let text = variable ?? "";
  if (!variable) {
    try {
      text = readFileSync(resolve(cwd, String(file?.value)), "utf8");
    } catch (error) {
      faults.push(`${source} names a file that can't be read: ${(error as Error).message}`);
      return null;
    }
  }
  const entries = text.split(/[\s,]+/).filter((entry) => entry !== "");
  const keys = entries.map((entry) => /^([A-Za-z0-9._-]{1,32}):([A-Za-z0-9+/]{43}=)$/.exec(entry));
  if (keys.length > 0 && keys.every((key) => key !== null)) {
    return Object.fromEntries(keys.map(([, id, key]) => [id!, key!]));
  }
  faults.push(`${source} must hold ID:KEY, the key being 32 bytes in base64 (openssl rand -base64 32)`);
  return null;
}

function readRedis(find: (key: Key) => Found | null, cwd: string, faults: string[]): StoreLocation | null {
  const found = find("redisUrl");
  if (found === null) return null;
  if (typeof found.value !== "string") {
    faults.push(`${found.source} must be an address such as redis://localhost:6379`);
    return null;
  }
  const url = found.value;
  const tls = readTls(find, cwd, faults);
  try {
    parseStoreUrl(url);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    faults.push(`${found.source} ${error.message}`);
  }
  if (tls !== null && !/^\s*rediss/.test(url)) {
    faults.push(
      `${found.source} speaks no TLS, for which certificates are given: it begins with rediss:// where it does`,
    );
  }
  return { url, ...(tls !== null && { tls }) };
}

/** The files are read here, with everything else, and not at every connection. */
function readTls(find: (key: Key) => Found | null, cwd: string, faults: string[]): StoreTls | null {
  const given = (["redisCa", "redisCert", "redisKey"] as const).flatMap((key) => {
    const found = find(key);
    return found === null ? [] : [{ key, found }];
  });
  if (given.length === 0) return null;
  const read = given.map(({ key, found }) => [PEM_FIELDS[key], readPem(found, cwd, faults)]);
  const names = new Set(given.map(({ key }) => key));
  if (names.has("redisCert") !== names.has("redisKey")) {
    faults.push(`${given.at(-1)!.found.source} needs both: a client's certificate (redisCert) and its key (redisKey)`);
  }
  return Object.fromEntries(read) as StoreTls;
}

const PEM_FIELDS = { redisCa: "ca", redisCert: "cert", redisKey: "key" } as const;

function readPem({ value, source }: Found, cwd: string, faults: string[]): string {
  try {
    const text = readFileSync(resolve(cwd, String(value)), "utf8");
    if (text.includes("-----BEGIN ")) return text;
    faults.push(`${source} names a file that is not in PEM format`);
  } catch (error) {
    faults.push(`${source} names a file that can't be read: ${(error as Error).message}`);
  }
  return "";
}

function readSandboxStore(found: Found | null, cwd: string, faults: string[]): string | null {
  if (found === null) return null;
  const { value, source } = found;
  if (typeof value === "string" && /^s3:\/\/[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](\/[^\s?#]*)?$/.test(value)) return value;
  // Another scheme is no directory whose name happens to hold a colon.
  if (typeof value === "string" && value !== "" && !/^[a-z][a-z0-9+.-]*:\/\//i.test(value)) return resolve(cwd, value);
  faults.push(`${source} must be a directory, or a bucket such as s3://bucket/prefix, not ${shown(value)}`);
  return null;
}

function parsePrefix({ value }: Found): string | Fault {
  return isPrefix(value) ? value : new Fault(`must be ${PREFIXES}, not ${shown(value)}`);
}

function parseLimit({ value }: Found): number | Fault {
  return parsePayloadLimit(value) ?? new Fault(`must be ${PAYLOAD_LIMITS}, not ${shown(value)}`);
}

function parseCount({ value }: Found, most: number): number | Fault {
  const count = typeof value === "string" && /^\d+$/.test(value) ? Number(value) : value;
  return isCount(count, most) ? count : new Fault(`must be a whole number from 1 to ${most}, not ${shown(value)}`);
}

function parseDataDir({ value }: Found, cwd: string): string | Fault {
  if (typeof value !== "string" || value === "")
    return new Fault(`must be the path of a directory, not ${shown(value)}`);
  const path = resolve(cwd, value);
  // The data directory is made private and invisible to git: never the one that people work in, nor one around it.
  return `${realpathOf(cwd)}${sep}`.startsWith(realpathOf(path).replace(/[/\\]?$/, sep))
    ? new Fault(`is ${path}, which holds the working directory: it needs a directory of its own`)
    : path;
}

function realpathOf(path: string): string {
  return existsSync(path) ? realpathSync(path) : path;
}

function parseLogLevel({ value }: Found): LogLevel | Fault {
  return (
    LOG_LEVELS.find((level) => level === value) ??
    new Fault(`must be one of ${LOG_LEVELS.join(", ")}, not ${shown(value)}`)
  );
}

function parseMs({ value }: Found, leastMs: number): number | Fault {
  // The environment has no numbers: digits alone are milliseconds there, as they are in a file.
  const ms = parseDurationMs(typeof value === "string" && /^\d+$/.test(value) ? Number(value) : value);
  if (ms === null) return new Fault(`must be a duration such as 500ms, 25s or 2m, not ${shown(value)}`);
  if (ms < leastMs) return new Fault(`must be at least ${formatDurationMs(leastMs)}, not ${shown(value)}`);
  return ms > MAX_DURATION_MS ? new Fault(`must be at most 24d, not ${shown(value)}`) : ms;
}

function shown(value: unknown): string {
  return JSON.stringify(value)?.slice(0, 80) ?? String(value);
}
