/**
 * Tells the store how far attempts are: of each the newest word only, and no oftener than people read. Nothing depends on
 * it, so nobody waits for it, and what can't be told is not told again.
 */
import type { StartedStep } from "../core/ports.js";

export type SendProgress = (step: StartedStep, fraction: number, note: string | null) => Promise<unknown>;

const PAUSE_MS = 500;

export class Progress {
  /** By the token of the slot: what a later step of it says takes the place of what an earlier one said. */
  private readonly untold = new Map<string, () => Promise<unknown>>();
  private pause: NodeJS.Timeout | null = null;

  constructor(
    private readonly send: SendProgress,
    private readonly onError: (error: unknown) => void,
  ) {}

  tell(step: StartedStep, fraction: number, note: string | null): void {
    this.untold.set(step.token, () => this.send(step, fraction, note));
    if (this.pause === null) this.flush();
  }

  stop(): void {
    if (this.pause !== null) clearTimeout(this.pause);
    this.untold.clear();
  }

  private flush(): void {
    this.pause = null;
    if (this.untold.size === 0) return;
    for (const send of this.untold.values()) send().catch(this.onError);
    this.untold.clear();
    this.pause = setTimeout(() => this.flush(), PAUSE_MS).unref();
  }
}
