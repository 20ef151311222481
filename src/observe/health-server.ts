/**
 * What a worker answers over HTTP: that it lives, that it takes work, what it has counted. It reads only, binds to
 * loopback unless told otherwise, and answers to no name that it was not told: a page in a browser of this machine
 * must not reach it by a name that leads here.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { isIP } from "node:net";
import { UsageError } from "../core/errors.js";
import { OPEN_METRICS_TYPE } from "./open-metrics.js";

export interface HealthOptions {
  readonly port: number;
  /** The address it binds to: loopback unless given. */
  readonly host?: string;
  /** Names, besides addresses and `localhost`, that requests may come under, such as the one that Prometheus scrapes. */
  readonly names?: readonly string[];
}

export interface HealthSource {
  /** Null when it takes work, else why it doesn't. */
  unready(): Promise<string | null>;
  /** Facts for people. */
  facts(): Readonly<Record<string, unknown>>;
  metrics(): Promise<string>;
}

const LOOPBACK = "127.0.0.1";
/** A client that doesn't send what it began is not waited for. */
const REQUEST_MS = 5_000;

export class HealthServer {
  private server: Server | null = null;
  private readonly names: ReadonlySet<string>;

  constructor(
    private readonly options: HealthOptions,
    private readonly source: HealthSource,
  ) {
    this.names = new Set(["localhost", ...(options.names ?? [])].map((name) => name.toLowerCase()));
  }

  /** Where it listens, once it does. */
  get port(): number | null {
    const address = this.server?.address();
    return typeof address === "object" && address !== null ? address.port : null;
  }

  /** @throws UsageError where the address can't be had */
  async start(): Promise<void> {
    if (this.server !== null) return;
    const { port, host = LOOPBACK } = this.options;
    const server = createServer({ requestTimeout: REQUEST_MS, headersTimeout: REQUEST_MS }, (request, response) => {
      void this.answer(request, response);
    });
    this.server = server;
    await new Promise<void>((resolve, reject) => {
      server.once("error", (error: NodeJS.ErrnoException) => {
        this.server = null;
        reject(new UsageError(`Can't listen for health on ${host}:${port}: ${error.code}`, { cause: error }));
      });
      server.listen(port, host, resolve);
    });
    // It must not keep a process alive whose worker has ended.
    server.unref();
  }

  async stop(): Promise<void> {
    const { server } = this;
    this.server = null;
    if (server === null) return;
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }

  private async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (!this.isKnown(request.headers.host)) return send(response, 421, { error: "unknown host" });
    if (request.method !== "GET" && request.method !== "HEAD") return send(response, 405, { error: "read only" });
    const path = request.url!.split("?", 1)[0];
    switch (path) {
      case "/livez":
        return send(response, 200, { status: "ok", ...this.source.facts() });
      case "/readyz": {
        const reason = await this.source.unready();
        const status = reason === null ? { status: "ok" } : { status: "unready", reason };
        return send(response, reason === null ? 200 : 503, { ...status, ...this.source.facts() });
      }
      case "/metrics":
        response.writeHead(200, { "content-type": OPEN_METRICS_TYPE });
        response.end(await this.source.metrics());
        return;
      default:
        return send(response, 404, { error: "not here", paths: ["/livez", "/readyz", "/metrics"] });
    }
  }

  /** A name that leads here by somebody else's DNS is refused; an address can't be such a name. */
  private isKnown(header: string | undefined): boolean {
    const host = (header ?? "").toLowerCase().replace(/:\d+$/, "");
    return isIP(host.replace(/^\[(.*)\]$/, "$1")) !== 0 || this.names.has(host);
  }
}

function send(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { "content-type": "application/json", "cache-control": "no-store" });
  response.end(`${JSON.stringify(body)}\n`);
}
