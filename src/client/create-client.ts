/** `createClient`: the library's way to plans. */
import { Redis, type RedisOptions } from "ioredis";
import type { PayloadCodec } from "../core/payload-codec.js";
import { isProcessGone } from "../machine/process-identity.js";
import { Keys } from "../store/keys.js";
import { DEFAULT_DEAD_AFTER_MS, DEFAULT_PREFIX, openStore } from "../store/open-store.js";
import { RedisPlanStore } from "../store/redis-plan-store.js";
import { defaultActor } from "./actor.js";
import { Client } from "./client.js";
import { type SandboxOptions, sandboxesOf } from "./sandboxes.js";

/** An address, ioredis options, or a client that stays the caller's to close. */
export type RedisSource = string | RedisOptions | Redis;

export const LOCAL_REDIS_URL = "redis://127.0.0.1:6379";

export interface ClientOptions {
  /** A Redis on this machine unless given. */
  readonly redis?: RedisSource | undefined;
  /** Of all keys: `waymark` unless given. */
  readonly prefix?: string | undefined;
  /** Who does what this client does, for the history: user@host unless given. */
  readonly actor?: string | undefined;
  /** What payloads go through on their way to Redis and back, such as `aesPayloads`; as they are unless given. */
  readonly payloads?: PayloadCodec | undefined;
  /** Where files of plans with a sandbox are kept. */
  readonly sandboxes?: SandboxOptions | undefined;
}

/** Connects at the first use. */
export function createClient(options: ClientOptions = {}): Client {
  return new Client(
    () => storeOf(options.redis ?? LOCAL_REDIS_URL, options.prefix, options.payloads),
    options.actor ?? defaultActor(),
    sandboxesOf(options.sandboxes),
  );
}

/** The store at an address, with options, or on a client that is there already. */
export async function storeOf(
  source: RedisSource,
  prefix: string = DEFAULT_PREFIX,
  payloads?: PayloadCodec,
): Promise<RedisPlanStore> {
  if (typeof source === "string") return openStore({ url: source, prefix, payloads });
  if (isRedis(source)) return new BorrowedPlanStore({ ...storeParts(source, prefix), payloads });
  // A command fails while nothing answers, as it does with an address; ioredis alone would wait for minutes.
  const options: RedisOptions & { replyMapping?: "legacy" } = {
    maxRetriesPerRequest: 2,
    ...source,
    replyMapping: "legacy",
  };
  const redis = new Redis(options);
  // Each command that fails says so; without a listener ioredis would print it as well.
  redis.on("error", () => {});
  return new RedisPlanStore({ ...storeParts(redis, prefix), payloads });
}

/** The address of the same Redis, for connections that must be separate. */
export function urlOf(source: RedisSource): string {
  if (typeof source === "string") return source;
  const options = isRedis(source) ? source.options : source;
  if (options.path !== undefined && options.path !== null) return `unix://${options.path}`;
  const { host = "127.0.0.1", port = 6379, username = "", password, db = 0, tls } = options as RedisOptions;
  const login =
    password || username ? `${encodeURIComponent(username ?? "")}:${encodeURIComponent(password ?? "")}@` : "";
  const address = host.includes(":") ? `[${host}]` : host;
  return `${tls ? "rediss" : "redis"}://${login}${address}:${port}${db === 0 ? "" : `/${db}`}`;
}

/** Leaves the connection open: whoever made it closes it. */
class BorrowedPlanStore extends RedisPlanStore {
  override async close(): Promise<void> {}
}

function storeParts(redis: Redis, prefix: string): ConstructorParameters<typeof RedisPlanStore>[0] {
  return {
    redis,
    url: urlOf(redis),
    keys: new Keys(prefix),
    deadAfterMs: DEFAULT_DEAD_AFTER_MS,
    isGone: isProcessGone,
  };
}

// By structure: an application may have another copy of ioredis.
function isRedis(source: RedisOptions | Redis): source is Redis {
  return typeof (source as Redis).defineCommand === "function";
}
