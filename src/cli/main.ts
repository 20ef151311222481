/** The command line as a function: words in, exit code out. It writes only to `io`. */
import { VERSION } from "../version.js";
import type { Io } from "./io.js";
import { type Invocation, parseCommandLine, requestedFormat, wantsDebug } from "./program.js";
import { printableText } from "./render/printable.js";
import { errorDocument, exitCodeOf, Terminal } from "./render/terminal.js";

export async function main(argv: readonly string[], io: Io): Promise<number> {
  try {
    const parsed = parseCommandLine(argv, VERSION);
    if (parsed.kind === "text") {
      io.stdout.write(parsed.text);
      return 0;
    }
    return await runCommand(parsed.invocation, io);
  } catch (thrown) {
    const { asStoreError } = await import("../client/store-outage.js");
    const error = asStoreError(thrown);
    return report(error, new Terminal(io, requestedFormat(argv)), wantsDebug(argv));
  }
}

async function runCommand(invocation: Invocation, io: Io): Promise<number> {
  const { CommandContext } = await import("./context.js");
  const context = new CommandContext(io, new Terminal(io, invocation.format), invocation.globals);
  try {
    const run = await invocation.load();
    return await run(context, invocation.args, invocation.options);
  } finally {
    await context.close();
  }
}

function report(error: unknown, terminal: Terminal, debug: boolean): number {
  terminal.error(errorDocument(error));
  if (debug && error instanceof Error && error.stack) terminal.talk(printableText(stackOf(error)));
  return exitCodeOf(error);
}

function stackOf(error: Error): string {
  const cause = error.cause instanceof Error ? `\nCaused by: ${stackOf(error.cause)}` : "";
  return `${error.stack ?? error.message}${cause}`;
}
