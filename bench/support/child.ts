/** The parent's end of a child process: it starts, says `ready`, does what it is told, and is ended by its pid. */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { until } from "../../test/support/until.js";

export interface Message {
  readonly kind: string;
}

/** With the time at which it came, by `performance.now()`. */
export type Heard<M extends Message> = M & { readonly heardAtMs: number };

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const START_DEADLINE_MS = 30_000;

/** Starts `bench/processes/<program>.ts` and waits until it is ready. */
export async function startChild(program: string, config: object, deadlineMs = START_DEADLINE_MS): Promise<Child> {
  const file = fileURLToPath(new URL(`../processes/${program}.ts`, import.meta.url));
  const forked = fork(file, [JSON.stringify(config)], { cwd: ROOT, execArgv: ["--import", "tsx"] });
  const child = new Child(program, forked);
  await child.next("ready", deadlineMs);
  return child;
}

export class Child {
  /** What it said and nobody has taken yet. */
  private readonly heard: Heard<Message>[] = [];

  constructor(
    private readonly program: string,
    private readonly forked: ChildProcess,
  ) {
    forked.on("message", (message) => this.heard.push({ ...(message as Message), heardAtMs: performance.now() }));
  }

  get pid(): number {
    return this.forked.pid!;
  }

  tell(message: Message): void {
    this.forked.send(message);
  }

  /** Takes the next message of a kind. */
  async next<M extends Message>(kind: M["kind"], deadlineMs: number): Promise<Heard<M>> {
    return until(
      `"${kind}" from ${this.program}`,
      () => {
        const at = this.heard.findIndex((message) => message.kind === kind);
        if (at >= 0) return this.heard.splice(at, 1)[0] as Heard<M>;
        if (this.hasEnded) throw new Error(`${this.program} ended before it said "${kind}"`);
        return null;
      },
      deadlineMs,
    );
  }

  has(kind: string): boolean {
    return this.heard.some((message) => message.kind === kind);
  }

  signal(signal: NodeJS.Signals): void {
    this.forked.kill(signal);
  }

  /** Resolves when the process is gone, however it ended. */
  async ended(): Promise<void> {
    if (!this.hasEnded) await once(this.forked, "exit");
  }

  /** Lets it close what it opened. */
  async stop(): Promise<void> {
    if (this.hasEnded) return;
    if (this.forked.connected) this.tell({ kind: "stop" });
    await this.ended();
  }

  private get hasEnded(): boolean {
    return this.forked.exitCode !== null || this.forked.signalCode !== null;
  }
}
