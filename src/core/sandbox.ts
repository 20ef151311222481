/**
 * A plan's directory of files, as core sees it: what a definition declares of it, what a snapshot is, and the port behind
 * which snapshots are kept. Nothing here touches a file.
 */

/** What a definition declares of its sandbox. */
export interface SandboxDeclaration {
  /** The directory that a plan's sandbox starts as a copy of, relative to the document's folder; null starts empty. */
  readonly from: string | null;
  /** Never copied in, neither at the start nor later: gitignore patterns. */
  readonly exclude: readonly string[];
  /** Live in the directory but not in snapshots; a restore leaves them alone: gitignore patterns. */
  readonly ignore: readonly string[];
  /** Snapshotted although they look like files of secrets: gitignore patterns. */
  readonly include: readonly string[];
  /** A command that runs before the first step after a restore onto a machine that does not have the directory. */
  readonly prepare: { readonly run: string } | null;
  /** Who keeps the snapshots: "directory" unless given. */
  readonly provider: string;
}

/** Who keeps the snapshots of a sandbox that names nobody. */
export const DEFAULT_SANDBOX_PROVIDER = "directory";

/** Wherever the plan may be submitted: a path of another system is absolute as well. */
export function isAbsolutePath(path: string): boolean {
  return /^([/\\]|[A-Za-z]:)/.test(path);
}

/** A plan's files as a step sees them: a directory of its own, as the checkpoint before it left them. */
export interface SandboxAccess {
  /** Absolute. */
  readonly path: string;
  /** Whether the directory is new: it holds the snapshot, and what `prepare` has just made in it. */
  readonly fresh: boolean;
}

/** A snapshot: immutable, content-addressed, kept by a provider. What a checkpoint names. */
export interface SandboxSnapshot {
  readonly provider: string;
  /** Identifies the content: `sha256:` and 64 hex digits. Equal trees have equal digests, whoever took them. */
  readonly digest: string;
  readonly files: number;
  /** Of all regular files together. */
  readonly bytes: number;
}

/** Paths relative to the sandbox, with `/`, sorted. A path whose type, mode, content or link target differs is changed. */
export interface SandboxChanges {
  readonly changed: readonly string[];
  readonly added: readonly string[];
  readonly removed: readonly string[];
}

/** Which files count: the part of the declaration that snapshots and restores look at. */
export type SandboxRules = Pick<SandboxDeclaration, "exclude" | "ignore" | "include">;

/**
 * Keeps snapshots of directories. Every operation may be cut off at any moment and repeated: a snapshot exists whole or
 * not at all, and a restore that was cut off is completed by the next one.
 */
export interface SandboxProvider {
  readonly name: string;
  /**
   * Takes a snapshot of `path`. When it resolves, the snapshot is durable and a commit may name it; a commit within 24 h
   * finds it still there, whatever is pruned meanwhile.
   * @throws SandboxUnsupportedError where a file is of a kind, or the tree of a size, that can't be kept: with the path
   * @throws SandboxUnavailableError where the snapshots are kept can't be written: a full disk
   */
  snapshot(path: string, rules: SandboxRules, signal?: AbortSignal): Promise<SandboxSnapshot>;
  /**
   * Makes `path` equal to the snapshot, by difference, creating it where it is missing, and verifies what it wrote.
   * What `rules.ignore` names is left alone.
   * @throws SandboxMissingError, SandboxCorruptError
   */
  restore(snapshot: SandboxSnapshot, path: string, rules: SandboxRules, signal?: AbortSignal): Promise<void>;
  /** What a restore would discard, and the digest that a snapshot of `path` would have. Reads only. */
  compare(
    snapshot: SandboxSnapshot,
    path: string,
    rules: SandboxRules,
  ): Promise<SandboxChanges & { readonly digest: string }>;
  /** Reads the whole snapshot and checks it. @throws SandboxMissingError, SandboxCorruptError */
  verify(snapshot: SandboxSnapshot): Promise<void>;
  /**
   * Removes what no kept snapshot needs and nothing younger than `minAgeMs` (24 h unless given) needs either.
   * `kept` are the digests of all snapshots that some plan names.
   */
  prune(
    kept: ReadonlySet<string>,
    options: { readonly dryRun: boolean; readonly minAgeMs?: number },
  ): Promise<{ readonly snapshots: number; readonly files: number; readonly bytes: number }>;
}
