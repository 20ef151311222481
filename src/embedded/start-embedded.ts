/**
 * The embedded store: a private redis-server on a unix socket, shared by all commands of one data directory.
 *
 * Two servers on one directory would both append to one file and ruin it. So start, adopt and stop are decided under
 * one lock. Whoever holds it first asks the server on record, and starts another only when that one's process is gone.
 * A server never runs without a record: it is started by a shell that waits for one word, sent after the record is
 * written; if the starter dies before that, the shell reads the end of the pipe and becomes nothing. Where the system
 * has flock(1), the server also holds a lock of the kernel on its directory, which protects it from processes that
 * cannot see its pid, such as those of another container.
 *
 * Every user keeps one connection, its presence, open from start to release. The last one out stops the server: it
 * holds the lock and finds nobody else connected. A user that is killed loses its presence with its life; a server
 * that is left over by it is adopted by the next command.
 */
import { spawn } from "node:child_process";
import { existsSync, readdirSync, rmSync } from "node:fs";
import type { Socket } from "node:net";
import { dirname, join } from "node:path";
import { kill } from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { StoreUnavailableError, StoreUnsuitableError, WaymarkError } from "../core/errors.js";
import { ensureDataDir } from "../machine/data-directory.js";
import { identify, isRunning } from "../machine/process-identity.js";
import { withLock } from "./exclusive-lock.js";
import { ReplyError, RespConnection } from "./resp-connection.js";
import { canOpen, findServer, releaseOf, type ServerRelease } from "./server-binary.js";
import {
  logTail,
  noteWriter,
  readRecord,
  readWriter,
  type ServerFiles,
  type ServerRecord,
  serverFiles,
  writeRecord,
} from "./server-files.js";
import { chooseSocketPath, isUsableSocketPath, socketNamePrefix } from "./socket-path.js";

export interface EmbeddedOptions {
  readonly dataDir: string;
  /** XDG_RUNTIME_DIR, where there is one. */
  readonly runtimeDir?: string | null;
  /** How long a server may take until it answers at all; loading its data may take longer. */
  readonly startDeadlineMs?: number;
}

export interface EmbeddedStore {
  readonly socketPath: string;
  /** `unix://` and the socket's path, percent-encoded as in every URL. */
  readonly url: string;
  /** Stops the server if nobody else uses it. Close your own connections first. Safe to call twice. */
  release(): Promise<void>;
}

const PRESENCE = "waymark-presence";
const START_DEADLINE_MS = 15_000;
const SHUTDOWN_DEADLINE_MS = 15_000;
// Longer than a start that fails and a stop that hangs together, so that waiting for others fails last.
const LOCK_WAIT_MS = 60_000;
// The server forgets a connection one turn of its loop after it was closed here.
const CLOSING_MS = 250;
const REPLY_MS = 5_000;
// Sockets are made before data is loaded: a server that lives this long without one has lost it.
const SOCKET_GRACE_MS = 3_000;

const LAUNCH = [
  "read -r go || exit 1",
  'exec 9>"$0" || exit 1',
  "if command -v flock >/dev/null; then flock 9 || exit 1; fi",
  // An unknown locale in the environment stops newer servers.
  "LC_ALL=C; export LC_ALL",
  'exec "$@" </dev/null',
].join("\n");

/**
 * Starts the server of this data directory, or joins the one that runs.
 * @throws WaymarkError REDIS_NOT_FOUND, StoreUnsuitableError for a store of a newer server, StoreUnavailableError with the end of the log
 */
export async function startEmbedded(options: EmbeddedOptions): Promise<EmbeddedStore> {
  try {
    return await startOrJoin(options);
  } catch (error) {
    throw isFileError(error) ? unusable(options.dataDir, error) : error;
  }
}

async function startOrJoin(options: EmbeddedOptions): Promise<EmbeddedStore> {
  const dataDir = ensureDataDir(options.dataDir);
  const files = serverFiles(dataDir);
  const deadlineMs = options.startDeadlineMs ?? START_DEADLINE_MS;
  const { record, presence } = await withLock(files.lock, LOCK_WAIT_MS, async () => {
    const running = await adopt(files, deadlineMs);
    return running ?? (await start(dataDir, files, options.runtimeDir ?? null, deadlineMs));
  });
  await untilLoaded(files, record, presence);

  let released: Promise<void> | null = null;
  return {
    socketPath: record.socketPath,
    url: `unix://${record.socketPath.split("/").map(encodeURIComponent).join("/")}`,
    release() {
      released ??= leave(files, record, presence);
      return released;
    },
  };
}

function isFileError(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && "syscall" in error && "code" in error && "path" in error;
}

/** A directory of somebody else, a read-only disk, a full one. */
function unusable(dataDir: string, cause: NodeJS.ErrnoException): WaymarkError {
  return new WaymarkError("STORE_UNAVAILABLE", `The data directory ${dataDir} can't be used: ${cause.message}`, {
    details: { dataDir, reason: cause.code ?? null },
    cause,
  });
}

