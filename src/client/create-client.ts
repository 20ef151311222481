/** `createClient`: the library's way to plans. */
import { type Cluster, type ClusterNode, Redis, type RedisOptions } from "ioredis";
import { UsageError } from "../core/errors.js";
import type { PayloadCodec } from "../core/payload-codec.js";
import { PAYLOAD_LIMITS, parsePayloadLimit } from "../core/payload-limit.js";
import type { StoreLocation, StoreTls } from "../core/store-address.js";
import { isCluster } from "../store/connect.js";
import { openStore, type StoreSettings, storeOn } from "../store/open-store.js";
import { ShardedPlanStore } from "../store/sharded-plan-store.js";
import { defaultActor } from "./actor.js";
import { checkStoreOptions, checkTexts } from "./check-options.js";
import { Client } from "./client.js";
import { type SandboxOptions, sandboxesOf } from "./sandboxes.js";
import { asStoreError } from "./store-outage.js";

/**
 * An address, one with what TLS takes, ioredis options, or a client that stays the caller's to close. Workers open
 * connections of their own besides, and take from options and clients the address, the login and the certificates only.
 */
export type RedisSource = string | StoreLocation | RedisOptions | Redis | Cluster;

export const LOCAL_REDIS_URL = "redis://127.0.0.1:6379";

export interface ClientOptions {
  /** A Redis on this machine unless given. */
  readonly redis?: RedisSource | undefined;
  /** Of all keys: `waymark` unless given. */
  readonly prefix?: string | undefined;
  /** How many shards the plans are in: 1 unless given. The first write decides, and nobody may say otherwise later. */
  readonly shards?: number | undefined;
  /** Who does what this client does, for the history: user@host unless given. */
  readonly actor?: string | undefined;
  /**
   * What an input, an output, a cursor, a decision or a signal may weigh: bytes, or a text such as "1MiB"; 256 KiB unless
   * given. Who writes it decides: give clients and workers the same.
   */
  readonly payloadLimit?: number | string | undefined;
  /** What payloads go through on their way to Redis and back, such as `aesPayloads`; as they are unless given. */
  readonly payloads?: PayloadCodec | undefined;
  /** Where files of plans with a sandbox are kept. */
  readonly sandboxes?: SandboxOptions | undefined;
}

/** Connects at the first use. @throws UsageError */
export function createClient(options: ClientOptions = {}): Client {
  checkStoreOptions(options);
  checkTexts({ ...options }, ["actor"]);
  const payloadLimitBytes = payloadLimitOf(options.payloadLimit);
  return new Client(
    () =>
      storeOf(options.redis ?? LOCAL_REDIS_URL, {
        prefix: options.prefix,
        shards: options.shards,
        payloadLimitBytes,
        payloads: options.payloads,
      }),
    options.actor ?? defaultActor(),
    sandboxesOf(options.sandboxes),
  );
}

/** @throws UsageError */
export function payloadLimitOf(given: number | string | undefined): number | undefined {
  if (given === undefined) return undefined;
  const bytes = parsePayloadLimit(given);
  if (bytes !== null) return bytes;
  throw new UsageError(`payloadLimit must be ${PAYLOAD_LIMITS}, not ${JSON.stringify(given)}`);
}

/** The store at an address, with options, or on a client that is there already. @throws StoreUnavailableError, StoreUnsuitableError */
export async function storeOf(source: RedisSource, settings: StoreSettings): Promise<ShardedPlanStore> {
  try {
    return await openSource(source, settings);
  } catch (error) {
    throw asStoreError(error);
  }
}

async function openSource(source: RedisSource, settings: StoreSettings): Promise<ShardedPlanStore> {
  if (typeof source === "string") return openStore({ url: source, ...settings });
  if (isLocation(source)) return openStore({ ...source, ...settings });
  if (isRedis(source)) {
    const { shards } = await storeOn(source as Redis, locationOf(source), settings);
    return new BorrowedPlanStore(shards);
  }
  // A command fails while nothing answers, as it does with an address; ioredis alone would wait for minutes.
  const options: RedisOptions & { replyMapping?: "legacy" } = {
    maxRetriesPerRequest: 2,
    ...source,
    replyMapping: "legacy",
  };
  const redis = new Redis(options);
  // Each command that fails says so; without a listener ioredis would print it as well.
  redis.on("error", () => {});
  try {
    return await storeOn(redis, locationOf(source), settings);
  } catch (error) {
    redis.disconnect();
    throw error;
  }
}

