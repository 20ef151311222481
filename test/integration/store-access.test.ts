/** Servers that let one in only half: to another database, or without a right to do anything. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { connect } from "../../src/store/connect.js";
import { type PrivateRedis, startPrivateRedis } from "../support/private-redis.js";

let server: PrivateRedis;
let guarded: PrivateRedis;

beforeAll(async () => {
  server = await startPrivateRedis({ settings: { databases: "4" } });
  guarded = await startPrivateRedis();
  const admin = await connect({ url: guarded.url, patient: false });
  await admin.config("SET", "requirepass", "sesame");
  admin.disconnect();
});

afterAll(async () => {
  await server.stop();
  await guarded.stop();
});

test("plans never go to another database than the one that was named", async () => {
  const redis = await connect({ url: `${server.url}/3`, patient: false });
  await redis.set("here", "1");
  redis.disconnect();

  await expect(connect({ url: `${server.url}/9`, patient: false })).rejects.toMatchObject({
    code: "STORE_UNAVAILABLE",
    message: expect.stringContaining("out of range"),
  });
  const other = await connect({ url: server.url, patient: false });
  expect(await other.dbsize()).toBe(0);
  other.disconnect();
});

test.each([
  ["without a password", "", "NOAUTH"],
  ["with a wrong one", ":guess@", "WRONGPASS"],
])("a server that wants a password is out of reach %s", async (_how, user, reason) => {
  const url = guarded.url.replace("//", `//${user}`);

  await expect(connect({ url, patient: false })).rejects.toMatchObject({
    code: "STORE_UNAVAILABLE",
    message: expect.stringContaining(reason),
  });
});

test("with the right password it answers", async () => {
  const redis = await connect({ url: guarded.url.replace("//", "//:sesame@"), patient: false });

  expect(await redis.ping()).toBe("PONG");
  redis.disconnect();
});
