import { hostname, userInfo } from "node:os";
import { afterEach, expect, test, vi } from "vitest";
import { defaultActor } from "../../src/client/actor.js";

vi.mock("node:os", async (original) => {
  const os = await original<typeof import("node:os")>();
  return { ...os, userInfo: vi.fn(os.userInfo) };
});

afterEach(() => vi.mocked(userInfo).mockReset());

test("a user id without a name, as in a container, is unknown at its host", () => {
  vi.mocked(userInfo).mockImplementation(() => {
    throw new Error("ENOENT: no such user");
  });

  expect(defaultActor()).toBe(`unknown@${hostname()}`);
});
