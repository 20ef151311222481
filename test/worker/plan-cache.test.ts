/** What a worker remembers of the plans that it has met. */
import { expect, test } from "vitest";
import type { StartedStep } from "../../src/core/ports.js";
import { PlanCache } from "../../src/worker/plan-cache.js";
import { aChain, aDefinition } from "../support/plans.js";

const MEGA = 1024 * 1024;

test("a chain costs one read for each output, and none for those that this worker recorded", async () => {
  const { cache, reads } = aCache();
  const chain = aChain(["a", "b", "c", "d"]);

  await cache.load(aStep("a"), chain, "above");
  cache.keep(aStep("a"), '"a"');
  await cache.load(aStep("b"), chain, "above");
  const payloads = await cache.load(aStep("d"), chain, "above");

  expect(reads).toEqual([[], ["c", "b"]]);
  expect(["a", "b", "c"].map((id) => payloads.output(id))).toEqual(['"a"', '"b of p"', '"c of p"']);
});

test("what is above on several ways is read once", async () => {
  const { cache, reads } = aCache();
  const diamond = aDefinition([
    { id: "top" },
    { id: "left", needs: ["top"] },
    { id: "right", needs: ["top"] },
    { id: "bottom", needs: ["left", "right"] },
  ]);

  await cache.load(aStep("bottom"), diamond, "above");

  expect(reads.map((ids) => [...ids].sort())).toEqual([["left", "right", "top"]]);
});

test("an input that came with the step's start isn't read", async () => {
  const { cache, reads } = aCache();
  const { input, workdir } = await cache.load(
    { ...aStep("a"), input: '{"small":1}', workdir: "/srv" },
    aChain(["a"]),
    [],
  );
  expect({ input, workdir, reads }).toEqual({ input: '{"small":1}', workdir: "/srv", reads: [] });
});

test("more outputs than a read should ask for are read in several", async () => {
  const { cache, reads } = aCache();
  const ids = Array.from({ length: 2_500 }, (_, i) => `s${i}`);
  const fan = aDefinition([...ids.map((id) => ({ id })), { id: "last", needs: ids }]);

  const payloads = await cache.load(aStep("last"), fan, ids);

  expect(reads.map((read) => read.length)).toEqual([1_000, 1_000, 500]);
  expect(payloads.output("s2499")).toBe('"s2499 of p"');
});

test("an output that nobody recorded is null", async () => {
  const { cache } = aCache();
  const payloads = await cache.load(aStep("a"), aChain(["a"]), []);
  expect(payloads.output("elsewhere")).toBe("null");
});

test.each([
  ["a resume", { epoch: 2 }],
  ["another run under the same id", { createdAt: 2_000 }],
])("%s makes everything stale that was known", async (_, change) => {
  const { cache, reads } = aCache();
  const chain = aChain(["a", "b"]);
  cache.keep(aStep("a"), '"old"');

  const payloads = await cache.load({ ...aStep("b"), ...change }, chain, ["a"]);

  expect(payloads.output("a")).toBe('"a of p"');
  expect(reads).toEqual([["a"]]);
});

test("the first record of a step stands", async () => {
  const { cache } = aCache();
  cache.keep(aStep("a"), '"first"');
  cache.keep(aStep("a"), '"second"');
  expect((await cache.load(aStep("b"), aChain(["a", "b"]), ["a"])).output("a")).toBe('"first"');
});

test("a plan that was dropped is read again, and dropping one that isn't known does nothing", async () => {
  const { cache, reads } = aCache();
  cache.keep(aStep("a"), '"stale"');
  cache.drop("p");
  cache.drop("p");
  expect((await cache.load(aStep("b"), aChain(["a", "b"]), ["a"])).output("a")).toBe('"a of p"');
  expect(reads).toEqual([["a"]]);
});

test("beyond 64 MiB the plans used longest ago are forgotten, and never the one in use", async () => {
  const { cache, reads } = aCache();
  const chain = aChain(["a", "b"]);
  const large = "x".repeat(30 * MEGA);
  cache.keep(aStep("a", "oldest"), large);
  cache.keep(aStep("a", "older"), large);
  await cache.load(aStep("b", "oldest"), chain, ["a"]);
  cache.keep(aStep("a", "newest"), large);
  reads.length = 0;

  await cache.load(aStep("b", "newest"), chain, ["a"]);
  await cache.load(aStep("b", "oldest"), chain, ["a"]);
  await cache.load(aStep("b", "older"), chain, ["a"]);

  // The first read is the input of "newest"; "oldest" had been used since and is still whole.
  expect(reads).toEqual([[], ["a"]]);
});

test("a plan that is larger than all that may be kept can still be used", async () => {
  const { cache } = aCache();
  const huge = "x".repeat(65 * MEGA);
  cache.keep(aStep("a"), huge);
  expect((await cache.load(aStep("b"), aChain(["a", "b"]), ["a"])).output("a")).toHaveLength(huge.length);
  expect((await cache.load(aStep("b"), aChain(["a", "b"]), ["a"])).output("a")).toHaveLength(huge.length);
});

test("why steps failed is read once, also of those that did not", async () => {
  const { cache, reads } = aCache();
  const step = aStep("c");

  const first = await cache.failures(step, ["a", "b"]);
  const second = await cache.failures(step, ["b", "a"]);

  expect([...first]).toEqual([["a", { code: "X", message: "a of p" }]]);
  expect(second).toEqual(first);
  expect(reads).toEqual([["error of a", "error of b"]]);
});

/** A cache of a store that has everything, and the reads that reached the store. */
function aCache(): { cache: PlanCache; reads: string[][] } {
  const reads: string[][] = [];
  const cache = new PlanCache({
    openInput: (_planId, stored) => stored,
    async failures(planId, stepIds) {
      reads.push(stepIds.map((id) => `error of ${id}`));
      return new Map(stepIds.includes("a") ? [["a", { code: "X", message: `a of ${planId}` }]] : []);
    },
    async payloads(planId, stepIds) {
      reads.push([...stepIds]);
      return { input: '{"n":1}', workdir: null, outputs: stepIds.map((id) => JSON.stringify(`${id} of ${planId}`)) };
    },
  });
  return { cache, reads };
}

function aStep(stepId: string, planId = "p"): StartedStep {
  return {
    planId,
    stepId,
    epoch: 1,
    line: 1,
    attempt: 1,
    failures: 0,
    crashes: 0,
    fence: 1,
    token: "w.0:1",
    queue: "work",
    planName: "test",
    definitionDigest: "d",
    privateQueue: null,
    workdir: null,
    createdAt: 1_000,
    tag: "t",
    startedAt: 1_000,
    input: null,
    dueAt: null,
    sandbox: null,
    grown: 0,
    handedOff: 0,
  };
}
