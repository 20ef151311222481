/** Ends something endless when the user says so. */
import type { Io } from "./io.js";

/** @returns 0 when `work` ended by itself, 130 when SIGINT or SIGTERM ended it */
export async function untilStopped(io: Io, work: (signal: AbortSignal) => Promise<void>): Promise<number> {
  const stop = new AbortController();
  const unsubscribe = io.onSignal(() => stop.abort());
  try {
    await work(stop.signal);
  } catch (error) {
    if (!stop.signal.aborted) throw error;
  } finally {
    unsubscribe();
  }
  return stop.signal.aborted ? 130 : 0;
}
