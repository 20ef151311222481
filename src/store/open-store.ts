/** Opens the store that a configuration names. */

import type { PayloadCodec } from "../core/payload-codec.js";
import type { StoreLocation } from "../core/store-address.js";
import { isProcessGone } from "../machine/process-identity.js";
import { connect } from "./connect.js";
import { Keys } from "./keys.js";
import { RedisPlanStore } from "./redis-plan-store.js";

export const DEFAULT_PREFIX = "waymark";
export const DEFAULT_DEAD_AFTER_MS = 3_000;

export interface StoreOptions extends StoreLocation {
  readonly prefix?: string | undefined;
  readonly deadAfterMs?: number | undefined;
  /** True where commands wait out an outage instead of failing: in workers. */
  readonly patient?: boolean | undefined;
  /** What payloads go through; as they are unless given. */
  readonly payloads?: PayloadCodec | undefined;
}

/** @throws StoreUnavailableError within three seconds when nothing answers */
export async function openStore(options: StoreOptions): Promise<RedisPlanStore> {
  const { url, tls } = options;
  const location: StoreLocation = tls === undefined ? { url } : { url, tls };
  const redis = await connect({ ...location, patient: options.patient ?? false });
  return new RedisPlanStore({
    redis,
    location,
    keys: new Keys(options.prefix ?? DEFAULT_PREFIX),
    deadAfterMs: options.deadAfterMs ?? DEFAULT_DEAD_AFTER_MS,
    isGone: isProcessGone,
    payloads: options.payloads,
  });
}
