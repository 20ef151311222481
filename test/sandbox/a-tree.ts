/** Directories for the sandbox's tests, and what other programs than ours say of them. */
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  statfsSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
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

/** One of everything that a directory may hold. */
export function aTreeOfOddities(tree: string): void {
  for (const folder of ["empty", "deep/er/still", "modes", "sticky"])
    mkdirSync(join(tree, folder), { recursive: true });
  writeFileSync(join(tree, "README"), "text");
  writeFileSync(join(tree, "empty-file"), "");
  writeFileSync(join(tree, "deep/er/still/binary"), Buffer.from([0, 255, 10, 13, 0]));
  for (const name of ["ünïcödé – 文件", "new\nline", " lead and trail ", "-rf", "a'b\"c", "back\\slash", "deep.er"]) {
    writeFileSync(join(tree, name), name);
  }
  writeFileSync(Buffer.concat([Buffer.from(`${tree}/`), Buffer.from([0x66, 0xff, 0xfe, 0x80])]), "no UTF-8");
  mkdirSync(Buffer.concat([Buffer.from(`${tree}/`), Buffer.from([0x64, 0xe9])]));
  writeFileSync(Buffer.concat([Buffer.from(`${tree}/`), Buffer.from([0x64, 0xe9, 0x2f, 0xe9])]), "latin1");
  for (const mode of [0o400, 0o444, 0o600, 0o644, 0o755, 0o777, 0o4755]) {
    writeFileSync(join(tree, `modes/${mode.toString(8)}`), "");
    chmodSync(join(tree, `modes/${mode.toString(8)}`), mode);
  }
  chmodSync(join(tree, "sticky"), 0o1777);
  chmodSync(join(tree, "modes"), 0o500);
  symlinkSync("README", join(tree, "link"));
  symlinkSync("deep", join(tree, "link-to-directory"));
  symlinkSync("/etc/passwd", join(tree, "link-outside"));
  symlinkSync("nowhere/at all", join(tree, "link-broken"));
  symlinkSync(Buffer.from([0xff, 0xfe]), join(tree, "link-no-utf8"));
  linkSync(join(tree, "README"), join(tree, "hard-link"));
}

/** What `aTreeOfOddities` made, as another step may leave it. */
export function wreck(tree: string): void {
  rmSync(join(tree, "README"), { force: true });
  mkdirSync(join(tree, "README/now/a/directory"), { recursive: true });
  execFileSync("mkfifo", [join(tree, "README/now/pipe")]);
  rmSync(join(tree, "deep"), { recursive: true, force: true });
  symlinkSync("/etc", join(tree, "deep"));
  writeFileSync(join(tree, "added"), "added");
  if (existsSync(join(tree, "link"))) rmSync(join(tree, "link"));
  rmSync(join(tree, "modes"), { recursive: true, force: true });
  writeFileSync(join(tree, "modes"), "");
  mkdirSync(join(tree, "closed/in"), { recursive: true });
  chmodSync(join(tree, "closed"), 0);
}

function hasRoom(folder: string): boolean {
  if (!existsSync(folder)) return false;
  const { bavail, bsize } = statfsSync(folder);
  return bavail * bsize > 2 ** 31;
}
