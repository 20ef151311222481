import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import {
  appendFileSync,
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { Redis } from "ioredis";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { RespConnection } from "../../src/embedded/resp-connection.js";
import { type EmbeddedStore, startEmbedded } from "../../src/embedded/start-embedded.js";
import { until } from "../support/until.js";

const USER = fileURLToPath(new URL("../support/embedded-user.ts", import.meta.url));

let home: string;
let dataDir: string;
let stores: EmbeddedStore[];
let users: ChildProcess[];

beforeEach(() => {
  home = realpathSync(mkdtempSync(join(tmpdir(), "waymark-test-")));
  dataDir = join(home, ".waymark");
  // Where sockets go: those of killed servers stay behind, and go with the test.
  vi.stubEnv("TMPDIR", home);
  stores = [];
  users = [];
});

afterEach(async () => {
  vi.unstubAllEnvs();
  for (const user of users) user.kill("SIGKILL");
  for (const store of stores) await store.release();
  const left = readdirSync(home).flatMap((name) => serversIn(join(home, name)));
  for (const pid of left) process.kill(pid, "SIGKILL");
  rmSync(home, { recursive: true, force: true });
  expect(left, "servers that nobody stopped").toEqual([]);
});

test("the first command starts a server on a private unix socket, and the last one out stops it", async () => {
  const first = await open();
  const second = await open();

  expect(second.socketPath).toBe(first.socketPath);
  expect(first.url).toBe(`unix://${first.socketPath}`);
  expect(serversIn(dataDir)).toHaveLength(1);
  expect(statSync(first.socketPath).mode & 0o777).toBe(0o700);
  expect(statSync(dirname(first.socketPath)).mode & 0o777).toBe(0o700);
  expect(Buffer.byteLength(first.socketPath)).toBeLessThanOrEqual(104);

  await first.release();
  expect(await ask(second, "PING")).toBe("PONG");
  await second.release();
  expect(serversIn(dataDir)).toEqual([]);
  expect(existsSync(first.socketPath)).toBe(false);
});

test("the server listens on no TCP port, appends every write and never evicts", async () => {
  const store = await open();

  expect(await ask(store, "INFO", "server")).toContain("tcp_port:0");
  for (const [name, value] of [
    ["appendonly", "yes"],
    ["appendfsync", "everysec"],
    ["save", ""],
    ["maxmemory-policy", "noeviction"],
  ]) {
    expect(await setting(store, name!)).toBe(value);
  }
});

test("what was written is there after a stop, and after a kill", async () => {
  const first = await open();
  await ask(first, "SET", "kept", "by stop");
  await first.release();

  const second = await open();
  expect(await ask(second, "GET", "kept")).toBe("by stop");
  await ask(second, "SET", "kept", "by kill");
  kill(only(serversIn(dataDir)));
  const third = await open();

  expect(await ask(third, "GET", "kept")).toBe("by kill");
  expect(third.socketPath).toBe(first.socketPath);
});

test("twelve commands that start at once share exactly one server", async () => {
  const joined = await Promise.all(Array.from({ length: 12 }, () => aUser()));

  expect(new Set(joined.map((user) => user.socketPath)).size).toBe(1);
  expect(serversIn(dataDir)).toHaveLength(1);

  await Promise.all(joined.map((user) => user.leave()));
  expect(serversIn(dataDir)).toEqual([]);
});

test("commands that come and go at once never meet a stopped server, nor a second one", async () => {
  const seen = new Set<number>();
  const comings = Array.from({ length: 8 }, async (_, index) => {
    for (let round = 0; round < 10; round++) {
      const store = await open();
      await ask(store, "SET", `user:${index}`, String(round));
      const servers = serversIn(dataDir);
      expect(servers).toHaveLength(1);
      seen.add(servers[0]!);
      await store.release();
    }
  });
  await Promise.all(comings);

  const last = await open();
  for (let index = 0; index < 8; index++) expect(await ask(last, "GET", `user:${index}`)).toBe("9");
  expect(seen.size).toBeGreaterThan(0);
});

test("a killed command leaves the server to the next one, which adopts and stops it", async () => {
  const user = await aUser();
  const server = only(serversIn(dataDir));
  await user.kill();
  expect(serversIn(dataDir)).toEqual([server]);

  const store = await open();
  expect(serversIn(dataDir)).toEqual([server]);
  await store.release();
  expect(serversIn(dataDir)).toEqual([]);
});

test("a starter killed at any moment leaves a directory that the next command can use", async () => {
  for (let afterMs = 0; afterMs < 12; afterMs++) {
    const child = spawnUser();
    // The lock is taken when the directory appears; from there on, each round lets it get one step further.
    await until("the starter to begin", () => existsSync(join(dataDir, "redis")));
    const endMs = performance.now() + afterMs * 4;
    while (performance.now() < endMs);
    child.kill("SIGKILL");
    await until("the starter to end", () => child.signalCode !== null);

    const store = await open();
    expect(await ask(store, "PING")).toBe("PONG");
    expect(await untilOne(dataDir)).toHaveLength(1);
    await store.release();
    rmSync(dataDir, { recursive: true });
  }
});

test("the server of a killed command outlives its session's signals", async () => {
  const user = await aUser();
  const [server] = serversIn(dataDir);
  const session = Number(statOf(server!)[3]);

  expect(session).toBe(server);
  await user.leave();
});

test("another client keeps the server up, and a closing one doesn't", async () => {
  const first = await open();
  const guest = await RespConnection.open(first.socketPath);
  await guest.call(1_000, "PING");
  await first.release();
  expect(serversIn(dataDir)).toHaveLength(1);

  const second = await open();
  void guest.close();
  await second.release();
  expect(serversIn(dataDir)).toEqual([]);
});

test("a lock of a dead process is removed by one of those who wait for it", async () => {
  mkdirSync(join(dataDir, "redis"), { recursive: true });
  symlinkSync(
    JSON.stringify({ pid: 2 ** 22 + 1, machine: "x", processStart: "1", token: "t" }),
    join(dataDir, "redis/lock"),
  );

  await Promise.all(Array.from({ length: 5 }, () => open()));

  expect(serversIn(dataDir)).toHaveLength(1);
  expect(readdirSync(join(dataDir, "redis")).filter((name) => name.startsWith("lock"))).toEqual([]);
});

test("a record whose process is gone, or whose pid belongs to another process now, doesn't count", async () => {
  const first = await open();
  await first.release();
  const file = join(dataDir, "redis/server.json");
  const record = JSON.parse(readFileSync(file, "utf8"));
  writeFileSync(file, JSON.stringify({ ...record, process: { ...record.process, pid: process.pid } }));

  const second = await open();

  expect(await ask(second, "PING")).toBe("PONG");
});

test("a damaged record is no record", async () => {
  const first = await open();
  await first.release();
  writeFileSync(join(dataDir, "redis/server.json"), '{"process":');

  expect(await ask(await open(), "PING")).toBe("PONG");
});

test.skipIf(!hasFlock())("the kernel refuses a second server even when lock and record are lost", async () => {
  const first = await open();
  await ask(first, "SET", "mine", "yes");
  rmSync(join(dataDir, "redis/server.json"));

  await expect(open({ startDeadlineMs: 500 })).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });

  expect(serversIn(dataDir)).toHaveLength(1);
  expect(await ask(first, "GET", "mine")).toBe("yes");
});

