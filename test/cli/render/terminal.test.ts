import { PassThrough } from "node:stream";
import { expect, test } from "vitest";
import type { Io } from "../../../src/cli/io.js";
import { errorDocument, exitCodeOf, Terminal } from "../../../src/cli/render/terminal.js";
import { UsageError } from "../../../src/core/errors.js";

function aTerminal(format: "human" | "json" | "jsonl", env: Record<string, string>, isTTY: boolean) {
  const said = { stdout: "", stderr: "" };
  const sink = (name: "stdout" | "stderr") => ({
    isTTY,
    write: (text: string) => {
      said[name] += text;
    },
  });
  const io = {
    stdout: sink("stdout"),
    stderr: sink("stderr"),
    stdin: new PassThrough(),
    env,
    cwd: "/",
  } as unknown as Io;
  return { said, terminal: new Terminal(io, format) };
}

const error = new UsageError("no plan is named", { try: "plan list" }).toDocument();

test("an error goes where the result would have gone, in its format", () => {
  const json = aTerminal("json", {}, false);
  json.terminal.error(error);
  expect(JSON.parse(json.said.stdout)).toMatchObject({ error: { code: "USAGE", try: "plan list" } });
  expect(json.said.stderr).toBe("");

  const lines = aTerminal("jsonl", {}, false);
  lines.terminal.error(error);
  expect(lines.said.stdout.trim().split("\n")).toHaveLength(1);
  expect(JSON.parse(lines.said.stdout)).toMatchObject({ error: { code: "USAGE" } });

  const human = aTerminal("human", {}, false);
  human.terminal.error(error);
  expect(human.said).toEqual({ stdout: "", stderr: "Error: USAGE: no plan is named.\nTry: plan list\n" });
});

test.each([
  ["a terminal", {}, true, true],
  ["a terminal with NO_COLOR", { NO_COLOR: "1" }, true, false],
  ["a dumb terminal", { TERM: "dumb" }, true, false],
  ["a pipe", {}, false, false],
])("%s gets colours only where they are wanted", (_, env, isTTY, coloured) => {
  const { said, terminal } = aTerminal("human", env as Record<string, string>, isTTY);

  terminal.error(error);

  expect(said.stderr.includes("\u001b[31m")).toBe(coloured);
});

test("what nobody foresaw is INTERNAL, with what there is to say, and exit 1", () => {
  expect(errorDocument(new TypeError("x is undefined"))).toEqual({
    code: "INTERNAL",
    message: "TypeError: x is undefined",
    details: {},
    try: null,
  });
  expect(errorDocument("thrown text").message).toBe("thrown text");
  expect(exitCodeOf(new TypeError("x"))).toBe(1);
  expect(exitCodeOf(new UsageError("x"))).toBe(2);
});
