/** Writes objects and one commit into a repository, through one `git fast-import`: all of it is there in the end, or nothing. */
import { createHash, type Hash } from "node:crypto";
import { once } from "node:events";
import { endOf, type Git, type GitEnd, type GitProcess } from "./git-command.js";

export class GitImport {
  private readonly process: GitProcess;
  private readonly end: Promise<GitEnd>;

  constructor(private readonly git: Git) {
    // With --done nothing counts unless the stream was whole: a process that is killed just stops writing.
    // Neighbours in a directory are seldom alike, so deltas are left to `git gc`.
    this.process = git.start(["fast-import", "--quiet", "--done", "--force", "--depth=0"]);
    this.end = endOf(this.process);
    this.process.stdout.resume();
  }

  /** @returns its id */
  async blob(content: Buffer): Promise<string> {
    const blob = await this.beginBlob(content.length);
    await blob.write(content);
    return blob.complete();
  }

  /** Content that comes in chunks. */
  async beginBlob(bytes: number): Promise<GitBlob> {
    await this.write(`blob\ndata ${bytes}\n`);
    return new GitBlob((chunk) => this.write(chunk), bytes);
  }

  async write(text: string | Buffer): Promise<void> {
    const { stdin } = this.process;
    if (stdin.destroyed || stdin.write(typeof text === "string" ? Buffer.from(text, "latin1") : text)) return;
    await Promise.race([once(stdin, "drain").catch(() => {}), this.end]);
  }

  /** Resolves when everything is on disk. @throws SandboxUnavailableError */
  async complete(): Promise<void> {
    this.process.stdin.end("done\n");
    const { code, said } = await this.end;
    if (code !== 0) throw this.git.failed("fast-import", said);
  }

  async abandon(): Promise<void> {
    this.process.kill();
    await this.end;
  }
}

export class GitBlob {
  private readonly hash: Hash;
  private written = 0;

  constructor(
    private readonly send: (chunk: Buffer) => Promise<void>,
    private readonly bytes: number,
  ) {
    this.hash = createHash("sha1").update(`blob ${bytes}\0`);
  }

  /** What is more than was promised is left out: whoever reads a file that has grown aborts. */
  async write(chunk: Buffer): Promise<void> {
    const some = Buffer.from(chunk.subarray(0, this.bytes - this.written));
    this.hash.update(some);
    this.written += some.length;
    await this.send(some);
  }

  async complete(): Promise<string> {
    await this.send(Buffer.from("\n"));
    return this.hash.digest("hex");
  }

  /** So many bytes were promised. What they are matters no longer: nobody will name this object. */
  async abort(): Promise<void> {
    for (let left = this.bytes - this.written; left > 0; ) {
      const some = Buffer.alloc(Math.min(left, 1024 * 1024));
      await this.send(some);
      left -= some.length;
    }
    await this.send(Buffer.from("\n"));
  }
}
