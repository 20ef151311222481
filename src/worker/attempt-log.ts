/** What an attempt writes, collected and sent in pieces, so that a chatty step doesn't cost a round trip a line. */

/** How long a line may wait before those who follow see it. */
const FLUSH_MS = 200;
/** What one piece holds at most; of more, the end is kept, as the store does. */
const MOST_CHARS = 64 * 1024;

export class AttemptLog {
  private pending = "";
  private timer: NodeJS.Timeout | null = null;
  private sending: Promise<void> = Promise.resolve();

  constructor(private readonly send: (text: string) => Promise<void>) {}

  write(text: string): void {
    this.pending += text;
    if (this.pending.length > MOST_CHARS) this.pending = this.pending.slice(-MOST_CHARS);
    this.timer ??= setTimeout(() => void this.flush(), FLUSH_MS);
  }

  /** Resolves when all that was written so far is stored. */
  flush(): Promise<void> {
    if (this.timer) clearTimeout(this.timer);
    this.timer = null;
    if (this.pending !== "") {
      const text = this.pending;
      this.pending = "";
      this.sending = this.sending.then(() => this.send(text));
    }
    return this.sending;
  }
}
