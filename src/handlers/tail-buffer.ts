/** The last bytes of a stream, in bounded memory whatever the stream's length and the size of its chunks. */
export class TailBuffer {
  #bytes = Buffer.alloc(0);
  #length = 0;
  #total = 0;

  constructor(readonly capacityBytes: number) {}

  /** False once something was let go. */
  get isWhole(): boolean {
    return this.#total <= this.capacityBytes;
  }

  push(chunk: Uint8Array): void {
    this.#total += chunk.length;
    const tail = chunk.subarray(Math.max(0, chunk.length - this.capacityBytes));
    this.#makeRoom(tail.length);
    this.#bytes.set(tail, this.#length);
    this.#length += tail.length;
  }

  /** At most the last `maxBytes`, as UTF-8 from the first whole character. */
  text(maxBytes = this.capacityBytes): string {
    let start = Math.max(0, this.#length - Math.min(maxBytes, this.capacityBytes));
    if (this.#total - this.#length + start > 0) start = skipPartialCharacter(this.#bytes, start, this.#length);
    return this.#bytes.toString("utf8", start, this.#length);
  }

  /** Twice the capacity is allocated at most, so that bytes are moved once in a capacity's worth of them. */
  #makeRoom(added: number): void {
    const needed = this.#length + added;
    if (needed <= this.#bytes.length) return;
    const limit = 2 * this.capacityBytes;
    const kept = needed <= limit ? this.#length : Math.min(this.#length, this.capacityBytes - added);
    const next = this.#bytes.length === limit ? this.#bytes : Buffer.alloc(Math.min(limit, Math.max(2 * needed, 1024)));
    this.#bytes.copy(next, 0, this.#length - kept, this.#length);
    this.#bytes = next;
    this.#length = kept;
  }
}

function skipPartialCharacter(bytes: Uint8Array, start: number, end: number): number {
  let at = start;
  while (at < end && at < start + 3 && (bytes[at]! & 0xc0) === 0x80) at++;
  return at;
}
