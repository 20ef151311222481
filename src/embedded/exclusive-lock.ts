/**
 * A lock between processes that survives the death of its holder.
 *
 * The lock is a symbolic link whose target is the holder's note: creating one is atomic, exclusive, and never shows a
 * half-written note. Removing the lock of a dead holder is the delicate part: between reading the note and unlinking,
 * another process may have removed it and taken the lock itself. So a dead holder's lock is only removed under a lock
 * of its own, named after the dead note, and only if the note is still the same. Notes are unique, so whoever comes
 * late finds another note and leaves it alone.
 */
import { createHash, randomUUID } from "node:crypto";
import { readlinkSync, symlinkSync, unlinkSync } from "node:fs";
import { pid } from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { StoreUnavailableError } from "../core/errors.js";
import { identify, isRunning, type ProcessIdentity } from "../machine/process-identity.js";

/** Runs the action while nobody else holds the lock at `path`. @throws StoreUnavailableError after `waitMs` behind a live holder */
export async function withLock<T>(path: string, waitMs: number, action: () => Promise<T>): Promise<T> {
  const note = await acquire(path, Date.now() + waitMs, waitMs);
  try {
    return await action();
  } finally {
    removeIf(path, note);
  }
}

async function acquire(path: string, deadlineMs: number, waitMs: number): Promise<string> {
  const note = JSON.stringify({ ...identify(pid), token: randomUUID() });
  for (let pauseMs = 2; ; pauseMs = Math.min(pauseMs * 2, 32)) {
    if (create(path, note)) return note;
    const held = readNote(path);
    if (held === null) continue;
    const holder = parseNote(held);
    if (holder === null || !isRunning(holder)) {
      await removeStale(path, held, deadlineMs, waitMs);
      continue;
    }
    if (Date.now() >= deadlineMs) {
      throw new StoreUnavailableError(path, `process ${holder.pid} has held the lock for more than ${waitMs} ms`);
    }
    await sleep(pauseMs);
  }
}

function create(path: string, note: string): boolean {
  try {
    symlinkSync(note, path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  }
}

async function removeStale(path: string, held: string, deadlineMs: number, waitMs: number): Promise<void> {
  const breaker = `${path}.${createHash("sha256").update(held).digest("hex").slice(0, 12)}`;
  const note = await acquire(breaker, deadlineMs, waitMs);
  try {
    removeIf(path, held);
  } finally {
    removeIf(breaker, note);
  }
}

/** Leaves another note alone, and doesn't mind a directory that was deleted meanwhile. */
function removeIf(path: string, note: string): void {
  if (readNote(path) === note) unlinkSync(path);
}

function readNote(path: string): string | null {
  try {
    return readlinkSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw error;
  }
}

function parseNote(note: string): ProcessIdentity | null {
  try {
    const value: unknown = JSON.parse(note);
    return typeof value === "object" && value !== null && "pid" in value ? (value as ProcessIdentity) : null;
  } catch {
    return null;
  }
}
