/** Connections to the Redis (or Valkey) that holds plans, and the proof that it can hold them safely. */
import type { ConnectionOptions } from "node:tls";
import { Cluster, Redis, type RedisOptions } from "ioredis";
import { StoreUnavailableError, StoreUnsuitableError } from "../core/errors.js";
import {
  type ClusterAddress,
  describeStoreUrl,
  parseStoreUrl,
  type StoreLocation,
  type StoreNode,
} from "../core/store-address.js";
import { reasonOf } from "./connect-reason.js";

/** How long a first connection may take before the store counts as unavailable. */
const CONNECT_DEADLINE_MS = 2_500;

export interface ConnectOptions extends StoreLocation {
  /** True where commands wait out an outage instead of failing: in workers. */
  readonly patient: boolean;
  /** How long an answer may take before the connection counts as dead. Without a limit unless given. */
  readonly socketTimeoutMs?: number;
  /** The longest pause between two tries to connect again. */
  readonly reconnectMs?: number;
}

const RECONNECT_MS = 1_000;
/** What is left of the three seconds to ask why. */
const ASK_NODE_MS = 400;
/** What ioredis says of a failure whose reason it has told before. */
const VAGUE = new Set(["Connection is closed.", "Failed to refresh slots cache."]);
/** How often a command may be sent to a cluster that is in the middle of a change. Its own pauses are 100 ms. */
const MOST_REDIRECTIONS = 20;
const MOST_PATIENT_REDIRECTIONS = 600;

/**
 * Connects, or fails within three seconds. Nothing is sent but the handshake and a PING: no client name, no INFO, so that a
 * read-only user can run a dry-run. A cluster is given as a Redis too: every command that is sent here exists on both.
 * @throws StoreUnavailableError, StoreUnsuitableError
 */
export async function connect(options: ConnectOptions): Promise<Redis> {
  let lastError: Error | null = null;
  let connected = false;
  const hear = (error: Error) => {
    if (lastError === null || !VAGUE.has(error.message)) lastError = error;
  };
  const retry = (times: number) => (connected ? Math.min(times * 50, options.reconnectMs ?? RECONNECT_MS) : null);
  const { redis, database } = clientOf(options, retry);
  redis.on("error", hear);
  redis.on("node error", hear);
  let timer: NodeJS.Timeout | undefined;
  const deadline = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(silence(options.url))), CONNECT_DEADLINE_MS);
  });
  try {
    await Promise.race([redis.connect().then(() => hearAnswer(redis, database)), deadline]);
    connected = true;
    return redis;
  } catch (error) {
    redis.disconnect();
    const known = lastError ?? (error as Error);
    const reason = isCluster(redis) && VAGUE.has(known.message) ? await reasonOfNode(options) : known;
    throw new StoreUnavailableError(describeStoreUrl(options.url), reasonOf(reason), { cause: error });
  } finally {
    clearTimeout(timer);
  }
}

/** A cluster's client keeps to itself why it can't reach its nodes: the first of them is asked alone. */
async function reasonOfNode(options: ConnectOptions): Promise<Error> {
  const { nodes } = parseStoreUrl(options.url) as ClusterAddress;
  const redis = new Redis({ ...settingsOf(options, nodes[0]!, () => null), connectTimeout: ASK_NODE_MS });
  let reason = new Error("none of its nodes answers as a cluster");
  redis.on("error", (error: Error) => {
    reason = error;
  });
  await redis.connect().catch(() => {});
  redis.disconnect();
  return reason;
}

function silence(url: string): string {
  const doubt = url.trim().startsWith("rediss") ? ": does it speak TLS at this port?" : "";
  return `no answer within ${CONNECT_DEADLINE_MS} ms${doubt}`;
}

/** Whether keys may be on several servers, between which they may move. */
export function isCluster(redis: Redis): boolean {
  return (redis as { isCluster?: boolean }).isCluster === true;
}

/** The servers that take writes: one, or each of a cluster's primaries that this client knows. */
export function primariesOf(redis: Redis): Redis[] {
  return isCluster(redis) ? (redis as unknown as Cluster).nodes("master") : [redis];
}

