/**
 * A producer and a fleet of two workers. Six plans count the primes below ten million between them; one worker is killed
 * in the middle of a step, the other one finishes. The sum says whether anything was lost or counted twice.
 */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { setTimeout as wait } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { createClient } from "waymark";
import { primes } from "./plan.js";
import { store } from "./store.js";

const PLANS = 6;
const BELOW = 10_000_000;
const PRIMES = 664_579;

const client = createClient(store);
const workers = [startWorker(), startWorker()];
try {
  await untilRegistered(workers);

  const run = Date.now().toString(36);
  const handles = [];
  for (let i = 0; i < PLANS; i++) {
    const input = { from: Math.floor((BELOW * i) / PLANS), to: Math.floor((BELOW * (i + 1)) / PLANS) };
    handles.push(await client.submit(primes, input, { planId: `primes-${run}-${i + 1}` }));
  }
  console.log(`submitted ${PLANS} plans to workers ${workers.map(({ pid }) => pid).join(" and ")}`);

  await killInTheMiddle(handles[0]!.planId);

  let sum = 0;
  for (const handle of handles) {
    const { count } = await handle.result();
    sum += count;
    console.log(`${handle.planId}: ${count} primes, ${await describeHistory(handle.planId)}`);
  }
  console.log(`${sum} primes below ${BELOW}: ${sum === PRIMES ? "correct" : `wrong, there are ${PRIMES}`}`);
  if (sum !== PRIMES) process.exitCode = 1;
} finally {
  await client.close();
  await Promise.all(workers.map(stopWorker));
}

/** Inherits how this process loads TypeScript. */
function startWorker(): ChildProcess {
  return fork(fileURLToPath(new URL("./worker.ts", import.meta.url)));
}

async function untilRegistered(processes: readonly ChildProcess[]): Promise<void> {
  const isThere = async ({ pid }: ChildProcess) =>
    (await client.workers()).some((worker) => worker.pid === pid && worker.state === "accepting");
  for (const child of processes) {
    while (!(await isThere(child))) {
      if (child.exitCode !== null) throw new Error(`Worker ${child.pid} ended with exit code ${child.exitCode}`);
      await wait(50);
    }
  }
}

/** Kills the worker that starts the plan's first step, as the machine's power switch would. */
async function killInTheMiddle(planId: string): Promise<void> {
  for await (const event of client.events({ planId })) {
    if (event.type !== "step.started") continue;
    const owner = (await client.workers()).find((worker) => worker.workerId === event.workerId);
    const victim = workers.find(({ pid }) => pid === owner?.pid);
    if (victim === undefined)
      throw new Error(`Step ${event.step} was started by ${event.workerId}, which is not of this fleet`);
    victim.kill("SIGKILL");
    console.log(`killed worker ${victim.pid} in step ${event.step} of ${planId}`);
    return;
  }
}

async function describeHistory(planId: string): Promise<string> {
  const history = await client.history(planId);
  const of = (type: string) => history.filter((event) => event.type === type).length;
  return `${of("step.started")} attempts, ${of("step.crashed")} crashed, ${of("step.completed")} completed`;
}

async function stopWorker(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill("SIGTERM");
  await once(child, "exit");
}
