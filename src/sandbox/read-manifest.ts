/** Finds a snapshot's manifest, and checks that it is the one that the digest names. */
import { SandboxCorruptError, SandboxMissingError } from "../core/errors.js";
import type { ContentStore } from "./blob-store.js";
import { decodeManifest, type Entry } from "./manifest.js";

const SNAPSHOT_DIGEST = /^sha256:([0-9a-f]{64})$/;

/** @throws SandboxMissingError, SandboxCorruptError */
export async function readManifest(store: ContentStore, digest: string): Promise<Entry[]> {
  const bytes = await store.read("manifests", hexOf(digest));
  if (bytes === null) throw new SandboxMissingError(digest, `its manifest in ${store.location}`);
  return decodeManifest(bytes, digest);
}

/** It becomes part of a path: a digest that others wrote must not lead elsewhere. */
export function hexOf(digest: string): string {
  const hex = SNAPSHOT_DIGEST.exec(digest)?.[1];
  if (hex === undefined) throw new SandboxCorruptError(digest, "it is no digest of a snapshot");
  return hex;
}