interface Joined {
  readonly record: ServerRecord;
  readonly presence: RespConnection;
}

async function adopt(files: ServerFiles, deadlineMs: number): Promise<Joined | null> {
  const record = readRecord(files);
  if (record === null) return null;
  const presence = await reach(files, record, deadlineMs);
  return presence === null ? null : { record, presence };
}

/** A connection to the server on record, or null once its process is gone. @throws StoreUnavailableError when it lives and stays silent */
async function reach(files: ServerFiles, record: ServerRecord, deadlineMs: number): Promise<RespConnection | null> {
  const startedMs = Date.now();
  for (;;) {
    const waitedMs = Date.now() - startedMs;
    // Asked before the connection is tried: a process that ends in between has answered or is gone next time.
    const runs = isRunning(record.process);
    const presence = await connect(record.socketPath, Math.max(100, deadlineMs - waitedMs));
    if (presence !== null) return presence;
    if (!runs) return null;
    if (waitedMs >= SOCKET_GRACE_MS && !existsSync(record.socketPath)) {
      // Cleaners of temporary directories remove sockets. Nobody can reach it any more, and it must not have a twin.
      await stop(record);
      return null;
    }
    if (waitedMs >= deadlineMs) {
      const reason = `process ${record.process.pid} gave no answer for ${deadlineMs} ms; its log ends: ${logTail(files)}`;
      throw new StoreUnavailableError(record.socketPath, reason);
    }
    await sleep(10);
  }
}

/** An introduced connection, or null when nobody answers. LOADING is an answer. */
async function connect(socketPath: string, timeoutMs: number): Promise<RespConnection | null> {
  let connection: RespConnection | null = null;
  try {
    connection = await RespConnection.open(socketPath);
    await connection.call(timeoutMs, "CLIENT", "SETNAME", PRESENCE);
    return connection;
  } catch (error) {
    // Whatever it says, something that speaks the protocol is alive there.
    if (error instanceof ReplyError) return connection;
    return null;
  }
}

async function start(
  dataDir: string,
  files: ServerFiles,
  runtimeDir: string | null,
  deadlineMs: number,
): Promise<Joined> {
  const binary = await findServer();
  const writer = readWriter(files);
  if (writer !== null && !canOpen(binary, writer)) {
    throw new StoreUnsuitableError(
      `The store in ${files.directory} was written by ${nameOf(writer)}, which ${nameOf(binary)} cannot read`,
      { directory: files.directory, writtenBy: nameOf(writer), found: nameOf(binary) },
    );
  }
  const before = readRecord(files)?.socketPath;
  const socketPath =
    before !== undefined && isUsableSocketPath(before) ? before : chooseSocketPath(dataDir, runtimeDir);
  await stopOrphans(dataDir, socketPath);

  const record = await launch(binary.command, files, socketPath);
  let presence: RespConnection | null;
  try {
    presence = await reach(files, record, deadlineMs);
  } catch (error) {
    await stop(record);
    throw error;
  }
  if (presence === null) {
    throw new StoreUnavailableError(socketPath, `${binary.command} ended at once; its log ends: ${logTail(files)}`);
  }
  return { record, presence };
}

/**
 * Servers of a directory that stood at this path and was deleted or moved: nobody finds them by their record any more.
 * One that somebody still uses is left alone.
 */
async function stopOrphans(dataDir: string, socketPath: string): Promise<void> {
  const directory = dirname(socketPath);
  const prefix = socketNamePrefix(dataDir);
  for (const name of readdirSync(directory)) {
    const path = join(directory, name);
    if (!name.startsWith(prefix) || path === socketPath) continue;
    const connection = await connect(path, REPLY_MS);
    if (connection === null) rmSync(path, { force: true });
    else if (await isAlone(connection)) await shutDown(connection);
    else await connection.close();
  }
}

/** Starts the server and writes its record, in an order that leaves no server without a record. */
async function launch(command: string, files: ServerFiles, socketPath: string): Promise<ServerRecord> {
  rmSync(socketPath, { force: true });
  const child = spawn("sh", ["-c", LAUNCH, files.alive, command, ...serverArguments(files, socketPath)], {
    // A session of its own: the terminal's Ctrl-C and its end must not reach it.
    detached: true,
    stdio: ["pipe", "ignore", "ignore"],
    cwd: files.directory,
  });
  await new Promise((resolve, reject) => child.once("spawn", resolve).once("error", reject));
  child.unref();
  const identity = identify(child.pid!);
  if (identity === null) throw new StoreUnavailableError(socketPath, "the shell that starts the server ended at once");
  const record = writeRecord(files, identity, socketPath);
  const pipe = child.stdin as Socket;
  // A shell that ended meanwhile breaks the pipe; that its process is gone is noticed by whoever waits for an answer.
  pipe.on("error", () => pipe.destroy());
  pipe.unref();
  pipe.end("go\n");
  return record;
}

