import { describe, expect, test } from "vitest";
import { NonRetryableError } from "../../src/core/errors.js";
import { builtinHandlers } from "../../src/handlers/index.js";
import { aCall } from "./handler-call.js";

const handlers = builtinHandlers();
const sleep = handlers.get("sleep")!;
const approve = handlers.get("approve")!;
const ask = handlers.get("ask")!;
const wait = handlers.get("wait")!;
const noop = handlers.get("noop")!;
const WOKEN = { by: "timer", parkedAt: 1 } as const;

test("a worker has seven handlers, each under its own name", () => {
  expect([...handlers.keys()]).toEqual(["shell", "http", "sleep", "wait", "ask", "approve", "noop"]);
  expect([...handlers.values()].map((handler) => handler.name)).toEqual([...handlers.keys()]);
});

describe("sleep", () => {
  test("parks the step until its duration is over", async () => {
    expect(await sleep.run(aCall({ for: "90s" }))).toEqual({
      kind: "parked",
      wait: "timer",
      dueInMs: 90_000,
      ask: null,
    });
  });

  test("parks the step until a date, whatever the date's time zone", async () => {
    const due = new Date(Date.now() + 3_600_000);
    const inKolkata = `${new Date(due.getTime() + 19_800_000).toISOString().slice(0, -1)}+05:30`;

    for (const until of [due.toISOString(), inKolkata]) {
      const result = await sleep.run(aCall({ until }));
      expect(result).toMatchObject({ kind: "parked", wait: "timer" });
      expect(result).toHaveProperty("dueInMs", expect.closeTo(3_600_000, -4));
    }
  });

  test.each([[{ for: "1h" }], [{ until: "2999-01-01" }]])("is over once its timer woke it: %j", async (input) => {
    expect(await sleep.run(aCall(input, { woken: WOKEN }))).toEqual({ kind: "completed", output: null });
  });

  test.each([[{ until: "2001-02-03T04:05:06Z" }], [{ until: "2001-02-03" }], [{ for: 0 }]])(
    "doesn't wait for what is past: %j",
    async (input) => {
      expect(await sleep.run(aCall(input))).toEqual({ kind: "completed", output: null });
    },
  );

  test.each([
    [{}, ["", "exactly one of for and until must be there"]],
    [{ for: 1, until: "2027-01-01" }, ["", "exactly one of for and until must be there"]],
    [{ for: "soon" }, ["for", 'for must be a duration such as 90000 or "90s", 10 years at most']],
    [{ for: -1 }, ["for", 'for must be a duration such as 90000 or "90s", 10 years at most']],
    [{ for: 1, till: 2 }, ["till", "unknown key till; known are for, until"]],
  ])("says what is wrong with %j", (input, [path, message]) => {
    expect(sleep.check(input)).toEqual([{ path, message }]);
  });

  test.each(["tomorrow", "2027-02-30", "2027-13-01", "2027-01-01T25:00Z", "2027-01-01T10:00:00", 1_800_000_000_000])(
    "takes no date that means nothing, or another moment on each worker: %s",
    (until) => {
      const message = 'until must be a date such as "2027-01-31" (UTC) or "2027-01-31T09:30:00+02:00"';
      expect(sleep.check({ until })).toEqual([{ path: "until", message }]);
    },
  );

  test("an expression may become a duration; what it became is checked by the attempt", async () => {
    expect(sleep.check({ for: `\${{ input.pause }}` })).toEqual([]);
    await expect(sleep.run(aCall({ for: "a while" }))).rejects.toThrow(
      new NonRetryableError('Step build can\'t run: for must be a duration such as 90000 or "90s", 10 years at most'),
    );
  });
});

describe("approve", () => {
  test("parks the step with its question, and a rejection cancels", async () => {
    expect(await approve.run(aCall({ message: "Publish v3?" }))).toEqual({
      kind: "parked",
      wait: "approval",
      dueInMs: null,
      ask: { question: "Publish v3?", options: ["approve", "reject"], onReject: "cancel", schema: null },
    });
  });

  test("a rejection lets the plan go on where the step says so", async () => {
    const result = await approve.run(aCall({ message: "Publish?", onReject: "continue" }));
    expect(result).toHaveProperty("ask.onReject", "continue");
  });

  test("says everything that is wrong with it", async () => {
    const input = { onReject: "ignore", mesage: "Publish?" };
    expect(approve.check(input)).toEqual([
      { path: "", message: "message is missing" },
      { path: "onReject", message: "onReject must be cancel or continue" },
      { path: "mesage", message: "unknown key mesage; known are message, onReject" },
    ]);
    await expect(approve.run(aCall(input))).rejects.toThrow(NonRetryableError);
    expect(approve.check({ message: " " })).toEqual([
      { path: "message", message: "message must be a non-empty string" },
    ]);
  });
});

