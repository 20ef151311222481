// biome-ignore-all lint/suspicious/noTemplateCurlyInString: that is what an expression looks like
/** Maps on real workers: one step an item of a list, in documents and in code. */
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeEach, describe, expect, test } from "vitest";
import { z } from "zod";
import { resumePlan } from "../../src/client/resume.js";
import { parseDocument } from "../../src/core/document.js";
import { definePlan } from "../../src/define/define-plan.js";
import type { AnyPlan } from "../../src/define/typed-plan.js";
import { builtinHandlers } from "../../src/handlers/index.js";
import { aStoreForThisTest, startWorker } from "../support/one-test.js";
import { aPlanId, type TestStore } from "../support/plans.js";
import { type Act, actHandler } from "../support/step-workers.js";
import { until } from "../support/until.js";

let t: TestStore;

beforeEach(async () => {
  t = await aStoreForThisTest();
});

const files = definePlan("files", {
  input: z.object({ files: z.array(z.object({ name: z.string(), n: z.number() })) }),
})
  .step("scan", async ({ input }) => ({ found: input.files }))
  .map(
    "fix",
    { over: ({ outputs }) => outputs.scan.found, key: (file) => file.name, concurrency: 2 },
    async (file, { outputs, idempotencyKey }) => ({
      twice: file.n * 2,
      of: outputs.scan.found.length,
      key: idempotencyKey.split("/").slice(1, -1).join("/"),
    }),
  )
  .step("sum", async ({ outputs }) => outputs.fix.reduce((sum, { twice }) => sum + twice, 0));

describe("in code", () => {
  test("each item is a step by its key, and their outputs are one list in its order", async () => {
    await start([files]);

    const names = ["src/b.ts", "a b", "c"];
    const id = await run(files, { files: names.map((name, n) => ({ name, n })) });

    expect(JSON.parse(await t.store.output(id, "fix"))).toEqual([
      { twice: 0, of: 3, key: "fix#src/b.ts" },
      { twice: 2, of: 3, key: "fix#a%20b" },
      { twice: 4, of: 3, key: "fix#c" },
    ]);
    expect(JSON.parse(await t.store.output(id, "sum"))).toBe(6);
    const { compiled, view } = await t.store.detail(id);
    expect([...compiled.steps.keys()]).toEqual(["scan", "fix#", "fix", "sum", "fix#src/b.ts", "fix#a%20b", "fix#c"]);
    expect(view.meta).toMatchObject({ total: 7, done: 7 });
    expect(await t.redis.exists(t.keys.planPart(id, "turns"))).toBe(1);
  });

  test("an empty list is an empty output, at once", async () => {
    await start([files]);

    const id = await run(files, { files: [] });

    expect(await t.store.output(id, "fix")).toBe("[]");
    expect(JSON.parse(await t.store.output(id, "sum"))).toBe(0);
  });

  test("two items with one key fail the list, and nothing is appended", async () => {
    await start([files]);

    const same = { name: "a", n: 1 };
    const id = await run(files, { files: [same, { name: "b", n: 1 }, same] }, "failed");

    const { errors, view } = await t.store.detail(id);
    expect(errors.get("fix#")).toEqual({
      code: "INVALID_INPUT",
      message: 'The list of fix is not valid: [2]: it has the key "a", and so has item 0',
    });
    expect(view.meta.total).toBe(4);
  });
});

const DOCUMENT = `plan: doc
input: { files: { type: array } }
steps:
- { id: scan, uses: act }
- { id: fix, map: input.files, key: name, uses: act, with: { file: "\${{ item.name }}", all: "\${{ input.files }}" } }
- { id: sum, uses: act, with: { fixed: "\${{ steps.fix.output }}" } }
`;

