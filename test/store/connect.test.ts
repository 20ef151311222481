/** What an address means, and which servers are refused. */
import { once } from "node:events";
import { existsSync } from "node:fs";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { afterEach, describe, expect, inject, onTestFinished, test } from "vitest";
import { connect, requireSuitable } from "../../src/store/connect.js";
import { openStore } from "../../src/store/open-store.js";
import { type PrivateRedis, startPrivateRedis } from "../support/private-redis.js";
import { startTcpProxy } from "../support/tcp-proxy.js";
import { until } from "../support/until.js";

let own: PrivateRedis | null = null;

afterEach(async () => {
  await own?.stop();
  own = null;
});

describe("an address", () => {
  test("names a user, a password and a database", async () => {
    own = await startPrivateRedis();
    const admin = await connect({ url: own.url, patient: false });
    await admin.call("ACL", "SETUSER", "ada", "on", ">p@ss:word", "~*", "+@all");
    const at = own.url.replace("redis://", "");

    const redis = await connect({ url: `redis://ada:${encodeURIComponent("p@ss:word")}@${at}/5`, patient: false });
    await redis.set("where", "5");

    expect(await redis.call("ACL", "WHOAMI")).toBe("ada");
    await admin.select(5);
    expect(await admin.get("where")).toBe("5");
    await expect(connect({ url: `redis://ada:wrong@${at}`, patient: false })).rejects.toMatchObject({
      code: "STORE_UNAVAILABLE",
      message: expect.stringMatching(/WRONGPASS/) as string,
    });
    redis.disconnect();
    admin.disconnect();
  });

  test("may be a socket, with its database as a parameter", async () => {
    own = await startPrivateRedis({ settings: { unixsocket: "own.sock" } });
    const socket = `${own.directory}/own.sock`;
    expect(existsSync(socket)).toBe(true);
    const inThird = await connect({ url: `unix://${socket}?db=3`, patient: false });
    const inFirst = await connect({ url: `unix://${socket}`, patient: false });

    await inThird.set("where", "3");

    expect(await inFirst.get("where")).toBeNull();
    await inFirst.select(3);
    expect(await inFirst.get("where")).toBe("3");
    inThird.disconnect();
    inFirst.disconnect();
  });

  test("with rediss is spoken to in TLS", async () => {
    const { url, first } = await aListener();
    const refused = connect({ url: url.replace("redis://", "rediss://"), patient: false });
    refused.catch(() => {});
    const data = await first;
    // A TLS handshake record; a RESP command would begin with an asterisk.
    expect(data[0]).toBe(0x16);
    await expect(refused).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });
  });

  test("without a host and a port is this machine's, at 6379", async () => {
    // Nobody may listen there; then the refusal says where it was looked for.
    const answer = await connect({ url: "redis://", patient: false }).catch((error: unknown) => error);
    if (answer instanceof Error) {
      expect(answer).toMatchObject({ code: "STORE_UNAVAILABLE", cause: expect.anything() as unknown });
      expect(answer.message).toContain("127.0.0.1:6379");
    } else {
      const { options } = answer as Awaited<ReturnType<typeof connect>>;
      (answer as Awaited<ReturnType<typeof connect>>).disconnect();
      expect(options).toMatchObject({ host: "127.0.0.1", port: 6379 });
    }
  });
});

test("a server that hangs up during the handshake is unavailable", async () => {
  const { url } = await aListener((socket) => socket.destroy());
  await expect(connect({ url, patient: false })).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });
});

test("a user who may not even PING is connected all the same", async () => {
  own = await startPrivateRedis();
  const admin = await connect({ url: own.url, patient: false });
  await admin.call("ACL", "SETUSER", "reader", "on", ">pw", "~*", "+@read");
  const redis = await connect({ url: own.url.replace("redis://", "redis://reader:pw@"), patient: false });
  expect(await redis.get("nothing")).toBeNull();
  // A server that hides what it is, is taken at its word.
  await expect(requireSuitable(redis)).resolves.toBeUndefined();
  redis.disconnect();
  admin.disconnect();
});

