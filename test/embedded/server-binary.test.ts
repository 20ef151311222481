import { expect, test } from "vitest";
import { canOpen } from "../../src/embedded/server-binary.js";

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

function release(text: string) {
  const [server, version] = text.split(" ");
  return { server: server as "redis" | "valkey", version: version! };
}
