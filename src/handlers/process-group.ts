/**
 * Runs a command as the leader of a process group of its own, and ends the group with it.
 *
 * A group is what a shell and everything it starts share, unless a process leaves it on purpose (`setsid`); such a
 * process is beyond reach. While a member lives, its number can't be given to another group, so a signal to it never
 * hits a stranger; after the last one is gone nothing is sent any more.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readdir, readFile } from "node:fs/promises";
import { kill } from "node:process";
import { setTimeout as delay, setImmediate as turn } from "node:timers/promises";
import type { GroupRegister } from "../core/handler.js";

export interface GroupCommand {
  readonly file: string;
  readonly args: readonly string[];
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
  /** Its abort ends the group: SIGTERM, and SIGKILL to what is left after `KILL_AFTER_MS`. */
  readonly signal: AbortSignal;
  readonly groups: GroupRegister;
  readonly onStdout: (chunk: Buffer) => void;
  readonly onStderr: (chunk: Buffer) => void;
}

export type GroupEnd = (
  | { readonly kind: "exited"; readonly code: number }
  | { readonly kind: "killed"; readonly by: NodeJS.Signals }
) & {
  /** Whether the group had been told to end before its leader did. */
  readonly aborted: boolean;
};

export const KILL_AFTER_MS = 2_000;
/** A leader's helpers, such as bash's `> >(tee log)`, end just after it by themselves. */
const LINGER_MS = 500;
/** Time for the system to carry out SIGKILL. */
const REAP_MS = 1_000;
const QUIET_MS = 100;
const DRAIN_MS = 2_000;
const FIRST_POLL_MS = 5;
const LAST_POLL_MS = 80;

/**
 * Resolves once the leader has ended, nothing of its group lives, and its output is read. Rejects with the system's
 * error when it can't be started.
 */
export async function runInGroup(command: GroupCommand): Promise<GroupEnd> {
  command.groups.prepare();
  const child = spawn(command.file, command.args, {
    cwd: command.cwd,
    env: { ...command.env },
    detached: true,
    stdio: ["ignore", "pipe", "pipe"],
  });
  const output = new OutputPump(child, command);
  if (child.pid === undefined) {
    const [error] = await once(child, "error");
    throw error;
  }
  const group = child.pid;
  command.groups.add(group);
  let termAt: number | null = null;
  let killTimer: NodeJS.Timeout | undefined;
  const terminate = () => {
    termAt = performance.now();
    signalGroup(group, "SIGTERM");
    // The child itself keeps the event loop alive.
    killTimer = setTimeout(() => signalGroup(group, "SIGKILL"), KILL_AFTER_MS).unref();
  };
  if (command.signal.aborted) terminate();
  else command.signal.addEventListener("abort", terminate, { once: true });
  const [code, signal] = (await once(child, "exit")) as [number | null, NodeJS.Signals | null];
  command.signal.removeEventListener("abort", terminate);
  clearTimeout(killTimer);
  await endGroup(group, termAt);
  command.groups.remove(group);
  await output.drained();
  const aborted = termAt !== null;
  return signal === null ? { kind: "exited", code: code!, aborted } : { kind: "killed", by: signal, aborted };
}

/** The leader is gone; ends what it left behind. `termAt` is when the group was told to end, if it was. */
async function endGroup(group: number, termAt: number | null): Promise<void> {
  if (termAt === null) {
    if (await isGoneWithin(group, LINGER_MS)) return;
    signalGroup(group, "SIGTERM");
  }
  const leftMs = KILL_AFTER_MS - (termAt === null ? 0 : performance.now() - termAt);
  if (await isGoneWithin(group, leftMs)) return;
  signalGroup(group, "SIGKILL");
  await isGoneWithin(group, REAP_MS);
}

async function isGoneWithin(group: number, ms: number): Promise<boolean> {
  const deadline = performance.now() + ms;
  for (let pauseMs = FIRST_POLL_MS; await isAlive(group); pauseMs = Math.min(2 * pauseMs, LAST_POLL_MS)) {
    const leftMs = deadline - performance.now();
    if (leftMs <= 0) return false;
    await delay(Math.min(pauseMs, leftMs));
  }
  return true;
}

async function isAlive(group: number): Promise<boolean> {
  if (!signalGroup(group, 0)) return false;
  if (await hasLivingMember(group)) return true;
  // Nothing to the dead; the end of a process that was born while the others were looked at.
  signalGroup(group, "SIGKILL");
  return false;
}

/** Where nobody reaps orphans, as in many containers, the dead stay in their group: they don't count. */
async function hasLivingMember(group: number): Promise<boolean> {
  const ids = await readdir("/proc").catch(() => null);
  if (ids === null) return true;
  const found = await Promise.all(
    ids
      .filter((id) => /^\d+$/.test(id))
      .map(async (id) => {
        const text = await readFile(`/proc/${id}/stat`, "latin1").catch(() => "");
        // The name before it, in parentheses, may hold anything.
        const [state, , ofGroup] = text.slice(text.lastIndexOf(")") + 2).split(" ");
        return Number(ofGroup) === group && state !== "Z" && state !== "X";
      }),
  );
  return found.includes(true);
}

/** False when no member could be signalled: none is left, or those that are belong to another user. */
export function signalGroup(group: number, signal: NodeJS.Signals | 0): boolean {
  try {
    return kill(-group, signal);
  } catch {
    return false;
  }
}

class OutputPump {
  #bytes = 0;
  #closed = false;
  readonly #child: ChildProcess;
  readonly #whenClosed: Promise<void>;

  constructor(child: ChildProcess, { onStdout, onStderr }: GroupCommand) {
    this.#child = child;
    this.#whenClosed = new Promise((resolve) => {
      child.once("close", () => {
        this.#closed = true;
        resolve();
      });
    });
    child.stdout?.on("data", (chunk: Buffer) => this.#pass(chunk, onStdout));
    child.stderr?.on("data", (chunk: Buffer) => this.#pass(chunk, onStderr));
  }

  /** A process that left the group can hold the pipes open for ever: what is in them is read, then they are closed. */
  async drained(): Promise<void> {
    const deadline = performance.now() + DRAIN_MS;
    for (let before = -1; !this.#closed && before !== this.#bytes && performance.now() < deadline; ) {
      before = this.#bytes;
      await Promise.race([this.#whenClosed, delay(QUIET_MS, undefined, { ref: false })]);
      // After a stall the timer is due before the pipes are polled: give them their turn.
      await turn();
    }
    this.#child.stdout?.destroy();
    this.#child.stderr?.destroy();
  }

  #pass(chunk: Buffer, consume: (chunk: Buffer) => void): void {
    this.#bytes += chunk.length;
    consume(chunk);
  }
}
