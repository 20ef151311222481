/** A plan's files in a resume: which snapshot they go back to, and what on this machine differs from it. */
import type { ErrorDocument } from "./errors.js";
import type { ResumeActions } from "./resume-actions.js";
import type { Situation } from "./resume-request.js";
import type { SandboxChanges, SandboxSnapshot } from "./sandbox.js";

/** What was found where the resume is asked for. */
export interface SandboxFacts {
  /** Why the files can't be put back, or what is there can't be kept. */
  readonly fault: ErrorDocument | null;
  /** The directory that an attempt has left here: how it differs, and the digest that a snapshot of it has. */
  readonly left: (SandboxChanges & { readonly digest: string }) | null;
}

/** What resume does with the files. Paths are listed up to a limit; the counts are exact. */
export interface SandboxSummary extends SandboxChanges {
  /** The checkpoint whose files they are; null for those that the plan started from. */
  readonly checkpoint: string | null;
  readonly digest: string;
  readonly files: number;
  readonly bytes: number;
  readonly changedCount: number;
  readonly addedCount: number;
  readonly removedCount: number;
  /** The snapshot as which what differs is kept before it is discarded; null where nothing is lost. */
  readonly discardedSnapshot: string | null;
}

const LISTED_PATHS = 500;

/** The snapshot that the files go back to, or null where the plan has none. */
export function snapshotOf(
  { inForce, snapshots }: Pick<Situation, "inForce" | "snapshots">,
  actions: ResumeActions | null,
): SandboxSnapshot | null {
  const place = actions?.rewound?.sandboxPlace ?? null;
  return place === null ? inForce : snapshots[place - 1]!;
}

export function summarizeFiles(
  situation: Situation,
  actions: ResumeActions | null,
  checkpoint: string | null,
): SandboxSummary | null {
  const goal = snapshotOf(situation, actions);
  if (goal === null) return null;
  const left = situation.files?.left;
  if (!left) return summarizeSnapshot(goal, checkpoint);
  const { changed, added, removed } = left;
  return {
    ...summarizeSnapshot(goal, checkpoint),
    changed: changed.slice(0, LISTED_PATHS),
    added: added.slice(0, LISTED_PATHS),
    removed: removed.slice(0, LISTED_PATHS),
    changedCount: changed.length,
    addedCount: added.length,
    removedCount: removed.length,
    discardedSnapshot: discarded(situation, goal),
  };
}

/** A snapshot that nothing on this machine is compared with. */
export function summarizeSnapshot(
  { digest, files, bytes }: SandboxSnapshot,
  checkpoint: string | null,
): SandboxSummary {
  const nothing = { changed: [], added: [], removed: [], changedCount: 0, addedCount: 0, removedCount: 0 };
  return { checkpoint, digest, files, bytes, ...nothing, discardedSnapshot: null };
}

/** What a checkpoint has is not lost by going back before it. */
function discarded({ files, snapshots }: Situation, goal: SandboxSnapshot): string | null {
  const left = files?.left?.digest;
  if (left === undefined || left === goal.digest) return null;
  return snapshots.some((snapshot) => snapshot.digest === left) ? null : left;
}
