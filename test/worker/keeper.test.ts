/** The keeper's thread in real processes: with a blocked event loop, a stuck one, a killed one. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, inject, test } from "vitest";
import { identify } from "../../src/machine/process-identity.js";
import { Workplace } from "../support/cli.js";
import { checkInvariants } from "../support/invariants.js";
import { aDefinition, aStore, type TestStore } from "../support/plans.js";
import { runWorker, startKeeperHere } from "../support/step-workers.js";
import { until } from "../support/until.js";
import { spawnWorker, type WorkerProcess } from "../support/worker-processes.js";

let t: TestStore;
let workers: WorkerProcess[] = [];

beforeEach(async () => {
  t = await aStore(inject("redisUrl"), { deadAfterMs: 2_500 });
});

afterEach(async () => {
  await Promise.all(workers.map((worker) => worker.end()));
  workers = [];
  await t.redis.del(`${t.prefix}:open`, `${t.prefix}:ledger`);
  await t.drop();
});

test("a step that blocks the event loop for longer than DEAD_AFTER keeps its job", { timeout: 60_000 }, async () => {
  const blocked = await start({ blockMs: 8_000 });
  const plan = await t.submit(aDefinition([{ id: "block" }]));
  await until("the step to start", () => blocked.lines.includes("block 1"));
  const other = await start();

  await until("the plan to complete", async () => (await t.state(plan)) === "completed", 20_000);

  expect((await t.store.history(plan)).map((event) => event.type)).not.toContain("step.crashed");
  expect(await ledger()).toEqual([`${plan}/block/1`]);
  expect(blocked.ready).toBe((await t.store.detail(plan)).records.get("block")?.workerId);
  expect(other.lines).toEqual([`ready ${other.workerId}`]);
  expect(await checkInvariants(t.store, plan)).toEqual([]);
});

test("a process that a step blocks beyond its timeout ends, says why, and others take over", {
  timeout: 60_000,
}, async () => {
  const stuck = await start({ blockMs: 600_000 });
  const plan = await t.submit(aDefinition([{ id: "block", timeoutMs: 100 }]));
  await until("the step to start", () => stuck.lines.includes("block 1"));
  const other = await start();

  await stuck.exited();
  await until("the plan to complete", async () => (await t.state(plan)) === "completed");

  expect(stuck.endedBy).toBe("SIGKILL");
  expect(stuck.errors).toContain("a step has blocked this process beyond its timeout");
  expect(other.lines).toContain("block 2");
  expect((await t.store.history(plan)).filter((event) => event.type === "step.crashed")).toHaveLength(1);
  expect(await checkInvariants(t.store, plan)).toEqual([]);
});

test("a worker that can't beat yet is not registered, so that nobody takes it for silent", async () => {
  let isReady = null as (() => void) | null;
  const running = runWorker(t, () => null, {
    startKeeper: (settings, onMessage) =>
      startKeeperHere(settings, (message) => {
        if (message.kind !== "ready") onMessage(message);
        else isReady = () => onMessage(message);
      }),
  });
  const say = await until("the keeper to be ready", () => isReady);
  expect(await t.redis.zcard(t.keys.workers)).toBe(0);

  say();
  const { worker, close } = await running;

  expect(await t.redis.zrange(t.keys.workers, 0, "-1")).toEqual([worker.workerId]);
  await close();
});

test("a process whose keeper dies ends with status 1 and says why", async () => {
  const keeper = fileURLToPath(new URL("../../src/worker/keeper.ts", import.meta.url));
  // With too little memory the thread can't begin.
  const program = `
    import { startKeeperThread } from ${JSON.stringify(keeper)};
    startKeeperThread({ url: "redis://127.0.0.1:1", prefix: "p", shards: [0], deadAfterMs: 3000, memory: new SharedArrayBuffer(4) }, () => {});
    setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ["--import", "tsx", "--input-type=module", "-e", program], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  let said = "";
  child.stderr.on("data", (text: Buffer) => {
    said += String(text);
  });

  const [code] = await once(child, "close");

  expect(code).toBe(1);
  expect(said).toContain("the thread that keeps this process known to the store has ended");
});

test("the command of a worker that is killed ends with it", { timeout: 60_000 }, async () => {
  const place = new Workplace();
  try {
    place.write("plan.yaml", 'plan: p\nsteps: [{ id: work, run: "echo $$; sleep 600" }]\n');
    const run = place.start(["run", "plan.yaml", "--id", "p1"]);
    const command = await until("the command to say its number", async () => {
      const { stdout } = await place.plan("logs", "p1");
      return Number(/^\d+$/m.exec(stdout)?.[0] ?? 0) || null;
    });

    run.signal("SIGKILL");

    await until("the command to end", () => identify(command) === null);
  } finally {
    await place.close();
  }
});

async function start(options: { blockMs?: number } = {}): Promise<WorkerProcess> {
  const { url, prefix, store } = t;
  const worker = await spawnWorker({ url, prefix, deadAfterMs: store.deadAfterMs, keeperThread: true, ...options });
  workers.push(worker);
  return worker;
}

function ledger(): Promise<string[]> {
  return t.redis.lrange(`${t.prefix}:ledger`, 0, -1);
}
