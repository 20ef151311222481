/** Chooses where the embedded server listens: a short path in a directory that only this user can enter. */
import { createHash, randomBytes } from "node:crypto";
import { chmodSync, lstatSync, mkdirSync, mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { getuid } from "node:process";

/** Bytes of a socket's path that every system takes: sun_path has 104 on macOS and 108 on Linux, the last one for NUL. */
export const SOCKET_PATH_LIMIT_BYTES = 103;

/**
 * A new path for the server of this data directory. Its name starts with a hash of the directory's real path; the
 * random rest keeps it apart from the socket of a server whose directory was deleted and made again.
 * @param runtimeDir XDG_RUNTIME_DIR, where there is one
 */
export function chooseSocketPath(dataDir: string, runtimeDir: string | null): string {
  const name = `${socketNamePrefix(dataDir)}${randomBytes(3).toString("hex")}.sock`;
  // Seen through sudo, it is another user's.
  const directory = runtimeDir !== null && isPrivate(runtimeDir) ? privateDirectory(join(runtimeDir, "waymark")) : null;
  if (directory !== null && fits(join(directory, name))) return join(directory, name);
  const base = fits(join(tmpdir(), `waymark-${getuid?.()}-XXXXXX`, name)) ? tmpdir() : "/tmp";
  const shared = privateDirectory(join(base, `waymark-${getuid?.()}`));
  return join(shared ?? mkdtempSync(join(base, "waymark-")), name);
}

export function socketNamePrefix(dataDir: string): string {
  return `${createHash("sha256").update(dataDir).digest("hex").slice(0, 16)}-`;
}

/** Whether a server may be started again at a path chosen earlier. */
export function isUsableSocketPath(path: string): boolean {
  return fits(path) && isPrivate(dirname(path));
}

function fits(path: string): boolean {
  return Buffer.byteLength(path) <= SOCKET_PATH_LIMIT_BYTES;
}

/** The directory, made if need be; null when it can't be made or somebody else could reach into it. */
function privateDirectory(path: string): string | null {
  try {
    mkdirSync(path, { mode: 0o700 });
    // The umask can only take bits away, never the owner's here; a set-group-id parent can add one.
    chmodSync(path, 0o700);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") return null;
  }
  return isPrivate(path) ? path : null;
}

function isPrivate(path: string): boolean {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  return stat?.isDirectory() === true && stat.uid === getuid?.() && (stat.mode & 0o077) === 0;
}
