/** Where one process keeps files of plans: who keeps the snapshots, and the directories in which steps work. */
import { existsSync } from "node:fs";
import { mkdtemp, realpath, rmdir } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { SandboxUnavailableError } from "../core/errors.js";
import { DEFAULT_SANDBOX_PROVIDER, type SandboxProvider, type SandboxSnapshot } from "../core/sandbox.js";
import { ensureDataDir } from "../machine/data-directory.js";
import { thisProcess } from "../machine/process-identity.js";
import { ContentProvider } from "./content-provider.js";
import { createDirectoryProvider } from "./directory-provider.js";
import { createGitProvider, gitRepositoryIn } from "./git-provider.js";
import { S3Store } from "./s3-store.js";
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
  private readonly storeDir: string;
  /** Who keeps the snapshots of plans that name nobody. */
  private readonly usual: SandboxProvider;
  private readonly git: SandboxProvider;
  private isBegun = false;
  private readonly providers: ReadonlyMap<string, SandboxProvider>;

  constructor({ dataDir, store, providers }: SandboxesOptions) {
    const bucket = store?.startsWith("s3://") ? new URL(store) : null;
    this.dataDir = dataDir;
    this.places = store === null || bucket !== null ? [dataDir] : [dataDir, store];
    this.storeDir = store === null || bucket !== null ? join(dataDir, "sandboxes", "store") : store;
    this.git = createGitProvider({ dataDir, repository: gitRepositoryIn(this.storeDir) });
    const builtIn: SandboxProvider[] = [createDirectoryProvider({ dataDir, storeDir: this.storeDir }), this.git];
    if (bucket !== null) builtIn.unshift(createS3Provider(bucket, dataDir));
    this.providers = new Map([...builtIn, ...providers].map((provider) => [provider.name, provider]));
    this.usual = this.providers.get(builtIn[0]!.name)!;
    const provider = (name: string) => this.provider(name);
    this.workspaces = new Workspaces({ dataDir, workerId: `${hostname()}:${thisProcess().pid}`, provider });
  }

  /** Whether anything could be found here that the provider keeps. */
  keeps(name: string): boolean {
    if (name === DEFAULT_SANDBOX_PROVIDER) return existsSync(this.storeDir);
    const provider = this.providers.get(name);
    return provider === this.git ? existsSync(gitRepositoryIn(this.storeDir)) : provider !== undefined;
  }

  /** Those of whose snapshots something could be found here. */
  get present(): SandboxProvider[] {
    return [...this.providers.values()].filter(({ name }) => this.keeps(name));
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

  /** Who takes the snapshots of a plan that declares this name. @throws SandboxUnavailableError where nobody here does */
  keeper(declared: string): SandboxProvider {
    const named = this.provider(declared);
    return declared === DEFAULT_SANDBOX_PROVIDER ? this.usual : named;
  }

  /** Who keeps the snapshots of this name. @throws SandboxUnavailableError where nobody here does */
  provider(name: string): SandboxProvider {
    const found = this.providers.get(name);
    if (found !== undefined) return found;
    const known = [...this.providers.keys()].join(", ");
    throw new SandboxUnavailableError(name, `this process has no such provider; it has ${known}`);
  }
}

function createS3Provider({ hostname: bucket, pathname }: URL, dataDir: string): SandboxProvider {
  const prefix = pathname.replace(/^\/|\/$/g, "");
  return new ContentProvider({
    name: "s3",
    store: new S3Store({ bucket, ...(prefix !== "" && { prefix: `${prefix}/` }) }),
    cacheFolder: join(dataDir, "sandboxes", "seen"),
  });
}
