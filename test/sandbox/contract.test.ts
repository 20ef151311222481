/** What the port promises, of every provider there is. */
import { execFileSync } from "node:child_process";
import {
  appendFileSync,
  chmodSync,
  mkdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { SandboxCorruptError, SandboxMissingError, SandboxUnsupportedError } from "../../src/core/errors.js";
import type { SandboxProvider, SandboxSnapshot } from "../../src/core/sandbox.js";
import { ContentProvider } from "../../src/sandbox/content-provider.js";
import { createDirectoryProvider } from "../../src/sandbox/directory-provider.js";
import { createGitProvider } from "../../src/sandbox/git-provider.js";
import { S3Store } from "../../src/sandbox/s3-store.js";
import { ALL, aFolder, aTreeOfOddities, listing, wreck } from "./a-tree.js";
import { S3Server } from "./an-s3-server.js";

const MIB = 1024 * 1024;
const ends: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const end of ends.splice(0)) await end();
});

interface Kept {
  /** One of a new process, on the same store. */
  readonly another: () => SandboxProvider;
}

const PROVIDERS: Readonly<Record<string, (folder: string) => Promise<Kept>>> = {
  directory: async (folder) => {
    let processes = 0;
    const storeDir = join(folder, "store");
    return { another: () => createDirectoryProvider({ dataDir: join(folder, `data-${processes++}`), storeDir }) };
  },
  git: async (folder) => {
    let processes = 0;
    const repository = join(folder, "snapshots.git");
    return { another: () => createGitProvider({ dataDir: join(folder, `data-${processes++}`), repository }) };
  },
  s3: async (folder) => {
    const server = new S3Server();
    const endpoint = await server.start();
    ends.push(() => server.stop());
    let processes = 0;
    const another = () => {
      const credentials = { accessKeyId: "a", secretAccessKey: "b" };
      const client = { endpoint, region: "us-east-1", forcePathStyle: true, credentials };
      const store = new S3Store({ bucket: "bucket", client });
      ends.unshift(() => store.close());
      return new ContentProvider({ name: "s3", store, cacheFolder: join(folder, `seen-${processes++}`) });
    };
    return { another };
  },
};

