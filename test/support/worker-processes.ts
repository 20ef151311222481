/** Starts worker-process.ts and tells what it says. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { until } from "./until.js";
import type { WorkerProcessOptions } from "./worker-process.js";

const MAIN = fileURLToPath(new URL("./worker-process.ts", import.meta.url));

/** Resolves when it accepts steps. */
export async function spawnWorker(options: WorkerProcessOptions): Promise<WorkerProcess> {
  const worker = spawnMain(MAIN, options);
  await until("a worker process to be ready", () => worker.ready, 20_000).catch((error: Error) => {
    throw new Error(`${error.message}: ${worker.errors}`);
  });
  return worker;
}

/** A process that says what it does, line by line. */
export function spawnMain(main: string, options: object): WorkerProcess {
  const args = ["--import", "tsx", main, JSON.stringify(options)];
  return new WorkerProcess(spawn(process.execPath, args, { stdio: ["ignore", "pipe", "pipe"] }));
}

export class WorkerProcess {
  readonly lines: string[] = [];
  errors = "";
  readonly #exited: Promise<unknown>;

  constructor(private readonly child: ChildProcess) {
    this.#exited = once(child, "exit");
    let rest = "";
    child.stdout!.on("data", (data: Buffer) => {
      const lines = (rest + String(data)).split("\n");
      rest = lines.pop()!;
      this.lines.push(...lines);
    });
    child.stderr!.on("data", (data: Buffer) => {
      this.errors += String(data);
    });
  }

  /** Its worker id, once it has one. */
  get ready(): string | null {
    return this.lines.find((line) => line.startsWith("ready "))?.slice("ready ".length) ?? null;
  }

  get workerId(): string {
    return this.ready!;
  }

  signal(signal: NodeJS.Signals): void {
    this.child.kill(signal);
  }

  /** The signal that ended it, if one did. */
  get endedBy(): NodeJS.Signals | null {
    return this.child.signalCode;
  }

  /** Resolves with its exit code. */
  async exited(): Promise<number | null> {
    await this.#exited;
    return this.child.exitCode;
  }

  async end(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    this.child.kill("SIGKILL");
    this.child.kill("SIGCONT");
    await this.#exited;
  }
}
