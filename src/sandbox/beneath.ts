/**
 * Reaches what is beneath a directory without ever passing through a symbolic link, even where a directory is replaced
 * by one meanwhile.
 *
 * Node has no openat(2). Where there is /proc, `/proc/self/fd/N/name` is the same: it starts from the directory that is
 * open as N, wherever that stands by now, and every directory on the way was opened with O_NOFOLLOW. Elsewhere paths
 * are checked when they are entered, which leaves the instant between the check and the use.
 */
import { chmodSync, closeSync, constants, existsSync, fstatSync, lstatSync, openSync, type Stats } from "node:fs";
import { SandboxUnsupportedError } from "../core/errors.js";
import { type BytePath, forFileSystem, fromText, join, nameOf, parentOf, toText } from "./byte-path.js";

const OPEN_DIRECTORY = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
/** Opens what it names without any right to it. Linux's, as is HAS_PROC. */
const O_PATH = 0o10000000;
const OWNER_ALL = 0o700;
const HAS_PROC = existsSync("/proc/self/fd");
/** Each level costs an open file while the walk is beneath it. */
const MAX_DEPTH = 200;

interface Level {
  readonly path: BytePath;
  readonly fd: number;
  /** What the names in it are appended to. */
  readonly base: BytePath;
}

export class Beneath {
  /** The root and the directories down to the one that was entered last. Never empty while open. */
  private readonly levels: Level[];

  /** @throws SandboxUnsupportedError where `root` is no directory, or a link to one */
  constructor(readonly root: string) {
    const path = fromText(root);
    this.levels = [level("", path, openDirectory(path, root))];
  }

  get rootStat(): Stats {
    return fstatSync(this.levels[0]!.fd);
  }

  /** Names what is at `path`, for a call that doesn't follow a link at the end. Enters the directory that it is in. */
  at(path: BytePath): string | Buffer {
    return forFileSystem(`${this.enter(parentOf(path))}/${nameOf(path)}`);
  }

  /** What to append `/` and a name of this directory to; good until a directory elsewhere is entered. */
  enter(path: BytePath): BytePath {
    while (!isAtOrBeneath(path, this.top.path)) this.leave();
    while (this.top.path !== path) this.descend(path);
    return this.top.base;
  }

  /**
   * The directory's path as anybody would write it. Much quicker to look things up by than `enter`'s answer, but whoever
   * uses it has to ask afterwards, with `isStillAt`, whether it led where it should.
   */
  plainPath(path: BytePath): BytePath {
    return join(fromText(this.root), path);
  }

  /** Whether the plain path leads to the directory that was entered last. */
  isStillAt(plainPath: BytePath): boolean {
    const [entered, named] = [fstatSync(this.fd), lstatSync(forFileSystem(plainPath), { throwIfNoEntry: false })];
    return named !== undefined && named.ino === entered.ino && named.dev === entered.dev;
  }

  /** Lets its owner list, enter and change a directory, whatever its mode is. */
  openUp(path: BytePath): void {
    const location = this.at(path);
    if (!HAS_PROC) {
      openUpByName(location);
      return;
    }
    const fd = openSync(location, O_PATH | constants.O_DIRECTORY | constants.O_NOFOLLOW);
    try {
      const mode = fstatSync(fd).mode & 0o7777;
      if ((mode & OWNER_ALL) !== OWNER_ALL) chmodSync(`/proc/self/fd/${fd}`, mode | OWNER_ALL);
    } finally {
      closeSync(fd);
    }
  }

  /** The directory that was entered last, open. */
  get fd(): number {
    return this.top.fd;
  }

  close(): void {
    while (this.levels.length > 0) this.leave();
  }

  private get top(): Level {
    return this.levels.at(-1)!;
  }

  private descend(towards: BytePath): void {
    const { path, base } = this.top;
    const rest = path === "" ? towards : towards.slice(path.length + 1);
    const name = rest.split("/", 1)[0]!;
    const below = join(path, name);
    if (this.levels.length > MAX_DEPTH) {
      throw new SandboxUnsupportedError(toText(below), `is more than ${MAX_DEPTH} directories deep`);
    }
    const target = `${base}/${name}`;
    this.levels.push(level(below, target, openDirectory(target, `${this.root}/${toText(below)}`)));
  }

  private leave(): void {
    closeSync(this.levels.pop()!.fd);
  }
}

function level(path: BytePath, target: BytePath, fd: number): Level {
  return { path, fd, base: HAS_PROC ? `/proc/self/fd/${fd}` : target };
}

function openDirectory(target: BytePath, shown: string): number {
  try {
    return openSync(forFileSystem(target), OPEN_DIRECTORY);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOTDIR" || code === "ELOOP")
      throw new SandboxUnsupportedError(shown, "is no directory", { cause: error });
    if (code === "EACCES")
      throw new SandboxUnsupportedError(shown, "can't be read: permission denied", { cause: error });
    throw error;
  }
}

function openUpByName(location: string | Buffer): void {
  const stat = lstatSync(location);
  if (stat.isDirectory() && (stat.mode & OWNER_ALL) !== OWNER_ALL)
    chmodSync(location, (stat.mode & 0o7777) | OWNER_ALL);
}

function isAtOrBeneath(path: BytePath, directory: BytePath): boolean {
  return directory === "" || path === directory || path.startsWith(`${directory}/`);
}
