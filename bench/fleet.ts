/** Steps a second of several worker processes on a Redis Cluster, with one shard and with several. */
import { setTimeout as sleep } from "node:timers/promises";
import { Cluster } from "ioredis";
import { createClient } from "waymark";
import { Keys } from "../src/store/keys.js";
import { type PrivateCluster, startPrivateCluster } from "../test/support/cluster.js";
import type { FleetWorkerConfig, Ran } from "./processes/fleet-worker.js";
import { type Child, startChild } from "./support/child.js";
import { type Figure, figure, ratios } from "./support/figure.js";
import { INPUT, planOf, type Shape } from "./support/plans.js";
import { rotated, type Scenario, type Size } from "./support/scenario.js";

const STEPS = 10;
const SHAPE: Shape = { kind: "chain", steps: STEPS };
/** Of each process. */
const CONCURRENCY = 50;
const BATCH = 100;
/** Plans whose end starts the clock. */
const WARM_UP = 0.2;
const LOOK_MS = 5;
const RUN_DEADLINE_MS = 600_000;
/** What a process that has ended said before is there at once. */
const CHILD_MS = 1_000;

interface Fleet {
  readonly processes: number;
  readonly shards: number;
}

const SIZES = {
  full: {
    rounds: 3,
    plans: 2_000,
    fleets: [1, 4].flatMap((shards) => [1, 2, 4].map((processes): Fleet => ({ processes, shards }))),
  },
  tiny: {
    rounds: 1,
    plans: 200,
    fleets: [
      { processes: 1, shards: 1 },
      { processes: 2, shards: 4 },
    ],
  },
} as const satisfies Record<Size, object>;

interface Sample {
  readonly stepsPerSecond: number;
  /** Steps that have no record, and attempts beyond one for each step. */
  readonly lost: number;
  readonly twice: number;
  /** Of one worker process, to all servers of the cluster. */
  readonly connections: number;
}

export const fleet: Scenario = {
  name: "fleet",
  about: "steps a second of 1 to 4 worker processes, on 1 and 4 shards of a Redis Cluster with three primaries",
  async run(size, talk) {
    const { rounds, plans, fleets } = SIZES[size];
    const cluster = await startPrivateCluster({ replicas: false });
    const samples = new Map<string, Sample[]>(fleets.map((one) => [nameOf(one), []]));
    try {
      for (let round = 0; round < rounds; round++) {
        for (const one of rotated(fleets, round)) {
          const sample = await measure(cluster, one, plans, `r${round}-${one.processes}-${one.shards}`);
          samples.get(nameOf(one))!.push(sample);
          talk(`round ${round + 1} of ${rounds}: ${nameOf(one)}, ${sample.stepsPerSecond.toFixed(0)} steps/s`);
        }
      }
    } finally {
      await cluster.stop();
    }
    return figuresOf(fleets, samples);
  },
};

function figuresOf(fleets: readonly Fleet[], samples: ReadonlyMap<string, readonly Sample[]>): Figure[] {
  const of = (one: Fleet) => samples.get(nameOf(one))!;
  const speeds = (one: Fleet) => of(one).map(({ stepsPerSecond }) => stepsPerSecond);
  const [first] = fleets as [Fleet, ...Fleet[]];
  const all = fleets.flatMap(of);
  return [
    ...fleets.map((one) => figure(nameOf(one), "steps/s", speeds(one))),
    ...fleets
      .slice(1)
      .map((one) => figure(`${nameOf(one)}, over ${nameOf(first)}`, "×", ratios(speeds(one), speeds(first)))),
    ...fleets.map((one) =>
      figure(
        `connections of a process, ${nameOf(one)}`,
        "connections",
        of(one).map(({ connections }) => connections),
      ),
    ),
    figure(
      "steps lost",
      "steps",
      all.map(({ lost }) => lost),
      { atMost: 0 },
      1,
    ),
    figure(
      "steps run twice",
      "steps",
      all.map(({ twice }) => twice),
      { atMost: 0 },
      1,
    ),
  ];
}

function nameOf({ processes, shards }: Fleet): string {
  return `${processes} ${processes === 1 ? "process" : "processes"} on ${shards} ${shards === 1 ? "shard" : "shards"}`;
}

/** Everything is there before the processes start; the clock starts when a fifth of the plans have ended. */
async function measure(
  cluster: PrivateCluster,
  { processes, shards }: Fleet,
  plans: number,
  prefix: string,
): Promise<Sample> {
  const { url } = cluster;
  const redis = new Cluster(nodesOf(url), { redisOptions: { protocol: 2 } as never });
  const client = createClient({ redis: url, prefix, shards });
  const children: Child[] = [];
  try {
    const ids = Array.from({ length: plans }, (_, i) => `${prefix}-${i + 1}`);
    const plan = planOf(SHAPE, async () => null);
    for (let from = 0; from < plans; from += BATCH) {
      await Promise.all(ids.slice(from, from + BATCH).map((planId) => client.submit(plan, INPUT, { planId })));
    }
    const settings: FleetWorkerConfig = { url, prefix, shards, shape: SHAPE, concurrency: CONCURRENCY };
    const idle = await connectionsTo(cluster);
    for (let i = 0; i < processes; i++) children.push(await startChild("fleet-worker", settings));
    for (const child of children) child.tell({ kind: "start" });

    const open = Array.from({ length: shards }, (_, shard) => new Keys(prefix, shard).openPlans);
    const left = async () => sum(await Promise.all(open.map((key) => redis.zcard(key))));
    const atStart = Math.floor(plans * (1 - WARM_UP));
    const started = await untilLeft(left, atStart);
    const connections = ((await connectionsTo(cluster)) - idle) / processes;
    const ended = await untilLeft(left, 0);

    const ran: number[] = [];
    for (const child of children) {
      await child.stop();
      ran.push((await child.next<Ran>("ran", CHILD_MS)).steps);
    }
    const summaries = await client.list({ limit: plans + 1 });
    const lost = plans * STEPS - sum(summaries.map(({ done }) => done));
    const stepsPerSecond = ((started.left - ended.left) * STEPS * 1_000) / (ended.atMs - started.atMs);
    return { stepsPerSecond, lost, twice: Math.max(0, sum(ran) - plans * STEPS), connections };
  } finally {
    for (const child of children) await child.stop();
    await client.close();
    redis.disconnect();
  }
}

async function untilLeft(left: () => Promise<number>, most: number): Promise<{ atMs: number; left: number }> {
  for (const endMs = performance.now() + RUN_DEADLINE_MS; performance.now() < endMs; await sleep(LOOK_MS)) {
    const now = await left();
    if (now <= most) return { atMs: performance.now(), left: now };
  }
  throw new Error(`More than ${most} plans are open after ${RUN_DEADLINE_MS} ms`);
}

async function connectionsTo(cluster: PrivateCluster): Promise<number> {
  const lists = await Promise.all((await cluster.primaries()).map((server) => cluster.ask(server, "CLIENT", "LIST")));
  return sum(lists.map((list) => String(list).trim().split("\n").length));
}

function nodesOf(url: string): { host: string; port: number }[] {
  return url
    .replace("redis://", "")
    .split(",")
    .map((node) => ({ host: node.split(":")[0]!, port: Number(node.split(":")[1]) }));
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
