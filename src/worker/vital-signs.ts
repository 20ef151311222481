/**
 * What the main thread shows its keeper through shared memory: writing it costs nothing, and it can be read while the
 * main thread is stuck. Times are the main thread's `performance.now()`.
 */

/** How often the main thread shows that its event loop turns. */
export const PULSE_MS = 500;

const DRAINING = 0;
const ACTIVE = 1;
const INTS = 2;

const PULSE = 0;
const DEADLINES = 1;

export class VitalSigns {
  private readonly ints: Int32Array;
  private readonly times: Float64Array;

  constructor(readonly memory: SharedArrayBuffer) {
    this.ints = new Int32Array(memory, 0, INTS);
    this.times = new Float64Array(memory, INTS * Int32Array.BYTES_PER_ELEMENT);
  }

  /** @param attempts how many deadlines can be shown at once; more are not watched */
  static forAttempts(attempts: number): VitalSigns {
    const times = (DEADLINES + attempts) * Float64Array.BYTES_PER_ELEMENT;
    return new VitalSigns(new SharedArrayBuffer(INTS * Int32Array.BYTES_PER_ELEMENT + times));
  }

  get draining(): boolean {
    return this.ints[DRAINING] === 1;
  }

  set draining(value: boolean) {
    this.ints[DRAINING] = value ? 1 : 0;
  }

  get active(): number {
    return this.ints[ACTIVE]!;
  }

  set active(steps: number) {
    this.ints[ACTIVE] = steps;
  }

  /** When the main thread's event loop last turned. */
  get pulseAt(): number {
    return this.times[PULSE]!;
  }

  pulse(now: number): void {
    this.times[PULSE] = now;
  }

  /** Shows by when an attempt will have ended. Returns where it is shown, for `withdraw`. */
  show(deadline: number): number {
    let place = DEADLINES;
    while (place < this.times.length && this.times[place] !== 0) place++;
    if (place < this.times.length) this.times[place] = deadline;
    return place;
  }

  withdraw(place: number): void {
    if (place < this.times.length) this.times[place] = 0;
  }

  /** Whether an attempt should have ended by now. */
  isOverdue(now: number): boolean {
    return this.times.subarray(DEADLINES).some((deadline) => deadline !== 0 && deadline < now);
  }
}