/** The address of the same Redis, for connections that must be separate. */
export function urlOf(source: RedisSource): string {
  if (typeof source === "string") return source;
  if (isLocation(source)) return source.url;
  if (isRedis(source) && isCluster(source as Redis)) return clusterUrl(source as Cluster);
  const { path, host = "127.0.0.1", port = 6379, db = 0, sentinels, name, ...options } = optionsOf(source);
  if (path) return `unix://${path}`;
  const login = loginOf(options);
  const database = db === 0 ? "" : `/${db}`;
  if (!sentinels) return `${schemeOf(options)}://${login}${hostAndPort(host, port)}${database}`;
  const hosts = sentinels.map((at) => hostAndPort(at.host ?? "127.0.0.1", at.port ?? 26379)).join(",");
  const own = Object.entries({
    "sentinel-username": options.sentinelUsername,
    "sentinel-password": options.sentinelPassword,
  }).flatMap(([key, value]) => (value ? [`${key}=${encodeURIComponent(value)}`] : []));
  const query = own.length === 0 ? "" : `?${own.join("&")}`;
  return `${schemeOf(options)}-sentinel://${login}${hosts}/${encodeURIComponent(name ?? "")}${database}${query}`;
}

function clusterUrl(cluster: Cluster): string {
  const { redisOptions = {} } = cluster.options;
  const { startupNodes } = cluster as unknown as { startupNodes: readonly ClusterNode[] };
  const nodes = startupNodes.map((node) => {
    if (typeof node === "number") return hostAndPort("127.0.0.1", node);
    if (typeof node === "string") return node.replace(/^\w+:\/\//, "");
    return hostAndPort(node.host ?? "127.0.0.1", node.port ?? 6379);
  });
  // Named twice, a single one is a cluster's too.
  const named = nodes.length === 1 ? [...nodes, ...nodes] : nodes;
  return `${schemeOf(redisOptions)}://${loginOf(redisOptions)}${named.join(",")}`;
}

function optionsOf(source: RedisOptions | Redis | Cluster): RedisOptions {
  if (!isRedis(source)) return source;
  return isCluster(source as Redis) ? ((source as Cluster).options.redisOptions ?? {}) : (source as Redis).options;
}

function schemeOf({ tls }: Pick<RedisOptions, "tls">): "redis" | "rediss" {
  return tls ? "rediss" : "redis";
}

function loginOf({ username, password }: Pick<RedisOptions, "username" | "password">): string {
  return password || username ? `${encodeURIComponent(username ?? "")}:${encodeURIComponent(password ?? "")}@` : "";
}

function hostAndPort(host: string, port: number): string {
  return `${host.includes(":") ? `[${host}]` : host}:${port}`;
}

/** The same Redis as plain data: functions among the TLS options can't go to another thread. */
function locationOf(source: RedisOptions | Redis | Cluster): StoreLocation {
  const url = urlOf(source);
  const { tls } = optionsOf(source);
  if (!tls) return { url };
  const { ca, cert, key, passphrase, servername, rejectUnauthorized } = tls as StoreTls;
  const given = Object.entries({ ca, cert, key, passphrase, servername, rejectUnauthorized });
  return { url, tls: Object.fromEntries(given.filter(([, value]) => value !== undefined)) };
}

/** Leaves the connection open: whoever made it closes it. */
class BorrowedPlanStore extends ShardedPlanStore {
  override async close(): Promise<void> {}
}

function isLocation(source: object): source is StoreLocation {
  return typeof (source as StoreLocation).url === "string";
}

// By structure: an application may have another copy of ioredis.
function isRedis(source: RedisOptions | Redis | Cluster): source is Redis | Cluster {
  return typeof (source as Redis).defineCommand === "function";
}
