/** The definition of a plan as its file has it now: what a resume compares with the one that the plan runs under. */
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import type { OfferDefinition } from "../client/resume.js";
import type { CompiledDefinition } from "../core/definition.js";
import { InvalidPlanError } from "../core/errors.js";
import type { DocumentFile } from "../core/ports.js";
import type { CommandContext } from "./context.js";
import { digestOfText, isModule, loadFile } from "./load-definition.js";

interface OfferFlags {
  readonly plans?: readonly string[];
  readonly workdir?: string;
  readonly onDrift?: string;
}

/** @param executes whether this process will execute the plan: then the functions of its module are what runs */
export function offerFrom(context: CommandContext, flags: OfferFlags, executes: boolean): OfferDefinition {
  return async ({ view, workdir, file }) => {
    for (const path of flags.plans ?? []) {
      const { compiled } = await loadFile(resolve(context.io.cwd, path), path);
      if (compiled.definition.name === view.meta.name) return compiled;
    }
    if (file !== null) return changedDocument(file, flags.onDrift !== undefined);
    const place = flags.workdir ?? workdir;
    if (!executes || place === null || !isModule(place) || !existsSync(place)) return null;
    // A module that only Redis names is imported only where Redis is our own.
    if (!(await context.usesEmbeddedStore())) return null;
    const { compiled } = await loadFile(place, place);
    return compiled.definition.name === view.meta.name ? compiled : null;
  };
}

/** A document that didn't change is not parsed; one that can't be read any more says nothing, unless it is asked for. */
async function changedDocument(file: DocumentFile, isAskedFor: boolean): Promise<CompiledDefinition | null> {
  const text = await readFile(file.path, "utf8").catch(() => null);
  if (text === null || digestOfText(text) === file.digest) return null;
  try {
    return (await loadFile(file.path, file.path)).compiled;
  } catch (error) {
    if (isAskedFor || !(error instanceof InvalidPlanError)) throw error;
    return null;
  }
}