/** The one server that has a key now, for what a connection of its own must be asked. */
export async function serverOf(redis: Redis, key: string): Promise<Redis> {
  if (!isCluster(redis)) return redis;
  const slot = Number(await redis.cluster("KEYSLOT", key));
  const ranges = await redis.cluster("SLOTS");
  const [, , primary] = ranges.find(([from, to]) => from <= slot && slot <= to) ?? [];
  const at = ({ options }: Redis) => options.host === primary?.[0] && options.port === primary?.[1];
  return primariesOf(redis).find(at) ?? redis;
}

/** Pause before the next try; null to give up. */
type Retry = (times: number) => number | null;

function clientOf(options: ConnectOptions, retry: Retry): { redis: Redis; database: number } {
  const address = parseStoreUrl(options.url);
  switch (address.kind) {
    case "server": {
      const settings = settingsOf(options, address.node, retry);
      return { redis: new Redis(settings), database: address.node.db };
    }
    case "sentinel": {
      const { sentinels, name, primary, sentinelUsername, sentinelPassword } = address;
      const settings = settingsOf(options, primary, retry);
      const redis = new Redis({
        ...settings,
        sentinels: [...sentinels],
        name,
        sentinelRetryStrategy: retry,
        ...(sentinelUsername === undefined ? {} : { sentinelUsername }),
        ...(sentinelPassword === undefined ? {} : { sentinelPassword }),
        ...(settings.tls === undefined ? {} : { sentinelTLS: settings.tls, enableTLSForSentinelMode: true }),
      });
      return { redis, database: primary.db };
    }
    case "cluster": {
      const { host: _, port: __, ...redisOptions } = settingsOf(options, address.nodes[0]!, retry);
      const cluster = new Cluster(
        address.nodes.map(({ host, port }) => ({ host, port })),
        {
          lazyConnect: true,
          enableReadyCheck: false,
          clusterRetryStrategy: retry,
          maxRedirections: options.patient ? MOST_PATIENT_REDIRECTIONS : MOST_REDIRECTIONS,
          redisOptions,
        },
      );
      return { redis: cluster as unknown as Redis, database: 0 };
    }
    default:
      return address satisfies never;
  }
}

function settingsOf(
  options: ConnectOptions,
  node: StoreNode,
  retry: Retry,
): RedisOptions & { replyMapping?: "legacy" } {
  const { tls, ...where } = node;
  return {
    ...where,
    ...(tls ? { tls: { ...options.tls } as ConnectionOptions } : {}),
    lazyConnect: true,
    enableReadyCheck: false,
    disableClientInfo: true,
    protocol: 2,
    connectTimeout: CONNECT_DEADLINE_MS,
    maxRetriesPerRequest: options.patient ? null : 2,
    retryStrategy: retry,
    // A primary that has become a replica refuses writes for ever: whoever looks again finds the one that took its place.
    reconnectOnError: (error) => error.message.startsWith("READONLY"),
    ...(options.socketTimeoutMs === undefined ? {} : { socketTimeout: options.socketTimeoutMs }),
  };
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

/**
 * Refuses a store that would lose plans: too old for read-only scripts, or evicting keys. Reads only what the user may
 * read; a server that hides its configuration is taken at its word.
 * @throws StoreUnsuitableError
 */
export async function requireSuitable(redis: Redis): Promise<void> {
  await Promise.all(primariesOf(redis).map(requireSuitableServer));
}

async function requireSuitableServer(redis: Redis): Promise<void> {
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
      { maxmemoryPolicy: policy },
    );
  }
}

/** @throws StoreUnsuitableError where the store was first written with another number of shards; `recorded` is null before */
export function requireShards(shards: number, recorded: string | null): void {
  if (recorded === null || Number(recorded) === shards) return;
  throw new StoreUnsuitableError(
    `This store has ${recorded} ${recorded === "1" ? "shard" : "shards"}, and ${shards} are configured: set WAYMARK_SHARDS=${recorded}`,
    { shards, recorded: Number(recorded) },
  );
}

function isAtLeast(version: string, major: number, minor: number): boolean {
  const [a = 0, b = 0] = version.split(".").map(Number);
  return a > major || (a === major && b >= minor);
}
