/**
 * Calls of node:fs that wait are several times as fast as those that don't, for files that are in memory. They are made
 * in slices, between which the worker's event loop gets its turn: a beat must not wait for a large directory.
 */
import { setImmediate } from "node:timers/promises";

const SLICE_MS = 8;

export class TimeSlices {
  private endMs = performance.now() + SLICE_MS;

  constructor(private readonly signal: AbortSignal | undefined) {}

  /** Cheap enough for every file. Where it says yes, await `next`. */
  get isOver(): boolean {
    return performance.now() >= this.endMs;
  }

  /** @throws the signal's reason once it is aborted */
  async next(): Promise<void> {
    this.signal?.throwIfAborted();
    await setImmediate();
    this.endMs = performance.now() + SLICE_MS;
  }
}
