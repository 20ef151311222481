import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type ConfigInput, importFile, parseRedisUrl, readConfig } from "../src/config.js";

const KEY = Buffer.alloc(32, 7).toString("base64");

let cwd: string;

beforeEach(() => {
  cwd = realpathSync(mkdtempSync(join(tmpdir(), "waymark-test-")));
});

afterEach(() => rmSync(cwd, { recursive: true }));

test("without any setting there are defaults, and the embedded store", async () => {
  expect(await readConfig({}, {}, cwd)).toEqual({
    redis: null,
    prefix: "waymark",
    shards: 1,
    dataDir: join(cwd, ".waymark"),
    sandboxStore: null,
    runtimeDir: null,
    logLevel: "info",
    concurrency: 10,
    graceMs: 25_000,
    deadAfterMs: 3_000,
    payloadKeys: null,
  });
});

test("payload keys may stand in a file, one a line", async () => {
  write("keys", `k1:${KEY}\n\nold:${KEY}\n`);

  const config = await readConfig({}, { WAYMARK_PAYLOAD_KEY_FILE: "keys" }, cwd);

  expect(config.payloadKeys).toEqual({ k1: KEY, old: KEY });
});

test.each([
  [{ WAYMARK_PAYLOAD_KEY: "hunter2" }, "WAYMARK_PAYLOAD_KEY must hold ID:KEY, the key being 32 bytes in base64"],
  [{ WAYMARK_PAYLOAD_KEY: `${KEY}` }, "WAYMARK_PAYLOAD_KEY must hold ID:KEY"],
  [{ WAYMARK_PAYLOAD_KEY_FILE: "nowhere" }, "WAYMARK_PAYLOAD_KEY_FILE names a file that can't be read"],
])("payload keys that are none are refused and not repeated: %j", async (env, message) => {
  const refused = await readConfig({}, env, cwd).catch((error: Error) => error);

  expect(refused).toMatchObject({ code: "USAGE", message: expect.stringContaining(message) as string });
  expect((refused as Error).message).not.toContain("hunter2");
  expect((refused as Error).message).not.toContain(KEY);
});

test("a flag wins over the environment, that over the file, that over the default", async () => {
  write("waymark.config.json", JSON.stringify({ prefix: "file", shards: 2, concurrency: 3, logLevel: "warn" }));
  const env = { WAYMARK_PREFIX: "env", WAYMARK_SHARDS: "4" };

  const config = await readConfig({ prefix: "flag" }, env, cwd);

  expect(config).toMatchObject({ prefix: "flag", shards: 4, concurrency: 3, logLevel: "warn", graceMs: 25_000 });
});

test("every variable of the environment is read", async () => {
  const config = await readConfig(
    {},
    {
      WAYMARK_REDIS_URL: "redis://one",
      REDIS_URL: "redis://other",
      WAYMARK_PREFIX: "p",
      WAYMARK_SHARDS: "8",
      WAYMARK_DATA_DIR: "data",
      WAYMARK_SANDBOX_STORE: "s3://bucket/prefix",
      WAYMARK_LOG_LEVEL: "debug",
      WAYMARK_CONCURRENCY: "20",
      WAYMARK_GRACE: "1m",
      WAYMARK_DEAD_AFTER: "4500",
      WAYMARK_PAYLOAD_KEY: `k2:${KEY},k1:${KEY}`,
      XDG_RUNTIME_DIR: "/run/user/7",
    },
    cwd,
  );

  expect(config).toEqual({
    redis: { url: "redis://one", nodes: [{ host: "one", port: 6379, db: 0 }] },
    prefix: "p",
    shards: 8,
    dataDir: join(cwd, "data"),
    sandboxStore: "s3://bucket/prefix",
    runtimeDir: "/run/user/7",
    logLevel: "debug",
    concurrency: 20,
    graceMs: 60_000,
    deadAfterMs: 4_500,
    payloadKeys: { k2: KEY, k1: KEY },
  });
});

test("REDIS_URL counts where WAYMARK_REDIS_URL is missing or empty", async () => {
  const config = await readConfig({}, { WAYMARK_REDIS_URL: "", REDIS_URL: "redis://other:1" }, cwd);

  expect(config.redis?.nodes).toEqual([{ host: "other", port: 1, db: 0 }]);
});

test("all faults are reported together, each with where it came from", async () => {
  write("waymark.config.json", JSON.stringify({ grace: "soon", prefx: "a", redisUrl: 7 }));
  const flags: ConfigInput = { prefix: "a:b", concurrency: 0 };
  const env = { WAYMARK_SHARDS: "1.5", WAYMARK_LOG_LEVEL: "loud", WAYMARK_DEAD_AFTER: "1s", WAYMARK_DATA_DIR: "." };

  const refused = readConfig(flags, env, cwd);

  await expect(refused).rejects.toMatchObject({
    code: "USAGE",
    details: {
      faults: [
        'prefx in waymark.config.json is no setting; did you mean "prefix"?',
        "redisUrl in waymark.config.json must be an address such as redis://localhost:6379",
        '--prefix must be 1 to 64 letters, digits, ".", "_" or "-", not "a:b"',
        'WAYMARK_SHARDS must be a whole number from 1 to 1024, not "1.5"',
        `WAYMARK_DATA_DIR is ${cwd}, which holds the working directory: it needs a directory of its own`,
        'WAYMARK_LOG_LEVEL must be one of trace, debug, info, warn, error, fatal, silent, not "loud"',
        "--concurrency must be a whole number from 1 to 10000, not 0",
        'grace in waymark.config.json must be a duration such as 500ms, 25s or 2m, not "soon"',
        'WAYMARK_DEAD_AFTER must be at least 2s, not "1s"',
      ],
    },
  });
  await expect(refused).rejects.toThrow(/^9 settings are wrong: /);
});