test("a copy of a data directory gets a server of its own", async () => {
  const original = await open();
  await ask(original, "SET", "at", "copy time");
  const copied = join(home, "copied");
  cpSync(dataDir, copied, { recursive: true, filter: (path) => !path.endsWith("alive") });

  const copy = await open({ dataDir: copied });
  await ask(copy, "SET", "at", "the copy");

  expect(copy.socketPath).not.toBe(original.socketPath);
  expect(await ask(original, "GET", "at")).toBe("copy time");
});

test("a data directory that was moved keeps its server", async () => {
  const before = await open();
  const moved = join(home, "moved");
  renameSync(dataDir, moved);

  const after = await open({ dataDir: moved });

  expect(after.socketPath).toBe(before.socketPath);
  renameSync(moved, dataDir);
});

test("a directory deleted under a left-over server gets a new one, and the old one is stopped", async () => {
  const user = await aUser();
  const left = only(serversIn(dataDir));
  await user.kill();
  rmSync(dataDir, { recursive: true });

  const store = await open();

  expect(store.socketPath).not.toBe(user.socketPath);
  await until("the old server to end", () => !isAlive(left));
  expect(existsSync(user.socketPath)).toBe(false);
});

test("a directory deleted under its only user takes the server with it", async () => {
  const store = await open();
  const server = only(serversIn(dataDir));
  rmSync(dataDir, { recursive: true });

  await store.release();

  await until("the server to end", () => !isAlive(server));
});

