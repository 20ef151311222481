/**
 * A worker is killed at every point at which files and store could part: wherever that is, whoever goes on finds exactly
 * the files of the last checkpoint, and every checkpoint has exactly the files that its step made of the one before.
 */
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, inject, onTestFinished, test } from "vitest";
import { sandboxesOf } from "../../src/client/sandboxes.js";
import { CRASH_POINTS } from "../../src/sandbox/crash-points.js";
import { checkInvariants } from "../support/invariants.js";
import { A_SANDBOX, aChain, aStore, type TestStore } from "../support/plans.js";
import type { SandboxWorkerOptions } from "../support/sandbox-worker.js";
import { aFolder, changeFiles, filesOfCheckpoints, submitWithFiles, type Tree } from "../support/sandboxes.js";
import { runWorker } from "../support/step-workers.js";
import { until } from "../support/until.js";
import { spawnMain, type WorkerProcess } from "../support/worker-processes.js";

const MAIN = fileURLToPath(new URL("../support/sandbox-worker.ts", import.meta.url));
const STEPS = ["s1", "s2", "s3"];
const START: Tree = { first: "1", second: "2", last: "", "in/a/folder": "3" };

let t: TestStore;
let dataDir: string;
let workers: WorkerProcess[];

beforeEach(async () => {
  t = await aStore(inject("redisUrl"), { deadAfterMs: 2_500 });
  dataDir = aFolder();
  workers = [];
});

afterEach(async () => {
  await Promise.all(workers.map((worker) => worker.end()));
  await t.redis.del(`${t.prefix}:ledger`);
  await t.drop();
});

/** A worker that kills itself there. */
async function killedAt(point: string, nth: number): Promise<void> {
  const { url, prefix, store } = t;
  const options: SandboxWorkerOptions = { url, prefix, deadAfterMs: store.deadAfterMs, dataDir, point, nth };
  const worker = spawnMain(MAIN, options);
  workers.push(worker);
  expect(await worker.exited(), worker.errors).toBeNull();
}

/** Another worker of this machine goes on, to the end. */
async function completed(plan: string): Promise<void> {
  const { close } = await runWorker(t, changeFiles(t), { sandboxes: sandboxesOf({ dataDir }) });
  onTestFinished(close);
  await until("the plan to complete", async () => (await t.state(plan)) === "completed", 40_000);
}

function submitted(provider = A_SANDBOX.provider): Promise<string> {
  const compiled = aChain(STEPS, { sandbox: "write" }, { sandbox: { ...A_SANDBOX, from: "project", provider } });
  return submitWithFiles(t, compiled, START, dataDir);
}

/** What each step must have left. */
function expected(): Record<string, Tree> {
  const trees: Record<string, Tree> = {};
  let files: Record<string, string> = { ...START };
  for (const step of STEPS) {
    files = { ...files, [`of-${step}/${step}`]: step, last: step };
    delete files[step === "s1" ? "first" : "second"];
    trees[step] = files;
  }
  return trees;
}

/** Where, the how many-th time, and how often each step has run in the end. */
const KILLS: [string, number, number[]][] = [
  ["restore.directory-made", 1, [1, 1, 1]],
  ["restore.file-opened", 2, [1, 1, 1]],
  ["restore.file-written", 2, [1, 1, 1]],
  ["restore.complete", 1, [1, 1, 1]],
  ["begun", 2, [1, 1, 1]],
  ["half", 2, [1, 2, 1]],
  ["ended", 2, [1, 2, 1]],
  ["snapshot.scanned", 2, [1, 2, 1]],
  ["store.temporary-opened", 2, [2, 1, 1]],
  ["store.temporary-written", 2, [2, 1, 1]],
  ["store.temporary-synced", 2, [2, 1, 1]],
  ["store.renamed", 2, [2, 1, 1]],
  ["snapshot.blobs-durable", 2, [1, 2, 1]],
  ["snapshot.manifest-durable", 2, [1, 2, 1]],
  ["snapshot.cache-saved", 2, [1, 2, 1]],
];

test("no point of taking and restoring snapshots is left out", () => {
  // Nothing is removed in a first restore, see below, and there are no links; no worker prunes; git has its own, see below.
  const others = /^(restore\.removed|restore\.link-made|prune\..*|git\..*)$/;
  const named = new Set(KILLS.map(([point]) => point));

  expect(CRASH_POINTS.filter((point) => !others.test(point) && !named.has(point))).toEqual([]);
});

test.each(KILLS)(
  "killed at %s, time %i, the plan completes with the files of an undisturbed run",
  {
    timeout: 90_000,
  },
  async (point, nth, counts) => {
    const plan = await submitted();

    await killedAt(point, nth);
    await completed(plan);

    expect(await filesOfCheckpoints(t, plan, dataDir)).toEqual(expected());
    const ledger = await t.redis.lrange(`${t.prefix}:ledger`, 0, -1);
    expect(STEPS.map((step) => ledger.filter((ran) => ran === step).length)).toEqual(counts);
    expect(await checkInvariants(t.store, plan)).toEqual([]);
  },
);

test.each<[string, number, number[]]>([
  ["git.import-begun", 3, [1, 2, 1]],
  ["git.commit-written", 2, [1, 2, 1]],
  ["snapshot.manifest-durable", 2, [1, 2, 1]],
  ["restore.complete", 1, [1, 1, 1]],
])(
  "killed at %s, time %i, with snapshots in git, the same",
  {
    timeout: 90_000,
  },
  async (point, nth, counts) => {
    const plan = await submitted("git");

    await killedAt(point, nth);
    await completed(plan);

    expect(await filesOfCheckpoints(t, plan, dataDir)).toEqual(expected());
    const ledger = await t.redis.lrange(`${t.prefix}:ledger`, 0, -1);
    expect(STEPS.map((step) => ledger.filter((ran) => ran === step).length)).toEqual(counts);
    expect(await checkInvariants(t.store, plan)).toEqual([]);
  },
);

test("a second kill, while the first one's files are being restored, changes nothing", {
  timeout: 90_000,
}, async () => {
  const plan = await submitted();

  await killedAt("ended", 2);
  await killedAt("restore.removed", 1);
  await completed(plan);

  expect(await filesOfCheckpoints(t, plan, dataDir)).toEqual(expected());
  expect(await checkInvariants(t.store, plan)).toEqual([]);
});
