/**
 * A proxy between a client and Redis that reads the commands which go through it, so that a test can lose exactly one
 * reply after the server executed the command, or answer one with an error that the server never gave.
 */
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";

/** What happens to a command: it passes; its reply is lost with the connection; the proxy answers it with an error. */
export type Fault = "pass" | "lose reply" | `-${string}`;

/** Gets a command's arguments as text, its name in lower case. */
export type Judge = (args: readonly string[]) => Fault;

export async function startTcpProxy(targetUrl: string): Promise<TcpProxy> {
  const { hostname, port } = new URL(targetUrl);
  const proxy = new TcpProxy(hostname, Number(port));
  await proxy.listen();
  return proxy;
}

export class TcpProxy {
  judge: Judge = () => "pass";
  /** Commands as they came, since the last look. */
  readonly seen: string[][] = [];
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  constructor(
    private readonly host: string,
    private readonly port: number,
  ) {
    this.#server = createServer((client) => this.#serve(client));
  }

  get url(): string {
    return `redis://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async listen(): Promise<void> {
    this.#server.listen(0, "127.0.0.1");
    await once(this.#server, "listening");
  }

  /** Does `fault` to the first command that `matches`, once. Resolves when it was done. */
  once(matches: (args: readonly string[]) => boolean, fault: Fault): Promise<void> {
    return new Promise((resolve) => {
      let done = false;
      this.judge = (args) => {
        if (done || !matches(args)) return "pass";
        done = true;
        resolve();
        return fault;
      };
    });
  }

  /** Cuts every connection that is open now. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  async close(): Promise<void> {
    this.#server.close();
    this.cut();
  }

  #serve(client: Socket): void {
    const server = connect(this.port, this.host);
    for (const socket of [client, server]) {
      this.#sockets.add(socket);
      socket.setNoDelay(true);
      socket.on("error", () => {});
      socket.on("close", () => {
        this.#sockets.delete(socket);
        client.destroy();
        server.destroy();
      });
    }
    // A command behind one that was judged waits for its fate, so that replies keep their order.
    let pending = Buffer.alloc(0);
    let unanswered = 0;
    let held: { error: string } | "lose" | null = null;
    let replies = Buffer.alloc(0);
    const forward = () => {
      while (held === null) {
        const command = readCommand(pending);
        if (command === null) return;
        const bytes = pending.subarray(0, command.end);
        pending = pending.subarray(command.end);
        this.seen.push(command.args);
        const fault = this.judge(command.args);
        if (fault.startsWith("-")) {
          held = { error: fault };
          answerHeld();
          continue;
        }
        if (fault === "lose reply") held = "lose";
        unanswered++;
        server.write(bytes);
      }
    };
    const answerHeld = () => {
      if (held === null || held === "lose" || unanswered > 0) return;
      client.write(`${held.error}\r\n`);
      held = null;
      forward();
    };
    client.on("data", (data) => {
      pending = Buffer.concat([pending, data]);
      forward();
    });
    server.on("data", (data) => {
      replies = Buffer.concat([replies, data]);
      for (let end = replyEnd(replies, 0); end > 0; end = replyEnd(replies, 0)) {
        const reply = replies.subarray(0, end);
        replies = replies.subarray(end);
        unanswered--;
        if (held === "lose" && unanswered === 0) {
          client.destroy();
          return;
        }
        client.write(reply);
      }
      answerHeld();
    });
  }
}

function readCommand(buffer: Buffer): { args: string[]; end: number } | null {
  let at = buffer.indexOf("\r\n");
  if (at < 0) return null;
  const count = Number(buffer.subarray(1, at).toString());
  at += 2;
  const args: string[] = [];
  for (let i = 0; i < count; i++) {
    const lineEnd = buffer.indexOf("\r\n", at);
    if (lineEnd < 0) return null;
    const length = Number(buffer.subarray(at + 1, lineEnd).toString());
    const end = lineEnd + 2 + length + 2;
    if (buffer.length < end) return null;
    args.push(buffer.subarray(lineEnd + 2, end - 2).toString());
    at = end;
  }
  if (args[0] !== undefined) args[0] = args[0].toLowerCase();
  return { args, end: at };
}

/** Where the reply that begins at `at` ends, or -1 where it isn't complete. */
function replyEnd(buffer: Buffer, at: number): number {
  const lineEnd = buffer.indexOf("\r\n", at);
  if (lineEnd < 0) return -1;
  const size = () => Number(buffer.subarray(at + 1, lineEnd).toString());
  switch (String.fromCharCode(buffer[at]!)) {
    case "$": {
      const end = size() < 0 ? lineEnd + 2 : lineEnd + 2 + size() + 2;
      return buffer.length < end ? -1 : end;
    }
    case "*": {
      let end = lineEnd + 2;
      for (let i = 0; i < size(); i++) {
        end = replyEnd(buffer, end);
        if (end < 0) return -1;
      }
      return end;
    }
    default:
      return lineEnd + 2;
  }
}
