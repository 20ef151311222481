/**
 * Whether a process works in a directory: a worker that was killed may leave children that go on writing. Only where
 * there is /proc can that be told; elsewhere the answer is that one may.
 */
import { existsSync, readdirSync, readlinkSync, realpathSync } from "node:fs";

/** Looks at working directories and open files of every process that this one may look at. */
export function mayBeInUse(directory: string): boolean {
  if (!existsSync("/proc/self/cwd")) return true;
  const root = realpathSync(directory);
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .some((pid) => linksOf(pid).some((link) => isBeneath(readLink(link), root)));
}

function linksOf(pid: string): string[] {
  return [`/proc/${pid}/cwd`, `/proc/${pid}/root`, ...namesIn(`/proc/${pid}/fd`).map((fd) => `/proc/${pid}/fd/${fd}`)];
}

function isBeneath(path: string, root: string): boolean {
  return path === root || path.startsWith(`${root}/`);
}

// Processes end while they are looked at, and those of others can't be.
function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

function readLink(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return "";
  }
}
