import { mkdtempSync, rmSync } from "node:fs";
import { createConnection, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { RespConnection } from "../../src/embedded/resp-connection.js";
import { type PrivateRedis, startPrivateRedis } from "../support/private-redis.js";
import { until } from "../support/until.js";

let directory: string;
let redis: PrivateRedis;
let relay: Server;
let clients: Socket[];

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "waymark-test-"));
  redis = await startPrivateRedis({ settings: { unixsocket: join(directory, "direct.sock") } });
});

afterAll(async () => {
  await redis.stop();
  rmSync(directory, { recursive: true });
});

beforeEach(() => {
  clients = [];
});

afterEach(() => {
  for (const client of clients) client.destroy();
  relay?.close();
});

test("replies are understood however they are cut into pieces", async () => {
  const connection = await RespConnection.open(await inPieces());

  expect(await connection.call(5_000, "SET", "ключ", "a\r\nb — c")).toBe("OK");
  expect(await connection.call(5_000, "GET", "ключ")).toBe("a\r\nb — c");
  expect(await connection.call(5_000, "GET", "missing")).toBeNull();
  expect(await connection.call(5_000, "STRLEN", "ключ")).toBe(10);
  await expect(connection.call(5_000, "INCR", "ключ")).rejects.toMatchObject({ word: "ERR" });
  await connection.close();
});

test("replies arrive in the order of the calls", async () => {
  const connection = await RespConnection.open(join(directory, "direct.sock"));

  const replies = await Promise.all(["a", "b", "c"].map((text) => connection.call(5_000, "ECHO", text)));

  expect(replies).toEqual(["a", "b", "c"]);
  await connection.close();
});

test("a server that stays silent is given up, and so is the connection", async () => {
  const connection = await RespConnection.open(await silent());

  const calls = Promise.allSettled([connection.call(50, "PING"), connection.call(5_000, "PING")]);

  expect((await calls).map((call) => call.status === "rejected" && call.reason.message)).toEqual([
    "no answer to PING for 50 ms",
    "no answer to PING for 50 ms",
  ]);
  expect(connection.isOpen).toBe(false);
  await expect(connection.call(50, "PING")).rejects.toThrow("no answer to PING");
  await connection.close();
});

test("closing a connection that the server has closed ends at once", async () => {
  const connection = await RespConnection.open(join(directory, "direct.sock"));
  await connection.call(5_000, "QUIT");

  await connection.close();

  await expect(connection.call(50, "PING")).rejects.toThrow();
});

test("a server that takes no more clients is a closed connection, whether asked or not", async () => {
  const first = await RespConnection.open(join(directory, "direct.sock"));
  await first.call(5_000, "CONFIG", "SET", "maxclients", "1");
  const second = await RespConnection.open(join(directory, "direct.sock"));
  await until("the server to close it", () => !second.isOpen);

  await expect(second.call(50, "PING")).rejects.toThrow("closed");

  await first.call(5_000, "CONFIG", "SET", "maxclients", "100");
  await first.close();
});

test("where nobody listens there is an error, not a wait", async () => {
  await expect(RespConnection.open(join(directory, "nobody.sock"))).rejects.toMatchObject({ code: "ENOENT" });
});

/** A socket that passes everything to the server, and its answers back byte by byte. */
function inPieces(): Promise<string> {
  return listen((client) => {
    const server = createConnection({ path: join(directory, "direct.sock") });
    clients.push(server);
    client.setNoDelay(true);
    client.pipe(server);
    server.on("end", () => client.end());
    let sent = Promise.resolve();
    server.on("data", (chunk) => {
      for (const byte of chunk) {
        sent = sent.then(() => new Promise((resolve) => client.write(Buffer.of(byte), () => setImmediate(resolve))));
      }
    });
  });
}

function silent(): Promise<string> {
  return listen(() => {});
}

function listen(serve: (client: Socket) => void): Promise<string> {
  const path = join(directory, `relay-${Math.random().toString(36).slice(2)}.sock`);
  relay = createServer((client) => {
    clients.push(client);
    client.on("error", () => client.destroy());
    serve(client);
  });
  return new Promise((resolve) => relay.listen(path, () => resolve(path)));
}
