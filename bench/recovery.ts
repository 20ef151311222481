/**
 * From the death of a worker to the next start of its step, with one other worker that can take it: on the same machine,
 * where the process can be seen to be gone, and where only its silence tells, with its connections closed or, as after
 * the loss of a machine, still open. Then what a drain, a step that blocks its process, and doing nothing cost.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { Redis } from "ioredis";
import { type Client, createClient } from "waymark";
import { Keys } from "../src/store/keys.js";
import { until } from "../test/support/until.js";
import type { HeldConfig } from "./processes/held-step.js";
import { type Child, startChild } from "./support/child.js";
import { countCommands } from "./support/commands.js";
import { type Figure, figure } from "./support/figure.js";
import { heldPlan } from "./support/held-plan.js";
import { onServer } from "./support/runs.js";
import type { Scenario, Size } from "./support/scenario.js";

const SIZES = {
  full: { lanes: 4, kills: 10, drains: 20, blockMs: 20_000, idleMs: 20_000, twiceKilledPlans: 20 },
  tiny: { lanes: 1, kills: 1, drains: 1, blockMs: 200, idleMs: 1_500, twiceKilledPlans: 3 },
} as const satisfies Record<Size, object>;
/** Nothing takes so long; what does, fails. */
const DEADLINE_MS = 60_000;
const GRACE_MS = 1_000;
/** Kills are spread over the second between two beats. */
const BEAT_MS = 1_000;
/** Steps at once of a worker here. */
const SLOTS = 10;

/** How a worker ends: killed on this machine; killed on one that can't be looked at; stopped with its connections open. */
type End = "killed here" | "killed elsewhere" | "frozen";

export const recovery: Scenario = {
  name: "recovery",
  about: "from SIGKILL or SIGTERM of a worker to its step's start in another, and what an idle worker costs",
  async run(size, talk) {
    const { lanes, kills, drains, blockMs, idleMs, twiceKilledPlans } = SIZES[size];
    const sameHost = await takenOver("killed here", lanes, kills);
    talk(`killed ${sameHost.length} workers on the same host`);
    const elsewhere = await takenOver("killed elsewhere", lanes, kills);
    talk(`killed ${elsewhere.length} workers whose processes could not be seen`);
    const frozen = await takenOver("frozen", lanes, kills);
    talk(`stopped ${frozen.length} workers without closing their connections`);
    const drained = await onServer((url) => withLane(url, "drains", (lane) => lane.drainAll(drains)));
    talk(`drained ${drained.length} workers`);
    return [
      figure("SIGKILL to restart, same host, p50", "ms", sameHost, { atMost: 1_000 }),
      figure("SIGKILL to restart, same host, p99", "ms", sameHost, { atMost: 1_000 }, 0.99),
      figure("SIGKILL to restart, by silence alone, p50", "ms", elsewhere, { atMost: 4_000 }),
      figure("SIGKILL to restart, by silence alone, p99", "ms", elsewhere, { atMost: 5_000 }, 0.99),
      figure("SIGSTOP to restart, connections left open, p50", "ms", frozen, { atMost: 4_000 }),
      figure("SIGSTOP to restart, connections left open, p99", "ms", frozen, { atMost: 5_000 }, 0.99),
      figure("released by a drain to restart, p50", "ms", drained, { atMost: 200 }),
      figure("released by a drain to restart, slowest", "ms", drained, { atMost: 200 }, 1),
      figure(
        `plans completed of ${twiceKilledPlans}, after a second kill while the first one's steps rerun`,
        "plans",
        [await killedTwice(twiceKilledPlans)],
        { atLeast: twiceKilledPlans },
      ),
      figure(
        `takeovers from a living worker whose step blocks it for ${blockMs / 1_000} s`,
        "takeovers",
        [await onServer((url) => withLane(url, "blocked", (lane) => lane.takeoversWhileBlocked(), { blockMs }))],
        { atMost: 0 },
      ),
      ...(await idle(idleMs)),
    ];
  },
};

