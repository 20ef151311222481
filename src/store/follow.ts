/** History as it happens. One plan is read from its own list, all plans from the shard's stream. */
import { PlanNotFoundError } from "../core/errors.js";
import type { PlanEvent } from "../core/history.js";
import { isTerminal } from "../core/plan.js";
import { decodeEvent, type EventBase, snapshotsNamed } from "./codec.js";
import type { RedisPlanStore } from "./redis-plan-store.js";

/** How often a followed plan is read: soon enough for a person, cheap enough for a fleet. */
const POLL_MS = 100;

export async function* followPlan(
  store: RedisPlanStore,
  planId: string,
  fromSeq: number,
  signal: AbortSignal,
): AsyncGenerator<PlanEvent> {
  let seq = fromSeq;
  while (!signal.aborted) {
    const state = await store.redis.hget(store.keys.plan(planId), "state");
    const events = await store.history(planId, seq);
    for (const event of events) {
      yield event;
      seq = event.seq + 1;
    }
    // The state was read before the history, so a terminal plan's last event has been given.
    if (state !== null && (isTerminal as (s: string) => boolean)(state)) return;
    if (events.length === 0) await pause(POLL_MS, signal);
  }
}

export async function* followAll(store: RedisPlanStore, signal: AbortSignal): AsyncGenerator<PlanEvent> {
  const { redis, keys } = store;
  const bases = new Map<string, EventBase>();
  let last = (await redis.xrevrange(keys.events, "+", "-", "COUNT", 1))[0]?.[0] ?? "0-0";
  while (!signal.aborted) {
    const entries = await redis.xrange(keys.events, `(${last}`, "+", "COUNT", 500);
    for (const [id, fields] of entries) {
      last = id;
      // One call of ours may have put several plans' events into one entry: plan, event, plan, event …
      for (let i = 0; i + 1 < fields.length; i += 2) {
        const planId = fields[i]!;
        const event = fields[i + 1]!;
        let base = bases.get(planId);
        if (!base || base.snapshots.length < snapshotsNamed(event)) {
          const read = await store.eventBase(planId).catch(passOverMissing);
          // Pruned since.
          if (!read) continue;
          base = read;
          bases.set(planId, base);
        }
        yield decodeEvent(base, 0, event);
      }
    }
    if (entries.length === 0) await pause(POLL_MS, signal);
  }
}

/** Null for a plan that isn't there any more. */
export function passOverMissing(error: unknown): null {
  if (error instanceof PlanNotFoundError) return null;
  throw error;
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", done, { once: true });
  });
}
