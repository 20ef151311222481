/**
 * Just enough of a Redis client to look after a server on a unix socket: one reply at a time, no reconnecting, and
 * nothing to load at start-up. It never keeps the process alive while it is idle.
 */
import { createConnection, type Socket } from "node:net";

export type Reply = string | number | null;

/** The server refused a command. `word` is the first word of its answer, such as LOADING. */
export class ReplyError extends Error {
  override readonly name = "ReplyError";
  readonly word: string;
  constructor(message: string) {
    super(message);
    this.word = message.split(" ", 1)[0]!;
  }
}

interface Waiting {
  resolve(reply: Reply): void;
  reject(error: Error): void;
  timer: NodeJS.Timeout;
}

export class RespConnection {
  readonly #socket: Socket;
  readonly #waiting: Waiting[] = [];
  readonly #closed: Promise<void>;
  #received: Buffer = Buffer.alloc(0);
  #reason: Error | null = null;

  private constructor(socket: Socket) {
    this.#socket = socket;
    this.#closed = new Promise((resolve) => socket.once("close", () => resolve(this.#end())));
    socket.on("error", (error) => {
      this.#reason = error;
    });
    socket.on("data", (chunk) => this.#take(chunk));
    socket.unref();
  }

  /** @throws the socket's own error, such as ENOENT or ECONNREFUSED: nobody listens there. */
  static open(socketPath: string): Promise<RespConnection> {
    return new Promise((resolve, reject) => {
      const socket = createConnection({ path: socketPath });
      socket.once("error", reject);
      socket.once("connect", () => {
        socket.removeListener("error", reject);
        resolve(new RespConnection(socket));
      });
    });
  }

  get isOpen(): boolean {
    return this.#reason === null && !this.#socket.destroyed && this.#socket.readable;
  }

  /** @throws ReplyError when the server refuses; any other error when the connection is lost or `timeoutMs` pass */
  call(timeoutMs: number, ...words: string[]): Promise<Reply> {
    if (!this.isOpen) return Promise.reject(this.#reason ?? new Error("the connection is closed"));
    return new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => this.#socket.destroy(new Error(`no answer to ${words[0]} for ${timeoutMs} ms`)),
        timeoutMs,
      );
      this.#waiting.push({ resolve, reject, timer });
      this.#socket.ref();
      this.#socket.write(encode(words));
    });
  }

  /** Resolves when the server, too, has forgotten this connection, or the connection was lost anyway. */
  async close(): Promise<void> {
    // The answer to QUIT is of no interest: a lost connection is closed just as well.
    if (this.isOpen) await this.call(1_000, "QUIT").catch(() => this.#socket.destroy());
    // Idle connections don't keep the process alive, but whoever closes one waits for its end.
    this.#socket.ref();
    this.#socket.end();
    await this.#closed;
  }

  #take(chunk: Buffer): void {
    this.#received = this.#received.length === 0 ? chunk : Buffer.concat([this.#received, chunk]);
    for (let parsed = parse(this.#received); parsed !== null; parsed = parse(this.#received)) {
      this.#received = this.#received.subarray(parsed.bytes);
      const waiting = this.#waiting.shift();
      if (waiting === undefined) continue;
      clearTimeout(waiting.timer);
      if (this.#waiting.length === 0) this.#socket.unref();
      if (parsed.reply instanceof ReplyError) waiting.reject(parsed.reply);
      else waiting.resolve(parsed.reply);
    }
  }

  #end(): void {
    this.#reason ??= new Error("the server closed the connection");
    for (const waiting of this.#waiting.splice(0)) {
      clearTimeout(waiting.timer);
      waiting.reject(this.#reason);
    }
  }
}

function encode(words: readonly string[]): string {
  return `*${words.length}\r\n${words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`).join("")}`;
}

/** The first complete reply and how many bytes it takes, or null when more must arrive. Arrays are never asked for. */
function parse(buffer: Buffer): { reply: Reply | ReplyError; bytes: number } | null {
  const end = buffer.indexOf("\r\n");
  if (end === -1) return null;
  const line = buffer.toString("utf8", 1, end);
  switch (buffer[0]) {
    case 0x2b: // +
      return { reply: line, bytes: end + 2 };
    case 0x2d: // -
      return { reply: new ReplyError(line), bytes: end + 2 };
    case 0x3a: // :
      return { reply: Number(line), bytes: end + 2 };
    default: {
      const length = Number(line);
      if (length === -1) return { reply: null, bytes: end + 2 };
      const bytes = end + 2 + length + 2;
      return buffer.length < bytes ? null : { reply: buffer.toString("utf8", end + 2, bytes - 2), bytes };
    }
  }
}
