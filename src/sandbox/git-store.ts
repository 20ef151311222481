/**
 * Keeps snapshots as commits of a bare repository, which git's own tools can read:
 *
 *     refs/waymark/snapshots/<digest>   a commit without parents, its date that of the last snapshot that was equal
 *       files/                          the files, as git holds them: content, exec bit, links
 *       manifest                        all that git has no place for: modes, empty directories, which names are escaped
 *
 * The manifest's digest is the snapshot's, and what is read is held to it; git's own ids are never believed. A store of
 * this kind knows content by the ids of git, so that it has to learn which digest is which id: from what it writes, and
 * from every snapshot whose manifest it reads.
 */
import { randomUUID } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { SandboxUnavailableError } from "../core/errors.js";
import type { BlobUpload, BlobWriter, ContentStore, ObjectKind } from "./blob-store.js";
import type { AtPoint } from "./crash-points.js";
import { endOf, type Git } from "./git-command.js";
import { GitImport } from "./git-import.js";
import { GitObjects } from "./git-objects.js";
import { quoted, treePath } from "./git-tree-path.js";
import { decodeManifest, type Entry, type FileEntry } from "./manifest.js";
import { CONFIRMED_FOR_MS } from "./snapshot.js";

export const SNAPSHOT_REFS = "refs/waymark/snapshots/";
/** Beyond that the oldest are forgotten: more than two of the largest sandboxes. */
const MAX_KNOWN = 500_000;
const TREE_LINE = /^\d+ blob ([0-9a-f]{40})\t(.*)$/s;
const EXECUTABLE = 0o100;
/** Of the text that is sent at once. */
const CHUNK = 16_000;

export class GitStore implements ContentStore {
  readonly location: string;
  /** Git's ids by digest. */
  private readonly known = new Map<string, string>();
  /** Another one once anything was forgotten. */
  private knowledge = randomUUID();
  private readonly objects: GitObjects;

  constructor(
    readonly git: Git,
    private readonly atPoint: AtPoint = () => {},
    private readonly maxKnown = MAX_KNOWN,
  ) {
    this.location = git.directory;
    this.objects = new GitObjects(git);
  }

  async generation(): Promise<string> {
    await this.make();
    return this.guarded(() => `${readFileSync(this.generationFile, "latin1")} ${this.knowledge}`);
  }

  /** From now on nothing that was found before is taken to be there. */
  renewGeneration(): void {
    const temporary = `${this.generationFile}.${randomUUID()}`;
    this.guarded(() => {
      writeFileSync(temporary, randomUUID(), { mode: 0o600, flush: true });
      renameSync(temporary, this.generationFile);
    });
  }

  forget(): void {
    this.known.clear();
    this.knowledge = randomUUID();
  }

  touch(kind: ObjectKind, digest: string): boolean | Promise<boolean> {
    return kind === "blobs" ? this.known.has(digest) : this.touchSnapshot(digest);
  }

  async read(kind: ObjectKind, digest: string): Promise<Buffer | null> {
    if (kind === "blobs") {
      const id = this.known.get(digest);
      return id === undefined ? null : this.objects.read(id);
    }
    const manifest = await this.objects.read(`${SNAPSHOT_REFS}${digest}:manifest`);
    if (manifest !== null) await this.learn(digest, manifest);
    return manifest;
  }

  async stream(_kind: ObjectKind, digest: string): Promise<AsyncIterable<Buffer> | null> {
    const id = this.known.get(digest);
    if (id === undefined || !(await this.git.can(["cat-file", "-e", id]))) return null;
    const reading = this.git.start(["cat-file", "blob", id]);
    // What is cut off shows in the content.
    void endOf(reading);
    return reading.stdout;
  }

  writer(): BlobWriter {
    return new GitWriter(this, this.git, this.atPoint);
  }

  idOf(digest: string): string {
    const id = this.known.get(digest);
    if (id !== undefined) return id;
    this.forget();
    throw new SandboxUnavailableError(this.location, `which object has the content ${digest} was forgotten meanwhile`);
  }

  note(digest: string, id: string): void {
    this.known.delete(digest);
    this.known.set(digest, id);
    if (this.known.size <= this.maxKnown) return;
    this.known.delete(this.known.keys().next().value!);
    this.knowledge = randomUUID();
  }

  private async learn(digest: string, manifest: Buffer): Promise<void> {
    const entries = entriesOf(manifest, digest);
    if (entries.every(({ digest: content }) => this.known.has(content))) return;
    const listed = await this.git.run(["ls-tree", "-r", "-z", "--full-tree", `${SNAPSHOT_REFS}${digest}`]);
    const ids = new Map<string, string>();
    for (const line of listed.toString("latin1").split("\0")) {
      const [, id, path] = TREE_LINE.exec(line) ?? [];
      if (id !== undefined) ids.set(path!, id);
    }
    for (const { path, digest: content } of entries) {
      const id = ids.get(treePath(path));
      if (id !== undefined) this.note(content, id);
    }
  }

