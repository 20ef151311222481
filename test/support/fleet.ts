/**
 * A fleet as an operator has it: `plan worker` as processes of their own, on plans of test/support/fleet-plans.mjs, real
 * signals, and a ledger outside of Redis of what the steps did.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type AnyPlan, type Client, createClient, type EventDocument } from "waymark";
import { openStore } from "../../src/store/open-store.js";
import type { RedisPlanStore } from "../../src/store/redis-plan-store.js";
import { cliPath } from "./cli.js";
import { checkInvariants } from "./invariants.js";
import { until } from "./until.js";

const PLANS = fileURLToPath(new URL("./fleet-plans.mjs", import.meta.url));
const START_DEADLINE_MS = 120_000;

/** What a step did, in the order in which it happened. */
export interface LedgerLine {
  readonly what: string;
  readonly planId: string;
  readonly step: string;
  readonly attempt: number;
  readonly fence: number;
  readonly pid: number;
  readonly atMs: number;
}

export interface WorkerOptions {
  readonly concurrency?: number;
  readonly graceMs?: number;
  /** Those of all plans unless given. Each costs a connection. */
  readonly plans?: readonly AnyPlan[];
}

export class Fleet {
  readonly directory = mkdtempSync(join(tmpdir(), "waymark-fleet-"));
  readonly client: Client;
  readonly workers: FleetProcess[] = [];
  private opened: RedisPlanStore | null = null;
  private plans = 0;

  constructor(
    readonly url: string,
    readonly prefix: string,
    /** Long enough that a machine with more to do than it can doesn't look dead, where nobody is to be missed. */
    private readonly deadAfterMs = 3_000,
  ) {
    this.client = createClient({ redis: url, prefix });
    writeFileSync(join(this.directory, "ledger"), "");
  }

  /** Resolves when it accepts steps. */
  async start({ concurrency = 10, graceMs = 10_000, plans = [] }: WorkerOptions = {}): Promise<FleetProcess> {
    const args = ["worker", "--plans", PLANS, "--concurrency", String(concurrency), "--grace", String(graceMs)];
    if (plans.length > 0) args.push("--queues", ...plans.map(({ name }) => name));
    const { PATH = "", HOME = "" } = process.env;
    const env = {
      ...{ PATH, HOME, FLEET_DIR: this.directory },
      ...{ WAYMARK_REDIS_URL: this.url, WAYMARK_PREFIX: this.prefix, WAYMARK_DEAD_AFTER: `${this.deadAfterMs}ms` },
    };
    const child = spawn(process.execPath, [cliPath(), ...args], {
      cwd: this.directory,
      env,
      stdio: ["ignore", "ignore", "pipe"],
    });
    const worker = new FleetProcess(child);
    this.workers.push(worker);
    await worker.untilSaid("accepting steps", START_DEADLINE_MS);
    return worker;
  }

  startMany(count: number, options: WorkerOptions = {}): Promise<FleetProcess[]> {
    return Promise.all(Array.from({ length: count }, () => this.start(options)));
  }

  /** @returns the plan's id */
  async submit(plan: AnyPlan, input: object = {}): Promise<string> {
    const planId = `${plan.name}-${++this.plans}`;
    await this.client.submit(plan, input, { planId });
    return planId;
  }

  submitMany(count: number, plan: AnyPlan, input: object = {}): Promise<string[]> {
    return Promise.all(Array.from({ length: count }, () => this.submit(plan, input)));
  }

  /** See fleet-plans.mjs. */
  put(name: "hold" | "stop" | "listen"): void {
    writeFileSync(join(this.directory, name), "");
  }

  take(name: "hold" | "stop" | "listen"): void {
    rmSync(join(this.directory, name), { force: true });
  }

  ledger(what?: string): LedgerLine[] {
    const lines = readFileSync(join(this.directory, "ledger"), "utf8").split("\n").slice(0, -1).map(toLine);
    return what === undefined ? lines : lines.filter((line) => line.what === what);
  }

  async untilCompleted(plans: readonly string[], deadlineMs = 60_000): Promise<void> {
    const left = new Set(plans);
    await until(
      "the plans to complete",
      async () => {
        for (const planId of left) {
          if ((await this.client.summary(planId)).state !== "completed") return false;
          left.delete(planId);
        }
        return true;
      },
      deadlineMs,
    ).catch((error: Error) => {
      throw new Error(`${error.message}: ${[...left].join(", ")}`);
    });
  }

