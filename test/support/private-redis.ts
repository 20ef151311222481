/** A redis-server of a test's own, on loopback: to kill, to restart on its data, to run short of memory. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Redis } from "ioredis";

export interface PrivateRedisOptions {
  /** Default: everysec. */
  readonly appendfsync?: "always" | "everysec" | "no";
  /** Such as `64mb`. */
  readonly maxmemory?: string;
  /** Any other setting by its name in redis.conf; it wins over the ones that are made here. */
  readonly settings?: Readonly<Record<string, string>>;
}

const READY_DEADLINE_MS = 15_000;
const PORT_ATTEMPTS = 5;

/** Starts a server on a free port, with a directory of its own. Stop it when the test ends. */
export async function startPrivateRedis(options: PrivateRedisOptions = {}): Promise<PrivateRedis> {
  const directory = mkdtempSync(join(tmpdir(), "waymark-redis-"));
  for (let attempt = 1; ; attempt++) {
    const redis = new PrivateRedis(directory, await freePort(), options);
    try {
      await redis.start();
      return redis;
    } catch (error) {
      // Between asking for a free port and using it, somebody else may have taken it.
      if (attempt < PORT_ATTEMPTS && redis.log().includes("Address already in use")) continue;
      await redis.stop();
      throw error;
    }
  }
}

export class PrivateRedis {
  readonly url: string;
  #child: ChildProcess | null = null;

  constructor(
    readonly directory: string,
    readonly port: number,
    private readonly options: PrivateRedisOptions,
  ) {
    this.url = `redis://127.0.0.1:${port}`;
  }

  get settings(): Readonly<Record<string, string>> {
    return this.options.settings ?? {};
  }

  get isRunning(): boolean {
    return this.#child !== null;
  }

  get pid(): number {
    if (this.#child?.pid === undefined) throw new Error("This server is not running");
    return this.#child.pid;
  }

  /** Starts it, the second time on the data of the first, and waits until it has loaded them. */
  async start(): Promise<void> {
    const child = spawn("redis-server", this.#arguments(), { stdio: "ignore", cwd: this.directory });
    this.#child = child;
    await once(child, "spawn");
    const endMs = Date.now() + READY_DEADLINE_MS;
    while (!(await this.#answers())) {
      if (child.exitCode !== null || child.signalCode !== null || Date.now() > endMs) {
        throw new Error(`redis-server on port ${this.port} did not start:\n${this.log().slice(-2_000)}`);
      }
      await sleep(10);
    }
  }

  /** As a power cut would, but for what the system has not yet written to its disk. */
  async kill(): Promise<void> {
    await this.#end("SIGKILL");
  }

  /** Ends it in order, and starts it again on the same data and port. */
  async restart(): Promise<void> {
    await this.#end("SIGTERM");
    await this.start();
  }

  /** Stops time for it, until `resume()`: it stays connected and answers nothing. */
  pause(): void {
    process.kill(this.pid, "SIGSTOP");
  }

  resume(): void {
    process.kill(this.pid, "SIGCONT");
  }

  /** Ends it and removes its data. */
  async stop(): Promise<void> {
    await this.#end("SIGKILL");
    rmSync(this.directory, { recursive: true, force: true });
  }

  log(): string {
    try {
      return readFileSync(join(this.directory, "redis.log"), "utf8");
    } catch {
      return "";
    }
  }

  #arguments(): string[] {
    const settings: Record<string, string> = {
      port: String(this.port),
      bind: "127.0.0.1",
      save: "",
      appendonly: "yes",
      appendfsync: this.options.appendfsync ?? "everysec",
      "maxmemory-policy": "noeviction",
      dir: this.directory,
      logfile: join(this.directory, "redis.log"),
      ...(this.options.maxmemory === undefined ? {} : { maxmemory: this.options.maxmemory }),
      ...this.options.settings,
    };
    return Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value]);
  }

  async #answers(): Promise<boolean> {
    const redis = new Redis(this.port, "127.0.0.1", {
      lazyConnect: true,
      retryStrategy: () => null,
      maxRetriesPerRequest: 0,
      enableReadyCheck: false,
    });
    // An error is an answer here: not yet.
    redis.on("error", () => {});
    try {
      await redis.connect();
      const [pid] = /process_id:\d+/.exec(await redis.info("server")) ?? [];
      await redis.ping();
      return pid === `process_id:${this.#child?.pid}`;
    } catch (error) {
      return /^(NOAUTH|NOPERM|WRONGPASS)/.test((error as Error).message);
    } finally {
      redis.disconnect();
    }
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#child;
    this.#child = null;
    if (child === null || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, "exit");
    child.kill(signal);
    // A stopped process takes no other signal than SIGKILL.
    child.kill("SIGCONT");
    await ended;
  }
}

/** Nobody listens at it now. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}
