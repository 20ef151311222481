/**
 * The working directories of this process's plans.
 *
 * A directory is handed to one writing attempt, or to any number of reading ones, never to both. What an attempt leaves
 * in it is known only through `keep`: then the next step that starts from that very snapshot gets it without a copy.
 * After anything else the directory is made equal to what the next step starts from, by difference. What snapshots leave
 * out, such as installed packages, survives both.
 *
 * A directory whose attempt was lost, or whose handler hasn't returned, is never handed out again: whoever still writes
 * to it must not meet anybody. It stays until its process is gone. Then another process of this machine may take it
 * over, if no child that the process left behind works in it.
 */
import { randomUUID } from "node:crypto";
import { lstatSync, renameSync, rmdirSync, rmSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import type { SandboxProvider, SandboxRules, SandboxSnapshot } from "../core/sandbox.js";
import { isProcessGone, isRunning, thisProcess } from "../machine/process-identity.js";
import { Beneath } from "./beneath.js";
import { mayBeInUse } from "./processes-beneath.js";
import { removeTree } from "./remove-tree.js";
import { TimeSlices } from "./time-slices.js";
import {
  ageMsOf,
  claimRecord,
  foldersOf,
  makePlanFolder,
  plansWithFolders,
  readRecord,
  strayNames,
  type WorkspaceFolder,
  type WorkspaceRecord,
  workspaceFolder,
  writeRecord,
} from "./workspace-record.js";

const WEEK_MS = 7 * 24 * 60 * 60 * 1000;

export interface WorkspacesOptions {
  readonly dataDir: string;
  readonly workerId: string;
  readonly provider: (name: string) => SandboxProvider;
}

export interface WorkspaceRequest {
  readonly planId: string;
  readonly epoch: number;
  readonly fence: number;
  /** What the attempt starts from. */
  readonly snapshot: SandboxSnapshot;
  readonly mode: "read" | "write";
  readonly rules: SandboxRules;
  readonly signal?: AbortSignal;
}

/** A directory, held until exactly one of `keep`, `discard` and `abandon` was called; further calls do nothing. */
export interface Workspace {
  readonly path: string;
  /** What isn't in snapshots has yet to be made in it. Stays so for the next attempt, too, until `prepared` or `keep`. */
  readonly fresh: boolean;
  /** What isn't in snapshots is there now. */
  prepared(): void;
  /** The attempt is recorded, and the directory is equal to this snapshot. A reading attempt names what it started from. */
  keep(snapshot: SandboxSnapshot): void;
  /** The handler has returned, and nothing in the directory counts. */
  discard(): void;
  /** The attempt was lost, or its handler hasn't returned: nobody is to meet it here. */
  abandon(): void;
}

/** A directory that an earlier attempt has left, for looking at. */
export interface LeftBehind {
  readonly path: string;
  readonly epoch: number;
  readonly fence: number;
  /** What it was last known to be equal to. */
  readonly snapshot: SandboxSnapshot | null;
}

export class Workspaces {
  private readonly workDir: string;
  private readonly held = new Map<string, Held[]>();

  constructor(private readonly options: WorkspacesOptions) {
    this.workDir = join(options.dataDir, "sandboxes", "work");
  }

  /** @throws SandboxMissingError, SandboxCorruptError, or the signal's reason; then nothing is held */
  async acquire(request: WorkspaceRequest): Promise<Workspace> {
    const own = this.held.get(request.planId) ?? [];
    this.held.set(request.planId, own);
    const shared = request.mode === "read" ? own.find((one) => one.isSharedAt(request.snapshot)) : undefined;
    const equal = shared ?? own.find((one) => one.isFreeAt(request.snapshot));
    if (equal !== undefined) return equal.hand(request);

    const free = own.find((one) => one.isFree) ?? this.adopt(request) ?? this.make(request);
    if (!own.includes(free)) own.push(free);
    // From here on it is nobody else's, although the restore takes its time.
    free.take();
    const provider = this.options.provider(request.snapshot.provider);
    try {
      await provider.restore(request.snapshot, free.folder.path, request.rules, request.signal);
    } catch (error) {
      free.release(null);
      throw error;
    }
    return free.handRestored(request);
  }

  /**
   * The newest directory of the plan that no living attempt works in, or null. For comparing what it holds with a
   * snapshot: nothing is taken over, and it may be taken over by somebody else at any time.
   */
  leftBehind(planId: string): LeftBehind | null {
    const found = recordsOf(this.workDir, planId).find(
      ({ record }) => !record.inUse || isProcessGone(record.owner.process),
    );
    if (found === undefined) return null;
    const { epoch, fence, snapshot } = found.record;
    return { path: found.folder.path, epoch, fence, snapshot };
  }

  /** Removes the directories that this process holds for a plan that has ended, but not those that attempts are in. */
  async removePlan(planId: string): Promise<void> {
    const own = this.held.get(planId) ?? [];
    const free = own.filter((one) => one.isFree);
    for (const one of free) one.take();
    for (const one of free) {
      await remove(one.folder);
      own.splice(own.indexOf(one), 1);
    }
    if (own.length === 0) this.held.delete(planId);
  }

  /**
   * Removes directories of plans that aren't live any more, and those that nobody has used for a week. What an attempt of
   * a living process is in stays, as does what can't be told not to be.
   */
  async prune(
    livePlans: ReadonlySet<string>,
    { dryRun, minAgeMs = WEEK_MS }: { readonly dryRun: boolean; readonly minAgeMs?: number },
  ): Promise<{ readonly directories: number }> {
    let directories = 0;
    for (const planId of plansWithFolders(this.workDir)) {
      for (const folder of foldersOf(this.workDir, planId)) {
        if (!isRemovable(folder, livePlans.has(planId), minAgeMs)) continue;
        directories += 1;
        // Whoever is about to take it over has its record already, and keeps it.
        if (!dryRun && (readRecord(folder) === null || claimRecord(folder))) await remove(folder);
      }
      if (!dryRun) await removeStrays(this.workDir, planId, minAgeMs);
    }
    return { directories };
  }

  /** One that a process of this machine, gone by now, has left. It holds what snapshots don't, which is worth the most. */
  private adopt({ planId }: WorkspaceRequest): Held | null {
    for (const { folder, record } of recordsOf(this.workDir, planId)) {
      if (!isProcessGone(record.owner.process)) continue;
      if (record.inUse && mayBeInUse(folder.path)) continue;
      if (claimRecord(folder)) return new Held(folder, this.owner(), record.prepared, record, record.snapshot);
    }
    return null;
  }

  private make({ planId, epoch, fence }: WorkspaceRequest): Held {
    makePlanFolder(this.workDir, planId);
    return new Held(
      workspaceFolder(this.workDir, planId, `${epoch}-${fence}`),
      this.owner(),
      false,
      { epoch, fence },
      null,
    );
  }

  private owner(): WorkspaceRecord["owner"] {
    return { process: thisProcess(), workerId: this.options.workerId };
  }
}

/** One directory of this process. Its state is in memory; the record tells others. */
class Held {
  private state: "free" | "writing" | "reading" | "abandoned" = "free";
  private readers = 0;
  /** What its content is, where that is known; while it is being read, what it was before. */
  private snapshot: SandboxSnapshot | null = null;

  constructor(
    readonly folder: WorkspaceFolder,
    private readonly owner: WorkspaceRecord["owner"],
    private isPrepared: boolean,
    private attempt: { readonly epoch: number; readonly fence: number },
    private lastEqual: SandboxSnapshot | null,
  ) {}

  get isFree(): boolean {
    return this.state === "free";
  }

  isFreeAt(snapshot: SandboxSnapshot): boolean {
    return this.isFree && this.isAt(snapshot) && lstatSync(this.folder.path, { throwIfNoEntry: false }) !== undefined;
  }

  isSharedAt(snapshot: SandboxSnapshot): boolean {
    return this.state === "reading" && this.isAt(snapshot);
  }

  /** Its content isn't known from now on. */
  take(): void {
    this.state = "writing";
    this.snapshot = null;
    this.write();
  }

  handRestored(request: WorkspaceRequest): Workspace {
    this.snapshot = request.snapshot;
    return this.hand(request);
  }

  hand(request: WorkspaceRequest): Workspace {
    const { mode } = request;
    const fresh = !this.isPrepared;
    if (mode === "read") {
      this.state = "reading";
      this.readers += 1;
    } else {
      this.state = "writing";
      this.snapshot = null;
    }
    this.note(request);
    let isOver = false;
    const once = (end: () => void) => () => {
      if (!isOver) end();
      isOver = true;
    };
    return {
      path: this.folder.path,
      fresh,
      prepared: () => {
        if (!isOver) this.markPrepared();
      },
      // That a reader has changed nothing is its word only: the next one looks, which is quick.
      keep: (kept) =>
        once(() => {
          this.isPrepared = true;
          this.release(mode === "read" ? null : kept);
        })(),
      discard: once(() => this.release(null)),
      abandon: once(() => this.abandon()),
    };
  }

  /** @param snapshot what its content is, or null where nobody knows */
  release(snapshot: SandboxSnapshot | null): void {
    if (this.state === "reading") this.readers -= 1;
    if (this.state === "abandoned" || this.readers > 0) return;
    this.state = "free";
    this.snapshot = snapshot;
    this.lastEqual = snapshot ?? this.lastEqual;
    this.write();
  }

  private abandon(): void {
    this.readers = Math.max(0, this.readers - 1);
    this.state = "abandoned";
    this.snapshot = null;
  }

  private markPrepared(): void {
    this.isPrepared = true;
    this.write();
  }

  private isAt(snapshot: SandboxSnapshot): boolean {
    return this.snapshot?.digest === snapshot.digest && this.snapshot.provider === snapshot.provider;
  }

  private note({ epoch, fence, snapshot }: WorkspaceRequest): void {
    this.attempt = { epoch, fence };
    this.lastEqual = snapshot;
    this.write();
  }

  private write(): void {
    const { owner, lastEqual: snapshot, isPrepared: prepared } = this;
    const { epoch, fence } = this.attempt;
    const inUse = this.state !== "free";
    writeRecord(this.folder, { version: 1, owner, epoch, fence, inUse, snapshot, prepared });
  }
}

/** Newest attempt first. */
function recordsOf(workDir: string, planId: string): { folder: WorkspaceFolder; record: WorkspaceRecord }[] {
  return foldersOf(workDir, planId)
    .flatMap((folder) => {
      const record = readRecord(folder);
      return record === null ? [] : [{ folder, record }];
    })
    .sort((a, b) => b.record.fence - a.record.fence);
}

function isRemovable(folder: WorkspaceFolder, isLivePlan: boolean, minAgeMs: number): boolean {
  const record = readRecord(folder);
  const isOld = ageMsOf(folder) >= minAgeMs;
  // Of another machine, of an earlier start of this one, or just being taken over.
  if (record === null) return isOld;
  if (isProcessGone(record.owner.process)) return !isLivePlan || isOld;
  if (isRunning(record.owner.process)) return !isLivePlan && !record.inUse;
  return isOld;
}

/** It disappears in one moment: a process that thinks it has it finds nothing, and makes another. */
async function remove(folder: WorkspaceFolder): Promise<void> {
  const planFolder = dirname(folder.path);
  const going = `${folder.name}.${randomUUID()}`;
  renameSync(folder.path, join(planFolder, going));
  await removeIn(planFolder, going);
  rmSync(folder.recordPath, { force: true });
  removeIfEmpty(planFolder);
}

/** What processes that died have left beside the directories: half a record, half a removed directory. */
async function removeStrays(workDir: string, planId: string, minAgeMs: number): Promise<void> {
  const planFolder = join(workDir, planId);
  for (const name of strayNames(workDir, planId)) {
    const stat = statSync(join(planFolder, name), { throwIfNoEntry: false });
    if (stat !== undefined && Date.now() - stat.mtimeMs >= minAgeMs) await removeIn(planFolder, name);
  }
  removeIfEmpty(planFolder);
}

async function removeIn(planFolder: string, name: string): Promise<void> {
  const beneath = new Beneath(planFolder);
  try {
    await removeTree(beneath, name, new TimeSlices(undefined));
  } finally {
    beneath.close();
  }
}

function removeIfEmpty(planFolder: string): void {
  try {
    rmdirSync(planFolder);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== "ENOTEMPTY" && code !== "EEXIST" && code !== "ENOENT") throw error;
  }
}