function serverArguments(files: ServerFiles, socketPath: string): string[] {
  const settings: Record<string, string> = {
    port: "0",
    save: "",
    appendonly: "yes",
    appendfsync: "everysec",
    unixsocket: socketPath,
    unixsocketperm: "700",
    "maxmemory-policy": "noeviction",
    dir: files.directory,
    logfile: files.log,
  };
  return Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value]);
}

/** Waits, however long the data is, and notes who writes it from now on. */
async function untilLoaded(files: ServerFiles, record: ServerRecord, presence: RespConnection): Promise<void> {
  try {
    while (await isLoading(presence)) await sleep(50);
    noteWriter(files, releaseOf(String(await presence.call(REPLY_MS, "INFO", "server"))));
  } catch (error) {
    await presence.close();
    const reason = `${(error as Error).message}; its log ends: ${logTail(files)}`;
    throw new StoreUnavailableError(record.socketPath, reason, { cause: error });
  }
}

async function isLoading(presence: RespConnection): Promise<boolean> {
  try {
    await presence.call(REPLY_MS, "PING");
    return false;
  } catch (error) {
    if (error instanceof ReplyError) return error.word === "LOADING";
    throw error;
  }
}

async function leave(files: ServerFiles, record: ServerRecord, presence: RespConnection): Promise<void> {
  try {
    // Without its directory nobody can start a server there, and nobody will find this one again.
    if (existsSync(files.directory))
      await withLock(files.lock, LOCK_WAIT_MS, () => stopIfLast(files, record, presence));
    else await stopIfLast(files, record, presence);
  } catch {
    // A lock that stays held, a server that was killed just now or refuses: the work of this command is done, and the
    // next one adopts or replaces whatever is left. Not a reason to fail.
  } finally {
    await presence.close();
  }
}

async function stopIfLast(files: ServerFiles, record: ServerRecord, presence: RespConnection): Promise<void> {
  // The server may have been killed and started again by another command: then the presence is lost, the duty is not.
  const connection = presence.isOpen ? presence : await connect(record.socketPath, REPLY_MS);
  if (connection === null) return;
  if (!(await isAlone(connection))) {
    // Within the lock, so that whoever decides next doesn't count this one.
    await connection.close();
    return;
  }
  if (!(await shutDown(connection))) return;
  // Not always the server that was joined; a starter that comes next must find its process gone.
  const current = existsSync(files.directory) ? readRecord(files) : null;
  await untilGone(current ?? record, SHUTDOWN_DEADLINE_MS);
}

/** Whether no other user is present and no other client is connected, other than those that are just closing. */
async function isAlone(connection: RespConnection): Promise<boolean> {
  const ownId = String(await connection.call(REPLY_MS, "CLIENT", "ID"));
  const deadlineMs = Date.now() + CLOSING_MS;
  for (let round = 0; ; round++) {
    const list = String(await connection.call(REPLY_MS, "CLIENT", "LIST"));
    const others = list.split("\n").filter((line) => line.startsWith("id=") && !line.startsWith(`id=${ownId} `));
    if (others.length === 0) return true;
    const isShared = others.some((line) => line.includes(` name=${PRESENCE} `));
    if ((isShared && round > 0) || Date.now() >= deadlineMs) return false;
    await sleep(5);
  }
}

/** Whether the server obeys. What is appended is on disk when it has ended. */
async function shutDown(connection: RespConnection): Promise<boolean> {
  try {
    await connection.call(SHUTDOWN_DEADLINE_MS, "SHUTDOWN");
  } catch (error) {
    // A lost connection is the answer of one that obeys; one that refuses, with its disk full perhaps, stays up.
    if (!(error instanceof ReplyError)) return true;
  }
  await connection.close();
  return false;
}

/** Ends a server that can't be asked, by its process. SIGTERM saves as SHUTDOWN does. */
async function stop(record: ServerRecord): Promise<void> {
  for (const signal of ["SIGTERM", "SIGKILL"] as const) {
    if (!isRunning(record.process)) return;
    signalGroup(record.process.pid, signal);
    await untilGone(record, SHUTDOWN_DEADLINE_MS);
  }
}

/** The group of the session: before it becomes the server, the shell may wait in a child for the kernel's lock. */
function signalGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    kill(-pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

async function untilGone(record: ServerRecord, deadlineMs: number): Promise<void> {
  const endMs = Date.now() + deadlineMs;
  while (isRunning(record.process) && Date.now() < endMs) await sleep(5);
}

function nameOf(release: ServerRelease): string {
  return `${release.server === "redis" ? "Redis" : "Valkey"} ${release.version}`;
}