test.each([
  [{ grace: "30d" }, /^A setting is wrong: --grace must be at most 24d/],
  [
    { sandboxStore: "gs://bucket" },
    /--sandbox-store must be a directory, or a bucket such as s3:\/\/bucket\/prefix, not "gs:\/\/bucket"/,
  ],
  [{ sandboxStore: "s3://Bucket" }, /--sandbox-store must be a directory, or a bucket/],
  [{ sandboxStore: "" }, /--sandbox-store must be a directory/],
  [{ dataDir: "" }, /--data-dir must be the path of a directory, not ""/],
  [{ dataDir: "/" }, /--data-dir is \/, which holds the working directory/],
  [
    { redisUrl: "redis://a,redis://b:7000" },
    /--redis-url names 2 nodes, and a cluster is not supported by this version/,
  ],
])("%j is refused", async (flags, message) => {
  await expect(readConfig(flags, {}, cwd)).rejects.toThrow(message);
});

test("snapshots may be kept in any directory", async () => {
  expect((await readConfig({ sandboxStore: "../shared" }, {}, cwd)).sandboxStore).toBe(join(cwd, "..", "shared"));
  expect((await readConfig({}, { WAYMARK_SANDBOX_STORE: "/mnt/s" }, cwd)).sandboxStore).toBe("/mnt/s");
});

test("a data directory beside the working directory may share the start of its name", async () => {
  const inner = join(cwd, "project");
  mkdirSync(inner);

  expect((await readConfig({ dataDir: "../proj" }, {}, inner)).dataDir).toBe(join(cwd, "proj"));
});

test("a configuration may be a module, in JavaScript or TypeScript", async () => {
  write("package.json", '{"type":"module"}');
  write("waymark.config.js", "export default { prefix: ['from', 'js'].join('-') };");
  expect((await readConfig({}, {}, cwd)).prefix).toBe("from-js");
  rmSync(join(cwd, "waymark.config.js"));

  write("waymark.config.ts", "const prefix: string = 'from-ts';\nexport default { prefix };");
  symlinkSync(fileURLToPath(new URL("../node_modules", import.meta.url)), join(cwd, "node_modules"));
  expect((await readConfig({}, {}, cwd)).prefix).toBe("from-ts");
});

test.skipIf("typescript" in process.features)("TypeScript without tsx says what to install", async () => {
  write("waymark.config.ts", "export default {};");

  await expect(readConfig({}, {}, cwd)).rejects.toMatchObject({
    code: "USAGE",
    message: expect.stringContaining("npm install --save-dev tsx"),
  });
});

test("a file that can't be read, or holds no settings, or stands beside another, is a fault", async () => {
  write("waymark.config.json", "{");
  await expect(readConfig({}, {}, cwd)).rejects.toThrow(/waymark\.config\.json can't be read: /);

  write("waymark.config.json", "[]");
  await expect(readConfig({}, {}, cwd)).rejects.toThrow("waymark.config.json holds no object with settings");

  write("waymark.config.js", "export const prefix = 'x';");
  await expect(readConfig({}, {}, cwd)).rejects.toThrow(
    "waymark.config.js and waymark.config.json both exist, and only one can hold; waymark.config.js exports no object with settings",
  );
});

test.each([
  ["redis://", { host: "localhost", port: 6379, db: 0 }],
  ["redis://h:1/2", { host: "h", port: 1, db: 2 }],
  ["redis://h?db=3", { host: "h", port: 6379, db: 3 }],
  ["redis://:p%40ss@h", { host: "h", port: 6379, password: "p@ss", db: 0 }],
  ["rediss://me:s@[::1]:7", { host: "::1", port: 7, username: "me", password: "s", db: 0, tls: {} }],
  ["unix:///tmp/a%20b.sock", { path: "/tmp/a b.sock", db: 0 }],
  ["unix:///tmp/a.sock?db=4", { path: "/tmp/a.sock", db: 4 }],
])("%s is understood", (url, node) => {
  expect(parseRedisUrl(url)).toEqual({ url, nodes: [node] });
});

test("the nodes of a cluster share scheme and credentials of the first", () => {
  expect(parseRedisUrl("rediss://me:s@a:1, b:2,rediss://you:t@c:3").nodes).toEqual([
    { host: "a", port: 1, username: "me", password: "s", db: 0, tls: {} },
    { host: "b", port: 2, username: "me", password: "s", db: 0, tls: {} },
    { host: "c", port: 3, username: "you", password: "t", db: 0, tls: {} },
  ]);
});

test.each([
  ["localhost", "is no address such as redis://localhost:6379"],
  ["http://secret@h", "has the scheme http:// redis://, rediss:// and unix:// are known"],
  ["unix://tmp/secret.sock", "three slashes"],
  ["unix://", "three slashes"],
  ["redis://h/secret", "names a database that is no number"],
  ["redis://:sec%ret@h", "write it as %25"],
  ["redis://h:secret", "is no address"],
  ["redis://h,unix:///secret.sock", "names a unix socket among the nodes of a cluster"],
])("%s is refused without being repeated", async (redisUrl, part) => {
  const message = await readConfig({ redisUrl }, {}, cwd).then(
    () => "accepted",
    (error: Error) => error.message,
  );

  expect(message.replace("http://;", "http://")).toContain(part);
  expect(message).not.toContain("secret");
});

test("a module of the user's is imported as it is", async () => {
  write("plan.mjs", "export default 7;");

  expect(await importFile(join(cwd, "plan.mjs"))).toMatchObject({ default: 7 });
});

function write(name: string, text: string): void {
  writeFileSync(join(cwd, name), text);
}
