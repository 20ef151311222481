/** Files of plans on this machine, for clients and workers. Loaded only where a plan has some: few do. */
import { realpath, stat } from "node:fs/promises";
import { isAbsolute, join, relative, resolve, sep } from "node:path";
import type { CompiledDefinition } from "../core/definition.js";
import { UsageError } from "../core/errors.js";
import type { SandboxProvider, SandboxSnapshot } from "../core/sandbox.js";
import type { Sandboxes } from "../sandbox/sandboxes.js";

export interface SandboxOptions {
  /**
   * Where snapshots are kept: a directory, or a bucket such as `s3://bucket/prefix`. All machines that submit and execute
   * plans with a sandbox must see the same. In the data directory unless given.
   */
  readonly store?: string;
  /** Where steps work on this machine: `.waymark` unless given. */
  readonly dataDir?: string;
  /** Others who keep snapshots, which definitions name by `provider`. */
  readonly providers?: readonly SandboxProvider[];
}

export type OpenSandboxes = () => Promise<Sandboxes>;

/** Opened at the first use. */
export function sandboxesOf(options: SandboxOptions = {}): OpenSandboxes {
  let opened: Promise<Sandboxes> | null = null;
  return () => {
    opened ??= open(options);
    return opened;
  };
}

/** With nothing said about it. */
export const sandboxesByDefault: OpenSandboxes = sandboxesOf();

async function open({ store, dataDir = ".waymark", providers = [] }: SandboxOptions): Promise<Sandboxes> {
  const { Sandboxes } = await import("../sandbox/sandboxes.js");
  const place = store === undefined || store.startsWith("s3://") ? store : resolve(store);
  return new Sandboxes({ dataDir: resolve(dataDir), store: place ?? null, providers });
}

/**
 * A snapshot of what the sandbox of a plan starts from: a copy of `from`, which is relative to `folder`, or nothing.
 * @param folder null where the definition comes from the store: whose directory it names, nobody here has said
 * @throws UsageError where there is no such directory
 */
export async function firstSnapshot(
  { definition }: CompiledDefinition,
  folder: string | null,
  openSandboxes: OpenSandboxes,
): Promise<SandboxSnapshot> {
  const rules = definition.sandbox!;
  const sandboxes = await openSandboxes();
  const provider = sandboxes.keeper(rules.provider);
  sandboxes.begin();
  if (rules.from === null) return sandboxes.snapshotOfNothing(provider);
  const from = await findDirectory(definition.name, rules.from, folder);
  // What is kept about plans is no part of a plan, also where it lies among the files that one starts from.
  const exclude = [...rules.exclude, ...patternsOf(sandboxes.places, from)];
  return provider.snapshot(from, { ...rules, exclude });
}

/** @throws UsageError where there is no such directory */
export async function findDirectory(name: string, from: string, folder: string | null): Promise<string> {
  if (folder === null) {
    throw new UsageError(
      `The sandbox of ${name} starts from ${from}, beside a file that was not named here: name the file of the plan`,
      { details: { from }, try: "plan submit FILE" },
    );
  }
  const path = join(folder, from);
  const found = await stat(path).catch(() => null);
  if (found?.isDirectory()) return realpath(path);
  throw new UsageError(
    `The sandbox of ${name} starts from ${path}, which is ${found === null ? "not there" : "no directory"}`,
    { details: { from, path } },
  );
}

function patternsOf(places: readonly string[], from: string): string[] {
  return places
    .map((place) => relative(from, place))
    .filter((path) => path !== "" && path !== ".." && !path.startsWith(`..${sep}`) && !isAbsolute(path))
    .map((path) => `/${path.replaceAll(sep, "/").replace(/[\\*?[\]]/g, "\\$&")}/`);
}
