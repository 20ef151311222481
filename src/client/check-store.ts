/** What `plan doctor` finds out about a store: each check with what was found and, where it isn't well, what to do. */
import { performance } from "node:perf_hooks";
import type { Redis } from "ioredis";
import { isCluster, primariesOf, serverOf } from "../store/connect.js";
import type { ShardedPlanStore } from "../store/sharded-plan-store.js";
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
export async function checkStore(store: ShardedPlanStore, workers: readonly WorkerDocument[]): Promise<StoreCheck[]> {
  const servers = primariesOf(store.redis);
  const checked = await Promise.all(servers.map(checkServer));
  return [...together(servers.map(nameOf), checked), await checkShards(store), checkLeftovers(workers)];
}

/** The same checks of each server, in the same order. */
async function checkServer(redis: Redis): Promise<StoreCheck[]> {
  const info = await redis.info().catch(() => "");
  const fsync = await readFsync(redis);
  return [
    checkVersion(info),
    await checkEviction(redis),
    checkPersistence(fsync),
    checkConfirmation(info, fsync),
    checkReplication(info, await setting(redis, "min-replicas-to-write")),
    await checkClock(redis),
    await checkScripts(redis),
    await checkLatency(redis),
  ];
}

const GRAVITY: Readonly<Record<StoreCheck["status"], number>> = { ok: 0, warn: 1, fail: 2 };

/** Of several servers, what is worst of each check, and where. */
export function together(names: readonly string[], checked: readonly (readonly StoreCheck[])[]): StoreCheck[] {
  const [first = []] = checked;
  if (checked.length === 1) return [...first];
  return first.map((_, i) => {
    const same = checked.map((checks, at) => ({ at, check: checks[i]! }));
    const { at, check } = same.reduce((worst, one) =>
      GRAVITY[one.check.status] > GRAVITY[worst.check.status] ? one : worst,
    );
    return { ...check, found: `${names[at]}: ${check.found}` };
  });
}

function nameOf({ options }: Redis): string {
  return `${options.host}:${options.port}`;
}

/** Which servers the shards are on. */
async function checkShards({ redis, shards }: ShardedPlanStore): Promise<StoreCheck> {
  if (!isCluster(redis)) return checkSingle(await redis.info("server").catch(() => ""), shards.length);
  const state = field(await redis.cluster("INFO").catch(() => ""), "cluster_state");
  const servers = await Promise.all(shards.map(async ({ keys }) => nameOf(await serverOf(redis, keys.workers))));
  return judgeShards(servers, primariesOf(redis).length, state);
}

/** A connection to one server, whatever else there is. */
export function checkSingle(info: string, shards: number): StoreCheck {
  if (field(info, "redis_mode") === "cluster") {
    return fail(
      "shards",
      "this is one node of a cluster, and the address names no other",
      "name several of its nodes, with commas between them: redis://HOST:PORT,HOST:PORT",
    );
  }
  if (shards === 1) return ok("shards", "1, on one server");
  return warn(
    "shards",
    `${shards}, all on one server`,
    "several shards are of use on a cluster only: see docs/operating.md",
  );
}

/** @param servers of each shard, in their order   @param state as the cluster says, null where nobody may ask */
export function judgeShards(servers: readonly string[], primaries: number, state: string | null): StoreCheck {
  const name = "shards";
  const found = `${servers.length} on ${new Set(servers).size} of ${primaries} primaries (${servers.map((at, i) => `${i}: ${at}`).join(", ")})`;
  if (state !== null && state !== "ok") {
    return fail(
      name,
      `${found}; the cluster's state is ${state}`,
      "see CLUSTER INFO: slots without a server stop their shards",
    );
  }
  if (new Set(servers).size >= primaries) return ok(name, found);
  return warn(name, found, "a new store with more shards, or slots moved, would use the other primaries as well");
}

