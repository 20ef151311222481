import type { StandardSchemaV1 } from "@standard-schema/spec";
import { describe, expect, test, vi } from "vitest";
import { z } from "zod";
import { InvalidDefinitionError, InvalidInputError, NonRetryableError } from "../../src/core/errors.js";
import type { HandlerCall } from "../../src/core/handler.js";
import type { JsonObject } from "../../src/core/json.js";
import { defineHandler, type Handler, toStepHandler } from "../../src/define/define-handler.js";

describe("a handler as a worker runs it", () => {
  test("its function gets its arguments as the schema gives them out, and the facts of the attempt", async () => {
    const handler = defineHandler(
      "ship",
      { with: z.object({ at: z.coerce.date(), tag: z.string().default("latest") }) },
      async (call) => {
        const { attempt, fence, idempotencyKey } = call;
        call.log.info({ tag: call.with.tag }, "shipping");
        return { year: call.with.at.getUTCFullYear(), tag: call.with.tag, attempt, fence, idempotencyKey };
      },
    );
    const written: [string, string][] = [];

    const result = await toStepHandler(handler).run(
      aCall({ with: { at: "2026-01-01" }, write: (stream, text) => written.push([stream, text]) }),
    );

    expect(result).toEqual({
      kind: "completed",
      output: { year: 2026, tag: "latest", attempt: 2, fence: 1700, idempotencyKey: "key-1" },
    });
    expect(written).toEqual([["log", 'info shipping {"tag":"latest"}\n']]);
  });

  test("it sees the attempt's own abort signal, which isn't touched unless it looks", async () => {
    const abort = new AbortController();
    const look = vi.fn(() => abort.signal);
    const call = Object.defineProperty(aCall({}), "signal", { get: look });
    const blind = defineHandler("blind", { with: z.object({}) }, async () => null);
    const waits = defineHandler("waits", { with: z.object({}) }, async ({ signal }) => {
      await new Promise((resolve) => signal.addEventListener("abort", resolve));
      return String(signal.reason);
    });

    await toStepHandler(blind).run(call);
    expect(look).not.toHaveBeenCalled();
    const waiting = toStepHandler(waits).run(call);
    await vi.waitFor(() => expect(look).toHaveBeenCalled());
    abort.abort("cancelled");

    expect(await waiting).toEqual({ kind: "completed", output: "cancelled" });
  });

  test("arguments that don't fit fail the step at once, before its function runs", async () => {
    const run = vi.fn(async () => {});
    const handler = defineHandler("ship", { with: z.object({ tag: z.string() }) }, run);

    const error = await toStepHandler(handler)
      .run(aCall({ with: { tag: 5 } }))
      .catch((reason: unknown) => reason);

    expect(error).toBeInstanceOf(NonRetryableError);
    expect((error as Error).cause).toBeInstanceOf(InvalidInputError);
    expect((error as Error).message).toMatch(/^The `with` of handler ship is not valid: tag: /);
    expect(run).not.toHaveBeenCalled();
  });

  test("a schema may ask elsewhere: its refusal is final, its failure is not", async () => {
    const answers: (() => StandardSchemaV1.Result<unknown>)[] = [
      () => ({ value: "checked" }),
      () => ({ issues: [{ message: "no such tag" }] }),
      () => {
        throw new Error("registry is down");
      },
    ];
    const schema = aSchema(async () => answers.shift()!());
    const step = toStepHandler(defineHandler("ship", { with: schema }, async (call) => String(call.with)));

    expect(await step.run(aCall({}))).toEqual({ kind: "completed", output: "checked" });
    await expect(step.run(aCall({}))).rejects.toBeInstanceOf(NonRetryableError);
    await expect(step.run(aCall({}))).rejects.toThrow(new Error("registry is down"));
  });

  test("what its function throws reaches the worker as it was", async () => {
    const boom = new Error("boom");
    const handler = defineHandler("ship", { with: z.object({}) }, async () => {
      throw boom;
    });

    await expect(toStepHandler(handler).run(aCall({}))).rejects.toBe(boom);
  });
});