test("sockets of servers that are gone are removed, those in use are not", async () => {
  const used = await open();
  const prefix = used.socketPath.replace(/[^-]*\.sock$/, "");
  const gone = `${prefix}gone00.sock`;
  const listening = createServer((socket) => socket.end("-ERR not you\r\n"));
  await new Promise<void>((resolve) => listening.listen(gone, resolve));
  // Closing a server removes its socket; a killed process leaves it behind, as this copy does.
  renameSync(gone, `${prefix}dead00.sock`);
  await new Promise((resolve) => listening.close(resolve));
  rmSync(join(dataDir, "redis/server.json"));
  renameSync(dataDir, join(home, "elsewhere"));

  const store = await open();

  expect(existsSync(`${prefix}dead00.sock`)).toBe(false);
  expect(existsSync(used.socketPath)).toBe(true);
  expect(await ask(used, "PING")).toBe("PONG");
  await store.release();
  await used.release();
  await until("the moved server to end", () => serversIn(join(home, "elsewhere")).length === 0 || endLeft("elsewhere"));
});

test("a server whose socket was cleaned away is replaced, not doubled", async () => {
  const user = await aUser();
  const old = only(serversIn(dataDir));
  rmSync(user.socketPath);

  const store = await open();

  expect(isAlive(old)).toBe(false);
  expect(await ask(store, "PING")).toBe("PONG");
  expect(serversIn(dataDir)).toHaveLength(1);
});

test("a server that hangs is reported, not doubled", async () => {
  const user = await aUser();
  const server = only(serversIn(dataDir));
  process.kill(server, "SIGSTOP");

  const refused = open({ startDeadlineMs: 300 });

  await expect(refused).rejects.toMatchObject({
    code: "STORE_UNAVAILABLE",
    message: expect.stringContaining("300 ms"),
  });
  expect(serversIn(dataDir)).toEqual([server]);
  process.kill(server, "SIGCONT");
  await user.leave();
});

test("a release after the server was killed ends quietly", async () => {
  const store = await open();
  const server = only(serversIn(dataDir));
  kill(server);
  await until("the server to be gone", () => !isAlive(server));

  await store.release();
  await store.release();

  expect(serversIn(dataDir)).toEqual([]);
});

test("a user whose server was replaced stops the new one when it is the last", async () => {
  const first = await open();
  kill(only(serversIn(dataDir)));
  const user = await aUser();
  await user.kill();

  await first.release();

  expect(serversIn(dataDir)).toEqual([]);
});

test("a server that cannot load its data is reported with the end of its log", async () => {
  const first = await open();
  await ask(first, "SET", "a", "b");
  await first.release();
  const appended = join(dataDir, "redis/appendonlydir");
  const file = readdirSync(appended).find((name) => name.endsWith(".incr.aof"))!;
  const text = readFileSync(join(appended, file), "latin1");
  writeFileSync(join(appended, file), `${text}rubbish\r\n${text}`, "latin1");

  await expect(open()).rejects.toMatchObject({
    code: "STORE_UNAVAILABLE",
    message: expect.stringMatching(/Bad file format reading the append only file/),
  });
  expect(serversIn(dataDir)).toEqual([]);
});

test("a server that is loading counts as alive, and is waited for", async () => {
  const first = await open();
  await ask(first, "SET", "padding", "x".repeat(1_000));
  await first.release();
  const appended = join(dataDir, "redis/appendonlydir");
  const file = join(appended, readdirSync(appended).find((name) => name.endsWith(".incr.aof"))!);
  const chunk = Array.from({ length: 50_000 }, (_, i) => command("SET", `key:${i}`, "x".repeat(40))).join("");
  for (let round = 0; round < 20; round++) appendFileSync(file, chunk);

  const both = await Promise.all([open(), open()]);

  for (const store of both) expect(await ask(store, "GET", "key:49999")).toBe("x".repeat(40));
  expect(readFileSync(join(dataDir, "redis/redis.log"), "utf8")).toContain("DB loaded from append only file");
});

