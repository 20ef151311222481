/** Opens the store that a configuration names. */
import type { Redis } from "ioredis";
import type { CompiledDefinition } from "../core/definition.js";
import type { PayloadCodec } from "../core/payload-codec.js";
import type { StoreLocation } from "../core/store-address.js";
import { isProcessGone } from "../machine/process-identity.js";
import { connect, isCluster, requireShards } from "./connect.js";
import { Keys } from "./keys.js";
import { RedisPlanStore } from "./redis-plan-store.js";
import { ShardedPlanStore } from "./sharded-plan-store.js";

export const DEFAULT_PREFIX = "waymark";
export const DEFAULT_DEAD_AFTER_MS = 3_000;

export interface StoreSettings {
  readonly prefix?: string | undefined;
  /** How many shards the plans are in: one unless given. */
  readonly shards?: number | undefined;
  readonly deadAfterMs?: number | undefined;
  /** What one payload may weigh: 256 KiB unless given. */
  readonly payloadLimitBytes?: number | undefined;
  /** What payloads go through; as they are unless given. */
  readonly payloads?: PayloadCodec | undefined;
}

export interface StoreOptions extends StoreLocation, StoreSettings {
  /** True where commands wait out an outage instead of failing: in workers. */
  readonly patient?: boolean | undefined;
}

/** @throws StoreUnavailableError within three seconds when nothing answers, StoreUnsuitableError with another number of shards */
export async function openStore(options: StoreOptions): Promise<ShardedPlanStore> {
  const { url, tls, patient = false } = options;
  const location: StoreLocation = tls === undefined ? { url } : { url, tls };
  const redis = await connect({ ...location, patient });
  try {
    return await storeOn(redis, location, options);
  } catch (error) {
    redis.disconnect();
    throw error;
  }
}

/** The store on a connection, which is the caller's to close where that fails. @throws StoreUnsuitableError */
export async function storeOn(
  redis: Redis,
  location: StoreLocation,
  {
    prefix = DEFAULT_PREFIX,
    shards = 1,
    deadAfterMs = DEFAULT_DEAD_AFTER_MS,
    payloadLimitBytes,
    payloads,
  }: StoreSettings,
): Promise<ShardedPlanStore> {
  requireShards(shards, await redis.get(new Keys(prefix).shards));
  const definitions = new Map<string, CompiledDefinition>();
  const shared = {
    redis,
    location,
    shards,
    definitions,
    deadAfterMs,
    payloadLimitBytes,
    payloads,
    isGone: isProcessGone,
  };
  const all = Array.from({ length: shards }, (_, shard) => new Keys(prefix, shard, isCluster(redis), shards));
  return new ShardedPlanStore(all.map((keys) => new RedisPlanStore({ ...shared, keys })));
}