/** Every lane has a victim and a survivor, so that lanes don't help each other; together they save time. */
function takenOver(end: End, lanes: number, kills: number): Promise<number[]> {
  return onServer(async (url) => {
    // The server is theirs until the last of them has ended, even if one fails.
    const results = await Promise.allSettled(
      Array.from({ length: lanes }, (_, i) =>
        withLane(url, `lane-${i + 1}`, (lane) => lane.endAll(kills, (i + 0.5) / lanes), { end }),
      ),
    );
    return results.flatMap((result) => {
      if (result.status === "rejected") throw result.reason;
      return result.value;
    });
  });
}

/** All of it in flight at once: A is killed, B has started A's steps again when it is killed too, C is left. */
async function killedTwice(plans: number): Promise<number> {
  return onServer(async (url) => {
    const prefix = "twice";
    const settings = { url, prefix, graceMs: GRACE_MS };
    const client = createClient({ redis: url, prefix });
    const children: Child[] = [];
    const start = async (holds: HeldConfig["holds"]) => {
      const child = await startChild("held-step", { ...settings, holds });
      children.push(child);
      return child;
    };
    try {
      for (let i = 1; i <= plans; i++) await submitHeld(client, `twice-${i}`);
      const started = async (child: Child) => {
        for (let i = 0; i < Math.min(plans, SLOTS); i++) await child.next("started", DEADLINE_MS);
      };
      for (let kill = 1; kill <= 2; kill++) {
        const victim = await start("all");
        await started(victim);
        victim.signal("SIGKILL");
        await victim.ended();
      }
      await start("none");
      await until(
        "all plans to be completed",
        async () => (await client.list({ states: ["completed"] })).length === plans,
        DEADLINE_MS,
      );
      return (await client.list({ states: ["completed"] })).length;
    } finally {
      await client.close();
      await Promise.all(children.map((child) => child.stop()));
    }
  });
}

/** What one worker without anything to do sends, and what the server does for it, inside of scripts too. */
function idle(ms: number): Promise<Figure[]> {
  return onServer(async (url) => {
    const redis = new Redis(url, { protocol: 2 } as never);
    const child = await startChild("held-step", { url, prefix: "idle", graceMs: GRACE_MS, holds: "none" });
    try {
      await redis.config("RESETSTAT");
      const sent = await countCommands(url, () => sleep(ms));
      const stats = await redis.info("commandstats");
      const calls = [...stats.matchAll(/^cmdstat_(\S+):calls=(\d+)/gm)]
        .filter(([, name]) => !["echo", "monitor", "info", "config|resetstat", "hello"].includes(name!))
        .reduce((sum, [, , count]) => sum + Number(count), 0);
      return [
        figure("an idle worker sends", "commands/s", [(sent.total * 1_000) / ms], { atMost: 2 }),
        figure("the server runs for it, in scripts too", "commands/s", [(calls * 1_000) / ms]),
      ];
    } finally {
      await child.stop();
      redis.disconnect();
    }
  });
}

interface LaneOptions {
  readonly end?: End;
  readonly blockMs?: number;
}

async function withLane<T>(
  url: string,
  prefix: string,
  use: (lane: Lane) => Promise<T>,
  options: LaneOptions = {},
): Promise<T> {
  const lane = new Lane(url, prefix, options);
  try {
    await lane.open();
    return await use(lane);
  } finally {
    await lane.close();
  }
}

/** Two workers under a prefix of their own, and one plan at a time. */
class Lane {
  private readonly client: Client;
  private readonly redis: Redis;
  private readonly keys: Keys;
  private workers: Child[] = [];
  private plans = 0;

  constructor(
    private readonly url: string,
    private readonly prefix: string,
    private readonly options: LaneOptions,
  ) {
    this.client = createClient({ redis: url, prefix });
    this.redis = new Redis(url, { protocol: 2 } as never);
    this.keys = new Keys(prefix);
  }

  async open(): Promise<void> {
    await this.addWorker();
    await this.addWorker();
  }