/** Of what INFO says; empty where it isn't allowed. */
export function checkVersion(info: string): StoreCheck {
  const version = versionOf(info);
  if (version === null)
    return warn(
      "version",
      "unknown: INFO is not allowed",
      "allow INFO, or see that it is Redis 7.0 or Valkey 7.2 at least",
    );
  const found = `${version.product} ${version.text}`;
  if (isAtLeast(version, 7, version.product === "Redis" ? 0 : 2)) return ok("version", found);
  return fail("version", found, "use Redis 7.0 or Valkey 7.2 at least");
}

interface Version {
  readonly product: "Redis" | "Valkey";
  readonly text: string;
}

function versionOf(info: string): Version | null {
  const valkey = field(info, "valkey_version");
  const text = valkey ?? field(info, "redis_version");
  return text === null ? null : { product: valkey === null ? "Redis" : "Valkey", text };
}

function isAtLeast({ text }: Version, leastMajor: number, leastMinor: number): boolean {
  const [major = 0, minor = 0] = text.split(".").map(Number);
  return major > leastMajor || (major === leastMajor && minor >= leastMinor);
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

/** How soon what is acknowledged is on disk; `off` where nothing is appended, null where nobody may ask. */
type Fsync = "always" | "everysec" | "no" | "off" | null;

async function readFsync(redis: Redis): Promise<Fsync> {
  const appendonly = await setting(redis, "appendonly");
  if (appendonly === null) return null;
  return appendonly === "yes" ? ((await setting(redis, "appendfsync")) as Fsync) : "off";
}

function checkPersistence(fsync: Fsync): StoreCheck {
  const name = "persistence";
  switch (fsync) {
    case null:
      return warn(name, "unknown: CONFIG is not allowed", "see that appendonly is on");
    case "off":
      return warn(
        name,
        "none: a restart of Redis loses everything since its last snapshot",
        "CONFIG SET appendonly yes, and the same in its configuration file",
      );
    case "no":
      return warn(
        name,
        "when the system likes: a power loss can take half a minute",
        "CONFIG SET appendfsync everysec, or always to lose nothing in a power loss",
      );
    case "everysec":
      return ok(name, "every second: a power loss can take the last second of writes; appendfsync always takes none");
    case "always":
      return ok(name, "always: what is acknowledged is on disk");
    default:
      return fsync satisfies never;
  }
}

/** The start of an irreversible step must be on disk before it runs: a forgotten one would be run again. */
export function checkConfirmation(info: string, fsync: Fsync): StoreCheck {
  const name = "waitaof";
  const version = versionOf(info);
  if (version === null) return warn(name, "unknown: INFO is not allowed", "see that it is Redis 7.2 at least");
  if (version.product === "Valkey" || isAtLeast(version, 7, 2)) {
    return ok(name, "the start of an irreversible step is on disk before it runs");
  }
  if (fsync === "always") return ok(name, "not in this version, and not needed with appendfsync always");
  return warn(
    name,
    `${version.product} ${version.text} has none: a power loss can forget that an irreversible step has started`,
    "use Redis 7.2 or Valkey, or appendfsync always where plans have irreversible steps",
  );
}

export function checkReplication(info: string, minReplicas: string | null): StoreCheck {
  const name = "replication";
  if (field(info, "role") === "slave") {
    return fail(name, "this is a replica, which refuses writes", "give the address of the primary");
  }
  const replicas = Number(field(info, "connected_slaves") ?? 0);
  if (replicas === 0) return ok(name, "none: what this server loses is lost");
  const found = `${replicas} ${replicas === 1 ? "replica" : "replicas"}`;
  if (Number(minReplicas ?? 0) > 0) return ok(name, `${found}, at least ${minReplicas} of them up to date`);
  return warn(
    name,
    `${found}, none of which has to keep up: a failover can take what was acknowledged`,
    "CONFIG SET min-replicas-to-write 1, so that a primary that is cut off stops taking writes",
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
