/** Waits for a condition, with a deadline, instead of a guessed time. */
import { setTimeout as sleep } from "node:timers/promises";

/** Resolves with the first answer that isn't false, null or undefined. Fails, naming what it waited for, after `deadlineMs`. */
export async function until<T>(
  what: string,
  condition: () => T | Promise<T>,
  deadlineMs = 10_000,
): Promise<Exclude<T, false | null | undefined>> {
  const endMs = Date.now() + deadlineMs;
  for (;;) {
    const answer = await condition();
    if (answer !== false && answer !== null && answer !== undefined) {
      return answer as Exclude<T, false | null | undefined>;
    }
    if (Date.now() >= endMs) throw new Error(`Waited ${deadlineMs} ms in vain for ${what}`);
    await sleep(10);
  }
}
