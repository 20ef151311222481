/**
 * A worker as a process of its own, to stop, kill and let wake up again. Argument: JSON of WorkerProcessOptions. Prints
 * `ready <worker id>`, then `<step> <attempt>` for each step it starts. A step named `hold…` ends when its key
 * `<prefix>:open` exists, as does one named `decide…` after it has decided and saved its attempt, `block…` keeps the whole
 * process busy for a while in its first attempt, `kill…` kills its process, `counts…` takes a moment and says in
 * `<prefix>:counted` when it begins and ends; the others end at once.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { Redis } from "ioredis";
import type { HandlerCall } from "../../src/core/handler.js";
import { startKeeperThread } from "../../src/worker/keeper.js";
import { aStore } from "./plans.js";
import { runWorker, startKeeperHere } from "./step-workers.js";

export interface WorkerProcessOptions {
  readonly url: string;
  readonly prefix: string;
  readonly deadAfterMs: number;
  /** How far this process's clock is off. */
  readonly clockAheadMs?: number;
  readonly graceMs?: number;
  readonly blockMs?: number;
  readonly concurrency?: number;
  /** Whether its keeper has a thread, as it has outside of tests: from sources that takes a second to start. */
  readonly keeperThread?: boolean;
}

const options = JSON.parse(process.argv[2]!) as WorkerProcessOptions;
const now = Date.now;
Date.now = () => now() + (options.clockAheadMs ?? 0);

const t = await aStore(options.url, { prefix: options.prefix, deadAfterMs: options.deadAfterMs });
const redis = new Redis(options.url, { maxRetriesPerRequest: null });
redis.on("error", () => {});
const running = await runWorker(t, act, {
  startKeeper: options.keeperThread ? startKeeperThread : startKeeperHere,
  concurrency: options.concurrency ?? 1,
});
process.stdout.write(`ready ${running.worker.workerId}\n`);

let signals = 0;
process.on("SIGTERM", () => {
  if (signals++ > 0) return running.worker.releaseNow();
  void running.worker.drain({ graceMs: options.graceMs ?? 25_000 }).then(() => process.exit(0));
});

async function act({
  planId,
  stepId,
  attempt,
  woken,
  signal,
  fence,
  decide,
  save,
  saved,
}: HandlerCall): Promise<unknown> {
  process.stdout.write(`${stepId} ${attempt}\n`);
  await redis.rpush(`${options.prefix}:ledger`, `${planId}/${stepId}/${attempt}`);
  if (stepId.startsWith("sleeps") && woken === null) return { kind: "parked", wait: "timer", dueInMs: 400, ask: null };
  if (stepId.startsWith("retries") && attempt === 1) throw new Error("boom");
  if (stepId.startsWith("block") && attempt === 1) {
    const until = now() + (options.blockMs ?? 0);
    while (now() < until);
  }
  if (stepId.startsWith("counts")) {
    const count = async (what: string) => {
      const [seconds, micros] = (await redis.time()) as unknown as [string, string];
      const at = Number(seconds) * 1_000 + Number(micros) / 1_000;
      await redis.rpush(
        `${options.prefix}:counted`,
        `${what} ${planId}/${stepId}/${fence} ${running.worker.workerId} ${at}`,
      );
    };
    await count("begin");
    await sleep(20 + (fence % 60), undefined, { signal }).catch(() => {});
    await count("end");
    signal.throwIfAborted();
  }
  if (stepId.startsWith("kill")) process.kill(process.pid, "SIGKILL");
  if (stepId.startsWith("decide")) {
    const how = await decide("how", { question: "how?", options: ["patch", "rewrite"] }, async () => {
      await redis.rpush(`${options.prefix}:asked`, `${planId}/${stepId}/${attempt}`);
      return attempt % 2 === 1 ? "patch" : "rewrite";
    });
    await save(attempt);
    process.stdout.write(`${stepId} chose ${how}, saved before ${saved}\n`);
  }
  while (/^(hold|decide)/.test(stepId) && (await redis.exists(`${options.prefix}:open`)) === 0) await sleep(10);
  return `by ${process.pid}`;
}