test.each([
  ["redis", "Redis"],
  ["valkey", "Valkey"],
])("a store written by a newer %s is refused with both versions", async (server, name) => {
  const first = await open();
  await first.release();
  const file = join(dataDir, "redis/written-by.json");
  const { version } = JSON.parse(readFileSync(file, "utf8"));
  writeFileSync(file, JSON.stringify({ server, version: "99.1.0" }));

  await expect(open()).rejects.toMatchObject({
    code: "STORE_UNSUITABLE",
    message: expect.stringMatching(new RegExp(`${name} 99\\.1\\.0.*Redis ${version.replaceAll(".", "\\.")}`)),
  });
  expect(serversIn(dataDir)).toEqual([]);
});

test("without a server in PATH it says how to get one", async () => {
  vi.stubEnv("PATH", pathWithout("redis-server", "valkey-server"));

  await expect(open()).rejects.toMatchObject({
    code: "REDIS_NOT_FOUND",
    message: expect.stringMatching(/apt-get install redis-server.*brew install redis.*WAYMARK_REDIS_URL/),
  });
});

test("a command that doesn't say its version is no server", async () => {
  const bin = join(home, "bin");
  mkdirSync(bin);
  writeFileSync(join(bin, "redis-server"), "#!/bin/sh\n");
  chmodSync(join(bin, "redis-server"), 0o755);
  vi.stubEnv("PATH", `${bin}${delimiter}${pathWithout("redis-server", "valkey-server")}`);

  await expect(open()).rejects.toThrow("redis-server: --version printed no version; valkey-server: not in PATH");
});

test("a server that asks for a password is reported, and left alone", async () => {
  const first = await open();
  await ask(first, "CONFIG", "SET", "requirepass", "secret");

  await expect(open()).rejects.toMatchObject({ code: "STORE_UNAVAILABLE", message: expect.stringContaining("NOAUTH") });

  expect(serversIn(dataDir)).toHaveLength(1);
});

test("a server that refuses to stop is left to the next command", async () => {
  const first = await open();
  const server = only(serversIn(dataDir));
  await ask(first, "ACL", "SETUSER", "default", "-shutdown");
  await first.release();
  expect(serversIn(dataDir)).toEqual([server]);

  const second = await open();
  await ask(second, "ACL", "SETUSER", "default", "+shutdown");
  await second.release();
  expect(serversIn(dataDir)).toEqual([]);
});

test("notes that can't be read are an error, not a reason to start a second server", async () => {
  const first = await open();
  const record = join(dataDir, "redis/server.json");
  renameSync(record, `${record}.away`);
  mkdirSync(record);

  await expect(open()).rejects.toMatchObject({ code: "EISDIR" });

  rmSync(record, { recursive: true });
  renameSync(`${record}.away`, record);
  expect(await ask(first, "PING")).toBe("PONG");
});

test("a server that ends at once is an error, not a wait", async () => {
  const bin = join(home, "bin");
  mkdirSync(bin);
  writeFileSync(
    join(bin, "redis-server"),
    '#!/bin/sh\n[ "$1" = --version ] && echo "Redis server v=7.2.0 sha=0"\nexit 3\n',
  );
  chmodSync(join(bin, "redis-server"), 0o755);
  vi.stubEnv("PATH", `${bin}${delimiter}${process.env.PATH}`);

  await expect(open()).rejects.toMatchObject({
    code: "STORE_UNAVAILABLE",
    message: expect.stringContaining("it left no log"),
  });
});

test("a broken redis-server is passed over for a valkey-server that works", async () => {
  const bin = join(home, "bin");
  mkdirSync(bin);
  const real = execFileSync("sh", ["-c", "command -v redis-server"], { encoding: "utf8" }).trim();
  writeFileSync(join(bin, "redis-server"), "#!/bin/sh\nexit 127\n");
  writeFileSync(
    join(bin, "valkey-server"),
    `#!/bin/sh\n[ "$1" = --version ] && echo "Valkey server v=8.0.1 sha=0" || exec ${real} "$@"\n`,
  );
  chmodSync(join(bin, "redis-server"), 0o755);
  chmodSync(join(bin, "valkey-server"), 0o755);
  vi.stubEnv("PATH", `${bin}${delimiter}${process.env.PATH}`);

  expect(await ask(await open(), "PING")).toBe("PONG");
});