describe("ask", () => {
  test.each(["question", "message"])("parks the step with its %s and its options", async (word) => {
    expect(await ask.run(aCall({ [word]: "How?", options: ["patch", "rewrite"] }))).toEqual({
      kind: "parked",
      wait: "choice",
      dueInMs: null,
      ask: { question: "How?", options: ["patch", "rewrite"], onReject: "continue", schema: null },
    });
  });

  test.each([
    [{ options: ["a"] }, ["", "exactly one of question and message must be there"]],
    [{ question: "a?", message: "b?", options: ["a"] }, ["", "exactly one of question and message must be there"]],
    [{ question: "a?" }, ["", "options is missing"]],
    [{ question: "a?", options: [] }, ["options", "options must be a list of non-empty strings"]],
    [{ question: "a?", options: "a, b" }, ["options", "options must be a list of non-empty strings"]],
    [{ question: "a?", options: ["a", ""] }, ["options[1]", "options[1] must be a non-empty string"]],
    [{ question: "a?", options: ["a", "b", "a"] }, ["options", 'options names "a" twice']],
    [
      { question: "a?", options: ["a"], default: "a" },
      ["default", "unknown key default; known are question, message, options"],
    ],
  ])("says what is wrong with %j", async (input, [path, message]) => {
    expect(ask.check(input)).toEqual([{ path, message }]);
    await expect(ask.run(aCall(input))).rejects.toThrow(NonRetryableError);
  });

  test("options may be what an expression becomes; what it became is checked by the attempt", async () => {
    expect(ask.check({ question: "How?", options: `\${{ steps.scan.output.ways }}` })).toEqual([]);
    expect(ask.check({ question: "How?", options: [`\${{ input.a }}`, `\${{ input.a }}`] })).toEqual([]);
    await expect(ask.run(aCall({ question: "How?", options: ["a", "a"] }))).rejects.toThrow('names "a" twice');
  });
});

describe("wait", () => {
  test("parks the step until a signal that fits its schema", async () => {
    const schema = { type: "object", required: ["ok"] };
    expect(await wait.run(aCall({ schema }))).toEqual({
      kind: "parked",
      wait: "signal",
      dueInMs: null,
      ask: { question: "Signal to build", options: [], onReject: "continue", schema },
    });
    expect(await wait.run(aCall({}))).toHaveProperty("ask.schema", null);
  });

  test.each([[[]], ["object"], [null], [true]])("takes no schema but an object: %j", async (schema) => {
    expect(wait.check({ schema })).toEqual([{ path: "schema", message: "schema must be a JSON Schema object" }]);
    await expect(wait.run(aCall({ schema }))).rejects.toThrow(NonRetryableError);
  });

  test("takes no schema that is none, or that is another in each run", () => {
    const schema = { properties: { ok: { type: "bolean" } } };
    expect(wait.check({ schema })).toEqual([
      {
        path: "schema.properties.ok.type",
        message: expect.stringContaining("must be one of string, number") as string,
      },
    ]);
    expect(wait.check({ schema: { const: `\${{ input.tag }}` } })).toEqual([
      { path: "schema", message: "schema can't hold an expression" },
    ]);
  });

  test("with a timeout it waits so long, and then fails or goes on", async () => {
    const woken = { woken: { by: "timer", parkedAt: 1 } } as const;
    expect(await wait.run(aCall({ timeout: "30m" }))).toMatchObject({ wait: "signal", dueInMs: 1_800_000 });
    await expect(wait.run(aCall({ timeout: "30m" }, woken))).rejects.toThrow(
      new NonRetryableError("no signal came within 30m"),
    );
    expect(await wait.run(aCall({ timeout: "30m", onTimeout: "continue" }, woken))).toEqual({
      kind: "completed",
      output: null,
    });
  });

  test.each([
    [{ timeout: 0 }, "timeout", 'timeout must be a duration above 0 such as 90000 or "30m", 10 years at most'],
    [{ timeout: "11000d" }, "timeout", 'timeout must be a duration above 0 such as 90000 or "30m", 10 years at most'],
    [{ timeout: "1m", onTimeout: "retry" }, "onTimeout", "onTimeout must be fail or continue"],
    [{ onTimeout: "fail" }, "onTimeout", "onTimeout says what a timeout does, and there is no timeout"],
  ])("refuses %j", (input, path, message) => {
    expect(wait.check(input)).toEqual([{ path, message }]);
  });
});

describe("noop", () => {
  test("takes anything and gives back its output", async () => {
    expect(noop.check({ constructor: 1, output: `\${{ x }}` })).toEqual([]);
    expect(await noop.run(aCall({ constructor: 1 }))).toEqual({ kind: "completed", output: null });
    expect(await noop.run(aCall({ output: { a: [1] } }))).toEqual({ kind: "completed", output: { a: [1] } });
    expect(await noop.run(aCall({ output: false }))).toEqual({ kind: "completed", output: false });
  });
});

test("names that every object has are unknown keys like any other", () => {
  expect(wait.check({ constructor: 1, toString: 2 }).map((fault) => fault.path)).toEqual(["constructor", "toString"]);
});

test("paths are those of the parser: a key with a dot is quoted", () => {
  expect(wait.check({ "a.b": 1 })).toEqual([
    { path: '["a.b"]', message: "unknown key a.b; known are schema, timeout, onTimeout" },
  ]);
});
