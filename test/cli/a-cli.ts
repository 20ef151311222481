/** The command line in this process: real commands on a real store, with everything they print. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import type { Io, StopSignal } from "../../src/cli/io.js";
import { main } from "../../src/cli/main.js";

export interface CliOptions {
  /** None for the embedded store of a directory of its own. */
  readonly redisUrl?: string;
  readonly prefix?: string;
  readonly env?: Readonly<Record<string, string>>;
}

export interface Finished {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export class Cli {
  readonly cwd = mkdtempSync(join(tmpdir(), "waymark-cli-"));

  constructor(private readonly options: CliOptions = {}) {}

  /** Writes a file into the working directory. */
  file(name: string, content: string): string {
    writeFileSync(join(this.cwd, name), content);
    return name;
  }

  async run(...argv: string[]): Promise<Finished> {
    return this.start(...argv).ended;
  }

  /** The document of a command with `-o json`. */
  // biome-ignore lint/suspicious/noExplicitAny: a document's shape is what tests look at
  async json(...argv: string[]): Promise<any> {
    const { stdout } = await this.run(...argv, "-o", "json");
    return JSON.parse(stdout);
  }

  start(...argv: string[]): Running {
    return new Running(argv, this.cwd, this.env, false);
  }

  /** A terminal: 80 columns, with somebody who types. */
  startAtTerminal(...argv: string[]): Running {
    return new Running(argv, this.cwd, this.env, true);
  }

  private get env(): Record<string, string> {
    return {
      PATH: process.env.PATH ?? "",
      HOME: this.cwd,
      ...(this.options.redisUrl !== undefined && { WAYMARK_REDIS_URL: this.options.redisUrl }),
      ...(this.options.prefix !== undefined && { WAYMARK_PREFIX: this.options.prefix }),
      ...this.options.env,
    };
  }

  remove(): void {
    rmSync(this.cwd, { recursive: true, force: true });
  }
}

export class Running {
  stdout = "";
  stderr = "";
  readonly stdin = new PassThrough();
  readonly ended: Promise<Finished>;
  private readonly listeners = new Set<(signal: StopSignal) => void>();
  private readonly readerGone = new Set<() => void>();

  constructor(argv: readonly string[], cwd: string, env: Record<string, string>, isTTY: boolean) {
    const sink = (name: "stdout" | "stderr") => ({
      isTTY,
      columns: 80,
      write: (text: string) => {
        this[name] += text;
      },
    });
    const io: Io = {
      stdout: sink("stdout"),
      stderr: sink("stderr"),
      stdin: Object.assign(this.stdin, { isTTY }),
      env,
      cwd,
      onSignal: (listener) => {
        this.listeners.add(listener);
        return () => this.listeners.delete(listener);
      },
      onReaderGone: (listener) => {
        this.readerGone.add(listener);
        return () => this.readerGone.delete(listener);
      },
    };
    this.ended = main(argv, io).then((code) => ({ code, stdout: this.stdout, stderr: this.stderr }));
  }

  /** What the process would get. Fails where nobody listens: a real one would die. */
  signal(signal: StopSignal): void {
    if (this.listeners.size === 0) throw new Error(`Nobody listens for ${signal}`);
    for (const listener of this.listeners) listener(signal);
  }

  /** Whether it goes on until somebody ends it. */
  get isFollowing(): boolean {
    return this.readerGone.size > 0;
  }

  /** Whoever reads stdout, such as `head`, leaves. */
  readerLeaves(): void {
    for (const listener of this.readerGone) listener();
  }
}

/** A document whose steps are shell commands, one after the other. */
export function aDocument(name: string, steps: Readonly<Record<string, string>>): string {
  const lines = Object.entries(steps).map(([id, run]) => `  - { id: ${id}, run: ${JSON.stringify(run)} }`);
  return [`plan: ${name}`, "defaults: { retry: { attempts: 1 } }", "steps:", ...lines, ""].join("\n");
}
