/** Snapshots in a bucket, with the real client over real HTTP. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { SandboxCorruptError, SandboxMissingError, SandboxUnavailableError } from "../../src/core/errors.js";
import { ContentProvider } from "../../src/sandbox/content-provider.js";
import { S3Store } from "../../src/sandbox/s3-store.js";
import { ALL, aFolder, listing } from "./a-tree.js";
import { S3Server } from "./an-s3-server.js";

const MIB = 1024 * 1024;
const DAY_MS = 24 * 60 * 60 * 1000;

let server: S3Server;
let store: S3Store;
let folder: string;
let provider: ContentProvider;

beforeEach(async () => {
  server = new S3Server();
  const endpoint = await server.start();
  folder = aFolder();
  const client = {
    endpoint,
    region: "us-east-1",
    forcePathStyle: true,
    maxAttempts: 1,
    credentials: { accessKeyId: "a", secretAccessKey: "b" },
  };
  store = new S3Store({ bucket: "bucket", prefix: "way/mark/", client });
  provider = new ContentProvider({ name: "s3", store, cacheFolder: join(folder, "seen") });
  mkdirSync(join(folder, "tree/empty"), { recursive: true });
  for (let i = 0; i < 5; i++) writeFileSync(join(folder, `tree/${i}`), `content ${i}`);
});

afterEach(async () => {
  await store.close();
  await server.stop();
});

test("a restore equals the snapshot, small files and large ones", async () => {
  writeFileSync(join(folder, "tree/middle"), Buffer.alloc(6 * MIB, "middle"));
  writeFileSync(join(folder, "tree/large"), Buffer.alloc(20 * MIB + 1, "large"));

  const snapshot = await provider.snapshot(join(folder, "tree"), ALL);
  await provider.restore(snapshot, join(folder, "copy"), ALL);

  expect(listing(join(folder, "copy"))).toEqual(listing(join(folder, "tree")));
  expect(server.requests.filter((request) => request === "PUT uploadId")).toHaveLength(3);
  expect(server.uploads.size).toBe(0);
  await provider.verify(snapshot);
  for (const key of server.objects.keys())
    expect(key).toMatch(/^way\/mark\/(generation|(blobs|manifests)\/[0-9a-f]{2}\/)/);
});

test("what is there isn't sent again, by this process or another", async () => {
  const first = await provider.snapshot(join(folder, "tree"), ALL);
  writeFileSync(join(folder, "tree/0"), "changed");
  server.requests.length = 0;
  await provider.snapshot(join(folder, "tree"), ALL);
  expect(server.requests.filter((request) => request === "PUT")).toHaveLength(2);

  writeFileSync(join(folder, "tree/0"), "content 0");
  const another = new ContentProvider({ name: "s3", store, cacheFolder: join(folder, "seen elsewhere") });
  server.requests.length = 0;

  expect((await another.snapshot(join(folder, "tree"), ALL)).digest).toBe(first.digest);
  expect(server.requests).not.toContain("PUT");
});

test("prune removes what is old and unnamed; a snapshot makes what it finds new again", async () => {
  const first = await provider.snapshot(join(folder, "tree"), ALL);
  writeFileSync(join(folder, "tree/0"), "changed");
  const second = await provider.snapshot(join(folder, "tree"), ALL);
  for (const object of server.objects.values()) object.modifiedMs -= 2 * DAY_MS;
  server.uploads.set("left", { key: "way/mark/blobs/x", parts: new Map(), initiatedMs: 0 });
  const another = new ContentProvider({ name: "s3", store, cacheFolder: join(folder, "seen elsewhere") });
  await another.snapshot(join(folder, "tree"), ALL);

  const foreseen = await provider.prune(new Set(), { dryRun: true });
  expect(server.uploads.size).toBe(1);
  const removed = await provider.prune(new Set(), { dryRun: false });

  expect(removed).toEqual(foreseen);
  expect(removed).toMatchObject({ snapshots: 1, files: 1 });
  expect(server.uploads.size).toBe(0);
  await provider.verify(second);
  await expect(provider.verify(first)).rejects.toThrow(SandboxMissingError);
});

test("what was pruned is sent again by a process that remembers it", async () => {
  const snapshot = await provider.snapshot(join(folder, "tree"), ALL);
  await provider.prune(new Set(), { dryRun: false, minAgeMs: 0 });
  expect([...server.objects.keys()]).toEqual(["way/mark/generation"]);

  expect(await provider.snapshot(join(folder, "tree"), ALL)).toEqual(snapshot);
  await provider.verify(snapshot);
});

test("an object with other bytes is found out", async () => {
  const snapshot = await provider.snapshot(join(folder, "tree"), ALL);
  for (const [key, object] of server.objects) if (key.includes("blobs")) object.content = Buffer.from("CONTENT!!");

  await expect(provider.restore(snapshot, join(folder, "copy"), ALL)).rejects.toThrow(SandboxCorruptError);
});

test("a bucket that refuses, and one that isn't there, are said to", async () => {
  server.refuse = (method) => (method === "PUT" ? 403 : null);
  const refused = provider.snapshot(join(folder, "tree"), ALL);
  await expect(refused).rejects.toThrow(SandboxUnavailableError);
  await expect(refused).rejects.toThrow(/s3:\/\/bucket\/way\/mark\/: AccessDenied/);

  server.refuse = (method, key) => (method === "PUT" && key.includes("blobs") ? 403 : null);
  await expect(provider.snapshot(join(folder, "tree"), ALL)).rejects.toThrow(SandboxUnavailableError);

  await server.stop();
  await expect(provider.snapshot(join(folder, "tree"), ALL)).rejects.toThrow(SandboxUnavailableError);
  server = new S3Server();
  await server.start();
});

test("an upload that fails half way leaves nothing", async () => {
  writeFileSync(join(folder, "tree/large"), Buffer.alloc(20 * MIB, "large"));
  let parts = 0;
  server.refuse = (method, key) => (method === "PUT" && key.includes("blobs") && ++parts === 7 ? 500 : null);

  await expect(provider.snapshot(join(folder, "tree"), ALL)).rejects.toThrow(SandboxUnavailableError);

  expect(server.uploads.size).toBe(0);
});

test("many files to a bucket that refuses stop at the first refusal that is heard of", async () => {
  for (let i = 5; i < 200; i++) writeFileSync(join(folder, `tree/${i}`), `content ${i}`);
  server.refuse = (method, key) => (method === "PUT" && key.includes("blobs") ? 403 : null);

  await expect(provider.snapshot(join(folder, "tree"), ALL)).rejects.toThrow(SandboxUnavailableError);

  expect(server.requests.filter((request) => request === "PUT").length).toBeLessThan(100);
});

test("a file of exactly two parts has no third, empty one", async () => {
  writeFileSync(join(folder, "tree/large"), Buffer.alloc(16 * MIB, "large"));

  const snapshot = await provider.snapshot(join(folder, "tree"), ALL);

  expect(server.requests.filter((request) => request === "PUT uploadId")).toHaveLength(2);
  await provider.verify(snapshot);
});

test("a content that is gone from the bucket is said to be", async () => {
  const snapshot = await provider.snapshot(join(folder, "tree"), ALL);
  for (const key of server.objects.keys()) if (key.includes("blobs")) server.objects.delete(key);

  await expect(provider.verify(snapshot)).rejects.toThrow(SandboxMissingError);
});

test("prune of an empty bucket removes nothing", async () => {
  expect(await provider.prune(new Set(), { dryRun: false, minAgeMs: 0 })).toMatchObject({ snapshots: 0, files: 0 });
});

test("prune leaves what isn't ours, what was touched after it was listed, and an upload that has just begun", async () => {
  await provider.snapshot(join(folder, "tree"), ALL);
  const isTouched = (key: string) => key.includes("/blobs/");
  for (const [key, object] of server.objects) if (isTouched(key)) object.modifiedMs -= 2 * DAY_MS;
  server.objects.set("way/mark/blobs/README", { content: Buffer.from("hello"), modifiedMs: 0 });
  server.uploads.set("begun", { key: "way/mark/blobs/x", parts: new Map(), initiatedMs: Date.now() });
  server.refuse = (method, key) => {
    if (method === "PUT" && key.endsWith("generation"))
      for (const [touched, object] of server.objects) if (isTouched(touched)) object.modifiedMs = Date.now();
    return null;
  };
  for (const [key, object] of server.objects) if (key.includes("/manifests/")) object.modifiedMs -= 2 * DAY_MS;

  const removed = await provider.prune(new Set(), { dryRun: false });

  expect(removed).toMatchObject({ snapshots: 1, files: 0 });
  expect([...server.objects.keys()].filter((key) => key.includes("/blobs/"))).toHaveLength(6);
  expect([...server.uploads.keys()]).toEqual(["begun"]);
});

test("a bucket that forgets what was just written to it is found out", async () => {
  server.refuse = (method, key) => {
    if (method === "GET") server.objects.delete(key);
    return null;
  };

  await expect(provider.snapshot(join(folder, "tree"), ALL)).rejects.toThrow(
    /generation isn't there after it was written/,
  );
});
