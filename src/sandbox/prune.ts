/**
 * Removes what no snapshot needs: mark and sweep. What is young is needed by somebody who is about to say so, hence it is
 * kept, and with a young manifest all that it names. Manifests go before blobs, so that one that is cut off leaves no
 * manifest without its blobs.
 */
import { SandboxMissingError } from "../core/errors.js";
import type { BlobStore, ObjectKind, StoredObject } from "./blob-store.js";
import { hexOf, readManifest } from "./read-manifest.js";
import { TimeSlices } from "./time-slices.js";

export interface Pruned {
  readonly snapshots: number;
  readonly files: number;
  readonly bytes: number;
}

/**
 * @param kept digests of snapshots
 * @throws SandboxCorruptError where a kept manifest can't be read: what it needs isn't known, so nothing is removed
 */
export async function pruneStore(
  store: BlobStore,
  kept: ReadonlySet<string>,
  { dryRun, minAgeMs }: { readonly dryRun: boolean; readonly minAgeMs: number },
): Promise<Pruned> {
  const slices = new TimeSlices(undefined);
  const keptManifests = new Set([...kept].map(hexOf));
  const isOld = ({ ageMs }: StoredObject) => ageMs >= minAgeMs;

  const oldManifests: StoredObject[] = [];
  for await (const manifest of store.list("manifests")) {
    if (slices.isOver) await slices.next();
    if (keptManifests.has(manifest.digest)) continue;
    if (isOld(manifest)) oldManifests.push(manifest);
    else keptManifests.add(manifest.digest);
  }

  const keptBlobs = new Set<string>();
  for (const manifest of keptManifests) {
    for (const blob of await blobsOf(store, manifest)) keptBlobs.add(blob);
    if (slices.isOver) await slices.next();
  }
  const oldBlobs: StoredObject[] = [];
  for await (const blob of store.list("blobs")) {
    if (slices.isOver) await slices.next();
    if (!keptBlobs.has(blob.digest) && isOld(blob)) oldBlobs.push(blob);
  }

  if (dryRun) return sum(oldManifests, oldBlobs);
  if (oldManifests.length + oldBlobs.length > 0) await store.announceRemoval();
  const removed = async (kind: ObjectKind, objects: readonly StoredObject[]) => {
    const gone: StoredObject[] = [];
    for (const object of objects) {
      if (slices.isOver) await slices.next();
      if (await store.remove(kind, object.digest, minAgeMs)) gone.push(object);
    }
    return gone;
  };
  const goneManifests = await removed("manifests", oldManifests);
  const goneBlobs = await removed("blobs", oldBlobs);
  await store.sweep(minAgeMs);
  return sum(goneManifests, goneBlobs);
}

/** A manifest that is missing needs nothing any more. */
async function blobsOf(store: BlobStore, manifest: string): Promise<string[]> {
  try {
    const entries = await readManifest(store, `sha256:${manifest}`);
    return entries.flatMap((entry) => (entry.kind === "file" ? [entry.digest] : []));
  } catch (error) {
    if (error instanceof SandboxMissingError) return [];
    throw error;
  }
}

function sum(manifests: readonly StoredObject[], blobs: readonly StoredObject[]): Pruned {
  const bytes = [...manifests, ...blobs].reduce((total, object) => total + object.bytes, 0);
  return { snapshots: manifests.length, files: blobs.length, bytes };
}
