/** When a failed step runs again. Pure: chance is an argument. */
import type { RetryPolicy } from "./definition.js";

/** How far a delay is spread around its nominal value, so that steps that failed together don't return together. */
export const JITTER = 0.2;

/**
 * Milliseconds until the next attempt after `failures` failed ones, or null where the policy allows no more.
 *
 * `fixed` waits `delayMs` every time; `exponential` waits `delayMs`, twice that, four times that, up to `maxMs`. The
 * wait is drawn evenly from ±20 % around that value and never exceeds `maxMs` where the backoff is exponential.
 * `random` returns a number in [0, 1).
 */
export function nextDelayMs(policy: RetryPolicy, failures: number, random: () => number): number | null {
  if (failures >= policy.attempts) return null;
  const ceiling = policy.backoff === "exponential" ? policy.maxMs : Infinity;
  const nominal = Math.min(nominalDelayMs(policy, failures), ceiling);
  const shortest = nominal * (1 - JITTER);
  const longest = Math.min(nominal * (1 + JITTER), ceiling);
  return Math.round(shortest + (longest - shortest) * random());
}

function nominalDelayMs(policy: RetryPolicy, failures: number): number {
  if (policy.backoff === "fixed") return policy.delayMs;
  // 2 ** 52 milliseconds pass any ceiling, and a delay of 0 times Infinity would not be a number.
  return policy.delayMs * 2 ** Math.min(Math.max(failures - 1, 0), 52);
}
