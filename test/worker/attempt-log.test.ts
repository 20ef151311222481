import { expect, test } from "vitest";
import { AttemptLog } from "../../src/worker/attempt-log.js";
import { Redactor } from "../../src/worker/redactor.js";
import { until } from "../support/until.js";

interface Sent {
  readonly text: string;
  readonly bytes: number;
}

function aLog(redactor: Redactor | null = null): { log: AttemptLog; sent: Sent[]; text(): string } {
  const sent: Sent[] = [];
  const log = new AttemptLog((text, bytes) => sent.push({ text, bytes }), redactor);
  return { log, sent, text: () => sent.map((piece) => piece.text).join("") };
}

function hiding(...secrets: string[]): Redactor {
  const redactor = new Redactor();
  for (const secret of secrets) redactor.hide(secret);
  return redactor;
}

test("lines that come together are sent together, without being asked for", async () => {
  const { log, sent } = aLog();

  log.write("one\n");
  log.write("two\n");

  await until("the piece", () => sent.length > 0);
  expect(sent).toEqual([{ text: "one\ntwo\n", bytes: 8 }]);
});

test("of more than a piece holds the end is kept, and all of it is counted", () => {
  const { log, sent } = aLog();

  for (let i = 0; i < 10; i++) log.write(`${i}`.repeat(20_000));
  log.flush();

  expect(sent[0]!.bytes).toBe(200_000);
  expect(sent[0]!.text).toHaveLength(64 * 1024);
  expect(sent[0]!.text.endsWith("9".repeat(20_000))).toBe(true);
});

test("a secret is hidden, also where two pieces share it", async () => {
  const { log, sent, text } = aLog(hiding("correct-horse"));

  log.write("token correct-");
  await until("the first piece", () => sent.length === 1);
  expect(sent[0]!.text).toBe("token ");
  log.write("horse and corr");
  log.flush();

  expect(text()).toBe("token *** and corr");
  expect(sent.reduce((sum, piece) => sum + piece.bytes, 0)).toBe("token correct-horse and corr".length);
});

test("a secret is not cut in half by the limit of a piece", () => {
  const { log, text } = aLog(hiding("correct-horse"));

  log.write(`correct-horse${"x".repeat(64 * 1024 - 5)}`);
  log.write("end");
  log.flush();

  expect(text()).not.toContain("horse");
  expect(text().endsWith("xend")).toBe(true);
});

test("a secret is hidden in every text of a value, as it is, as JSON writes it, and line by line", () => {
  const redactor = hiding('two\nlines "quoted" here', "longest-secret", "longest");

  expect(redactor.json({ a: ["x longest-secret y", 1, null, true], "my longest": { b: "fine" } })).toEqual({
    a: ["x *** y", 1, null, true],
    "my ***": { b: "fine" },
  });
  expect(redactor.text('two\nlines "quoted" here')).toBe("***");
  expect(redactor.text(String.raw`{"k":"two\nlines \"quoted\" here"}`)).toBe('{"k":"***"}');
  expect(redactor.text('only lines "quoted" here')).toBe("only ***");
});

test("what is too short to be a secret is left alone", () => {
  expect(hiding("a", "").text("banana")).toBe("banana");
});
