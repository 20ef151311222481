/**
 * The Lua scripts: loaded with their includes, called by digest, loaded into the server by the first call that finds
 * them missing. Arguments are strings only; one Buffer among them would cost more than the rest of the call.
 */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { Command, type Redis } from "ioredis";
import { isCluster } from "./connect.js";
import type { Keys } from "./keys.js";

const FOLDER = fileURLToPath(new URL("./lua/", import.meta.url));
const loaded = new Map<string, Script>();

interface Script {
  readonly text: string;
  readonly sha: string;
}

export type ScriptName =
  | "submit"
  | "fetch"
  | "hand-on"
  | "complete"
  | "grow"
  | "pass"
  | "retry"
  | "fail"
  | "release"
  | "park"
  | "admit"
  | "decide"
  | "save"
  | "progress"
  | "pause"
  | "cancel"
  | "signal"
  | "resume"
  | "fork"
  | "prune"
  | "forget"
  | "view"
  | "evidence"
  | "register"
  | "alone"
  | "beat"
  | "mend"
  | "claim"
  | "schedule"
  | "strays"
  | "deregister"
  | "audit"
  | "now"
  | "log";

export function scriptText(name: ScriptName): string {
  return load(name).text;
}

/** Runs a transition. */
export function runScript(
  redis: Redis,
  name: ScriptName,
  keys: readonly string[],
  args: readonly string[],
): Promise<unknown> {
  return evaluate(redis, "evalsha", "eval", name, keys, args);
}

/**
 * Runs a transition that what is sent next on the same connection must find done. By its text: a digest that the server
 * doesn't know would have to be asked for again, behind the others.
 */
export async function runScriptInOrder(
  redis: Redis,
  name: ScriptName,
  keys: readonly string[],
  args: readonly string[],
): Promise<unknown> {
  const rest = argumentsOf(redis, keys, args);
  return redis.sendCommand(new Command("eval", [load(name).text, ...rest], { replyEncoding: "utf8" }));
}

/** Runs a read so that no write command can be in it: a read-only user may call it, and nothing is loaded into the server. */
export function readScript(
  redis: Redis,
  name: ScriptName,
  keys: readonly string[],
  args: readonly string[],
): Promise<unknown> {
  return evaluate(redis, "evalsha_ro", "eval_ro", name, keys, args);
}

/** The shard's own time, in ms: a cluster's servers have a clock each. */
export async function timeOf(redis: Redis, keys: Keys): Promise<number> {
  return Number(await readScript(redis, "now", [keys.workers], []));
}

async function evaluate(
  redis: Redis,
  bySha: string,
  byText: string,
  name: ScriptName,
  keys: readonly string[],
  args: readonly string[],
): Promise<unknown> {
  const script = load(name);
  const rest = argumentsOf(redis, keys, args);
  try {
    return await redis.sendCommand(new Command(bySha, [script.sha, ...rest], { replyEncoding: "utf8" }));
  } catch (error) {
    if (!(error instanceof Error) || !error.message.startsWith("NOSCRIPT")) throw error;
    return redis.sendCommand(new Command(byText, [script.text, ...rest], { replyEncoding: "utf8" }));
  }
}

/**
 * On a cluster every call names one key more, which never exists. While a slot moves from one server to another, a call
 * that names a key which isn't there is refused before it begins, so that no script meets a shard that is half here and
 * half there, whatever keys it finds out about while it runs.
 */
function argumentsOf(redis: Redis, keys: readonly string[], args: readonly string[]): string[] {
  if (!isCluster(redis)) return [String(keys.length), ...keys, ...args];
  const [first] = keys as [string];
  const absent = `${first.slice(0, first.indexOf("}") + 1)}:absent`;
  return [String(keys.length + 1), ...keys, absent, ...args];
}

function load(name: ScriptName): Script {
  let script = loaded.get(name);
  if (!script) {
    const text = withIncludes(resolve(FOLDER, `${name}.lua`), new Set());
    script = { text, sha: createHash("sha1").update(text).digest("hex") };
    loaded.set(name, script);
  }
  return script;
}

/** Comments are left out: Redis keeps the text of every script. */
function withIncludes(file: string, seen: Set<string>): string {
  if (seen.has(file)) return "";
  seen.add(file);
  const text = readFileSync(file, "utf8").replace(/--\[\[[\s\S]*?\]\]/g, "");
  return text
    .split("\n")
    .map((line) => {
      const include = /^--#include (\S+)$/.exec(line);
      if (include) return withIncludes(resolve(dirname(file), include[1]!), seen);
      return line.replace(/^\s*--.*$/, "");
    })
    .filter((line) => line.trim() !== "")
    .join("\n");
}