  /** @returns ms from each end to the start of its step in the other worker */
  async endAll(kills: number, phase: number): Promise<number[]> {
    const samples: number[] = [];
    for (let kill = 0; kill < kills; kill++) {
      const { victim, survivor } = await this.startPlan();
      await sleep(((kill + phase) / kills) * BEAT_MS);
      const endedAtMs = performance.now();
      victim.signal(this.options.end === "frozen" ? "SIGSTOP" : "SIGKILL");
      const { heardAtMs } = await survivor.next("started", DEADLINE_MS);
      samples.push(heardAtMs - endedAtMs);
      victim.signal("SIGKILL");
      await this.replace(victim);
    }
    return samples;
  }

  /** @returns ms from each release to the next start, by the store's clock */
  async drainAll(drains: number): Promise<number[]> {
    const samples: number[] = [];
    for (let drain = 0; drain < drains; drain++) {
      const { planId, victim, survivor } = await this.startPlan();
      victim.signal("SIGTERM");
      await survivor.next("started", DEADLINE_MS);
      const history = await this.client.history(planId);
      const released = history.findIndex(({ type }) => type === "step.released");
      const restarted = history.findIndex(({ type }, i) => i > released && type === "step.started");
      if (released < 0 || restarted < 0) throw new Error(`Plan ${planId} was not released and started again`);
      samples.push(Date.parse(history[restarted]!.at) - Date.parse(history[released]!.at));
      await this.replace(victim);
    }
    return samples;
  }

  async takeoversWhileBlocked(): Promise<number> {
    const { planId, victim } = await this.startPlan();
    await until(
      "the plan to be completed",
      async () => (await this.client.summary(planId)).state === "completed",
      DEADLINE_MS,
    );
    // It hears nothing before its step has ended, and what it has to say about it may come too late.
    victim.signal("SIGTERM");
    await victim.ended();
    return (await this.client.history(planId)).filter(({ type }) => type === "step.crashed").length;
  }

  async close(): Promise<void> {
    await this.client.close();
    this.redis.disconnect();
    await Promise.all(this.workers.map((worker) => worker.stop()));
  }

  /** The worker that starts the plan's step is the victim. */
  private async startPlan(): Promise<{ planId: string; victim: Child; survivor: Child }> {
    const planId = `${this.prefix}-${++this.plans}`;
    await submitHeld(this.client, planId);
    const victim = await until("a start", () => this.workers.find((worker) => worker.has("started")), DEADLINE_MS);
    await victim.next("started", DEADLINE_MS);
    return { planId, victim, survivor: this.workers.find((worker) => worker !== victim)! };
  }

  private async replace(victim: Child): Promise<void> {
    await victim.ended();
    this.workers = this.workers.filter((worker) => worker !== victim);
    await this.addWorker();
  }

  private async addWorker(): Promise<void> {
    const { end, blockMs } = this.options;
    const settings: HeldConfig = { url: this.url, prefix: this.prefix, graceMs: GRACE_MS, holds: "first" };
    const child = await startChild("held-step", { ...settings, ...(blockMs !== undefined && { blockMs }) });
    this.workers.push(child);
    if (end === "killed elsewhere") await this.moveElsewhere(child);
  }

  /** Says in the store that a worker runs on a machine of its own, and waits until nobody looks at its process any more. */
  private async moveElsewhere({ pid }: Child): Promise<void> {
    const { redis, keys } = this;
    const { workerId } = (await this.client.workers()).find((worker) => worker.pid === pid)!;
    const machine = await redis.hget(keys.worker(workerId), "machine");
    await redis
      .multi()
      .srem(`${keys.base}machine:${machine}`, workerId)
      .hset(keys.worker(workerId), "machine", `elsewhere-${pid}`)
      .sadd(`${keys.base}machine:elsewhere-${pid}`, workerId)
      .exec();
    for (const id of await redis.zrange(keys.workers, "0", "-1")) await this.beatTwice(id);
  }

  private async beatTwice(workerId: string): Promise<void> {
    for (let beat = 0; beat < 2; beat++) {
      const last = await this.redis.zscore(this.keys.workers, workerId);
      await until("a beat", async () => (await this.redis.zscore(this.keys.workers, workerId)) !== last, DEADLINE_MS);
    }
  }
}

async function submitHeld(client: Client, planId: string): Promise<void> {
  await client.submit(
    heldPlan(async () => null),
    {},
    { planId },
  );
}
