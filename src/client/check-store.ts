/** What `plan doctor` finds out about a store: each check with what was found and, where it isn't well, what to do. */
import { performance } from "node:perf_hooks";
import type { Redis } from "ioredis";
import type { WorkerDocument } from "./documents.js";

export interface StoreCheck {
  readonly name: string;
  readonly status: "ok" | "warn" | "fail";
  readonly found: string;
  /** What to do. Null where nothing is to be done. */
  readonly advice: string | null;
}

const PINGS = 20;
const SLOW_PING_MS = 10;
const SKEWED_CLOCK_MS = 1_000;

/** Reads only. `workers` are those that the store knows. */
export async function checkStore(redis: Redis, workers: readonly WorkerDocument[]): Promise<StoreCheck[]> {
  const info = await redis.info().catch(() => "");
  return [
    checkVersion(info),
    await checkEviction(redis),
    await checkPersistence(redis),
    await checkClock(redis),
    await checkScripts(redis),
    await checkLatency(redis),
    checkLeftovers(workers),
  ];
}

/** Of what INFO says; empty where it isn't allowed. */
export function checkVersion(info: string): StoreCheck {
  const valkey = field(info, "valkey_version");
  const version = valkey ?? field(info, "redis_version");
  const product = valkey === null ? "Redis" : "Valkey";
  if (version === null)
    return warn(
      "version",
      "unknown: INFO is not allowed",
      "allow INFO, or see that it is Redis 7.0 or Valkey 7.2 at least",
    );
  const [major = 0, minor = 0] = version.split(".").map(Number);
  const least = valkey === null ? 0 : 2;
  if (major > 7 || (major === 7 && minor >= least)) return ok("version", `${product} ${version}`);
  return fail("version", `${product} ${version}`, "use Redis 7.0 or Valkey 7.2 at least");
}

async function checkEviction(redis: Redis): Promise<StoreCheck> {
  const policy = await setting(redis, "maxmemory-policy");
  if (policy === null)
    return warn("eviction", "unknown: CONFIG is not allowed", "see that maxmemory-policy is noeviction");
  if (policy === "noeviction") return ok("eviction", `maxmemory-policy ${policy}`);
  return fail(
    "eviction",
    `maxmemory-policy ${policy}`,
    "CONFIG SET maxmemory-policy noeviction: an evicted key is a lost plan",
  );
}

async function checkPersistence(redis: Redis): Promise<StoreCheck> {
  const appendonly = await setting(redis, "appendonly");
  const fsync = await setting(redis, "appendfsync");
  if (appendonly === null) return warn("persistence", "unknown: CONFIG is not allowed", "see that appendonly is on");
  if (appendonly !== "yes") {
    return warn(
      "persistence",
      "appendonly no",
      "CONFIG SET appendonly yes: without it a restart of Redis loses what it had not saved",
    );
  }
  if (fsync === "always") return ok("persistence", "appendonly yes, appendfsync always");
  if (fsync === "no") {
    return warn(
      "persistence",
      "appendonly yes, appendfsync no",
      "CONFIG SET appendfsync everysec, or always to lose nothing in a power loss",
    );
  }
  return ok(
    "persistence",
    `appendonly yes, appendfsync ${fsync}: a power loss can take the last second; always takes none`,
  );
}

/** The offset is half a round trip off at most. */
async function checkClock(redis: Redis): Promise<StoreCheck> {
  const sentAt = Date.now();
  const [seconds, micros] = await redis.time();
  const here = (sentAt + Date.now()) / 2;
  return judgeClock(Math.round(Number(seconds) * 1_000 + Number(micros) / 1_000 - here));
}

/** @param offsetMs how far the store's clock is ahead of this one */
export function judgeClock(offsetMs: number): StoreCheck {
  const found = `the store's clock is ${Math.abs(offsetMs)} ms ${offsetMs < 0 ? "behind" : "ahead of"} this one`;
  if (Math.abs(offsetMs) <= SKEWED_CLOCK_MS) return ok("clock", found);
  return warn(
    "clock",
    found,
    "synchronise both clocks: times in lists are the store's, and signed requests depend on them",
  );
}

async function checkScripts(redis: Redis): Promise<StoreCheck> {
  try {
    await redis.call("EVAL_RO", "return 1", "0");
    return ok("scripts", "read-only scripts run");
  } catch (error) {
    return fail(
      "scripts",
      (error as Error).message,
      "allow EVAL, EVALSHA, EVAL_RO and EVALSHA_RO: every transition is one script",
    );
  }
}

async function checkLatency(redis: Redis): Promise<StoreCheck> {
  const times: number[] = [];
  for (let i = 0; i < PINGS; i++) {
    const sentAt = performance.now();
    await redis.ping();
    times.push(performance.now() - sentAt);
  }
  const median = times.sort((a, b) => a - b)[PINGS / 2]!;
  const found = `${median.toFixed(2)} ms round trip (median of ${PINGS})`;
  if (median <= SLOW_PING_MS) return ok("latency", found);
  return warn("latency", found, "bring workers nearer to Redis: a step pays one round trip");
}

function checkLeftovers(workers: readonly WorkerDocument[]): StoreCheck {
  const dead = workers.filter((worker) => worker.state === "dead");
  const alive = workers.length - dead.length;
  const found = `${alive} live ${alive === 1 ? "worker" : "workers"}`;
  if (dead.length === 0) return ok("leftovers", `${found}, no dead one still registered`);
  const names = dead
    .map((worker) => worker.label)
    .slice(0, 5)
    .join(", ");
  return warn(
    "leftovers",
    `${found}, ${dead.length} dead still registered (${names})`,
    "a live worker takes their steps over within seconds: start one with plan worker, or resume with plan resume --all",
  );
}

async function setting(redis: Redis, name: string): Promise<string | null> {
  // Managed servers hide CONFIG, and a read-only user may not ask.
  const reply = await redis.config("GET", name).catch(() => null);
  return Array.isArray(reply) ? String(reply[1]) : null;
}

function field(info: string, name: string): string | null {
  return new RegExp(`^${name}:(\\S+)`, "m").exec(info)?.[1] ?? null;
}

function ok(name: string, found: string): StoreCheck {
  return { name, status: "ok", found, advice: null };
}

function warn(name: string, found: string, advice: string): StoreCheck {
  return { name, status: "warn", found, advice };
}

function fail(name: string, found: string, advice: string): StoreCheck {
  return { name, status: "fail", found, advice };
}