describe.each(Object.keys(PROVIDERS))("a provider on %s", (name) => {
  const aProvider = async () => {
    const folder = aFolder();
    const { another } = await PROVIDERS[name]!(folder);
    return { provider: another(), another, at: (path: string) => join(folder, path) };
  };

  test("restores every kind of thing that a directory may hold, here and in another process", async () => {
    const { provider, another, at } = await aProvider();
    aTreeOfOddities(at("tree"));
    const seen = listing(at("tree"));

    const snapshot = await provider.snapshot(at("tree"), ALL);
    await provider.restore(snapshot, at("copy"), ALL);
    await another().restore(snapshot, at("elsewhere"), ALL);
    wreck(at("tree"));
    await provider.restore(snapshot, at("tree"), ALL);

    for (const copy of ["copy", "elsewhere", "tree"]) expect(listing(at(copy))).toEqual(seen);
    expect(snapshot.provider).toBe(name);
    await provider.verify(snapshot);
    await another().verify(snapshot);
  });

  test("restores repositories with all that is in them", async () => {
    const { provider, at } = await aProvider();
    aRepository(at("tree"));
    aRepository(at("tree/vendor/nested"));
    for (const odd of [".git%", "x/.GIT", ".gitignore", ".gitattributes"]) {
      mkdirSync(join(at("tree"), odd, ".."), { recursive: true });
      writeFileSync(join(at("tree"), odd), "* text=auto eol=crlf filter=lfs\r\n");
    }
    const [seen, status] = [listing(at("tree")), statusOf(at("tree"))];

    const snapshot = await provider.snapshot(at("tree"), ALL);
    await provider.restore(snapshot, at("copy"), ALL);

    expect(listing(at("copy"))).toEqual(seen);
    expect(statusOf(at("copy"))).toEqual(status);
    expect(statusOf(at("copy/vendor/nested"))).toEqual(statusOf(at("tree/vendor/nested")));
  });

  test("keeps large files, and what changed of many", async () => {
    const { provider, another, at } = await aProvider();
    mkdirSync(at("tree"));
    writeFileSync(at("tree/middle"), Buffer.alloc(5 * MIB, "middle"));
    writeFileSync(at("tree/large"), Buffer.alloc(20 * MIB + 1, "large"));
    for (let i = 0; i < 300; i++) writeFileSync(at(`tree/${i}`), `content ${i}`);
    const first = await provider.snapshot(at("tree"), ALL);
    writeFileSync(at("tree/7"), "changed");
    rmSync(at("tree/8"));
    appendFileSync(at("tree/large"), "more");

    const second = await provider.snapshot(at("tree"), ALL);

    expect(await provider.compare(first, at("tree"), ALL)).toMatchObject({
      changed: ["7", "large"],
      added: [],
      removed: ["8"],
      digest: second.digest,
    });
    await another().restore(second, at("copy"), ALL);
    expect(listing(at("copy"))).toEqual(listing(at("tree")));
    await provider.restore(first, at("copy"), ALL);
    expect(await provider.snapshot(at("copy"), ALL)).toEqual(first);
  });

  test("goes on from a directory that another process had", async () => {
    const { provider, another, at } = await aProvider();
    mkdirSync(at("tree/deep"), { recursive: true });
    for (let i = 0; i < 20; i++) writeFileSync(at(`tree/deep/${i}`), `content ${i}`);
    const first = await provider.snapshot(at("tree"), ALL);
    const next = another();
    await next.restore(first, at("tree"), ALL);
    writeFileSync(at("tree/deep/3"), "changed");

    const second = await next.snapshot(at("tree"), ALL);

    await another().restore(second, at("copy"), ALL);
    expect(listing(at("copy"))).toEqual(listing(at("tree")));
    rmSync(at("tree/deep/3"));
    writeFileSync(at("tree/deep/3"), "content 3");
    expect((await another().snapshot(at("tree"), ALL)).digest).toBe(first.digest);
  });

  test("lets be what is ignored, removes what is excluded, and keeps secrets out", async () => {
    const { provider, at } = await aProvider();
    mkdirSync(at("tree/node_modules"), { recursive: true });
    for (const file of ["a", "node_modules/b", "out", ".env"]) writeFileSync(at(`tree/${file}`), file);
    const rules = { exclude: ["out"], ignore: ["node_modules/"], include: [] };

    const snapshot = await provider.snapshot(at("tree"), rules);
    writeFileSync(at("tree/a"), "changed");
    await provider.restore(snapshot, at("tree"), rules);

    expect(snapshot.files).toBe(1);
    const paths = listing(at("tree")).flatMap((line) => (line.includes("|f|") ? [line.split("|")[0]] : []));
    expect(paths.sort()).toEqual([".env", "a", "node_modules/b"]);
  });

  test("refuses what can't be kept, with the path", async () => {
    const { provider, at } = await aProvider();
    mkdirSync(at("tree"));
    execFileSync("mkfifo", [at("tree/pipe")]);

    await expect(provider.snapshot(at("tree"), ALL)).rejects.toThrow(SandboxUnsupportedError);
  });

  test("says what isn't there, and what is no digest", async () => {
    const { provider, at } = await aProvider();
    const nothing = (digest: string): SandboxSnapshot => ({ provider: name, digest, files: 0, bytes: 0 });

    await expect(provider.verify(nothing(`sha256:${"0".repeat(64)}`))).rejects.toThrow(SandboxMissingError);
    await expect(provider.restore(nothing("sha256:../../x"), at("copy"), ALL)).rejects.toThrow(SandboxCorruptError);
  });

  test("prunes what nobody names once it is old, and says so beforehand", async () => {
    const { provider, another, at } = await aProvider();
    mkdirSync(at("tree"));
    writeFileSync(at("tree/same"), "in all of them");
    const take = (content: string) => {
      writeFileSync(at("tree/file"), content);
      return provider.snapshot(at("tree"), ALL);
    };
    const [first, second] = [await take("one"), await take("two, longer")];
    const kept = new Set([second.digest]);
    expect(await provider.prune(kept, { dryRun: false })).toEqual({ snapshots: 0, files: 0, bytes: 0 });

    const foreseen = await provider.prune(kept, { dryRun: true, minAgeMs: 0 });
    await provider.verify(first);
    const removed = await another().prune(kept, { dryRun: false, minAgeMs: 0 });

    expect(removed).toEqual(foreseen);
    expect(removed).toMatchObject({ snapshots: 1, files: 1 });
    expect(removed.bytes).toBeGreaterThan(0);
    await expect(another().verify(first)).rejects.toThrow(SandboxMissingError);
    await another().verify(second);
    expect((await take("one")).digest).toBe(first.digest);
    await another().verify(first);
    await another().restore(second, at("copy"), ALL);
  });

  test("takes several snapshots at once", async () => {
    const { provider, another, at } = await aProvider();
    for (const tree of ["a", "b", "c"]) {
      mkdirSync(at(tree));
      for (let i = 0; i < 20; i++) writeFileSync(at(`${tree}/${i}`), `${tree === "c" ? "a" : tree} ${i}`);
    }

    const [a, b, c] = await Promise.all([
      provider.snapshot(at("a"), ALL),
      provider.snapshot(at("b"), ALL),
      another().snapshot(at("c"), ALL),
    ]);

    expect(c!.digest).toBe(a!.digest);
    for (const [snapshot, tree] of [
      [a, "a"],
      [b, "b"],
    ] as const) {
      await another().restore(snapshot!, at(`copy-${tree}`), ALL);
      expect(listing(at(`copy-${tree}`))).toEqual(listing(at(tree)));
    }
  });

  test("ends with the reason of an abort", async () => {
    const { provider, at } = await aProvider();
    mkdirSync(at("tree"));
    const reason = new Error("enough");

    await expect(provider.snapshot(at("tree"), ALL, AbortSignal.abort(reason))).rejects.toBe(reason);
  });
});

