/** Where a command's words go: results to stdout, talk to stderr, in colours only where a person looks at them. */
import pc from "picocolors";
import { type ErrorDocument, WaymarkError } from "../../core/errors.js";
import type { Io, TextSink } from "../io.js";
import { toSnakeCase } from "../snake-case.js";
import { printable, printableJson } from "./printable.js";

export type OutputFormat = "human" | "table" | "json" | "jsonl" | "ids";
export type Colors = ReturnType<typeof pc.createColors>;

export class Terminal {
  /** For text on stdout and on stderr: each is a terminal or not by itself. */
  readonly colors: Colors;
  readonly talkColors: Colors;
  private above: ((text: string) => void) | null = null;

  constructor(
    private readonly io: Io,
    readonly format: OutputFormat,
  ) {
    this.colors = colorsFor(io.stdout, io.env);
    this.talkColors = colorsFor(io.stderr, io.env);
  }

  /** Whether results are for people. */
  get human(): boolean {
    return this.format === "human" || this.format === "table";
  }

  /** One line, or several, of the result. Data in it has passed `printable`. */
  line(text = ""): void {
    this.io.stdout.write(`${text}\n`);
  }

  talk(text: string): void {
    if (this.above === null) this.io.stderr.write(`${text}\n`);
    else this.above(text);
  }

  /** While something is drawn in place, talk goes above it: written below, it would be wiped with the next frame. */
  talkAbove(print: ((text: string) => void) | null): void {
    this.above = print;
  }

  /** The one document of `-o json`, in snake_case. */
  document(document: unknown): void {
    this.io.stdout.write(`${printableJson(toSnakeCase(document), 2)}\n`);
  }

  /** One line of `-o jsonl`. */
  item(document: unknown): void {
    this.io.stdout.write(`${printableJson(toSnakeCase(document))}\n`);
  }

  /** `Error: CODE: sentence` and `Try: …` on stderr, or the error document on stdout where that is JSON. */
  error(error: ErrorDocument): void {
    if (this.format === "json") {
      this.document({ error });
      return;
    }
    if (this.format === "jsonl") {
      this.item({ error });
      return;
    }
    const c = this.talkColors;
    this.talk(`${c.red("Error:")} ${error.code}: ${sentence(error.message)}`);
    if (error.try !== null) this.talk(`${c.dim("Try:")} ${printable(error.try)}`);
  }
}

/** An error as data. What nobody foresaw becomes INTERNAL. */
export function errorDocument(error: unknown): ErrorDocument {
  if (error instanceof WaymarkError) return error.toDocument();
  const message = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  return { code: "INTERNAL", message, details: {}, try: null };
}

/** The exit code of a command that ends with this error. */
export function exitCodeOf(error: unknown): number {
  return error instanceof WaymarkError ? error.exitCode : 1;
}

function sentence(message: string): string {
  const text = printable(message.trim());
  return /[.!?]$/.test(text) ? text : `${text}.`;
}

function colorsFor(sink: TextSink, env: Io["env"]): Colors {
  return pc.createColors(sink.isTTY === true && !env.NO_COLOR && env.TERM !== "dumb");
}
