/** A connection to the one Redis (or Valkey) that holds a shard, and the proof that it can hold plans safely. */
import { Redis, type RedisOptions } from "ioredis";
import { StoreUnavailableError, StoreUnsuitableError } from "../core/errors.js";

/** How long a first connection may take before the store counts as unavailable. */
const CONNECT_DEADLINE_MS = 2_500;

export interface ConnectOptions {
  /** `redis://`, `rediss://` or `unix://`. */
  readonly url: string;
  /** True where commands wait out an outage instead of failing: in workers. */
  readonly patient: boolean;
  /** How long an answer may take before the connection counts as dead. Without a limit unless given. */
  readonly socketTimeoutMs?: number;
  /** The longest pause between two tries to connect again. */
  readonly reconnectMs?: number;
}

const RECONNECT_MS = 1_000;

/**
 * Connects, or fails within three seconds. Nothing is sent but the handshake and a PING: no client name, no INFO, so that a
 * read-only user can run a dry-run.
 * @throws StoreUnavailableError
 */
export async function connect(options: ConnectOptions): Promise<Redis> {
  let lastError: Error | null = null;
  let connected = false;
  const address = addressOf(options.url);
  const settings = {
    ...address,
    lazyConnect: true,
    enableReadyCheck: false,
    disableClientInfo: true,
    protocol: 2,
    connectTimeout: CONNECT_DEADLINE_MS,
    maxRetriesPerRequest: options.patient ? null : 2,
    retryStrategy: (times: number) => (connected ? Math.min(times * 50, options.reconnectMs ?? RECONNECT_MS) : null),
    ...(options.socketTimeoutMs === undefined ? {} : { socketTimeout: options.socketTimeoutMs }),
  };
  const redis = new Redis(settings as RedisOptions & { replyMapping?: "legacy" });
  redis.on("error", (error: Error) => {
    lastError = error;
  });
  let timer: NodeJS.Timeout | undefined;
  const deadline = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${CONNECT_DEADLINE_MS} ms`)), CONNECT_DEADLINE_MS);
  });
  try {
    await Promise.race([redis.connect().then(() => hearAnswer(redis, address.db ?? 0)), deadline]);
    connected = true;
    return redis;
  } catch (error) {
    redis.disconnect();
    throw new StoreUnavailableError(describeUrl(options.url), (lastError ?? (error as Error)).message, {
      cause: error,
    });
  } finally {
    clearTimeout(timer);
  }
}

/**
 * A kernel accepts connections for a server that is stuck. Any answer will do, but a demand for a password: a user may
 * lack the right to ask. The client goes on in database 0 where it can't have the one it wants, so it is asked again.
 */
async function hearAnswer(redis: Redis, database: number): Promise<void> {
  await redis.ping().catch((error: Error) => {
    if (error.name !== "ReplyError" || error.message.startsWith("NOAUTH")) throw error;
  });
  if (database !== 0) await redis.select(database);
}

/** The URL without its password, for messages. */
export function describeUrl(url: string): string {
  return url.replace(/^(\w+:\/\/)([^@/]*)@/, "$1***@");
}

/**
 * Refuses a store that would lose plans: too old for read-only scripts, or evicting keys. Reads only what the user may
 * read; a server that hides its configuration is taken at its word.
 * @throws StoreUnsuitableError
 */
export async function requireSuitable(redis: Redis): Promise<void> {
  const info = await redis.info("server").catch(() => "");
  // Valkey tells first which Redis it can stand in for.
  const valkey = /^valkey_version:(\S+)/m.exec(info)?.[1];
  const version = valkey ?? /^redis_version:(\S+)/m.exec(info)?.[1];
  if (version && !isAtLeast(version, 7, valkey ? 2 : 0)) {
    throw new StoreUnsuitableError(
      `${valkey ? "Valkey" : "Redis"} ${version} is too old: Waymark needs Redis 7.0 or Valkey 7.2`,
      { version },
    );
  }
  const policy = await redis.config("GET", "maxmemory-policy").then(
    (reply) => (reply as string[])[1],
    () => undefined,
  );
  if (policy !== undefined && policy !== "noeviction") {
    throw new StoreUnsuitableError(
      `This Redis evicts keys when memory is short (maxmemory-policy ${policy}); plans need noeviction`,
      { maxmemory_policy: policy },
    );
  }
}

interface Address {
  readonly path?: string;
  readonly host?: string;
  readonly port?: number;
  readonly username?: string;
  readonly password?: string;
  readonly db?: number;
  readonly tls?: object;
}

function addressOf(url: string): Address {
  const parsed = new URL(url);
  const isSocket = parsed.protocol === "unix:";
  const database = Number(parsed.searchParams.get("db") ?? (isSocket ? 0 : parsed.pathname.slice(1)));
  return {
    ...(isSocket
      ? { path: decodeURIComponent(parsed.pathname) }
      : { host: parsed.hostname.replace(/^\[|\]$/g, "") || "127.0.0.1", port: Number(parsed.port || 6379) }),
    ...(parsed.username ? { username: decodeURIComponent(parsed.username) } : {}),
    ...(parsed.password ? { password: decodeURIComponent(parsed.password) } : {}),
    ...(database ? { db: database } : {}),
    ...(parsed.protocol === "rediss:" ? { tls: {} } : {}),
  };
}

function isAtLeast(version: string, major: number, minor: number): boolean {
  const [a = 0, b = 0] = version.split(".").map(Number);
  return a > major || (a === major && b >= minor);
}
