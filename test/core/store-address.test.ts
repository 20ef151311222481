import { expect, test } from "vitest";
import { describeStoreUrl, parseStoreUrl } from "../../src/core/store-address.js";

test.each([
  ["redis://", { host: "localhost", port: 6379, db: 0, tls: false }],
  ["redis://h:1/2", { host: "h", port: 1, db: 2, tls: false }],
  ["redis://h?db=3", { host: "h", port: 6379, db: 3, tls: false }],
  ["redis://:p%40ss@h", { host: "h", port: 6379, password: "p@ss", db: 0, tls: false }],
  ["rediss://me:s@[::1]:7", { host: "::1", port: 7, username: "me", password: "s", db: 0, tls: true }],
  ["unix:///tmp/a%20b.sock", { path: "/tmp/a b.sock", db: 0, tls: false }],
  ["unix:///tmp/a.sock?db=4", { path: "/tmp/a.sock", db: 4, tls: false }],
])("%s is one server", (url, node) => {
  expect(parseStoreUrl(url)).toEqual({ kind: "server", node });
});

test("a comma makes a cluster, whose nodes share scheme and login of the first", () => {
  expect(parseStoreUrl("rediss://me:s@a:1, b:2,rediss://you:t@c:3")).toEqual({
    kind: "cluster",
    nodes: [
      { host: "a", port: 1, username: "me", password: "s", db: 0, tls: true },
      { host: "b", port: 2, username: "me", password: "s", db: 0, tls: true },
      { host: "c", port: 3, username: "you", password: "t", db: 0, tls: true },
    ],
  });
});

test("sentinels name a primary, which login, database and TLS are of", () => {
  expect(parseStoreUrl("redis-sentinel://me:s%40:t@a,b:2,[::1]:3/main/4")).toEqual({
    kind: "sentinel",
    sentinels: [
      { host: "a", port: 26379 },
      { host: "b", port: 2 },
      { host: "::1", port: 3 },
    ],
    name: "main",
    primary: { username: "me", password: "s@:t", db: 4, tls: false },
  });
  expect(parseStoreUrl("rediss-sentinel://a/main?db=1&sentinel-username=u&sentinel-password=p%26w")).toEqual({
    kind: "sentinel",
    sentinels: [{ host: "a", port: 26379 }],
    name: "main",
    primary: { db: 1, tls: true },
    sentinelUsername: "u",
    sentinelPassword: "p&w",
  });
});

test.each([
  ["localhost", "is no address such as redis://localhost:6379"],
  ["http://secret@h", "has the scheme http://"],
  ["unix://tmp/secret.sock", "three slashes"],
  ["unix://", "three slashes"],
  ["redis://h/secret", "names a database that is no number"],
  ["redis://:sec%ret@h", "write it as %25"],
  ["redis://h:secret", "is no address"],
  ["redis://h,unix:///secret.sock", "names a unix socket among the nodes of a cluster"],
  ["redis://:secret@h,i/2", "a cluster has no other than 0"],
  ["redis-sentinel://:secret@h,i", "not what they call the primary"],
  ["redis-sentinel://:secret@h:x/main", "is no address"],
])("%s is refused without being repeated", (url, part) => {
  const parse = () => parseStoreUrl(url);

  expect(parse).toThrow(part);
  expect(parse).not.toThrow("secret");
});

test.each([
  ["rediss://ada:secret@h:1/2", "rediss://***@h:1/2"],
  ["redis://:sec@ret@h/1", "redis://***@h/1"],
  ["redis://:secret@a:1, ada:secret@b:2,c:3", "redis://***@a:1,***@b:2,c:3"],
  [
    "redis-sentinel://:secret@a,b/main?sentinel-password=secret&db=1",
    "redis-sentinel://***@a,b/main?sentinel-password=***&db=1",
  ],
  ["unix:///run/redis.sock", "unix:///run/redis.sock"],
])("%s is shown without its password", (url, shown) => {
  expect(describeStoreUrl(url)).toBe(shown);
});
