/** Does something again and again, one at a time, half the pause more or less, so that many schedulers don't keep step. */
export class Rounds {
  private timer: NodeJS.Timeout | null = null;
  private round: Promise<void> = Promise.resolve();
  private isStopped = false;

  /** @param act never rejects */
  constructor(
    private readonly everyMs: number,
    private readonly act: () => Promise<void>,
  ) {}

  get stopped(): boolean {
    return this.isStopped;
  }

  start(): void {
    if (this.timer === null && !this.isStopped) this.schedule();
  }

  /** Resolves when nothing is under way. Safe before `start()` and twice. */
  async stop(): Promise<void> {
    this.isStopped = true;
    if (this.timer) clearTimeout(this.timer);
    await this.round;
  }

  private schedule(): void {
    this.timer = setTimeout(
      () => {
        this.round = this.act().finally(() => {
          if (!this.isStopped) this.schedule();
        });
      },
      this.everyMs * (0.5 + Math.random()),
    );
  }
}
