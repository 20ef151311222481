/**
 * What is noted of a plan's working directories, each in a file beside it, so that other processes know whose it is:
 *
 *     <work>/<planId>/<epoch>-<fence>/         the directory, named by the first attempt in it
 *     <work>/<planId>/<epoch>-<fence>.json     its record
 */
import { randomUUID } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { SandboxSnapshot } from "../core/sandbox.js";
import type { ProcessIdentity } from "../machine/process-identity.js";

export interface WorkspaceRecord {
  readonly version: 1;
  readonly owner: { readonly process: ProcessIdentity; readonly workerId: string };
  /** Of the attempt that had it last. */
  readonly epoch: number;
  readonly fence: number;
  /** Whether an attempt has it. One that was lost has it for as long as its process lives. */
  readonly inUse: boolean;
  /** What it was equal to when it was last known to be equal to anything. */
  readonly snapshot: SandboxSnapshot | null;
  /** Whether what isn't in snapshots, such as installed packages, has been made in it. */
  readonly prepared: boolean;
}

export interface WorkspaceFolder {
  readonly planId: string;
  readonly name: string;
  readonly path: string;
  readonly recordPath: string;
}

const NAME = /^\d+-\d+$/;

export function workspaceFolder(workDir: string, planId: string, name: string): WorkspaceFolder {
  const path = join(workDir, planId, name);
  return { planId, name, path, recordPath: `${path}.json` };
}

export function plansWithFolders(workDir: string): string[] {
  return namesIn(workDir);
}

/** Of the directories that are there, with or without a record. */
export function foldersOf(workDir: string, planId: string): WorkspaceFolder[] {
  return namesIn(join(workDir, planId))
    .filter((name) => NAME.test(name))
    .map((name) => workspaceFolder(workDir, planId, name));
}

/** Of what is beside the directories and belongs to none of them. */
export function strayNames(workDir: string, planId: string): string[] {
  const names = namesIn(join(workDir, planId));
  const folders = new Set(names.filter((name) => NAME.test(name)));
  return names.filter((name) => !folders.has(name.replace(/\.json$/, "")));
}

/** Null where there is none: its writer died before it, or somebody is just taking the directory over. */
export function readRecord({ recordPath }: WorkspaceFolder): WorkspaceRecord | null {
  try {
    const record = JSON.parse(readFileSync(recordPath, "utf8")) as WorkspaceRecord;
    return record.version === 1 ? record : null;
  } catch (error) {
    if (error instanceof SyntaxError || (error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw error;
  }
}

export function writeRecord({ recordPath }: WorkspaceFolder, record: WorkspaceRecord): void {
  const temporary = `${recordPath}.${randomUUID()}`;
  writeFileSync(temporary, `${JSON.stringify(record)}\n`, { mode: 0o600 });
  renameSync(temporary, recordPath);
}

/** Takes the record away from its directory. Of several that try only one succeeds. */
export function claimRecord({ recordPath }: WorkspaceFolder): boolean {
  const claimed = `${recordPath}.${randomUUID()}`;
  try {
    renameSync(recordPath, claimed);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return false;
    throw error;
  }
  rmSync(claimed, { force: true });
  return true;
}

/** How long ago anything was noted of it; of one without a record, since it was made. Infinite where it is gone. */
export function ageMsOf({ path, recordPath }: WorkspaceFolder): number {
  const stat = statSync(recordPath, { throwIfNoEntry: false }) ?? statSync(path, { throwIfNoEntry: false });
  return stat === undefined ? Number.POSITIVE_INFINITY : Date.now() - stat.mtimeMs;
}

export function makePlanFolder(workDir: string, planId: string): void {
  mkdirSync(join(workDir, planId), { recursive: true, mode: 0o700 });
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") return [];
    throw error;
  }
}
