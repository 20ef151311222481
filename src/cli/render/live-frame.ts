/** Text at the bottom of a terminal that is drawn again and again in place, with lasting lines above it. */
import type { TextSink } from "../io.js";

const HIDE_CURSOR = "\u001b[?25l";
const SHOW_CURSOR = "\u001b[?25h";
const CLEAR_BELOW = "\u001b[J";

export class LiveFrame {
  private height = 0;
  private hidden = false;

  constructor(private readonly sink: TextSink) {}

  /** The rows must not be wider than the terminal: a wrapped row could not be found again. */
  draw(rows: readonly string[]): void {
    const hide = this.hidden ? "" : HIDE_CURSOR;
    this.hidden = true;
    this.sink.write(`${hide}${this.erase()}${rows.map((row) => `${row}\n`).join("")}`);
    this.height = rows.length;
  }

  /** Puts a lasting line above the frame; the next draw brings the frame back. */
  print(text: string): void {
    this.sink.write(`${this.erase()}${text}\n`);
    this.height = 0;
  }

  /** Leaves what was drawn last on the screen. */
  release(): void {
    if (this.hidden) this.sink.write(SHOW_CURSOR);
    this.hidden = false;
    this.height = 0;
  }

  private erase(): string {
    return this.height === 0 ? "" : `\u001b[${this.height}A\r${CLEAR_BELOW}`;
  }
}

/** At most `columns` columns of a text without colours. Wide characters count twice, to be safe. */
export function fitTo(text: string, columns: number): string {
  let width = 0;
  let fitted = "";
  for (const character of text) {
    const next = width + (character.codePointAt(0)! >= 0x1100 && !NARROW.has(character) ? 2 : 1);
    if (next > columns - 1) return `${fitted}…`;
    fitted += character;
    width = next;
  }
  return text;
}

/** The marks and lines that this program draws itself. */
const NARROW = new Set([..."✔✖●◷○┆↻…→─├└"]);
