import { expect, test } from "vitest";
import { canOpen, releaseOf } from "../../src/embedded/server-binary.js";

test.each([
  ["redis 7.0.15", "redis 7.0.15", true],
  ["redis 7.0.11", "redis 7.0.15", true],
  ["redis 8.0.0", "redis 7.4.2", true],
  ["redis 7.0.15", "redis 7.2.0", false],
  ["redis 7.10.0", "redis 7.9.0", true],
  ["redis 7.2.4", "valkey 8.1.0", true],
  ["redis 7.0.15", "valkey 8.1.0", false],
  ["redis 8.2.0", "valkey 9.0.0", false],
  ["valkey 8.1.0", "redis 7.2.9", true],
  ["valkey 8.1.0", "redis 7.4.0", false],
  ["valkey 8.0.1", "valkey 8.1.0", false],
])("%s reads a store of %s: %s", (opener, writer, expected) => {
  expect(canOpen(release(opener), release(writer))).toBe(expected);
});

test("Valkey is recognised behind the version of Redis that it claims", () => {
  expect(releaseOf("# Server\r\nredis_version:7.2.4\r\nvalkey_version:8.1.0\r\n")).toEqual(release("valkey 8.1.0"));
  expect(releaseOf("# Server\r\nredis_version:7.0.15\r\n")).toEqual(release("redis 7.0.15"));
});

function release(text: string) {
  const [server, version] = text.split(" ");
  return { server: server as "redis" | "valkey", version: version! };
}
