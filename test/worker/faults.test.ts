/** What a worker does when something beside its steps goes wrong: beats, audits, logs, registrations, definitions. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { afterEach, beforeEach, expect, inject, test } from "vitest";
import { z } from "zod";
import { definePlan } from "../../src/define/define-plan.js";
import { thisProcess } from "../../src/machine/process-identity.js";
import { RedisStepLog } from "../../src/store/step-log.js";
import { checkInvariants } from "../support/invariants.js";
import { aChain, aDefinition, aPlanId, aStore, type TestStore } from "../support/plans.js";
import { gate, noSandboxes, type RunningWorker, runs, runWorker } from "../support/step-workers.js";
import { startTcpProxy, type TcpProxy } from "../support/tcp-proxy.js";
import { until } from "../support/until.js";

const OOM = "-OOM command not allowed when used memory > 'maxmemory'.";

let t: TestStore;
let proxy: TcpProxy;
let running: RunningWorker[] = [];

beforeEach(async () => {
  t = await aStore(inject("redisUrl"));
  proxy = await startTcpProxy(t.url);
});

afterEach(async () => {
  proxy.judge = () => "pass";
  await Promise.all(running.map((worker) => worker.close()));
  running = [];
  await t.drop();
  await proxy.close();
});

test("a beat that the store refuses is told, and the steps go on", async () => {
  let refused = 0;
  proxy.judge = (args) => (runs("beat")(args) && ++refused <= 2 ? OOM : "pass");
  const worker = await start(() => null);
  await logged(worker, "a beat failed");

  const plan = await t.submit(aChain(["a", "b"]));
  await completed(plan);

  expect(facts(worker, "a beat failed")).toMatchObject({ worker: worker.worker.workerId });
  expect(await checkInvariants(t.store, plan)).toEqual([]);
});

test("a drain that can't be announced drains all the same", async () => {
  const started = gate();
  const passed = gate();
  const worker = await start(async () => {
    started.open();
    await passed.passed;
    return null;
  });
  await t.submit(aChain(["a"]));
  await started.passed;
  proxy.judge = (args) => (runs("beat")(args) || runs("deregister")(args) ? OOM : "pass");
  const drained = worker.worker.drain({ graceMs: 20_000 });
  await logged(worker, "a beat failed");
  passed.open();
  expect(await drained).toEqual({ released: [] });
  await logged(worker, "could not deregister; others will notice by the missing beat");
});

test("a worker of this machine whose process is gone is taken over, and when that fails, soon again", async () => {
  const child = spawn("true");
  await once(child, "exit");
  const identity = { machine: thisProcess().machine, pid: String(child.pid), process_start: "1" };
  const dead = await t.worker(["work"], identity);
  const plan = await t.submit(aChain(["a"]));
  await dead.take();
  let refused = 0;
  proxy.judge = (args) => (runs("beat")(args) && args.includes(dead.id, 9) && ++refused === 1 ? OOM : "pass");

  const worker = await start(() => null);
  await completed(plan);

  expect(refused).toBeGreaterThan(1);
  expect(worker.log.some((line) => line.message === "a beat failed")).toBe(true);
  expect(facts(worker, "took over from dead workers")).toMatchObject({ workers: [dead.id], steps: 1 });
  expect((await t.store.history(plan)).map((event) => event.type)).toContain("step.crashed");
  expect(await checkInvariants(t.store, plan)).toEqual([]);
});

test("steps that were given out under the worker's name without its knowledge come back with its next connection", async () => {
  const ran: string[] = [];
  const worker = await start((call) => void ran.push(`${call.stepId} ${call.attempt}`), { queues: ["elsewhere"] });
  const { workerId } = worker.worker;
  const plan = await t.submit(aDefinition([{ id: "a", queue: "elsewhere" }]), aPlanId());
  await until("the plan to complete", async () => (await t.state(plan)) === "completed");
  const log = new RedisStepLog(t.redis, t.keys, workerId, t.store.definitions, t.store.sealed);
  const lost = await t.submit(aChain(["b"]));
  expect((await log.fetch("work", `${workerId}.0:lost`)).next.kind).toBe("step");

  proxy.cut();
  await logged(worker, "gave back steps that were never received");

  expect(facts(worker, "gave back steps that were never received")).toMatchObject({ jobs: 1 });
  const other = await t.worker();
  expect((await other.take()).stepId).toBe("b");
  expect(await t.state(lost)).toBe("running");
  expect(ran).toEqual(["a 1"]);
});

test("an audit that the store refuses is told, and steps go on", async () => {
  const worker = await start(() => null);
  proxy.judge = (args) => (runs("audit")(args) ? OOM : "pass");
  proxy.cut();
  await logged(worker, "an audit failed");
  await completed(await t.submit(aChain(["a", "b"])));
});

test("a log that can't be stored costs the log, and not the step", async () => {
  proxy.judge = (args) => (runs("log")(args) ? OOM : "pass");
  const worker = await start((call) => call.write("stdout", "hello\n"));
  const plan = await t.submit(aChain(["a"]));
  await completed(plan);
  expect(facts(worker, "a log could not be stored")).toMatchObject({ plan, step: "a" });
  expect(await t.store.logs(plan)).toEqual([]);
});

test("the last line of a step is sent before its end, also where the store has forgotten the scripts", async () => {
  await start(async (call) => {
    await t.redis.script("FLUSH");
    call.write("stdout", "the last line\n");
    return null;
  });
  const plan = await t.submit(aChain(["a"]));
  await completed(plan);

  const logged = proxy.seen.findIndex(runs("log"));
  expect(logged).toBeGreaterThan(0);
  expect(logged).toBeLessThan(proxy.seen.findIndex(runs("complete")));
});

test("a new incarnation that the store refuses is asked for again", async () => {
  const worker = await start(() => null);
  const before = worker.worker.workerId;
  let refused = 0;
  proxy.judge = (args) => (runs("register")(args) && ++refused === 1 ? OOM : "pass");
  await t.redis.zrem(t.keys.workers, before);

  await logged(worker, "a new incarnation could not be registered; trying again");
  const plan = await t.submit(aChain(["a", "b"]));
  await completed(plan);

  expect(worker.worker.workerId).not.toBe(before);
});

test("wherever markers can't be waited for, steps are found all the same", async () => {
  let refused = 0;
  proxy.judge = (args) => (args[0] === "bzpopmin" && ++refused <= 2 ? "-ERR not now" : "pass");
  const worker = await start(() => null);
  await until("two refusals", () => refused >= 2);
  await completed(await t.submit(aChain(["a", "b"])));
  expect(worker.log.some((line) => line.message.includes("the store answered with an error"))).toBe(true);
});

test("a step whose definition is not in the store is handed back with the reason, until it is there", async () => {
  const chain = aChain(["a"]);
  const plan = await t.submit(chain);
  await t.redis.del(t.keys.definition(chain.digest));
  await start(() => null);
  const unserved = await until("the reason", () => t.redis.hget(t.keys.planPart(plan, "out"), ":unserved:a"));
  expect(unserved).toContain("is not in this store");

  await t.store.definitions.upload(chain);
  await completed(plan);
  expect((await t.store.history(plan)).filter((event) => event.type === "step.failed")).toEqual([]);
});

test("a logger that throws costs no attempt: the step is handed back and runs again", async () => {
  let thrown = 0;
  const worker = await start(() => null, {
    onLog: (line) => {
      if (line.message === "step started" && ++thrown === 1) throw new Error("disk full");
    },
  });
  const plan = await t.submit(aChain(["a"]));
  await completed(plan);
  expect(facts(worker, "an attempt could not be carried out")).toMatchObject({ plan, step: "a" });
  expect((await t.store.detail(plan)).records.get("a")).toMatchObject({ attempts: 1 });
});

test("a command that the drain's own signal ends is handed back, and doesn't count as failed", async () => {
  const started = gate();
  const stopped = gate();
  const worker = await start(async () => {
    started.open();
    await stopped.passed;
    throw Object.assign(new Error("ended by SIGTERM"), { code: "EXIT_SIGTERM" });
  });
  const plan = await t.submit(aChain(["a"]));
  await started.passed;

  const drained = worker.worker.drain({ graceMs: 5_000 });
  stopped.open();

  expect(await drained).toEqual({ released: [{ planId: plan, stepId: "a" }] });
  const types = (await t.store.history(plan)).map((event) => event.type);
  expect(types).toContain("step.released");
  expect(types).not.toContain("step.failed");
});

test("a step that fails while its worker drains, for a reason of its own, has failed", async () => {
  const started = gate();
  const stopped = gate();
  const worker = await start(async () => {
    started.open();
    await stopped.passed;
    throw new Error("broken");
  });
  const plan = await t.submit(aChain(["a"]));
  await started.passed;
  const drained = worker.worker.drain({ graceMs: 5_000 });
  stopped.open();
  expect(await drained).toEqual({ released: [] });
  expect((await t.store.history(plan)).map((event) => event.type)).toContain("step.failed");
});

test("a worker without queues serves a private one, and takes only the plans that are given to it", async () => {
  const ran: string[] = [];
  const worker = await start((call) => void ran.push(call.planId), { queues: [] });
  const { privateQueue } = worker.worker;
  const compiled = aChain(["a", "b"]);
  await t.submit(compiled, "theirs");
  const request = { planId: "ours", compiled, input: "{}", actor: "ada", workdir: "/srv", privateQueue };
  await t.store.submit(request);
  await completed("ours");

  expect(privateQueue).toBe(`run~${worker.worker.workerId}`);
  expect(ran).toEqual(["ours", "ours"]);
  expect(await t.state("theirs")).toBe("queued");
  const fleet = await start(() => null);
  expect(fleet.worker.privateQueue).toBeNull();
});

test("a worker that has not been started has no id, and nothing to drain; starting it twice is starting it once", async () => {
  const worker = await start(() => null);
  const { workerId } = worker.worker;
  await worker.worker.start();
  expect(worker.worker.workerId).toBe(workerId);

  const { StepWorker } = await import("../../src/worker/step-worker.js");
  const idle = new StepWorker({
    store: t.sharded,
    queues: ["work"],
    plans: [],
    handlers: new Map(),
    services: {},
    concurrency: 1,
    label: "idle",
    trust: { kind: "all" },
    secret: () => undefined,
    sandboxes: noSandboxes,
    log: { debug() {}, info() {}, warn() {} },
  });
  expect(() => idle.workerId).toThrow("This worker has not been started");
  expect(idle.active).toBe(0);
  expect(await idle.drain({ graceMs: 10 })).toEqual({ released: [] });
});

test("a plan in code runs from its first step to its last, with what the steps above recorded", async () => {
  const plan = definePlan("web", { input: z.object({ n: z.number() }) })
    .step("double", async ({ input }) => input.n * 2)
    .step("push", { effect: "irreversible" }, async ({ outputs, progress, log }) => {
      progress(0.5);
      log.info("pushing");
      return outputs.double + 1;
    })
    .waitFor("ci", { signal: z.object({ ok: z.boolean() }) })
    .step("tell", async ({ outputs }) => `${outputs.push} ${outputs.ci.ok}`);
  const worker = await start(() => null, { plans: [plan], queues: ["web"] });

  const id = await t.submit(plan.compiled, aPlanId(), '{"n":20}');
  await until("the plan to wait", async () => (await t.state(id)) === "waiting");
  await t.signal(id, "ci", { data: '{"ok":true}', cancels: false, signalId: null, actor: "ada", choice: null });
  await completed(id);

  expect(await t.store.output(id, "tell")).toBe('"41 true"');
  expect(await t.store.logs(id)).toEqual([
    { step: "push", attempt: 1, text: "info pushing\n", bytes: 13, superseded: null },
  ]);
  // Redis before 7.2 can't say when it is on disk: the step ran all the same.
  const info = await t.redis.info("server");
  const [, major, minor] = /redis_version:(\d+)\.(\d+)/.exec(info)!;
  const confirms = Number(major) > 7 || (major === "7" && Number(minor) >= 2);
  expect(worker.log.some((line) => line.message === "the store cannot confirm that it is on disk")).toBe(!confirms);
});

test("an input too large to come with every start is read by the step that needs it", async () => {
  const plan = definePlan("web", { input: z.object({ text: z.string() }) })
    .step("measure", async ({ input }) => input.text.length)
    .step("again", async ({ input, outputs }) => input.text.length + outputs.measure);
  await start(() => null, { plans: [plan], queues: ["web"] });
  const id = await t.submit(plan.compiled, aPlanId(), JSON.stringify({ text: "x".repeat(10_000) }));
  await completed(id);
  expect(await t.store.output(id, "again")).toBe("20000");
});

test.each([
  ["a name and data", ["name", "theirs", "data", '{"x":1}', "timestamp", "5"]],
  ["nothing that BullMQ writes", ["odd", "field"]],
])("a stranger's job with %s ends among the failed ones, and the steps go on", async (_, fields) => {
  await start(() => null);
  const queue = `${t.keys.base}work:`;
  await t.redis.hset(`${queue}alien`, ...fields);
  await t.redis.lpush(`${queue}wait`, "alien");

  await completed(await t.submit(aChain(["a", "b"])));
  await until("the stranger's job to fail", async () => (await t.redis.zscore(`${queue}failed`, "alien")) !== null);
});

async function start(
  ...args: Parameters<typeof runWorker> extends [TestStore, ...infer Rest] ? Rest : never
): Promise<RunningWorker> {
  const [act, options] = args;
  const worker = await runWorker(t, act, { url: proxy.url, ...options });
  running.push(worker);
  return worker;
}

async function completed(plan: string): Promise<void> {
  await until("the plan to complete", async () => (await t.state(plan)) === "completed");
}

async function logged(worker: RunningWorker, message: string): Promise<void> {
  await until(`the worker to say: ${message}`, () => worker.log.some((line) => line.message === message));
}

function facts(worker: RunningWorker, message: string): unknown {
  return worker.log.find((line) => line.message === message)?.facts;
}
