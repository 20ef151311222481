/** Workers and plans with different payload keys. */
import { randomBytes } from "node:crypto";
import { beforeEach, expect, test } from "vitest";
import { aesPayloads } from "../../src/core/payload-codec.js";
import { openStore } from "../../src/store/open-store.js";
import { aStoreForThisTest, startWorker } from "../support/one-test.js";
import { aChain, aPlanId, type TestStore } from "../support/plans.js";
import { until } from "../support/until.js";

let t: TestStore;

beforeEach(async () => {
  t = await aStoreForThisTest();
});

test("a worker without the key of a plan hands its steps back without an attempt, until one with the key comes", async () => {
  const [key, another] = [aesPayloads({ k1: randomBytes(32) }), aesPayloads({ k2: randomBytes(32) })];
  const sealed = await openStore({ url: t.url, prefix: t.prefix, payloads: key });
  const plan = aPlanId();
  const compiled = aChain(["a", "b"]);
  await sealed.submit({ planId: plan, compiled, input: '{"n":1}', actor: "ada", privateQueue: null, workdir: null });
  const ran: unknown[] = [];

  await startWorker(t, () => void ran.push("without the key"), { payloads: another });
  const unserved = await until("the reason", () => t.redis.hget(t.keys.planPart(plan, "out"), ":unserved:a"));
  expect(unserved).toContain("is encrypted with key k1; known are k2");
  await startWorker(t, ({ stepId }) => void ran.push(stepId), { payloads: key });
  await until("the plan to complete", async () => (await t.state(plan)) === "completed", 20_000);

  expect(ran).toEqual(["a", "b"]);
  const types = (await sealed.history(plan)).map((event) => event.type);
  expect(types.filter((type) => type === "step.started")).toHaveLength(2);
  expect(types).not.toContain("step.failed");
  await sealed.close();
});
