/** Keeps snapshots in the data directory, or in another directory that machines share: the provider where none is named. */
import { join } from "node:path";
import { ContentProvider, type ContentProviderOptions } from "./content-provider.js";
import { DirectoryStore } from "./directory-store.js";

export interface DirectoryProviderOptions extends Pick<ContentProviderOptions, "limits" | "atPoint"> {
  readonly dataDir: string;
  /** Where the snapshots are, when not in the data directory: such as a share that every worker mounts. */
  readonly storeDir?: string;
}

export function createDirectoryProvider(options: DirectoryProviderOptions): ContentProvider {
  const { dataDir, storeDir = join(dataDir, "sandboxes", "store"), ...rest } = options;
  return new ContentProvider({
    name: "directory",
    store: new DirectoryStore(storeDir, options.atPoint),
    cacheFolder: join(dataDir, "sandboxes", "seen"),
    ...rest,
  });
}