describe("in a document", () => {
  test("what a step declares is done for every item", async () => {
    const act: Act = (call) => (call.with.file === undefined ? (call.with.fixed ?? null) : `fixed ${call.with.file}`);

    const id = await runDocument(DOCUMENT, { files: [{ name: "a" }, { name: "b" }] }, act);

    expect(JSON.parse(await t.store.output(id, "sum"))).toEqual(["fixed a", "fixed b"]);
  });

  test("a map that is skipped has no items, and no output", async () => {
    const text = DOCUMENT.replace("map: input.files,", "map: input.files, when: { value: plan.name, in: [other] },");

    const id = await runDocument(text, { files: [{ name: "a" }] }, (call) => call.with.fixed);

    const { records } = await t.store.detail(id);
    expect([records.get("fix#")?.kind, records.get("fix")?.kind]).toEqual(["skipped", "skipped"]);
    expect(await t.store.output(id, "sum")).toBe("null");
  });

  test("an item that fails for good is null where the plan goes on", async () => {
    const text = DOCUMENT.replace("uses: act, with: { file", "onFailure: continue, uses: act, with: { file");
    const act: Act = (call) => {
      if (call.with.file === "a") throw Object.assign(new Error("no"), { code: "NO" });
      return call.with.file ?? call.with.fixed ?? null;
    };

    const id = await runDocument(text, { files: [{ name: "a" }, { name: "b" }] }, act);

    expect(JSON.parse(await t.store.output(id, "sum"))).toEqual([null, "b"]);
    expect((await t.store.detail(id)).errors.get("fix#a")).toMatchObject({ code: "NO" });
  });

  test("what is no list fails its list step", async () => {
    const id = await runDocument(DOCUMENT.replace("map: input.files", "map: input"), { files: [] }, () => 1, "failed");

    expect((await t.store.detail(id)).errors.get("fix#")?.message).toBe(
      "The list of fix is not valid: (root): it is not a list",
    );
  });

  test("a resume runs the items that are not done, and a rewind to the map makes its list anew", async () => {
    const ran: unknown[] = [];
    let isBroken = true;
    const act: Act = (call) => {
      if (call.with.file === undefined) return call.with.fixed ?? null;
      ran.push(call.with.file);
      if (isBroken && call.with.file === "b") throw new Error("broken");
      return call.with.file;
    };
    const id = await runDocument(DOCUMENT, { files: [{ name: "a" }, { name: "b" }, { name: "c" }] }, act, "failed");
    expect(ran).toEqual(["a", "b", "c"]);

    isBroken = false;
    const { summary } = await resumePlan(t.store, id, { actor: "tester" });
    await until("the plan is completed", async () => (await t.state(id)) === "completed");

    expect(summary).toMatchObject({ reuse: ["scan", "fix#", "fix#a", "fix#c"], run: ["fix", "sum", "fix#b"] });
    expect(ran).toEqual(["a", "b", "c", "b"]);
    expect(JSON.parse(await t.store.output(id, "sum"))).toEqual(["a", "b", "c"]);
  });
});

async function start(plans: readonly AnyPlan[]): Promise<void> {
  const queues = plans.map((plan) => plan.name);
  await startWorker(t, () => null, { plans, queues, concurrency: 4 });
}

async function run(plan: AnyPlan, given: unknown, state = "completed"): Promise<string> {
  const id = await t.submit(plan.compiled, aPlanId(), JSON.stringify(given));
  await until(`the plan is ${state}`, async () => (await t.state(id)) === state);
  return id;
}

function parse(text: string) {
  const handlers = new Map([...builtinHandlers(), ["act", actHandler(() => null)] as const]);
  const retry = "defaults: { retry: { attempts: 1 } }\n";
  return parseDocument(text + retry, join(tmpdir(), "doc.yaml"), handlers);
}

async function runDocument(text: string, given: unknown, act: Act, state = "completed"): Promise<string> {
  await startWorker(t, act, { queues: ["documents"], concurrency: 1 });
  const id = await t.submit(parse(text), aPlanId(), JSON.stringify(given));
  await until(`the plan is ${state}`, async () => (await t.state(id)) === state);
  return id;
}
