/**
 * How many steps a process runs at once, over all its queues, and which of them run alone: while one such waits for its
 * turn or has it, nothing is fetched, and what was fetched before ends first or begins after it.
 */
import type { Slots } from "../queue/step-backend.js";

export class ProcessSlots implements Slots {
  private free: number;
  private waiters: (() => void)[] = [];
  private closed = false;
  private executing = 0;
  /** Steps that run alone, waiting for their turn or having it. */
  private loners = 0;
  private isAlone = false;

  constructor(concurrency: number) {
    this.free = concurrency;
  }

  tryAcquire(): boolean {
    if (this.free === 0 || this.loners > 0) return false;
    this.free--;
    return true;
  }

  release(): void {
    this.free++;
    this.wake();
  }

  get mayFetch(): boolean {
    return this.loners === 0;
  }

  /** A step's turn to execute; null where it is now. Whoever got a turn gives it back with `leave`. */
  enter(alone: boolean): Promise<void> | null {
    if (alone) {
      this.loners++;
      return this.enterAlone();
    }
    if (!this.isAlone) {
      this.executing++;
      return null;
    }
    return this.enterLater();
  }

  leave(alone: boolean): void {
    if (alone) {
      this.loners--;
      this.isAlone = false;
    } else {
      this.executing--;
    }
    if (alone || this.loners > 0) this.wake();
  }

  private async enterAlone(): Promise<void> {
    while (this.executing > 0 || this.isAlone) await this.somethingChanged();
    this.isAlone = true;
  }

  private async enterLater(): Promise<void> {
    while (this.isAlone) await this.somethingChanged();
    this.executing++;
  }

  private somethingChanged(): Promise<void> {
    return new Promise((resolve) => this.waiters.push(resolve));
  }

  private wake(): void {
    const waiters = this.waiters;
    this.waiters = [];
    for (const wake of waiters) wake();
  }

  async whenFree(): Promise<void> {
    while ((this.free === 0 || this.loners > 0) && !this.closed) await this.somethingChanged();
  }

  /** Nobody waits for a slot any more: the process drains. */
  close(): void {
    this.closed = true;
    this.wake();
  }
}
