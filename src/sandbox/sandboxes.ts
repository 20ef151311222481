/** Where one process keeps files of plans: who keeps the snapshots, and the directories in which steps work. */
import { mkdtemp, realpath, rmdir } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { SandboxUnavailableError } from "../core/errors.js";
import type { SandboxProvider, SandboxSnapshot } from "../core/sandbox.js";
import { ensureDataDir } from "../machine/data-directory.js";
import { thisProcess } from "../machine/process-identity.js";
import { createDirectoryProvider } from "./directory-provider.js";
import { Workspaces } from "./workspaces.js";

export interface SandboxesOptions {
  /** Where steps work, and where snapshots are unless `store` says otherwise. Absolute. */
  readonly dataDir: string;
  /** A directory that every machine sees, or `s3://bucket/prefix`. */
  readonly store: string | null;
  /** Other keepers, which definitions name by `provider`. */
  readonly providers: readonly SandboxProvider[];
}

export class Sandboxes {
  readonly workspaces: Workspaces;
  /** Directories of this machine that hold nothing of a plan's own. */
  readonly places: readonly string[];
  private readonly dataDir: string;
  private isBegun = false;
  private readonly providers: ReadonlyMap<string, SandboxProvider>;

  constructor({ dataDir, store, providers }: SandboxesOptions) {
    this.dataDir = dataDir;
    this.places = store === null ? [dataDir] : [dataDir, store];
    const builtIn = createDirectoryProvider({ dataDir, ...(store !== null && { storeDir: store }) });
    this.providers = new Map([builtIn, ...providers].map((provider) => [provider.name, provider]));
    const provider = (name: string) => this.provider(name);
    this.workspaces = new Workspaces({ dataDir, workerId: `${hostname()}:${thisProcess().pid}`, provider });
  }

  /** Makes the data directory. Must come before the first write; who only reads leaves no trace. */
  begin(): void {
    if (!this.isBegun) ensureDataDir(this.dataDir);
    this.isBegun = true;
  }

  /** What a plan without files to start from begins with. */
  async snapshotOfNothing(provider: SandboxProvider): Promise<SandboxSnapshot> {
    const path = await mkdtemp(join(await realpath(this.dataDir), "empty-"));
    try {
      return await provider.snapshot(path, { exclude: [], ignore: [], include: [] });
    } finally {
      await rmdir(path);
    }
  }

  /** Who keeps the snapshots of this name. @throws SandboxUnavailableError where nobody here does */
  provider(name: string): SandboxProvider {
    const found = this.providers.get(name);
    if (found !== undefined) return found;
    const known = [...this.providers.keys()].join(", ");
    throw new SandboxUnavailableError(name, `this process has no such provider; it has ${known}`);
  }
}
