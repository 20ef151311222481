/** Reads objects of a repository, through one process that stays for as long as it is asked something now and then. */
import type { Socket } from "node:net";
import { endOf, type Git, type GitProcess } from "./git-command.js";

const IDLE_MS = 2_000;

/** What git can't unpack isn't what anybody's digest promises. */
const UNREADABLE = Buffer.alloc(0);

interface Question {
  readonly name: string;
  readonly answer: (content: Buffer | null) => void;
  readonly fail: (error: unknown) => void;
}

export class GitObjects {
  private reader: Reader | null = null;
  private idle: NodeJS.Timeout | null = null;

  constructor(private readonly git: Git) {}

  /**
   * @param name an id, or what git takes for one; null where it is missing
   * @throws SandboxUnavailableError where git can't be asked
   */
  async read(name: string): Promise<Buffer | null> {
    if (!this.git.exists) return null;
    if (this.idle !== null) clearTimeout(this.idle);
    if (this.reader === null || this.reader.hasEnded) this.reader = new Reader(this.git, (again) => this.read(again));
    const { reader } = this;
    this.idle = setTimeout(() => reader.end(), IDLE_MS).unref();
    return reader.read(name);
  }
}

class Reader {
  hasEnded = false;
  private readonly process: GitProcess;
  private readonly waiting: Question[] = [];
  private chunks: Buffer[] = [];
  private bytes = 0;
  /** How many are needed before there is something to do. */
  private needed = 1;

  /** @param again asks another reader */
  constructor(
    private readonly git: Git,
    again: (name: string) => Promise<Buffer | null>,
  ) {
    this.process = git.start(["cat-file", "--batch"]);
    this.process.stdout.on("data", (chunk: Buffer) => this.take(chunk));
    void endOf(this.process).then(async ({ code, said }) => {
      this.hasEnded = true;
      const waiting = this.waiting.splice(0);
      const [first, ...others] = waiting;
      // It ends, too, at an object that it can't read; in a repository that it can't read it won't say even where that is.
      if (code === 128 && first !== undefined && (await this.git.can(["rev-parse", "--git-dir"]))) {
        first.answer(UNREADABLE);
        for (const { name, answer, fail } of others) again(name).then(answer, fail);
        return;
      }
      for (const { fail } of waiting) fail(this.git.failed("cat-file", said));
    });
    this.hold(false);
  }

  read(name: string): Promise<Buffer | null> {
    this.hold(true);
    this.process.stdin.write(`${name}\n`);
    return new Promise((answer, fail) => this.waiting.push({ name, answer, fail }));
  }

  /** What was asked before is still answered. */
  end(): void {
    this.hasEnded = true;
    this.process.stdin.end();
  }

  private take(chunk: Buffer): void {
    this.chunks.push(chunk);
    this.bytes += chunk.length;
    while (this.bytes >= this.needed && this.bytes > 0) {
      const all = this.chunks.length === 1 ? this.chunks[0]! : Buffer.concat(this.chunks);
      const used = this.answerFrom(all);
      this.chunks = [all.subarray(used)];
      this.bytes = all.length - used;
      if (used === 0) return;
    }
  }

  /** @returns how much of it was used up: nothing, where an answer isn't whole yet */
  private answerFrom(all: Buffer): number {
    const end = all.indexOf("\n");
    if (end === -1) return 0;
    const size = / (\d+)$/.exec(all.toString("latin1", 0, end))?.[1];
    const from = end + 1;
    const used = size === undefined ? from : from + Number(size) + 1;
    this.needed = used;
    if (all.length < used) return 0;
    this.needed = 1;
    this.waiting.shift()!.answer(size === undefined ? null : Buffer.from(all.subarray(from, used - 1)));
    if (this.waiting.length === 0) this.hold(false);
    return used;
  }

  /** Whether our own process has to stay for it. */
  private hold(isNeeded: boolean): void {
    const { stdin, stdout, stderr } = this.process;
    for (const one of [this.process, stdin as Socket, stdout as Socket, stderr as Socket]) {
      if (isNeeded) one.ref();
      else one.unref();
    }
  }
}
