import { afterEach, beforeEach, expect, test } from "vitest";
import { followPlan } from "../../src/client/follow-plan.js";
import { asStoreError, isStoreOutage, withOwnErrors } from "../../src/client/store-outage.js";
import { PlanNotFoundError, StoreUnavailableError } from "../../src/core/errors.js";
import { openStore } from "../../src/store/open-store.js";
import type { ShardedPlanStore } from "../../src/store/sharded-plan-store.js";
import { aChain, aStore, type TestStore } from "../support/plans.js";
import { type PrivateRedis, startPrivateRedis } from "../support/private-redis.js";
import { runWorker } from "../support/step-workers.js";

let server: PrivateRedis;
let t: TestStore;
let store: ShardedPlanStore;

beforeEach(async () => {
  server = await startPrivateRedis({ appendfsync: "always" });
  t = await aStore(server.url);
  store = await openStore({ url: server.url, prefix: t.prefix });
});

afterEach(async () => {
  await store.close();
  await t.drop();
  await server.stop();
});

test("a restart of Redis neither ends the view of a plan nor repeats or drops an event", async () => {
  const planId = await t.submit(aChain(["a", "b"]));
  const seen: number[] = [];
  let last = "";
  let restarted = false;
  let worker: Awaited<ReturnType<typeof runWorker>> | undefined;

  for await (const update of followPlan(store, planId, new AbortController().signal)) {
    seen.push(...update.events.map((event) => event.seq));
    last = update.plan.state;
    if (restarted) continue;
    restarted = true;
    await server.kill();
    await server.start();
    worker = await runWorker(t, () => null);
  }

  await worker?.close();
  expect(last).toBe("completed");
  expect(seen).toEqual(seen.map((_, i) => i + 1));
  expect(seen.length).toBe((await store.history(planId)).length);
});

test("an abort ends the view at once", async () => {
  const planId = await t.submit(aChain(["a"]));
  const stop = new AbortController();
  let updates = 0;

  for await (const _ of followPlan(store, planId, stop.signal)) {
    updates += 1;
    stop.abort();
  }

  expect(updates).toBe(1);
});

test("a plan that isn't there is an error, not an outage", async () => {
  const following = followPlan(store, "nosuch", new AbortController().signal).next();

  await expect(following).rejects.toThrow(PlanNotFoundError);
});

test("only an outage of the store is taken for one", () => {
  const refused = Object.assign(new Error("connect ECONNREFUSED"), { code: "ECONNREFUSED", syscall: "connect" });
  const gaveUp = Object.assign(new Error("x"), { name: "MaxRetriesPerRequestError" });
  const noFile = Object.assign(new Error("open x"), { code: "ENOENT", syscall: "open" });

  const said = (message: string, name: string) => Object.assign(new Error(message), { name });
  const passing = [
    said("LOADING Redis is loading the dataset in memory", "ReplyError"),
    said("CLUSTERDOWN The cluster is down", "ReplyError"),
    said("Failed to refresh slots cache.", "ClusterAllFailedError"),
    said("Too many Cluster redirections. Last error: TRYAGAIN", "Error"),
  ];
  const outages = [refused, gaveUp, new StoreUnavailableError("x", "y"), ...passing];
  expect(outages.map(isStoreOutage)).toEqual(outages.map(() => true));
  const noPermission = said("NOPERM this user has no permissions", "ReplyError");
  expect(asStoreError(noPermission)).toMatchObject({ code: "STORE_UNSUITABLE" });
  expect(asStoreError(said("WRONGTYPE Operation against a key", "ReplyError"))).toMatchObject({ name: "ReplyError" });
  expect([noFile, new PlanNotFoundError("x"), "text"].map(isStoreOutage)).toEqual([false, false, false]);
  expect(asStoreError(gaveUp)).toMatchObject({ code: "STORE_UNAVAILABLE", cause: gaveUp });
  expect(asStoreError(noFile)).toBe(noFile);
});

test("a store answers with errors of ours only, whatever it is asked and however it answers", async () => {
  const planId = await t.submit(aChain(["a"]));
  const own = withOwnErrors(store);
  expect((await own.view(planId)).meta.planId).toBe(planId);
  expect(own.payloadLimitBytes).toBe(store.payloadLimitBytes);
  await server.kill();

  const unavailable = expect.objectContaining({ code: "STORE_UNAVAILABLE" });
  await expect(own.view(planId)).rejects.toThrow(unavailable);
  await expect(own.schedules.list()).rejects.toThrow(unavailable);
  await expect(own.planIds().next()).rejects.toThrow(unavailable);
  await server.start();
});
