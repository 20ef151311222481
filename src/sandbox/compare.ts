/** Says how a directory differs from a snapshot, and which snapshot it would make itself. Writes nothing anywhere. */
import { lstatSync } from "node:fs";
import type { SandboxChanges, SandboxRules } from "../core/sandbox.js";
import { Beneath } from "./beneath.js";
import type { ContentStore } from "./blob-store.js";
import { type BytePath, toText } from "./byte-path.js";
import { FileRules } from "./file-rules.js";
import { digestOf, type Entry, encodeManifest, type FileEntry } from "./manifest.js";
import { readManifest } from "./read-manifest.js";
import { readSteadily } from "./read-steadily.js";
import { type FoundFile, type SandboxLimits, scan } from "./scan.js";
import type { StatCache, StatCaches } from "./stat-cache.js";
import { TimeSlices } from "./time-slices.js";

export interface CompareTools {
  readonly store: ContentStore;
  readonly caches: StatCaches;
  readonly limits: SandboxLimits;
}

export async function compareWithSnapshot(
  digest: string,
  path: string,
  rules: SandboxRules,
  tools: CompareTools,
): Promise<SandboxChanges & { readonly digest: string }> {
  const before = await readManifest(tools.store, digest);
  const { entries, excluded } = await listTree(path, rules, tools);
  return { ...changesBetween(before, entries, excluded), digest: digestOf(encodeManifest(entries)) };
}

interface Tree {
  readonly entries: readonly Entry[];
  readonly excluded: readonly BytePath[];
}

/** A directory that is missing is an empty one: a restore would make it. */
async function listTree(path: string, rules: SandboxRules, { caches, limits }: CompareTools): Promise<Tree> {
  if (lstatSync(path, { throwIfNoEntry: false }) === undefined) return { entries: [], excluded: [] };
  const slices = new TimeSlices(undefined);
  const beneath = new Beneath(path);
  try {
    const cache = caches.open(beneath.rootStat, false);
    const { found, excluded } = await scan(beneath, new FileRules(rules), limits, slices);
    const entries: Entry[] = [];
    for (const item of found) {
      if (slices.isOver) await slices.next();
      const entry = item.kind === "file" ? await describe(item, beneath, cache, slices) : item;
      if (entry !== null) entries.push(entry);
    }
    return { entries, excluded };
  } finally {
    beneath.close();
  }
}

async function describe(
  { path, mode, stat }: FoundFile,
  beneath: Beneath,
  cache: StatCache,
  slices: TimeSlices,
): Promise<FileEntry | null> {
  const digest = cache.digestOf(path, stat);
  if (digest !== null) return { kind: "file", path, mode, size: stat.size, digest };
  const read = await readSteadily(beneath, path, slices);
  return read && { kind: "file", path, mode, size: read.stat.size, digest: read.digest };
}

function changesBetween(
  before: readonly Entry[],
  after: readonly Entry[],
  excluded: readonly BytePath[],
): SandboxChanges {
  const old = new Map(before.map((entry) => [entry.path, entry]));
  const changed: BytePath[] = [];
  const added: BytePath[] = [...excluded];
  for (const entry of after) {
    const earlier = old.get(entry.path);
    if (earlier === undefined) added.push(entry.path);
    else if (!isEqual(earlier, entry)) changed.push(entry.path);
    old.delete(entry.path);
  }
  return { changed: sorted(changed), added: sorted(added), removed: sorted([...old.keys()]) };
}

function isEqual(a: Entry, b: Entry): boolean {
  if (a.kind === "link") return b.kind === "link" && a.target === b.target;
  if (b.kind === "link" || a.kind !== b.kind || a.mode !== b.mode) return false;
  return a.kind === "directory" || (b.kind === "file" && a.digest === b.digest);
}

function sorted(paths: readonly BytePath[]): string[] {
  return paths.map(toText).sort();
}