describe("faults that are found before anything runs", () => {
  const handler = defineHandler(
    "ship",
    {
      with: z.strictObject({
        tag: z.string().startsWith("v"),
        count: z.number(),
        to: z.object({ host: z.string() }).optional(),
      }),
    },
    async () => {},
  );

  test.each<[string, JsonObject, string[]]>([
    ["arguments that fit have none", { tag: "v1", count: 1 }, []],
    ["each wrong value is one, by its path", { tag: "1", count: "x", to: { host: 1 } }, ["tag", "count", "to.host"]],
    ["a missing value is one", { tag: "v1" }, ["count"]],
    ["an unknown key is one", { tag: "v1", count: 1, nope: 1 }, [""]],
    [
      "a value that holds an expression may become anything",
      { tag: expression("input.tag"), count: expression("input.n") },
      [],
    ],
    ["an expression in one value doesn't excuse another", { tag: expression("input.tag"), count: "x" }, ["count"]],
    ["an expression in place of an object may become one", { tag: "v1", count: 1, to: expression("input.to") }, []],
    [
      "an object around an expression may be what is at fault",
      { tag: "v1", count: 1, nope: expression("input.x") },
      [],
    ],
  ])("%s", (_claim, input, paths) => {
    expect(
      toStepHandler(handler)
        .check(input)
        .map((fault) => fault.path),
    ).toEqual(paths);
  });

  test("an issue inside of what is still an expression isn't certain", () => {
    const deep = defineHandler(
      "deep",
      { with: aSchema(() => ({ issues: [{ message: "bad", path: ["to", "host"] }] })) },
      async () => {},
    );

    expect(toStepHandler(deep).check({ to: expression("input.to") })).toEqual([]);
    expect(toStepHandler(deep).check({ to: "plain" })).toEqual([{ path: "to.host", message: "bad" }]);
    expect(toStepHandler(deep).check({ to: 5 })).toEqual([{ path: "to.host", message: "bad" }]);
  });

  test("a schema that throws is a fault, unless an expression isn't resolved yet", () => {
    const parses = aSchema((value) => ({ value: JSON.parse((value as { json: string }).json) }));
    const step = toStepHandler(defineHandler("parse", { with: parses }, async () => {}));

    expect(step.check({ json: "{" })).toEqual([{ path: "", message: expect.stringContaining("SyntaxError") }]);
    expect(step.check({ json: expression("input.json") })).toEqual([]);
  });

  test("a schema that answers later is not waited for, even if it fails", async () => {
    let asked = 0;
    const slow = aSchema(async () => {
      asked += 1;
      throw new Error("registry is down");
    });
    const step = toStepHandler(defineHandler("slow", { with: slow }, async () => {}));

    expect(step.check({})).toEqual([]);
    // An unhandled rejection fails the run.
    await new Promise((resolve) => setImmediate(resolve));
    expect(asked).toBe(1);
  });
});

describe("a handler that can't be is refused", () => {
  const loose = defineHandler as unknown as (...args: unknown[]) => Handler;
  const schema = z.object({});
  const run = async () => {};

  test.each<[string, () => unknown, string]>([
    ["a malformed name", () => loose("a b", { with: schema }, run), 'Handler "a b" has a name that is not an id'],
    ["no name", () => loose(undefined, { with: schema }, run), "Handler undefined has a name that is not an id"],
    [
      "the name of a built-in one",
      () => loose("shell", { with: schema }, run),
      'Handler "shell" has the name of a built-in handler',
    ],
    [
      "the name of steps in code",
      () => loose("code", { with: schema }, run),
      'Handler "code" has the name of a built-in handler',
    ],
    ["no schema", () => loose("ship", {}, run), 'Handler "ship" has no Standard Schema in `with`'],
    ["no options", () => loose("ship", undefined, run), 'Handler "ship" has no Standard Schema in `with`'],
    ["no function", () => loose("ship", { with: schema }), 'Handler "ship" has no function to run'],
  ])("%s", (_what, define, message) => {
    expect(define).toThrow(InvalidDefinitionError);
    expect(define).toThrow(message);
  });
});

function aSchema(validate: StandardSchemaV1["~standard"]["validate"]): StandardSchemaV1 {
  return { "~standard": { version: 1, vendor: "test", validate } };
}

function expression(path: string): string {
  return `\${{ ${path} }}`;
}

function aCall(given: Partial<HandlerCall>): HandlerCall {
  return {
    planId: "web-1",
    planName: "web",
    stepId: "ship",
    attempt: 2,
    fence: 1700,
    idempotencyKey: "key-1",
    with: {},
    env: {},
    passEnv: [],
    workdir: null,
    sandbox: null,
    signal: new AbortController().signal,
    groups: { prepare() {}, add() {}, remove() {} },
    woken: null,
    write: () => {},
    progress: () => {},
    decide: () => Promise.reject(new Error("nothing is decided here")),
    save: async () => {},
    append: () => {},
    saved: null,
    ...given,
  };
}
