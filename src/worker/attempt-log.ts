/** What an attempt writes, collected and sent in pieces, so that a chatty step doesn't cost a round trip a line. */
import { withoutLookAlikes } from "../core/look-alikes.js";
import type { Redactor } from "./redactor.js";

/** How long a line may wait before those who follow see it. */
const FLUSH_MS = 200;
/** What one piece holds at most; of more, the end is kept, as the store does. */
const MOST_CHARS = 64 * 1024;

export class AttemptLog {
  private pending = "";
  /** Bytes written since the last piece, those that were dropped and hidden included. */
  private bytes = 0;
  private timer: NodeJS.Timeout | null = null;

  constructor(
    /** Sends in order, so that what is sent after a piece comes after it. */
    private readonly send: (text: string, bytes: number) => void,
    private readonly redactor: Redactor | null,
  ) {}

  write(text: string): void {
    this.pending += text;
    this.bytes += Buffer.byteLength(text);
    // Hidden before it is cut, because half a secret is not recognised.
    if (this.pending.length > MOST_CHARS) this.pending = this.shown().slice(-MOST_CHARS);
    this.timer ??= setTimeout(() => this.sendPiece(), FLUSH_MS);
  }

  /** Sends all that was written so far. */
  flush(): void {
    if (this.timer) clearTimeout(this.timer);
    this.timer = null;
    this.sendNow(this.shown());
  }

  /** What may be the beginning of a secret waits for what follows it. */
  private sendPiece(): void {
    this.timer = null;
    const text = this.shown();
    const kept = text.length - (this.redactor?.undecided(text) ?? 0);
    this.sendNow(text.slice(0, kept));
    this.pending = text.slice(kept);
  }

  private shown(): string {
    const text = withoutLookAlikes(this.pending);
    return this.redactor === null ? text : this.redactor.text(text);
  }

  private sendNow(text: string): void {
    if (text === "") return;
    const { bytes } = this;
    this.pending = "";
    this.bytes = 0;
    this.send(text, bytes);
  }
}