test("a primary that has become a replica is left, so that whoever took its place is found", async () => {
  own = await startPrivateRedis();
  const admin = await connect({ url: own.url, patient: false });
  const redis = await connect({ url: own.url, patient: true });
  const before = await redis.client("ID");
  await admin.call("REPLICAOF", "127.0.0.1", "1");

  await expect(redis.set("a", "1")).rejects.toThrow("READONLY");

  await until("another connection", async () => (await redis.client("ID")) !== before);
  redis.disconnect();
  admin.disconnect();
});

test.each([
  [
    "nobody answers at",
    () => "redis://:secret@127.0.0.1:1,127.0.0.1:2",
    /redis:\/\/\*\*\*@127.0.0.1:1,127.0.0.1:2: .*ECONNREFUSED/,
  ],
  ["is no cluster", () => `${inject("redisUrl")},${new URL(inject("redisUrl")).host}`, /it is no cluster/],
])("the address of a cluster that %s is out of reach soon", async (_what, url, reason) => {
  const startedAt = Date.now();
  await expect(connect({ url: url(), patient: false })).rejects.toMatchObject({
    code: "STORE_UNAVAILABLE",
    message: expect.stringMatching(reason) as string,
  });
  expect(Date.now() - startedAt).toBeLessThan(3_000);
});

test("a server whose link breaks during the first PING is unavailable", async () => {
  const proxy = await startTcpProxy(inject("redisUrl"));
  onTestFinished(() => proxy.close());
  proxy.judge = (args) => (args[0] === "ping" ? "lose reply" : "pass");
  await expect(connect({ url: proxy.url, patient: false })).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });
});

test.each([
  ["redis_version:6.2.14", "Redis 6.2.14 is too old"],
  ["redis_version:7.2.4\r\nvalkey_version:7.1.9", "Valkey 7.1.9 is too old"],
  ["redis_version:7.0.0", null],
  ["redis_version:7.2.4\r\nvalkey_version:8.0.1", null],
  ["redis_version:7.2.4\r\nvalkey_version:7.2.0", null],
])("a server that calls itself %j is judged by its version", async (info, refusal) => {
  const redis = await connect({ url: await aServerThatSays(info), patient: false });
  const verdict = requireSuitable(redis);
  if (refusal === null) await expect(verdict).resolves.toBeUndefined();
  else
    await expect(verdict).rejects.toMatchObject({
      code: "STORE_UNSUITABLE",
      message: expect.stringContaining(refusal),
    });
  redis.disconnect();
});

test("a store that is opened without a prefix keeps its keys under `waymark`", async () => {
  const store = await openStore({ url: inject("redisUrl") });
  expect(store.shardOf("any").keys.base).toBe("{waymark:0}:");
  expect(store.address).toBe(inject("redisUrl"));
  await store.close();
});

/** A port on which somebody listens who is no Redis. */
async function aListener(
  onConnection: (socket: Socket) => void = () => {},
): Promise<{ url: string; first: Promise<Buffer> }> {
  const sockets = new Set<Socket>();
  let heard!: (data: Buffer) => void;
  const first = new Promise<Buffer>((resolve) => {
    heard = resolve;
  });
  const server: Server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.once("data", (data) => {
      heard(data);
      socket.destroy();
    });
    onConnection(socket);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return { url: `redis://127.0.0.1:${(server.address() as AddressInfo).port}`, first };
}

/** A server of another version: it answers INFO with a text, everything else as a server with nothing to say. */
async function aServerThatSays(info: string): Promise<string> {
  const server = createServer((socket) => {
    socket.on("error", () => {});
    socket.on("data", (data) => {
      for (const command of data.toString().matchAll(/\*\d+\r\n\$\d+\r\n(\w+)/g)) {
        const name = command[1]!.toLowerCase();
        if (name === "info") socket.write(`$${info.length}\r\n${info}\r\n`);
        else if (name === "config") socket.write("*2\r\n$16\r\nmaxmemory-policy\r\n$10\r\nnoeviction\r\n");
        else socket.write("+OK\r\n");
      }
    });
    onTestFinished(() => void socket.destroy());
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => void server.close());
  return `redis://127.0.0.1:${(server.address() as AddressInfo).port}`;
}
