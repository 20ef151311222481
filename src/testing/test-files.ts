/** The files of a test's plan: real snapshots and working directories, in a temporary folder that goes with the test. */
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, relative, sep } from "node:path";
import { firstSnapshot, sandboxesOf } from "../client/sandboxes.js";
import type { CompiledDefinition } from "../core/definition.js";
import type { SandboxProvider, SandboxSnapshot } from "../core/sandbox.js";
import type { Sandboxes } from "../sandbox/sandboxes.js";

export class TestFiles {
  private constructor(
    private readonly folder: string,
    readonly sandboxes: Sandboxes,
    /** What the sandbox starts from. */
    readonly first: SandboxSnapshot,
  ) {}

  /**
   * @param from what the sandbox's own `from` is relative to
   * @throws UsageError where there is no such directory
   */
  static async open(
    compiled: CompiledDefinition,
    from: string,
    providers: readonly SandboxProvider[],
  ): Promise<TestFiles> {
    const folder = await mkdtemp(join(tmpdir(), "waymark-test-"));
    try {
      const open = sandboxesOf({ dataDir: join(folder, "data"), providers });
      const first = await firstSnapshot(compiled, from, open);
      return new TestFiles(folder, await open(), first);
    } catch (error) {
      await remove(folder);
      throw error;
    }
  }

  /** The text of every file in a snapshot, by its path with `/`. */
  async read(snapshot: SandboxSnapshot): Promise<Record<string, string>> {
    const tree = await mkdtemp(join(this.folder, "tree-"));
    const everything = { exclude: [], ignore: [], include: [] };
    await this.sandboxes.provider(snapshot.provider).restore(snapshot, tree, everything);
    const found = await readdir(tree, { recursive: true, withFileTypes: true });
    const paths = found.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
    const texts = await Promise.all(paths.sort().map((path) => readFile(path, "utf8")));
    return Object.fromEntries(paths.map((path, i) => [relative(tree, path).replaceAll(sep, "/"), texts[i]!]));
  }

  close(): Promise<void> {
    return remove(this.folder);
  }
}

function remove(folder: string): Promise<void> {
  return rm(folder, { recursive: true, force: true });
}
