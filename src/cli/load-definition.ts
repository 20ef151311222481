/** Definitions as the command line names them: a document, a module with `definePlan` plans, or a name in the store. */
import { createHash } from "node:crypto";
import { existsSync, statSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { dirname, extname, resolve } from "node:path";
import { importFile } from "../config.js";
import type { CompiledDefinition, StepDefinition } from "../core/definition.js";
import { UsageError, WaymarkError } from "../core/errors.js";
import type { StepHandler } from "../core/handler.js";
import { isId } from "../core/ids.js";
import type { DocumentFile } from "../core/ports.js";
import { isPlan } from "../define/is-plan.js";
import type { AnyPlan } from "../define/typed-plan.js";
import { builtinHandlers } from "../handlers/index.js";
import type { CommandContext } from "./context.js";

export type LoadedDefinition =
  | {
      readonly kind: "document";
      readonly compiled: CompiledDefinition;
      readonly path: string;
      /** Of its text. */
      readonly digest: string;
    }
  | {
      readonly kind: "code";
      readonly compiled: CompiledDefinition;
      readonly path: string;
      readonly module: PlanModule;
      readonly plan: AnyPlan;
    }
  /** Known by name only: the newest plan of that name has it. */
  | { readonly kind: "stored"; readonly compiled: CompiledDefinition; readonly workdir: string | null };

/** What a module gives to the worker that runs its plans. */
export interface PlanModule {
  readonly plans: readonly AnyPlan[];
  readonly services: object;
  readonly handlers: ReadonlyMap<string, StepHandler>;
}

const DOCUMENTS = new Set([".yaml", ".yml", ".json"]);
const MODULES = new Set([".ts", ".mts", ".js", ".mjs"]);

/** @throws InvalidPlanError, UsageError */
export async function loadDefinition(context: CommandContext, target: string): Promise<LoadedDefinition> {
  const path = resolve(context.io.cwd, target);
  if (looksLikeFile(target) || isFile(path) || !isId(target)) return loadFile(path, target);
  const [newest] = await context.client.list({ name: target, limit: 1 });
  if (newest === undefined) {
    throw new UsageError(`There is no file ${target}, and no plan of that name in this store`, {
      details: { target },
      try: "plan run --help",
    });
  }
  const { compiled, workdir } = await context.client.definition(newest.planId);
  return { kind: "stored", compiled, workdir };
}

/** A document or a module. @throws InvalidPlanError, UsageError */
export async function loadFile(path: string, shown: string): Promise<LoadedDefinition> {
  if (isModule(path)) {
    const module = await loadModule(path, shown);
    const [plan, another] = module.plans;
    if (plan === undefined) throw new UsageError(`${shown} exports no plan made with definePlan`);
    if (another !== undefined) {
      const names = module.plans.map((known) => known.name).join(", ");
      throw new UsageError(`${shown} exports ${module.plans.length} plans (${names}); a file that is run exports one`);
    }
    return { kind: "code", compiled: plan.compiled, path, module, plan };
  }
  const text = await readDocument(path, shown);
  const { parseDocument } = await import("../core/document.js");
  return {
    kind: "document",
    compiled: parseDocument(text, shown, builtinHandlers()),
    path,
    digest: digestOfText(text),
  };
}

export function isModule(path: string): boolean {
  return MODULES.has(extname(path));
}

export function digestOfText(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

/** What a plan remembers of the file that it was submitted from. */
export function fileOf(loaded: LoadedDefinition): { file?: DocumentFile } {
  return loaded.kind === "document" ? { file: { path: loaded.path, digest: loaded.digest } } : {};
}

/** Everything that a module exports for workers. */
export async function loadModule(path: string, shown: string): Promise<PlanModule> {
  if (!existsSync(path)) throw new UsageError(`There is no file ${shown}`, { details: { file: shown } });
  const { exported, plans } = await importModule(path, shown);
  return { plans: [...plans], services: await servicesOf(exported, shown), handlers: await handlersOf(exported) };
}

/** The folder in which shell steps of this definition run, or null where it has none. */
export function workdirOf(loaded: LoadedDefinition): string | null {
  switch (loaded.kind) {
    case "document":
      return loaded.compiled.definition.steps.some(needsFolder) ? dirname(loaded.path) : null;
    case "code":
      // What a resume has to find again is the module itself.
      return loaded.path;
    case "stored":
      return loaded.workdir;
    default:
      return loaded satisfies never;
  }
}

/** What the sandbox's `from` is relative to, or null where the plan's file was not named. */
export function folderOf(loaded: LoadedDefinition, cwd: string): string | null {
  switch (loaded.kind) {
    case "document":
      return dirname(loaded.path);
    case "code":
      return cwd;
    case "stored":
      return null;
    default:
      return loaded satisfies never;
  }
}

/** Whether it has commands that this machine would run. */
export function runsShell({ definition }: CompiledDefinition): boolean {
  const isPrepared = definition.source === "document" && definition.sandbox?.prepare != null;
  return isPrepared || definition.steps.some((step) => step.uses === "shell");
}

/** Whether a step runs a command that is given no files: it runs in the document's folder. */
export function needsFolder(step: StepDefinition): boolean {
  return step.uses === "shell" && step.sandbox === "none";
}

function looksLikeFile(target: string): boolean {
  return target.includes("/") || DOCUMENTS.has(extname(target)) || MODULES.has(extname(target));
}

/** A folder may have the name of a plan. */
function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === false;
}

async function readDocument(path: string, shown: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    const reason = code === "ENOENT" ? "there is no such file" : code === "EISDIR" ? "it is a directory" : String(code);
    throw new UsageError(`Can't read ${shown}: ${reason}`, {
      details: { file: shown, reason: code },
      cause,
    });
  }
}

async function importModule(
  path: string,
  shown: string,
): Promise<{ exported: Record<string, unknown>; plans: ReadonlySet<AnyPlan> }> {
  try {
    const exported = (await importFile(path)) as Record<string, unknown>;
    const plans = new Set(Object.values(exported).filter(isPlan));
    // Compiled at the first look: a plan without steps says so here.
    for (const plan of plans) plan.compiled;
    return { exported, plans };
  } catch (cause) {
    if (cause instanceof WaymarkError) throw cause;
    // A mistake in a definition comes with its own code, whichever copy of this library the module has loaded.
    const { code, message, details } = (cause ?? {}) as Partial<WaymarkError>;
    if (code === "INVALID_PLAN") throw new WaymarkError(code, String(message), { details: details ?? {}, cause });
    throw new UsageError(`Can't load ${shown}: ${reasonOf(cause)}`, { cause });
  }
}

async function servicesOf({ services }: Record<string, unknown>, shown: string): Promise<object> {
  try {
    const made: unknown = typeof services === "function" ? await services() : services;
    return typeof made === "object" && made !== null ? made : {};
  } catch (cause) {
    throw new UsageError(`The services of ${shown} can't be made: ${reasonOf(cause)}`, { cause });
  }
}

function reasonOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}

async function handlersOf(exported: Record<string, unknown>): Promise<ReadonlyMap<string, StepHandler>> {
  const { handlers } = exported;
  if (handlers === undefined) return new Map();
  const { isHandler, toStepHandler } = await import("../define/define-handler.js");
  if (!Array.isArray(handlers) || !handlers.every(isHandler))
    throw new UsageError("`handlers` of a plan module is an array of defineHandler handlers");
  return new Map(handlers.map((handler) => [handler.name as string, toStepHandler(handler)]));
}
