/** Reads files that somebody may be writing to: what is returned was the whole content at one moment, or it is refused. */
import { createHash, type Hash } from "node:crypto";
import { closeSync, constants, fstatSync, openSync, readSync, type Stats } from "node:fs";
import { SandboxUnsupportedError } from "../core/errors.js";
import type { Beneath } from "./beneath.js";
import { type BytePath, toText } from "./byte-path.js";
import type { TimeSlices } from "./time-slices.js";

// Without O_NONBLOCK, opening a named pipe that took the file's place would wait for a writer.
const OPEN_FILE = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
const TRIES = 5;
/** Larger files are never in memory as a whole. */
export const SMALL_BYTES = 4 * 1024 * 1024;
const CHUNK_BYTES = 256 * 1024;

export interface SteadyContent {
  readonly digest: string;
  /** From the open file: of the very content that the digest is of. */
  readonly stat: Stats;
  /** The content, where it is small. */
  readonly content: Buffer | null;
}

/**
 * @returns null where there is no file any more
 * @throws SandboxUnsupportedError where it never stands still, or can't be read
 */
export async function readSteadily(
  beneath: Beneath,
  path: BytePath,
  slices: TimeSlices,
): Promise<SteadyContent | null> {
  for (let tries = 0; tries < TRIES; tries++) {
    const result = await readOnce(beneath, path, slices);
    if (result !== "changed") return result;
  }
  throw new SandboxUnsupportedError(toText(path), `changes while it is read; tried ${TRIES} times`);
}

/** One try. With a sink nothing is held in memory: it is handed the content chunk by chunk, each valid until it returns. */
export async function readOnce(
  beneath: Beneath,
  path: BytePath,
  slices: TimeSlices,
  sink?: (chunk: Buffer) => void | Promise<void>,
): Promise<SteadyContent | "changed" | null> {
  const fd = openFile(beneath, path);
  if (fd === null) return null;
  try {
    const before = fstatSync(fd);
    if (!before.isFile()) return "changed";
    const inMemory = sink === undefined && before.size <= SMALL_BYTES;
    const read = inMemory ? readWhole(fd, before.size) : await readChunks(fd, before.size, slices, sink);
    const after = fstatSync(fd);
    if (read.bytes !== before.size || !isSame(before, after)) return "changed";
    return { digest: read.hash.digest("hex"), stat: after, content: read.content };
  } finally {
    closeSync(fd);
  }
}

interface Read {
  readonly bytes: number;
  readonly hash: Hash;
  readonly content: Buffer | null;
}

/** Asks for one byte more than there should be, so that a file that grew is seen to have. */
function readWhole(fd: number, size: number): Read {
  const buffer = Buffer.allocUnsafe(size + 1);
  let bytes = 0;
  for (let count = -1; count !== 0 && bytes <= size; bytes += count) {
    count = readSync(fd, buffer, bytes, size + 1 - bytes, null);
  }
  const content = buffer.subarray(0, Math.min(bytes, size));
  return { bytes, hash: createHash("sha256").update(content), content };
}

/** Ends, too, where there is more than there should be: a file may grow as fast as it is read. */
async function readChunks(
  fd: number,
  size: number,
  slices: TimeSlices,
  sink: ((chunk: Buffer) => void | Promise<void>) | undefined,
): Promise<Read> {
  const buffer = Buffer.allocUnsafe(CHUNK_BYTES);
  const hash = createHash("sha256");
  let bytes = 0;
  while (bytes <= size) {
    if (slices.isOver) await slices.next();
    const count = readSync(fd, buffer, 0, CHUNK_BYTES, null);
    if (count === 0) break;
    bytes += count;
    hash.update(buffer.subarray(0, count));
    await sink?.(buffer.subarray(0, count));
  }
  return { bytes, hash, content: null };
}

function openFile(beneath: Beneath, path: BytePath): number | null {
  try {
    return openSync(beneath.at(path), OPEN_FILE);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") return null;
    const reason = REASONS[code ?? ""];
    if (reason === undefined) throw error;
    throw new SandboxUnsupportedError(toText(path), reason, { cause: error });
  }
}

const REASONS: Readonly<Record<string, string>> = {
  ELOOP: "was replaced by a link while it was read",
  ENXIO: "was replaced by a socket or a device while it was read",
  EACCES: "can't be read: permission denied",
};

function isSame(before: Stats, after: Stats): boolean {
  return before.size === after.size && before.mtimeMs === after.mtimeMs && before.ctimeMs === after.ctimeMs;
}
