/** What is noted about the embedded server of a data directory, and where: all of it in `redis/`, beside its data. */
import { chmodSync, mkdirSync, readFileSync, renameSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pid } from "node:process";
import type { ProcessIdentity } from "../machine/process-identity.js";
import type { ServerRelease } from "./server-binary.js";

export interface ServerFiles {
  readonly directory: string;
  /** Held for as long as start, adopt and stop are decided. */
  readonly lock: string;
  /** The server process keeps this one locked in the kernel, where the system has flock(1). */
  readonly alive: string;
  readonly record: string;
  readonly writer: string;
  readonly log: string;
}

/** The server that was started last. It stays when the server stops, so that the next one listens at the same path. */
export interface ServerRecord {
  readonly process: ProcessIdentity;
  readonly socketPath: string;
  /** Device and inode of `redis/`: a copy of a data directory must not adopt the original's server. */
  readonly directory: string;
}

/** Makes `redis/` in the data directory, private whatever the data directory is. */
export function serverFiles(dataDir: string): ServerFiles {
  const directory = join(dataDir, "redis");
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  chmodSync(directory, 0o700);
  return {
    directory,
    lock: join(directory, "lock"),
    alive: join(directory, "alive"),
    record: join(directory, "server.json"),
    writer: join(directory, "written-by.json"),
    log: join(directory, "redis.log"),
  };
}

export function readRecord(files: ServerFiles): ServerRecord | null {
  const record = readJson<ServerRecord>(files.record);
  return record?.directory === inodeOf(files.directory) ? record : null;
}

export function writeRecord(files: ServerFiles, process: ProcessIdentity, socketPath: string): ServerRecord {
  const record = { process, socketPath, directory: inodeOf(files.directory) };
  writeJson(files.record, record);
  return record;
}

export function readWriter(files: ServerFiles): ServerRelease | null {
  return readJson<ServerRelease>(files.writer);
}

export function noteWriter(files: ServerFiles, release: ServerRelease): void {
  const noted = readWriter(files);
  if (noted?.server !== release.server || noted.version !== release.version) writeJson(files.writer, release);
}

/** The last lines of the server's log, on one line, without their process ids and dates. */
export function logTail(files: ServerFiles): string {
  let text: string;
  try {
    text = readFileSync(files.log, "utf8");
  } catch {
    return "it left no log";
  }
  const lines = text
    .slice(-4_096)
    .split("\n")
    .filter((line) => line.trim() !== "");
  return lines
    .slice(-3)
    .map((line) => line.replace(/^\d+:\w \d+ \w+ \d+ [\d:.]+ [.\-*#] /, ""))
    .join(" | ");
}

function inodeOf(directory: string): string {
  const stat = statSync(directory, { bigint: true });
  return `${stat.dev}:${stat.ino}`;
}

function readJson<T>(path: string): T | null {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw error;
  }
  try {
    return JSON.parse(text) as T;
  } catch {
    // Files are renamed into place, so only a disk that lost its last writes leaves half of one: nothing is known.
    return null;
  }
}

function writeJson(path: string, value: unknown): void {
  writeFileSync(`${path}.${pid}`, `${JSON.stringify(value)}\n`, { mode: 0o600 });
  renameSync(`${path}.${pid}`, path);
}
