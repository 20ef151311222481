/** A process as an `Io`. The process is an argument: only mains name the global one. */
import { UsageError } from "../core/errors.js";
import type { Io, StopSignal } from "./io.js";

/** What a stream says when its other end has left: a pipe to `head`, a terminal that was closed. */
const READER_GONE: ReadonlySet<unknown> = new Set(["EPIPE", "EIO", "ERR_STREAM_DESTROYED"]);

/** What could not be written, by process: it costs the exit code, but not the plan that runs here. */
const failures = new WeakMap<NodeJS.Process, Error>();

export function processIo(process: NodeJS.Process): Io {
  const readerGone = new Set<() => void>();
  for (const stream of [process.stdout, process.stderr]) {
    stream.on("error", (error: NodeJS.ErrnoException) => {
      if (!READER_GONE.has(error.code)) failures.set(process, error);
      if (stream === process.stdout) for (const listener of [...readerGone]) listener();
    });
  }
  return {
    stdout: process.stdout,
    stderr: process.stderr,
    stdin: process.stdin,
    env: process.env,
    get cwd() {
      return workingDirectory(process);
    },
    onSignal(listener) {
      const signals: readonly StopSignal[] = ["SIGINT", "SIGTERM", "SIGHUP"];
      for (const signal of signals) process.on(signal, listener);
      return () => {
        for (const signal of signals) process.off(signal, listener);
      };
    },
    onReaderGone(listener) {
      readerGone.add(listener);
      return () => readerGone.delete(listener);
    },
  };
}

/** Ends the process as soon as what it wrote has left it. */
export async function finish(process: NodeJS.Process, exitCode: number): Promise<never> {
  const streams = [process.stdout, process.stderr];
  await Promise.all(streams.map((stream) => new Promise((resolve) => stream.write("", resolve))));
  const failure = failures.get(process);
  if (failure === undefined) return process.exit(exitCode);
  process.stderr.write(`Error: INTERNAL: Not everything could be written: ${failure.message}.\n`);
  return process.exit(exitCode === 0 ? 1 : exitCode);
}

/** @throws UsageError in a directory that was deleted meanwhile: it has no name any more */
function workingDirectory(process: NodeJS.Process): string {
  try {
    return process.cwd();
  } catch (cause) {
    throw new UsageError("The current directory does not exist any more", { cause });
  }
}
