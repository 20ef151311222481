import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type ConfigInput, importFile, readConfig } from "../src/config.js";

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
    payloadLimitBytes: 262_144,
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
      WAYMARK_PAYLOAD_LIMIT: "1MiB",
      WAYMARK_PAYLOAD_KEY: `k2:${KEY},k1:${KEY}`,
      XDG_RUNTIME_DIR: "/run/user/7",
    },
    cwd,
  );

  expect(config).toEqual({
    redis: { url: "redis://one" },
    prefix: "p",
    shards: 8,
    dataDir: join(cwd, "data"),
    sandboxStore: "s3://bucket/prefix",
    runtimeDir: "/run/user/7",
    logLevel: "debug",
    concurrency: 20,
    graceMs: 60_000,
    deadAfterMs: 4_500,
    payloadLimitBytes: 1_048_576,
    payloadKeys: { k2: KEY, k1: KEY },
  });
});

test("REDIS_URL counts where WAYMARK_REDIS_URL is missing or empty", async () => {
  const config = await readConfig({}, { WAYMARK_REDIS_URL: "", REDIS_URL: "redis://other:1" }, cwd);

  expect(config.redis).toEqual({ url: "redis://other:1" });
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
  [{ payloadLimit: "1GiB" }, /--payload-limit must be a size such as "1MiB", from 1 KiB to 32 MiB, not "1GiB"/],
  [{ dataDir: "/" }, /--data-dir is \/, which holds the working directory/],
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

test("an address that can't be read is a fault that doesn't repeat it", async () => {
  const message = await readConfig({ redisUrl: "redis://:sec%ret@h" }, {}, cwd).then(
    () => "accepted",
    (error: Error) => error.message,
  );

  expect(message).toMatch(/^A setting is wrong: --redis-url has a % that starts no escape/);
  expect(message).not.toContain("ret@h");
});

test("certificates are read with the other settings", async () => {
  write("ca.pem", "-----BEGIN CERTIFICATE-----\nca");
  write("client.pem", "-----BEGIN CERTIFICATE-----\nclient");
  write("client.key", "-----BEGIN PRIVATE KEY-----\nkey");
  const env = { WAYMARK_REDIS_URL: "rediss://h", WAYMARK_REDIS_CA: "ca.pem", WAYMARK_REDIS_CERT: "client.pem" };

  const { redis } = await readConfig({ redisKey: join(cwd, "client.key") }, env, cwd);

  expect(redis).toEqual({
    url: "rediss://h",
    tls: {
      ca: "-----BEGIN CERTIFICATE-----\nca",
      cert: "-----BEGIN CERTIFICATE-----\nclient",
      key: "-----BEGIN PRIVATE KEY-----\nkey",
    },
  });
  await expect(readConfig({}, env, cwd)).rejects.toThrow("WAYMARK_REDIS_CERT needs both");
});

test.each([
  [{ redisCa: "ca.pem" }, "--redis-ca names a file that can't be read"],
  [{ redisCa: "text.pem" }, "--redis-ca names a file that is not in PEM format"],
  [{ redisCa: "text.pem", redisUrl: "redis://h" }, "--redis-url speaks no TLS, for which certificates are given"],
])("%j is a fault of certificates", async (flags, part) => {
  write("text.pem", "nothing");

  await expect(readConfig({ redisUrl: "rediss://h", ...flags }, {}, cwd)).rejects.toThrow(part);
});

test("a module of the user's is imported as it is", async () => {
  write("plan.mjs", "export default 7;");

  expect(await importFile(join(cwd, "plan.mjs"))).toMatchObject({ default: 7 });
});

function write(name: string, text: string): void {
  writeFileSync(join(cwd, name), text);
}
