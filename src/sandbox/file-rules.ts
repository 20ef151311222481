/** Which files of a sandbox count. SPEC of the three lists: core's SandboxDeclaration. */
import type { SandboxRules } from "../core/sandbox.js";
import { type BytePath, nameOf } from "./byte-path.js";
import { Patterns } from "./patterns.js";

/**
 * `kept` is part of snapshots. `ignored` is not, and a restore leaves it alone. `excluded` is not either, and a restore
 * removes it: it is never there at a checkpoint.
 */
export type Verdict = "kept" | "ignored" | "excluded";

export class FileRules {
  private readonly everywhere: Lists;
  private readonly inRepository: Lists;

  constructor({ exclude, ignore, include }: SandboxRules) {
    this.everywhere = new Lists(exclude, ignore, include);
    this.inRepository = new Lists(exclude.filter(namesGit), ignore.filter(namesGit), null);
  }

  /** Of a path whose directory is kept. */
  verdict(path: BytePath, isDirectory: boolean): Verdict {
    // The files of a repository are git's: a branch named `id_card` is no key, and `build` in its refs no output. Only
    // a pattern that speaks of .git itself is meant for them.
    return (isInRepository(path) ? this.inRepository : this.everywhere).verdict(path, isDirectory);
  }
}

class Lists {
  private readonly exclude: Patterns;
  private readonly ignore: Patterns;
  /** Null where no file is taken for one of secrets. */
  private readonly include: Patterns | null;

  constructor(exclude: readonly string[], ignore: readonly string[], include: readonly string[] | null) {
    this.exclude = new Patterns(exclude);
    this.ignore = new Patterns(ignore);
    this.include = include === null ? null : new Patterns(include);
  }

  verdict(path: BytePath, isDirectory: boolean): Verdict {
    const isSecret = this.include !== null && !isDirectory && looksSecret(nameOf(path));
    if (this.exclude.isEmpty && this.ignore.isEmpty && !isSecret) return "kept";
    if (this.ignore.match(path, isDirectory)) return "ignored";
    if (this.exclude.match(path, isDirectory)) return "excluded";
    return isSecret && !this.include.cover(path, isDirectory) ? "ignored" : "kept";
  }
}

/** `.env*`, `*.pem`, `.npmrc`, `.netrc`, and keys of SSH: `id_rsa`, `id_rsa.pub`, but not the source file `id_card.ts`. */
function looksSecret(name: string): boolean {
  return (
    name.startsWith(".env") ||
    name.endsWith(".pem") ||
    name === ".npmrc" ||
    name === ".netrc" ||
    (name.startsWith("id_") && /^id_[^.]*(\.pub)?$/.test(name))
  );
}

function isInRepository(path: BytePath): boolean {
  return path.startsWith(".git/") || path.includes("/.git/");
}

function namesGit(pattern: string): boolean {
  return pattern.includes(".git");
}
