import { expect, test } from "vitest";
import { untilStopped } from "../../src/cli/interrupt.js";
import type { Io, StopSignal } from "../../src/cli/io.js";

function anIo() {
  const listeners = new Set<(signal: StopSignal) => void>();
  const io = {
    onSignal: (listener: (signal: StopSignal) => void) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    onReaderGone: () => () => {},
  } as unknown as Io;
  return { io, listeners };
}

test("work that fails is an error, unless it fails because the user ended it", async () => {
  const { io, listeners } = anIo();

  await expect(untilStopped(io, () => Promise.reject(new Error("disk full")))).rejects.toThrow("disk full");
  const stopped = untilStopped(io, async (signal) => {
    for (const listener of listeners) listener("SIGINT");
    signal.throwIfAborted();
  });

  expect(await stopped).toBe(130);
  expect(await untilStopped(io, async () => {})).toBe(0);
  expect(listeners.size).toBe(0);
});
