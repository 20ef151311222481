/** How many steps a process runs at once, over all its queues. */
import type { Slots } from "../queue/step-backend.js";

export class ProcessSlots implements Slots {
  private free: number;
  private waiters: (() => void)[] = [];
  private closed = false;

  constructor(concurrency: number) {
    this.free = concurrency;
  }

  tryAcquire(): boolean {
    if (this.free === 0) return false;
    this.free--;
    return true;
  }

  release(): void {
    this.free++;
    const waiters = this.waiters;
    this.waiters = [];
    for (const wake of waiters) wake();
  }

  async whenFree(): Promise<void> {
    while (this.free === 0 && !this.closed) await new Promise<void>((resolve) => this.waiters.push(resolve));
  }

  /** Nobody waits for a slot any more: the process drains. */
  close(): void {
    this.closed = true;
    const waiters = this.waiters;
    this.waiters = [];
    for (const wake of waiters) wake();
  }
}