  /** Of all these plans, the events of these types. */
  async events(plans: readonly string[], ...types: EventDocument["type"][]): Promise<EventDocument[]> {
    const histories = await Promise.all(plans.map((planId) => this.client.history(planId)));
    return histories.flat().filter((event) => types.includes(event.type));
  }

  /** Says in the store that they run on a machine that nobody can look at, and waits until everybody knows. */
  async moveElsewhere(workers: readonly FleetProcess[]): Promise<void> {
    const { redis, keys } = await this.store();
    for (const { workerId } of workers) {
      const machine = await redis.hget(keys.worker(workerId), "machine");
      await redis
        .multi()
        .srem(`${keys.base}machine:${machine}`, workerId)
        .hset(keys.worker(workerId), "machine", `elsewhere-${workerId}`)
        .sadd(`${keys.base}machine:elsewhere-${workerId}`, workerId)
        .exec();
    }
    for (let beat = 0; beat < 2; beat++) {
      const before = await this.beats();
      await until("everybody to beat", async () => {
        const now = await this.beats();
        return [...before].every(([id, at]) => now.get(id) !== at);
      });
    }
  }

  async beats(): Promise<Map<string, string>> {
    const { redis, keys } = await this.store();
    const flat = await redis.zrange(keys.workers, "0", "-1", "WITHSCORES");
    return new Map(flat.flatMap((id, i) => (i % 2 === 0 ? [[id, flat[i + 1]!] as const] : [])));
  }

  /** What is wrong with the plans, each a sentence. Nothing may be under way. */
  async violations(plans: readonly string[]): Promise<string[]> {
    const store = await this.store();
    const found: string[] = [];
    for (const planId of plans)
      for (const violation of await checkInvariants(store, planId)) found.push(`${planId}: ${violation}`);
    return found;
  }

  /** The only shard. */
  async store(): Promise<RedisPlanStore> {
    this.opened ??= (await openStore({ url: this.url, prefix: this.prefix })).shards[0]!;
    return this.opened;
  }

  /** Ends everything, and removes what it has left. */
  async close(): Promise<void> {
    await Promise.all(this.workers.map((worker) => worker.kill()));
    const { redis, keys } = await this.store();
    for await (const page of redis.scanStream({ match: `${keys.base.replace(/[{}]/g, "\\$&")}*`, count: 1_000 }))
      if ((page as string[]).length > 0) await redis.unlink(...(page as string[]));
    await this.opened?.close();
    await this.client.close();
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** One `plan worker`. */
export class FleetProcess {
  private text = "";
  private readonly ended: Promise<unknown>;

  constructor(private readonly child: ChildProcess) {
    this.ended = once(child, "close");
    child.stderr!.setEncoding("utf8").on("data", (text: string) => {
      this.text += text;
    });
  }

  get pid(): number {
    return this.child.pid!;
  }

  /** Of its first incarnation. */
  get workerId(): string {
    return this.said("accepting steps")[0]!.worker as string;
  }

  /** Its log. */
  get lines(): readonly Record<string, unknown>[] {
    return this.text
      .split("\n")
      .filter((line) => line.startsWith("{"))
      .map((line) => JSON.parse(line) as Record<string, unknown>);
  }

  /** All that it wrote to stderr. */
  get errors(): string {
    return this.text;
  }

  said(message: string): Record<string, unknown>[] {
    return this.text.includes(message) ? this.lines.filter(({ msg }) => msg === message) : [];
  }

  async untilSaid(message: string, deadlineMs?: number): Promise<void> {
    const isOver = () => this.hasEnded || this.said(message).length > 0;
    await until(`worker ${this.pid} to say "${message}"`, isOver, deadlineMs).catch((error: Error) => {
      throw new Error(`${error.message}:\n${this.text}`);
    });
    if (this.said(message).length === 0) throw new Error(`A worker ended before it said "${message}":\n${this.text}`);
  }

  get hasEnded(): boolean {
    return this.child.exitCode !== null || this.child.signalCode !== null;
  }

  signal(signal: NodeJS.Signals): void {
    this.child.kill(signal);
  }

  /** Resolves with its exit code, null where a signal ended it. */
  async exited(): Promise<number | null> {
    await this.ended;
    return this.child.exitCode;
  }

  async kill(): Promise<void> {
    if (!this.hasEnded) this.child.kill("SIGKILL");
    await this.ended;
  }
}

function toLine(text: string): LedgerLine {
  const [what, key, attempt, fence, pid, at] = text.split(" ");
  const [planId, step] = key!.split("/");
  return {
    what: what!,
    planId: planId!,
    step: step!,
    attempt: Number(attempt),
    fence: Number(fence),
    pid: Number(pid),
    atMs: Number(at),
  };
}