test("the socket goes to the runtime directory when it is this user's own", async () => {
  const runtimeDir = join(home, "run");
  mkdirSync(runtimeDir, { mode: 0o700 });

  const store = await open({ runtimeDir });

  expect(dirname(store.socketPath)).toBe(join(runtimeDir, "waymark"));
  expect(store.socketPath).toContain(createHash("sha256").update(dataDir).digest("hex").slice(0, 16));
});

interface User {
  readonly socketPath: string;
  leave(): Promise<void>;
  kill(): Promise<void>;
}

async function open(options: { dataDir?: string; startDeadlineMs?: number; runtimeDir?: string } = {}) {
  const store = await startEmbedded({ dataDir, ...options });
  stores.push(store);
  return store;
}

function spawnUser(): ChildProcess {
  const child = spawn(process.execPath, ["--import", "tsx", USER, dataDir], { stdio: ["pipe", "pipe", "inherit"] });
  users.push(child);
  return child;
}

async function aUser(): Promise<User> {
  const child = spawnUser();
  const ended = new Promise<void>((resolve) => child.once("close", () => resolve()));
  let text = "";
  child.stdout!.on("data", (chunk) => {
    text += chunk;
  });
  const line = await until("a user to join", () => (text.includes("\n") ? text : null), 25_000);
  const { socketPath, error } = JSON.parse(line);
  if (error !== undefined) throw new Error(error);
  return {
    socketPath,
    async leave() {
      child.stdin!.end();
      await ended;
      // 13 is a process that ran out of things to do before its release had ended.
      expect(child.exitCode).toBe(0);
    },
    kill() {
      child.kill("SIGKILL");
      return ended;
    },
  };
}

async function ask(store: EmbeddedStore, ...words: string[]) {
  const connection = await RespConnection.open(store.socketPath);
  try {
    return await connection.call(5_000, ...words);
  } finally {
    await connection.close();
  }
}

async function setting(store: EmbeddedStore, name: string) {
  const redis = new Redis({ path: store.socketPath });
  try {
    const [, value] = (await redis.config("GET", name)) as string[];
    return value;
  } finally {
    redis.disconnect();
  }
}

function command(...words: string[]): string {
  return `*${words.length}\r\n${words.map((word) => `$${word.length}\r\n${word}\r\n`).join("")}`;
}

/** Pids of the servers whose data is in this directory. The shell that becomes one counts as well. */
function serversIn(directory: string): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        return realpathSync(`/proc/${pid}/cwd`) === join(directory, "redis") && isAlive(pid) && isServer(pid);
      } catch {
        return false;
      }
    });
}

function isServer(pid: number): boolean {
  return /redis-server|valkey-server|sh -c|read -r go/.test(readFileSync(`/proc/${pid}/cmdline`, "utf8"));
}

async function untilOne(directory: string): Promise<number[]> {
  await until("a single server", () => serversIn(directory).length === 1);
  return serversIn(directory);
}

function isAlive(pid: number): boolean {
  try {
    return statOf(pid)[0] !== "Z";
  } catch {
    return false;
  }
}

function statOf(pid: number): string[] {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  return stat.slice(stat.lastIndexOf(")") + 2).split(" ");
}

function endLeft(name: string): boolean {
  for (const pid of serversIn(join(home, name))) process.kill(pid, "SIGTERM");
  return false;
}

function kill(pid: number): void {
  process.kill(pid, "SIGKILL");
}

function only(pids: number[]): number {
  expect(pids).toHaveLength(1);
  return pids[0]!;
}

function hasFlock(): boolean {
  return (process.env.PATH ?? "").split(delimiter).some((directory) => existsSync(join(directory, "flock")));
}

/** A PATH with everything that this one finds, except some. */
function pathWithout(...names: string[]): string {
  const bin = join(home, "path");
  mkdirSync(bin);
  for (const directory of (process.env.PATH ?? "")
    .split(delimiter)
    .filter((path) => existsSync(path))
    .reverse()) {
    for (const name of readdirSync(directory)) {
      if (names.includes(name)) continue;
      rmSync(join(bin, name), { force: true });
      symlinkSync(join(directory, name), join(bin, name));
    }
  }
  return bin;
}
