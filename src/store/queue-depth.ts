/** How much waits in a queue, and for how long. Reads only. */
import type { Redis } from "ioredis";
import { bullQueueName, type Keys } from "./keys.js";
import { timeOf } from "./scripts.js";

export interface QueueDepth {
  readonly queue: string;
  /** Free to run: in the queue, or behind what their plans have there. */
  readonly waiting: number;
  /** Before a retry, or until a timer is over. */
  readonly delayed: number;
  readonly active: number;
  /** How long the step at the head of the queue has been waiting, 0 where there is none. */
  readonly oldestMs: number;
}

/** @param queue as definitions name it */
export async function queueDepth(redis: Redis, keys: Keys, queue: string): Promise<QueueDepth> {
  const base = `${keys.base}${bullQueueName(queue)}:`;
  const [plain, prioritized, behind, delayed, active, first, [urgent], now] = await Promise.all([
    redis.llen(`${base}wait`),
    redis.zcard(`${base}prioritized`),
    redis.hget(keys.backlog, bullQueueName(queue)),
    redis.zcard(`${base}delayed`),
    redis.llen(`${base}active`),
    redis.lindex(`${base}wait`, -1),
    redis.zrange(`${base}prioritized`, "0", "0"),
    timeOf(redis, keys),
  ]);
  const head = first ?? urgent ?? null;
  const since = head === null ? null : await redis.hget(`${base}${head}`, "timestamp");
  return {
    queue,
    waiting: plain + prioritized + Number(behind ?? 0),
    delayed,
    active,
    oldestMs: since === null ? 0 : Math.max(0, now - Number(since)),
  };
}
