/** A process as an `Io`. The process is an argument: only mains name the global one. */
import type { Io, StopSignal } from "./io.js";

export function processIo(process: NodeJS.Process): Io {
  // A reader that has left, such as `head`, is no reason to fail.
  for (const stream of [process.stdout, process.stderr]) {
    stream.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code !== "EPIPE") throw error;
    });
  }
  return {
    stdout: process.stdout,
    stderr: process.stderr,
    stdin: process.stdin,
    env: process.env,
    cwd: process.cwd(),
    onSignal(listener) {
      const signals: readonly StopSignal[] = ["SIGINT", "SIGTERM"];
      for (const signal of signals) process.on(signal, listener);
      return () => {
        for (const signal of signals) process.off(signal, listener);
      };
    },
  };
}

/** Ends the process as soon as what it wrote has left it. */
export async function finish(process: NodeJS.Process, exitCode: number): Promise<never> {
  const streams = [process.stdout, process.stderr];
  await Promise.all(streams.map((stream) => new Promise((resolve) => stream.write("", resolve))));
  process.exit(exitCode);
}
