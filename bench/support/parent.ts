/** The child's end: its configuration, and what the parent tells it. */
import type { Message } from "./child.js";

/** How long the end of a process may take whose parent is gone. */
const ORPHAN_MS = 10_000;

// It may still be starting, and wait for a server that has gone with the parent.
process.once("disconnect", () => setTimeout(() => process.exit(1), ORPHAN_MS).unref());

export interface Commands {
  /** Told once, when everything to do is there already. */
  start?(): Promise<unknown> | unknown;
  /** Ends what it opened; the process ends with it. */
  stop(): Promise<void>;
}

export function config<C>(): C {
  return JSON.parse(process.argv[2]!) as C;
}

export function say(message: Message): void {
  process.send?.(message);
}

/** Says `ready` and obeys. */
export function obey(commands: Commands): void {
  let stopping = false;
  const stop = async () => {
    if (stopping) return;
    stopping = true;
    await commands.stop();
    if (process.connected) process.disconnect();
  };
  process.on("message", ({ kind }: Message) => {
    if (kind === "start") void commands.start?.();
    if (kind === "stop") void stop();
  });
  // A parent that was killed leaves nobody to say so.
  process.on("disconnect", () => void stop());
  say({ kind: "ready" });
}
