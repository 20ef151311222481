/** Lists directories: what every name in them is, without reading a file. It can be done here, or by a thread. */
import { constants, lstatSync, readdirSync, readlinkSync } from "node:fs";
import { SandboxUnsupportedError } from "../core/errors.js";
import type { Beneath } from "./beneath.js";
import { type BytePath, forFileSystem, toText } from "./byte-path.js";
import type { TimeSlices } from "./time-slices.js";

/** What is in one directory, in the shape in which it costs a thread the least to hand it over. */
export interface Listing {
  /** Sorted by their bytes. */
  readonly names: readonly BytePath[];
  /** NUMBERS for each name. */
  readonly numbers: Float64Array;
  /** Of those that are links, by place. */
  readonly targets: ReadonlyMap<number, BytePath>;
}

/** What tells whether a file has changed, and what it is. Ten thousand of Node's own Stats are a burden. */
export interface FileStat {
  /** With the bits that say what it is. */
  readonly mode: number;
  readonly size: number;
  readonly ino: number;
  readonly dev: number;
  readonly mtimeMs: number;
  readonly ctimeMs: number;
}

const NUMBERS = 6;

/** @throws SandboxUnsupportedError where it is replaced or removed meanwhile */
export async function lookUp(beneath: Beneath, directory: BytePath, slices: TimeSlices): Promise<Listing> {
  try {
    return await list(beneath, directory, slices);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== "ENOENT" && code !== "EINVAL") throw error;
    throw new SandboxUnsupportedError(toText(directory), "was changed while it was read", { cause: error });
  }
}

async function list(beneath: Beneath, directory: BytePath, slices: TimeSlices): Promise<Listing> {
  const found = namesIn(beneath.enter(directory));
  const plain = beneath.plainPath(directory);
  const names: BytePath[] = [];
  const numbers = new Float64Array(found.length * NUMBERS);
  const targets = new Map<number, BytePath>();
  for (const name of found) {
    if (slices.isOver) await slices.next();
    const location = forFileSystem(`${plain}/${name}`);
    const stat = lstatSync(location, { throwIfNoEntry: false });
    // What vanishes meanwhile isn't there.
    if (stat === undefined) continue;
    const { mode, size, ino, dev, mtimeMs, ctimeMs } = stat;
    const at = names.length * NUMBERS;
    numbers[at] = mode;
    numbers[at + 1] = size;
    numbers[at + 2] = ino;
    numbers[at + 3] = dev;
    numbers[at + 4] = mtimeMs;
    numbers[at + 5] = ctimeMs;
    if (stat.isSymbolicLink()) targets.set(names.length, readlinkSync(location, "latin1"));
    names.push(name);
  }
  if (!beneath.isStillAt(plain)) throw new SandboxUnsupportedError(toText(directory), "was replaced while it was read");
  return { names, numbers, targets };
}

export function statIn({ numbers }: Listing, place: number): FileStat {
  const at = place * NUMBERS;
  return {
    mode: numbers[at]!,
    size: numbers[at + 1]!,
    ino: numbers[at + 2]!,
    dev: numbers[at + 3]!,
    mtimeMs: numbers[at + 4]!,
    ctimeMs: numbers[at + 5]!,
  };
}

export function typeOf({ mode }: FileStat): number {
  return mode & constants.S_IFMT;
}

/** Sorted by their bytes. */
export function namesIn(base: BytePath): BytePath[] {
  return readdirSync(forFileSystem(base), "latin1").sort();
}
