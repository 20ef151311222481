/**
 * The clock of a run: it starts with the step after the warm-up and stops with the last one. The same for every kind of
 * worker, because it counts calls of the function that a step runs.
 */
import { Redis } from "ioredis";
import type { Message } from "./child.js";
import { say } from "./parent.js";

export interface MeterOptions {
  readonly url: string;
  readonly warmUpSteps: number;
  /** The warm-up included. */
  readonly totalSteps: number;
  /** Where one plan runs at a time, how many steps it has: then the time between its steps is kept, and its end is said. */
  readonly aloneSteps?: number;
}

export interface Measured extends Message {
  readonly kind: "measured";
  readonly steps: number;
  readonly ms: number;
  /** Processor time of this process and of the server over the same time, in ms. */
  readonly nodeCpuMs: number;
  readonly redisCpuMs: number;
  /** From the start of a step to the start of the next one of its plan: what somebody who waits for the plan sees. */
  readonly gapsMs: readonly number[];
}

interface Reading {
  readonly atMs: number;
  readonly nodeCpuMs: number;
  readonly redisCpuMs: number;
}

export class Meter {
  readonly measured: Promise<Measured>;
  private readonly redis: Redis;
  private readonly gapsMs: number[] = [];
  private lastMs = 0;
  private count = 0;
  private start: Promise<Reading> | null = null;
  private resolve!: (end: Promise<Reading>) => void;

  constructor(private readonly options: MeterOptions) {
    this.redis = new Redis(options.url, { protocol: 2 } as never);
    const end = new Promise<Reading>((resolve) => {
      this.resolve = resolve;
    });
    this.measured = end.then((reading) => this.difference(reading));
  }

  /** Counts one step. */
  tick(): void {
    if (this.options.aloneSteps !== undefined) this.keepGap(this.options.aloneSteps);
    this.count++;
    if (this.count === this.options.warmUpSteps + 1) this.start = this.read();
    if (this.count === this.options.totalSteps) this.resolve(this.read());
  }

  close(): void {
    this.redis.disconnect();
  }

  private keepGap(stepsOfPlan: number): void {
    const now = performance.now();
    if (this.count >= this.options.warmUpSteps && this.count % stepsOfPlan !== 0) this.gapsMs.push(now - this.lastMs);
    this.lastMs = now;
    if ((this.count + 1) % stepsOfPlan === 0) say({ kind: "plan ended" });
  }

  private async read(): Promise<Reading> {
    const atMs = performance.now();
    const { user, system } = process.cpuUsage();
    return { atMs, nodeCpuMs: (user + system) / 1_000, redisCpuMs: await redisCpuMs(this.redis) };
  }

  private async difference(end: Reading): Promise<Measured> {
    const start = await this.start!;
    return {
      kind: "measured",
      steps: this.options.totalSteps - this.options.warmUpSteps - 1,
      ms: end.atMs - start.atMs,
      nodeCpuMs: end.nodeCpuMs - start.nodeCpuMs,
      redisCpuMs: end.redisCpuMs - start.redisCpuMs,
      gapsMs: this.gapsMs,
    };
  }
}

async function redisCpuMs(redis: Redis): Promise<number> {
  const info = await redis.info("cpu");
  const seconds = (field: string) => Number(new RegExp(`^${field}:(\\S+)`, "m").exec(info)?.[1] ?? Number.NaN);
  return (seconds("used_cpu_user") + seconds("used_cpu_sys")) * 1_000;
}
