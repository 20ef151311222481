/** Moments at which a crash must be harmless. Tests end the process at each of them, and look at what the next one makes of it. */
export const CRASH_POINTS = [
  "store.temporary-opened",
  "store.temporary-written",
  "store.temporary-synced",
  "store.renamed",
  "snapshot.scanned",
  "snapshot.blobs-durable",
  "snapshot.manifest-durable",
  "snapshot.cache-saved",
  "restore.removed",
  "restore.directory-made",
  "restore.file-opened",
  "restore.file-written",
  "restore.link-made",
  "restore.complete",
  "prune.generation-changed",
  "prune.condemned",
  "prune.removed",
  "git.import-begun",
  "git.commit-written",
  "git.refs-removed",
] as const;

export type CrashPoint = (typeof CRASH_POINTS)[number];

export type AtPoint = (point: CrashPoint) => void;