  /** A commit's date is its age, so a new one takes its place, once an hour. */
  private async touchSnapshot(digest: string): Promise<boolean> {
    const ref = `${SNAPSHOT_REFS}${digest}`;
    const found = (
      await this.git.run(["for-each-ref", "--format=%(objectname) %(committerdate:unix)", ref])
    ).toString();
    const [commit, seconds] = found.trim().split(" ");
    if (seconds === undefined) return false;
    if (Date.now() - Number(seconds) * 1000 < CONFIRMED_FOR_MS) return true;
    const message = await this.git.run(["log", "-1", "--format=%B", commit!]);
    const renewed = await this.git.run(["commit-tree", `${commit}^{tree}`, "-m", message.toString().trim()]);
    // Who was quicker has renewed it as well, or has removed it.
    return this.git.can(["update-ref", ref, renewed.toString().trim(), commit!]);
  }

  private async make(): Promise<void> {
    this.guarded(() => mkdirSync(this.location, { recursive: true, mode: 0o700 }));
    if (!this.git.exists) await this.git.run(["init", "--quiet", "--bare", "--template=", "--object-format=sha1"]);
    if (!existsSync(this.generationFile)) this.renewGeneration();
  }

  private get generationFile(): string {
    return join(this.location, "waymark-generation");
  }

  private guarded<T>(action: () => T): T {
    try {
      return action();
    } catch (error) {
      throw new SandboxUnavailableError(this.location, (error as Error).message, { cause: error });
    }
  }
}

/** None, where it isn't what its name says: whoever has asked for it reads it as well, and says so. */
function entriesOf(manifest: Buffer, digest: string): FileEntry[] {
  try {
    return decodeManifest(manifest, `sha256:${digest}`).filter((entry) => entry.kind === "file");
  } catch {
    return [];
  }
}

class GitWriter implements BlobWriter {
  private importing: GitImport | null = null;
  /** What is known once it is on disk. */
  private readonly written = new Map<string, string>();

  constructor(
    private readonly store: GitStore,
    private readonly git: Git,
    private readonly atPoint: AtPoint,
  ) {}

  async add(kind: ObjectKind, digest: string, content: Buffer): Promise<void> {
    if (kind === "manifests") await this.commit(digest, content);
    else this.written.set(digest, await this.begun().blob(content));
  }

  async upload(_kind: ObjectKind, digest: string, bytes: number): Promise<BlobUpload> {
    const blob = await this.begun().beginBlob(bytes);
    return {
      write: (chunk) => blob.write(chunk),
      complete: async () => void this.written.set(digest, await blob.complete()),
      abort: () => blob.abort(),
    };
  }

  async finish(): Promise<void> {
    const { importing } = this;
    this.importing = null;
    if (importing === null) return;
    await importing.complete().catch((error: unknown) => {
      // Something that was taken to be there may not have been.
      this.store.forget();
      throw error;
    });
    for (const [digest, id] of this.written) this.store.note(digest, id);
    this.written.clear();
  }

  /** Git's own `gc` removes what it has left. */
  async abandon(): Promise<void> {
    await this.importing?.abandon();
    this.importing = null;
  }

  private begun(): GitImport {
    if (this.importing === null) {
      this.importing = new GitImport(this.git);
      this.atPoint("git.import-begun");
    }
    return this.importing;
  }

  private async commit(digest: string, manifest: Buffer): Promise<void> {
    const importing = this.begun();
    const entries = decodeManifest(manifest, `sha256:${digest}`);
    const ref = `${SNAPSHOT_REFS}${digest}`;
    const message = messageOf(digest, entries);
    await importing.write(
      `reset ${ref}\n\ncommit ${ref}\ncommitter waymark <waymark@localhost> ${Math.floor(Date.now() / 1000)} +0000\n` +
        `data ${Buffer.byteLength(message)}\n${message}\ndeleteall\nM 100644 inline manifest\ndata ${manifest.length}\n`,
    );
    await importing.write(manifest);
    let lines = "\n";
    for (const entry of entries) {
      const path = quoted(treePath(entry.path));
      if (entry.kind === "link") lines += `M 120000 inline ${path}\ndata ${entry.target.length}\n${entry.target}\n`;
      if (entry.kind === "file") lines += `M ${gitMode(entry)} ${this.store.idOf(entry.digest)} ${path}\n`;
      if (lines.length < CHUNK) continue;
      await importing.write(lines);
      lines = "";
    }
    await importing.write(`${lines}\n`);
    this.atPoint("git.commit-written");
  }
}

function gitMode({ mode }: FileEntry): string {
  return (mode & EXECUTABLE) === 0 ? "100644" : "100755";
}

function messageOf(digest: string, entries: readonly Entry[]): string {
  const files = entries.filter(({ kind }) => kind === "file").length;
  return `Snapshot of a sandbox with ${files} files\n\nsha256:${digest}\n`;
}
