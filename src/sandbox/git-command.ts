/**
 * Runs git on the repository of snapshots, by its arguments, never through a shell. Nothing but the repository itself has a
 * say: no settings of user or machine, no hooks, no filters, no network. A repository may be shared, so that what its
 * own settings could start is turned off as well.
 */
import { type ChildProcess, type ChildProcessByStdio, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { env } from "node:process";
import type { Readable, Writable } from "node:stream";
import { SandboxUnavailableError } from "../core/errors.js";

export type GitProcess = ChildProcessByStdio<Writable, Readable, Readable>;

const SETTINGS = [
  ["core.hooksPath", "/dev/null"],
  ["core.fsync", "all"],
  // Larger files aren't held in memory.
  ["core.bigFileThreshold", "8m"],
  ["gc.cruftPacks", "false"],
  // Two may take the same snapshot at once.
  ["core.filesRefLockTimeout", "10000"],
  ["core.packedRefsTimeout", "10000"],
].flatMap(([name, value]) => ["-c", `${name}=${value}`]);

const WHO = { name: "waymark", email: "waymark@localhost" };

export class Git {
  /** @param directory of the repository, which is a bare one */
  constructor(
    readonly directory: string,
    private readonly command = "git",
  ) {}

  get exists(): boolean {
    return existsSync(join(this.directory, "HEAD"));
  }

  /** What it prints. @throws SandboxUnavailableError with what it says, where it fails */
  async run(args: readonly string[], input = ""): Promise<Buffer> {
    const { output, code, said } = await this.ask(args, input);
    if (code !== 0) throw this.failed(args[0]!, said);
    return output;
  }

  /** Whether it succeeds. */
  async can(args: readonly string[]): Promise<boolean> {
    return (await this.ask(args, "")).code === 0;
  }

  start(args: readonly string[]): GitProcess {
    const started = spawn(this.command, [...SETTINGS, ...args], {
      env: this.environment(),
      stdio: ["pipe", "pipe", "pipe"],
    });
    // One that has ended takes no more; how it ended says why.
    started.stdin.on("error", () => {});
    return started;
  }

  failed(verb: string, said: string): SandboxUnavailableError {
    return new SandboxUnavailableError(this.directory, `git ${verb} failed: ${said.trim()}`);
  }

  private async ask(args: readonly string[], input: string) {
    const started = this.start(args);
    started.stdin.end(input);
    const [output, end] = await Promise.all([collected(started.stdout), endOf(started)]);
    return { output, ...end };
  }

  private environment(): Record<string, string> {
    return {
      ...(env.PATH !== undefined && { PATH: env.PATH }),
      LC_ALL: "C",
      GIT_DIR: this.directory,
      GIT_CONFIG_NOSYSTEM: "1",
      GIT_CONFIG_GLOBAL: "/dev/null",
      GIT_ATTR_NOSYSTEM: "1",
      GIT_NO_REPLACE_OBJECTS: "1",
      GIT_NO_LAZY_FETCH: "1",
      GIT_ALLOW_PROTOCOL: "none",
      GIT_TERMINAL_PROMPT: "0",
      GIT_AUTHOR_NAME: WHO.name,
      GIT_AUTHOR_EMAIL: WHO.email,
      GIT_COMMITTER_NAME: WHO.name,
      GIT_COMMITTER_EMAIL: WHO.email,
    };
  }
}

export interface GitEnd {
  /** Null where a signal ended it, or nothing could be started. */
  readonly code: number | null;
  /** On stderr, or why it couldn't be started. */
  readonly said: string;
}

/** Must be asked for before anything else is awaited. */
export async function endOf(started: GitProcess): Promise<GitEnd> {
  const said = collected(started.stderr);
  const code = await new Promise<number | null | Error>((resolve) => {
    started.once("error", resolve);
    (started as ChildProcess).once("close", resolve);
  });
  if (!(code instanceof Error)) return { code, said: (await said).toString("utf8") };
  return { code: null, said: `git can't be started: ${code.message}. Install git, or use another provider` };
}

async function collected(stream: Readable): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}
