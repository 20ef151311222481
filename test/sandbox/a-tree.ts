/** Directories for the sandbox's tests, and what other programs than ours say of them. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, statfsSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach } from "vitest";
import type { SandboxRules } from "../../src/core/sandbox.js";
import { createDirectoryProvider, type DirectoryProviderOptions } from "../../src/sandbox/directory-provider.js";

export const ALL: SandboxRules = { exclude: [], ignore: [], include: [] };

const SHARED_MEMORY = "/dev/shm";
/** In memory where there is room enough: these tests write much, and sync all of it. */
const BASE = hasRoom(SHARED_MEMORY) ? SHARED_MEMORY : tmpdir();

const folders: string[] = [];

afterEach(() => {
  for (const folder of folders.splice(0)) {
    // What a test made inaccessible can't be removed by whoever isn't root.
    execFileSync("find", [folder, "-type", "d", "!", "-perm", "-700", "-exec", "chmod", "u+rwx", "{}", ";"]);
    rmSync(folder, { recursive: true, force: true });
  }
});

/** Removed after the test. */
export function aFolder(): string {
  const folder = mkdtempSync(join(BASE, "waymark-sandbox-"));
  folders.push(folder);
  return folder;
}

/** A provider with a data directory of its own, and a place for sandboxes on the same file system. */
export function aProvider(options: Omit<DirectoryProviderOptions, "dataDir"> = {}) {
  const folder = aFolder();
  const dataDir = join(folder, "data");
  return {
    provider: createDirectoryProvider({ dataDir, ...options }),
    dataDir,
    store: options.storeDir ?? join(dataDir, "sandboxes", "store"),
    at: (name: string) => join(folder, name),
  };
}

/** What find(1) and sha256sum(1) see: type, mode, link target and content of everything, whatever its name. */
export function listing(directory: string): string[] {
  const run = (command: string) =>
    execFileSync("sh", ["-c", command], { cwd: directory, encoding: "latin1", maxBuffer: 2 ** 28 });
  const entries = run(`find . -mindepth 1 -printf '%P|%y|%m|%l\\0'`);
  const contents = run(`find . -type f -print0 | xargs -0 -r sha256sum -z`);
  return `${entries}${contents}`.split("\0").sort();
}

function hasRoom(folder: string): boolean {
  if (!existsSync(folder)) return false;
  const { bavail, bsize } = statfsSync(folder);
  return bavail * bsize > 2 ** 31;
}
