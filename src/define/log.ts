/** The logger that a step's function is given, in pino's calling convention. */
import { looksSecret } from "../core/look-alikes.js";

export interface Log {
  trace: LogLine;
  debug: LogLine;
  info: LogLine;
  warn: LogLine;
  error: LogLine;
  fatal: LogLine;
  /** The same log, which says these facts in each of its lines as well. */
  child(facts: Readonly<Record<string, unknown>>): Log;
}

/** A message, or facts (an object or an error) with an optional message. */
export type LogLine = (factsOrMessage: unknown, message?: string) => void;

/** A log that writes one line of text a call: level, message, facts as JSON. */
export function logTo(write: (text: string) => void): Log {
  const at =
    (level: string): LogLine =>
    (factsOrMessage, message) =>
      write(`${level} ${describe(factsOrMessage, message)}\n`);
  return {
    trace: at("trace"),
    debug: at("debug"),
    info: at("info"),
    warn: at("warn"),
    error: at("error"),
    fatal: at("fatal"),
    child: (facts) => logTo((line) => write(`${line.slice(0, -1)} ${describeFacts(facts)}\n`)),
  };
}

function describe(factsOrMessage: unknown, message: string | undefined): string {
  const facts = typeof factsOrMessage === "string" ? factsOrMessage : describeFacts(factsOrMessage);
  return message === undefined ? facts : `${message} ${facts}`;
}

function describeFacts(facts: unknown): string {
  if (facts instanceof Error) return facts.stack ?? `${facts.name}: ${facts.message}`;
  try {
    return JSON.stringify(facts, shown) ?? String(facts);
  } catch (error) {
    // A line in the log must not fail the step that writes it.
    return `(facts that JSON can't hold: ${(error as Error).message})`;
  }
}

/** JSON shows an error inside facts as `{}`, and what is called a secret as it is. */
function shown(key: string, value: unknown): unknown {
  if (looksSecret(key)) return "***";
  return value instanceof Error ? { name: value.name, message: value.message } : value;
}
