/** Ends something endless when the user says so. */
import type { Io } from "./io.js";

/** @returns 0 when `work` ended by itself or nobody reads on, 130 when a signal ended it */
export async function untilStopped(io: Io, work: (signal: AbortSignal) => Promise<void>): Promise<number> {
  const stop = new AbortController();
  let interrupted = false;
  const unsubscribe = io.onSignal(() => {
    interrupted = true;
    stop.abort();
  });
  const ignoreReader = io.onReaderGone(() => stop.abort());
  try {
    await work(stop.signal);
  } catch (error) {
    if (!stop.signal.aborted) throw error;
  } finally {
    unsubscribe();
    ignoreReader();
  }
  return interrupted ? 130 : 0;
}