test("equal trees have equal digests, whoever keeps them", async () => {
  const folder = aFolder();
  aTreeOfOddities(join(folder, "tree"));
  const digests = [];
  for (const [name, make] of Object.entries(PROVIDERS)) {
    mkdirSync(join(folder, name));
    const { another } = await make(join(folder, name));
    digests.push((await another().snapshot(join(folder, "tree"), ALL)).digest);
  }

  expect(new Set(digests).size).toBe(1);
});

/** With everything in it that a step may leave: staged, changed, renamed, stashed, ignored. */
function aRepository(path: string): void {
  mkdirSync(path, { recursive: true });
  const git = (...args: string[]) =>
    execFileSync("git", ["-c", "user.name=a", "-c", "user.email=a@b", ...args], { cwd: path, stdio: "pipe" });
  git("init", "-q", "-b", "main");
  for (const file of ["a", "b", "c"]) writeFileSync(join(path, file), `${file}\n`);
  git("add", ".");
  git("commit", "-qm", "one");
  writeFileSync(join(path, "a"), "stashed\n");
  git("stash", "-q");
  writeFileSync(join(path, "b"), "staged\n");
  git("add", "b");
  renameSync(join(path, "c"), join(path, "d"));
  symlinkSync("a", join(path, "link"));
  chmodSync(join(path, "a"), 0o755);
  expect(statSync(join(path, ".git/HEAD")).isFile()).toBe(true);
}

function statusOf(path: string): string[] {
  return [
    ["status", "--porcelain", "-b"],
    ["stash", "list"],
    ["diff", "HEAD"],
  ].map((args) => execFileSync("git", ["-c", "core.autocrlf=false", ...args], { cwd: path, encoding: "utf8" }));
}
