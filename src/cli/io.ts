/** All that the command line touches of the process it runs in. Only bin.ts and workers/ make one from `process`. */
import type { Readable } from "node:stream";

export interface Io {
  readonly stdout: TextSink;
  readonly stderr: TextSink;
  readonly stdin: Readable & { readonly isTTY?: boolean };
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  /** Calls `listener` for each SIGINT, SIGTERM and SIGHUP until the returned function is called. */
  onSignal(listener: (signal: StopSignal) => void): () => void;
  /** Calls `listener` when whoever reads stdout has left, until the returned function is called. */
  onReaderGone(listener: () => void): () => void;
}

export type StopSignal = "SIGINT" | "SIGTERM" | "SIGHUP";

export interface TextSink {
  write(text: string): unknown;
  readonly isTTY?: boolean;
  readonly columns?: number;
}
