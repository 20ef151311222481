import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { parseCommandLine, requestedFormat } from "../../src/cli/program.js";
import { toSnakeCase } from "../../src/cli/snake-case.js";
import { suggestCommand } from "../../src/cli/suggest.js";
import { UsageError } from "../../src/core/errors.js";
import { planCommand } from "../../src/core/plan-command.js";
import { VERSION } from "../../src/version.js";

const COMMANDS =
  "run submit validate resume fork list get history logs checkpoints decisions watch pause cancel signal approve decide worker scheduler schedule schedules workers verify prune doctor".split(
    " ",
  );

describe("commands", () => {
  test.each(COMMANDS)("plan %s --help shows examples and the global options, and needs no store", (name) => {
    const parsed = parseCommandLine([name, "--help"], "1.0.0");

    expect(parsed.kind).toBe("text");
    const text = (parsed as { text: string }).text;
    expect(text).toContain(`Usage: plan ${name}`);
    expect(text).toMatch(/Examples:\n {2}\$ plan /);
    expect(text).toContain("--redis-url");
  });

  test("plan --help lists every command and nothing that is not built", () => {
    const { text } = parseCommandLine(["--help"], "1.0.0") as { text: string };

    for (const name of COMMANDS) expect(text).toMatch(new RegExp(`^ {2}${name}\\b`, "m"));
    expect((parseCommandLine([], "1.0.0") as { text: string }).text).toContain("Usage: plan");
    expect((parseCommandLine(["help", "get"], "1.0.0") as { text: string }).text).toContain("Usage: plan get");
  });

  test("the version is that of the package", () => {
    const manifest = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8"));

    expect(VERSION).toBe(manifest.version);
    expect(parseCommandLine(["--version"], VERSION)).toEqual({ kind: "text", text: `${VERSION}\n` });
  });

  test("global options stand before or after the command", () => {
    for (const argv of [
      ["--prefix", "p", "get", "x"],
      ["get", "x", "--prefix", "p"],
    ]) {
      const parsed = parseCommandLine(argv, "1");
      expect(parsed).toMatchObject({ kind: "run", invocation: { name: "get", args: ["x"], globals: { prefix: "p" } } });
    }
  });
});

test("options without a command, and help about nothing, show the commands", () => {
  for (const argv of [["--debug"], ["--prefix", "p"], ["help"]]) {
    expect(parseCommandLine(argv, "1")).toMatchObject({ kind: "text", text: /^Usage: plan <command>/ });
  }
});

describe("refusals", () => {
  const refusal = (...argv: string[]): UsageError => {
    try {
      parseCommandLine(argv, "1");
    } catch (error) {
      if (error instanceof UsageError) return error;
      throw error;
    }
    throw new Error(`${argv.join(" ")} was accepted`);
  };

  test.each([
    ["retry", "resume"],
    ["start", "run"],
    ["status", "get"],
    ["show", "get"],
    ["describe", "get"],
    ["ls", "list"],
    ["ps", "list"],
    ["stop", "cancel"],
    ["kill", "cancel"],
    ["abort", "cancel"],
    ["delete", "cancel"],
    ["rm", "cancel"],
    ["resmue", "resume"],
    ["LIST", "list"],
    ["wacth", "watch"],
  ])("%s means %s", (word, meant) => {
    expect(suggestCommand(word, COMMANDS)).toBe(meant);
    expect(refusal(word, "web 42", "--dry-run").try).toBe(`plan ${meant} 'web 42' --dry-run`);
  });

  test("a word that is like nothing gets the list of commands", () => {
    const error = refusal("xyzzy");

    expect(error.message).toContain("run, submit, validate");
    expect(error.try).toBe("plan --help");
  });

  test("help of what is no command is refused like the command", () => {
    expect(refusal("resmue", "--help").try).toBe("plan resume --help");
    expect(refusal("--prefix", "p", "resmue", "-h").message).toBe('There is no command "resmue"; did you mean resume?');
    for (const argv of [["--help"], ["--debug", "-h"], ["--prefix", "p", "--help"]]) {
      expect(parseCommandLine(argv, "1")).toMatchObject({ kind: "text", text: /^Usage: plan <command>/ });
    }
  });

  test("a mistyped option is put right in a command that can be pasted", () => {
    expect(refusal("resume", "web-42", "--dryrun").try).toBe("plan resume web-42 --dry-run");
    expect(refusal("resume", "web-42", "--form-step=b").try).toBe("plan resume web-42 --from-step=b");
    expect(refusal("get", "web-42", "--quux").try).toBe("plan get --help");
  });

  test("missing and surplus arguments, and options that exclude each other, are refused", () => {
    expect(refusal("get").message).toMatch(/missing required argument/i);
    expect(refusal("get", "a", "b").message).toMatch(/too many arguments/i);
    expect(refusal("resume", "a", "--here", "--detach").message).toMatch(/cannot be used with/i);
    expect(refusal("logs", "a", "--attempt").message).toMatch(/argument missing/i);
  });

  test("without a command it is the program that is named", () => {
    expect(refusal("--dryrun")).toMatchObject({ message: "plan has no option --dryrun", try: "plan --help" });
    expect(refusal("--debgu").try).toBe("plan --debug");
    expect(refusal("get", "-x").message).toBe("plan get has no option -x");
    expect(refusal("--prefix")).toMatchObject({ message: /argument missing/, try: "plan --help" });
    expect(refusal("help", "resmue").try).toBe("plan resume");
  });

  test("a format that a command lacks is refused with those it has", () => {
    expect(refusal("get", "a", "-o", "ids").message).toBe('plan get can\'t print "ids"; its formats are json');
    expect(refusal("worker", "-o", "json").message).toContain("it has one format only");
  });
});

test("the format is known even where the rest of the command line is wrong", () => {
  expect(requestedFormat(["frobnicate", "-o", "json"])).toBe("json");
  expect(requestedFormat(["--output=jsonl", "x"])).toBe("jsonl");
  expect(requestedFormat(["get", "-ojson"])).toBe("json");
  expect(requestedFormat(["list", "-o", "ids"])).toBe("human");
  expect(requestedFormat(["--", "-o", "json"])).toBe("human");
});

test("printed commands can be pasted into a shell", () => {
  expect(planCommand("resume", "web-42", "--reason", "it's $HOME; rm *")).toBe(
    `plan resume web-42 --reason 'it'\\''s $HOME; rm *'`,
  );
});

test("documents get snake_case keys, and what users wrote stays as it is", () => {
  expect(
    toSnakeCase({
      planId: "x",
      steps: [{ durationMs: 1, ask: null }],
      output: { camelCase: 1 },
      details: { planId: "x", choice: { camelCase: 1 } },
    }),
  ).toEqual({
    plan_id: "x",
    steps: [{ duration_ms: 1, ask: null }],
    output: { camelCase: 1 },
    details: { plan_id: "x", choice: { camelCase: 1 } },
  });
});
