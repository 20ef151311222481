/** Keeps snapshots in a git repository, where git's own tools can look at them, compare them and fetch them. */
import { readdirSync, statSync, unlinkSync } from "node:fs";
import { join } from "node:path";
import type { SandboxRules, SandboxSnapshot } from "../core/sandbox.js";
import { Git } from "./git-command.js";
import { GitStore, SNAPSHOT_REFS } from "./git-store.js";
import type { Pruned } from "./prune.js";
import { KEPT_FOR_MS } from "./snapshot.js";
import { SnapshotProvider, type SnapshotProviderOptions } from "./snapshot-provider.js";

export interface GitProviderOptions extends Pick<SnapshotProviderOptions, "limits" | "atPoint"> {
  readonly dataDir: string;
  /** The repository; made where there is none. */
  readonly repository?: string;
}

export function createGitProvider({ dataDir, repository, ...rest }: GitProviderOptions): GitProvider {
  const git = new Git(repository ?? gitRepositoryIn(join(dataDir, "sandboxes", "store")));
  const store = new GitStore(git, rest.atPoint);
  // Not those of another provider: what a cache has confirmed is of one store.
  return new GitProvider({
    name: "git",
    store,
    cacheFolder: join(dataDir, "sandboxes", "seen-by-git"),
    ...rest,
  });
}

/** Beside the snapshots of the directory provider. */
export function gitRepositoryIn(storeDir: string): string {
  return join(storeDir, "snapshots.git");
}

interface SnapshotRef {
  readonly name: string;
  readonly commit: string;
  readonly isKept: boolean;
}

/** Of a snapshot that was cut short by prune, again and again. */
const TRIES = 3;

export class GitProvider extends SnapshotProvider {
  private readonly store: GitStore;

  constructor(options: SnapshotProviderOptions & { readonly store: GitStore }) {
    super(options);
    this.store = options.store;
  }

  /**
   * Whatever a prune may have removed that this snapshot has counted on: then it is taken again. A prune that began after
   * the last look has seen its ref, and lets it be.
   */
  override async snapshot(path: string, rules: SandboxRules, signal?: AbortSignal): Promise<SandboxSnapshot> {
    for (let tries = 1; ; tries++) {
      const before = await this.store.generation();
      const isStanding = async () => (await this.store.generation()) === before;
      try {
        const snapshot = await super.snapshot(path, rules, signal);
        if (tries === TRIES || (await isStanding())) return snapshot;
      } catch (error) {
        if (tries === TRIES || (await isStanding())) throw error;
      }
      this.store.forget();
    }
  }

  /**
   * What no snapshot needs any more is removed by `git gc`, once it is older than `minAgeMs` there, too: what was packed
   * lately goes with a later prune, although it is counted now.
   */
  async prune(
    kept: ReadonlySet<string>,
    { dryRun, minAgeMs = KEPT_FOR_MS }: { readonly dryRun: boolean; readonly minAgeMs?: number },
  ): Promise<Pruned> {
    const { git } = this.store;
    if (!git.exists) return { snapshots: 0, files: 0, bytes: 0 };
    const listed = () => this.refs(kept, minAgeMs);
    if (!dryRun && (await listed()).some(({ isKept }) => !isKept)) this.store.renewGeneration();
    const refs = await listed();
    const doomed = refs.filter(({ isKept }) => !isKept);
    const pruned = await this.needed(
      doomed,
      refs.filter(({ isKept }) => isKept),
    );
    if (dryRun) return pruned;
    // One that was renewed in the last moment is another commit, and stays.
    for (const { name, commit } of doomed) await git.can(["update-ref", "-d", name, commit]);
    this.tools.atPoint("git.refs-removed");
    this.store.forget();
    await git.run(["gc", "--quiet", `--prune=${Math.floor((Date.now() - minAgeMs) / 1000)}`]);
    this.sweep(minAgeMs);
    this.sweepCaches();
    return pruned;
  }

  private async refs(kept: ReadonlySet<string>, minAgeMs: number): Promise<SnapshotRef[]> {
    const format = "--format=%(objectname) %(committerdate:unix) %(refname)";
    const listed = (await this.store.git.run(["for-each-ref", format, SNAPSHOT_REFS])).toString("latin1").trim();
    return listed.split("\n").flatMap((line) => {
      const [commit, seconds, name] = line.split(" ");
      if (name === undefined) return [];
      const isYoung = Date.now() - Number(seconds) * 1000 < minAgeMs;
      const isKept = isYoung || kept.has(`sha256:${name.slice(SNAPSHOT_REFS.length)}`);
      return [{ name, commit: commit!, isKept }];
    });
  }

  /** What only the first of them need. */
  private async needed(some: readonly SnapshotRef[], others: readonly SnapshotRef[]): Promise<Pruned> {
    const [own, theirs] = [await this.objectsOf(some), await this.objectsOf(others)];
    const ids = [...own].filter((id) => !theirs.has(id));
    const format = "--batch-check=%(objecttype) %(objectsize:disk)";
    const described = (await this.store.git.run(["cat-file", format], ids.map((id) => `${id}\n`).join(""))).toString();
    const blobs = described.split("\n").filter((line) => line.startsWith("blob "));
    const bytes = blobs.reduce((sum, line) => sum + Number(line.split(" ")[1]), 0);
    return { snapshots: some.length, files: blobs.length - some.length, bytes };
  }

  private async objectsOf(refs: readonly SnapshotRef[]): Promise<Set<string>> {
    if (refs.length === 0) return new Set();
    const input = refs.map(({ commit }) => `${commit}\n`).join("");
    const listed = await this.store.git.run(["rev-list", "--objects", "--no-object-names", "--stdin"], input);
    return new Set(listed.toString("latin1").trim().split("\n"));
  }

  /** What git writes when an import is cut off. */
  private sweep(minAgeMs: number): void {
    const { directory } = this.store.git;
    for (const name of readdirSync(directory)) {
      const path = join(directory, name);
      const isReport = name.startsWith("fast_import_crash_") || name.startsWith("waymark-generation.");
      if (isReport && Date.now() - statSync(path).mtimeMs >= minAgeMs) unlinkSync(path);
    }
  }
}
