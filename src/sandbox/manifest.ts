/**
 * What a snapshot consists of, as bytes. Equal trees have equal manifests: names in order of their bytes, each directory
 * before what is in it, one way to write each number. The manifest's digest is the snapshot's identity.
 *
 *     waymark-manifest 1\n
 *     d <mode> <path>\0
 *     f <mode> <size> <sha256> <path>\0
 *     l <path>\0<target>\0
 *
 * Modes are octal. Paths and targets are bytes, neither of which can hold a NUL. A manifest may come from a store that
 * others write to, so that reading one checks everything: whatever `decodeManifest` returns stays in its directory.
 */
import { createHash } from "node:crypto";
import { SandboxCorruptError } from "../core/errors.js";
import { type BytePath, nameOf, parentOf, toText } from "./byte-path.js";

export type Entry = DirectoryEntry | FileEntry | LinkEntry;

export interface DirectoryEntry {
  readonly kind: "directory";
  readonly path: BytePath;
  /** The permission bits, with setuid, setgid and sticky. */
  readonly mode: number;
}

export interface FileEntry {
  readonly kind: "file";
  readonly path: BytePath;
  readonly mode: number;
  readonly size: number;
  /** SHA-256 of the content, in hex. */
  readonly digest: string;
}

export interface LinkEntry {
  readonly kind: "link";
  readonly path: BytePath;
  /** As it stands in the link: it may lead anywhere, and nobody follows it. */
  readonly target: BytePath;
}

const HEADER = "waymark-manifest 1\n";
const MODE = /^(0|[1-7][0-7]{0,3})$/;
const SIZE = /^(0|[1-9]\d{0,15})$/;
const HEX_DIGEST = /^[0-9a-f]{64}$/;

/** @param entries in the order of a walk: names sorted by their bytes, a directory before what is in it */
export function encodeManifest(entries: Iterable<Entry>): Buffer {
  let text = HEADER;
  for (const entry of entries) text += `${lineOf(entry)}\0`;
  return Buffer.from(text, "latin1");
}

/** @throws SandboxCorruptError where it is no manifest, or names something outside of the directory */
export function decodeManifest(bytes: Buffer, digest: string): Entry[] {
  if (`sha256:${sha256(bytes)}` !== digest) throw new SandboxCorruptError(digest, "its manifest has another digest");
  const refuse = (reason: string): never => {
    throw new SandboxCorruptError(digest, `its manifest ${reason}`);
  };
  const text = bytes.toString("latin1");
  if (!text.startsWith(HEADER)) refuse("is of an unknown format");
  const fields = text.slice(HEADER.length).split("\0");
  if (fields.pop() !== "") refuse("is cut off");

  const entries: Entry[] = [];
  const order = new WalkOrder();
  for (let i = 0; i < fields.length; i++) {
    const line = fields[i]!;
    const entry = line.startsWith("l ") ? linkOf(line, fields[++i]) : parseLine(line);
    if (entry === null) return refuse(`has a line that can't be read: ${toText(line)}`);
    if (!order.accepts(entry)) return refuse(`names ${JSON.stringify(toText(entry.path))} where it can't be`);
    entries.push(entry);
  }
  return entries;
}

export function digestOf(manifest: Buffer): string {
  return `sha256:${sha256(manifest)}`;
}

function sha256(bytes: Buffer): string {
  return createHash("sha256").update(bytes).digest("hex");
}

function lineOf(entry: Entry): string {
  switch (entry.kind) {
    case "directory":
      return `d ${entry.mode.toString(8)} ${entry.path}`;
    case "file":
      return `f ${entry.mode.toString(8)} ${entry.size} ${entry.digest} ${entry.path}`;
    case "link":
      return `l ${entry.path}\0${entry.target}`;
    default:
      return entry satisfies never;
  }
}

function parseLine(line: string): Entry | null {
  const [kind, mode = "", size = "", digest = ""] = line.split(" ", 4);
  if (!MODE.test(mode)) return null;
  if (kind === "d") return { kind: "directory", mode: Number.parseInt(mode, 8), path: line.slice(3 + mode.length) };
  if (kind !== "f" || !SIZE.test(size) || !HEX_DIGEST.test(digest)) return null;
  const path = line.slice(5 + mode.length + size.length + digest.length);
  return { kind: "file", mode: Number.parseInt(mode, 8), size: Number(size), digest, path };
}

function linkOf(line: string, target: string | undefined): Entry | null {
  return target === undefined || target === "" ? null : { kind: "link", path: line.slice(2), target };
}

/** Accepts entries in the one order that a walk has, each in a directory that was named before. So none can be named twice. */
class WalkOrder {
  /** The directories down to the last entry, each with the last name that was seen in it. */
  private readonly open: { path: BytePath; lastName: BytePath }[] = [{ path: "", lastName: "" }];

  accepts({ kind, path }: Entry): boolean {
    const [parent, name] = [parentOf(path), nameOf(path)];
    if (name === "" || name === "." || name === "..") return false;
    while (this.open.at(-1)!.path !== parent) {
      this.open.pop();
      if (this.open.length === 0) return false;
    }
    const directory = this.open.at(-1)!;
    if (name <= directory.lastName) return false;
    directory.lastName = name;
    if (kind === "directory") this.open.push({ path, lastName: "" });
    return path === (parent === "" ? name : `${parent}/${name}`);
  }
}
