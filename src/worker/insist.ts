/** Asks the store again while it answers with errors: an outage of the store is no failure of a step. */
import { setTimeout as sleep } from "node:timers/promises";
import { PayloadKeyError } from "../core/errors.js";
import { type Attempt, AttemptAbortedError } from "./attempt.js";

const RETRY_MS = [20, 50, 100, 250, 500];

/** @throws AttemptAbortedError once the attempt has to stop anyway */
export async function insist<T>(attempt: Attempt, call: () => Promise<T>): Promise<T> {
  for (let tries = 0; ; tries++) {
    try {
      return await call();
    } catch (error) {
      // The store has answered, with something that nobody here can open.
      if (error instanceof PayloadKeyError) throw error;
      if (attempt.aborted !== null) throw new AttemptAbortedError(attempt.aborted);
      await sleep(RETRY_MS[Math.min(tries, RETRY_MS.length - 1)]);
    }
  }
}
