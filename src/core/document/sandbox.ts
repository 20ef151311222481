/** `sandbox` of a plan document: which files the plan has, and where they come from. */
import { DEFAULT_SANDBOX_PROVIDER, isAbsolutePath, type SandboxDeclaration } from "../sandbox.js";
import { checkKeys } from "./keys.js";
import type { Field, LocatedDocument } from "./located.js";
import { readId } from "./values.js";

const KEYS = ["from", "exclude", "ignore", "include", "prepare", "provider"];

export function readSandbox(document: LocatedDocument, at: Field): SandboxDeclaration | null {
  const fields = document.fields(at);
  if (fields === null) return null;
  checkKeys(document, at, fields, KEYS, []);
  for (const { at: place, text } of document.strings(at)) {
    if (text.includes("${{"))
      document.fault(place, `${at.path} takes no expressions: it holds for every run of the plan`);
  }
  const provider = fields.get("provider");
  return {
    from: readFrom(document, fields.get("from")),
    exclude: readPatterns(document, fields.get("exclude")),
    ignore: readPatterns(document, fields.get("ignore")),
    include: readPatterns(document, fields.get("include")),
    prepare: readPrepare(document, fields.get("prepare")),
    provider: (provider ? readId(document, provider) : null) ?? DEFAULT_SANDBOX_PROVIDER,
  };
}

function readFrom(document: LocatedDocument, at: Field | undefined): string | null {
  const from = at ? readText(document, at) : null;
  if (at && from !== null && isAbsolutePath(from)) {
    document.fault(at, `${at.path} must be relative to the document's folder, not ${JSON.stringify(from)}`);
  }
  return from;
}

function readPatterns(document: LocatedDocument, at: Field | undefined): string[] {
  const items = at ? document.items(at, "a list of patterns as in a .gitignore") : null;
  return (items ?? []).map((item) => readText(document, item)).filter((pattern) => pattern !== null);
}

function readPrepare(document: LocatedDocument, at: Field | undefined): SandboxDeclaration["prepare"] {
  const fields = at ? document.fields(at) : null;
  if (!at || fields === null) return null;
  checkKeys(document, at, fields, ["run"], []);
  const run = fields.get("run");
  if (!run) document.fault(at, `${at.path} needs a command: run is missing`);
  const command = run ? readText(document, run) : null;
  return command === null ? null : { run: command };
}

function readText(document: LocatedDocument, at: Parameters<LocatedDocument["string"]>[0]): string | null {
  const text = document.string(at);
  if (text === null || text.trim() !== "") return text;
  document.fault(at, `${at.path} is empty`);
  return null;
}
