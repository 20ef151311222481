import fc from "fast-check";
import { expect, test } from "vitest";
import { TailBuffer } from "../../src/handlers/tail-buffer.js";

test("it holds the last bytes, however they were cut", () => {
  const chunks = fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 60 });
  fc.assert(
    fc.property(chunks, fc.integer({ min: 1, max: 50 }), fc.integer({ min: 0, max: 60 }), (parts, capacity, wanted) => {
      const ascii = parts.map((part) => part.map((byte) => byte & 0x7f));
      const all = Buffer.concat(ascii).toString();

      const tail = new TailBuffer(capacity);
      for (const part of ascii) tail.push(part);

      const kept = Math.min(wanted, capacity);
      expect(tail.text(wanted)).toBe(kept === 0 ? "" : all.slice(-kept));
      expect(tail.isWhole).toBe(all.length <= capacity);
    }),
  );
});

test("it begins with a whole character", () => {
  const text = "aé漢😀z";
  const tail = new TailBuffer(64);
  for (const byte of Buffer.from(text)) tail.push(Uint8Array.of(byte));

  const tails = Array.from({ length: Buffer.byteLength(text) + 1 }, (_, bytes) => tail.text(bytes));

  expect(new Set(tails)).toEqual(new Set(["", "z", "😀z", "漢😀z", "é漢😀z", text]));
});

test("it cuts characters at its own border too", () => {
  const tail = new TailBuffer(5);
  tail.push(Buffer.from("漢字"));

  expect(tail.text()).toBe("字");
});

test("ten million bytes in single chunks cost no more than its capacity", () => {
  const before = process.memoryUsage();
  const tail = new TailBuffer(1024);
  const chunk = Buffer.from("x".repeat(10));
  for (let i = 0; i < 1_000_000; i++) tail.push(chunk);
  const after = process.memoryUsage();

  expect(tail.text()).toBe("x".repeat(1024));
  expect(after.arrayBuffers - before.arrayBuffers).toBeLessThan(1_000_000);
});
