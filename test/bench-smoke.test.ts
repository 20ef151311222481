/** The benchmarks at a size at which their figures are noise: they run, and what they print can be read and believed. */
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";
import { figure, meetsBar, quantile, ratios } from "../bench/support/figure.js";

interface Printed {
  readonly scenario: string;
  readonly name: string;
  readonly unit: string;
  readonly value: number;
  readonly low: number;
  readonly high: number;
  readonly samples: number;
  readonly bar: object | null;
  readonly ok: boolean | null;
}

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const RUN_DEADLINE_MS = 300_000;

const run = promisify(execFile);

async function bench(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const command = ["--import", "tsx", "bench/main.ts", ...args];
  return run(process.execPath, command, { cwd: ROOT }).then(
    ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
    (error) => error as { code: number; stdout: string; stderr: string },
  );
}

async function tiny(scenario: string): Promise<Map<string, Printed>> {
  const { code, stdout, stderr } = await bench(scenario, "--size", "tiny", "-o", "json");
  expect([0, 1], stderr).toContain(code);
  const figures = JSON.parse(stdout) as Printed[];
  expect(figures.length, stderr).toBeGreaterThan(0);
  for (const { name, value, low, high, samples, bar, ok } of figures) {
    expect(value, name).toBeGreaterThanOrEqual(low);
    expect(value, name).toBeLessThanOrEqual(high);
    expect(samples, name).toBeGreaterThan(0);
    expect(ok === null, name).toBe(bar === null);
  }
  expect(code).toBe(figures.some(({ ok }) => ok === false) ? 1 : 0);
  return new Map(figures.map((printed) => [printed.name, printed]));
}

const valueIn = (figures: Map<string, Printed>, name: string) => figures.get(name)?.value ?? Number.NaN;

describe("the scenarios run, and their figures are sane:", () => {
  test(
    "throughput",
    async () => {
      const figures = await tiny("throughput");
      for (const fsync of ["everysec", "always"]) {
        const [chain, plans] = [`raw BullMQ chain, ${fsync}`, `durable plans, ${fsync}`];
        const ratio = valueIn(figures, plans) / valueIn(figures, chain);
        expect(valueIn(figures, chain)).toBeGreaterThan(0);
        expect(valueIn(figures, `durable plans over the raw chain, ${fsync}`)).toBeCloseTo(ratio, 5);
        expect(valueIn(figures, `${plans}: Node`)).toBeGreaterThan(0);
        expect(valueIn(figures, `${plans}: Redis`)).toBeGreaterThan(0);
      }
    },
    RUN_DEADLINE_MS,
  );

  test(
    "latency",
    async () => {
      const figures = await tiny("latency");
      expect(valueIn(figures, "raw BullMQ chain, everysec, p50")).toBeGreaterThan(0);
      expect(valueIn(figures, "durable plan, everysec, p50")).toBeGreaterThan(0);
    },
    RUN_DEADLINE_MS,
  );

  test(
    "round-trips",
    async () => {
      const figures = await tiny("round-trips");
      expect(valueIn(figures, "raw BullMQ chain")).toBeGreaterThan(1.5);
      // At this size the start of the worker shows; without the commit of each step there would be less than one.
      const alone = valueIn(figures, "durable plan, one step at a time");
      expect(alone).toBeGreaterThan(0.95);
      expect(alone).toBeLessThan(1.5);
      const together = valueIn(figures, "durable plan, 10 at once, recorded together");
      expect(together).toBeGreaterThan(0.1);
      expect(together).toBeLessThan(alone);
    },
    RUN_DEADLINE_MS,
  );

  test(
    "resume",
    async () => {
      const figures = await tiny("resume");
      expect(valueIn(figures, "dry-run after 30 steps")).toBe(1);
      expect(valueIn(figures, "resume after 30 steps")).toBe(2);
    },
    RUN_DEADLINE_MS,
  );

  test(
    "dry-run-process",
    async () => {
      const figures = await tiny("dry-run-process");
      expect(valueIn(figures, "plan resume --dry-run over node -e 0")).toBeGreaterThan(1);
    },
    RUN_DEADLINE_MS,
  );

  test(
    "memory",
    async () => {
      const figures = await tiny("memory");
      const own = valueIn(figures, "keys of the plan, by MEMORY USAGE");
      expect(own).toBeGreaterThan(500);
      expect(valueIn(figures, "all that a plan leaves, with its share of indexes, by used_memory")).toBeGreaterThan(
        own,
      );
    },
    RUN_DEADLINE_MS,
  );

  test(
    "recovery",
    async () => {
      const figures = await tiny("recovery");
      // Nobody is taken for dead before its last beat is three seconds old, and that was at most one second before the kill.
      expect(valueIn(figures, "SIGKILL to restart, by silence alone, p50")).toBeGreaterThan(1_500);
      expect(valueIn(figures, "SIGKILL to restart, same host, p50")).toBeGreaterThan(0);
      expect(valueIn(figures, "plans completed of 3, after a second kill while the first one's steps rerun")).toBe(3);
      expect(valueIn(figures, "an idle worker sends")).toBeGreaterThan(0);
    },
    RUN_DEADLINE_MS,
  );

  test(
    "large",
    async () => {
      const figures = await tiny("large");
      expect(valueIn(figures, "chain of 100 over 10-step plans")).toBeGreaterThan(0);
      expect(valueIn(figures, "fan-out of 50 and its join over 10-step plans")).toBeGreaterThan(0);
    },
    RUN_DEADLINE_MS,
  );

  test(
    "fleet",
    async () => {
      const figures = await tiny("fleet");
      expect(valueIn(figures, "1 process on 1 shard")).toBeGreaterThan(0);
      expect(valueIn(figures, "2 processes on 4 shards, over 1 process on 1 shard")).toBeGreaterThan(0);
      expect(valueIn(figures, "connections of a process, 2 processes on 4 shards")).toBeGreaterThan(4);
      expect([valueIn(figures, "steps lost"), valueIn(figures, "steps run twice")]).toEqual([0, 0]);
    },
    RUN_DEADLINE_MS,
  );

  test(
    "sandbox",
    async () => {
      const figures = await tiny("sandbox");
      expect(valueIn(figures, "checkpoint over git's")).toBeGreaterThan(0);
      expect(valueIn(figures, "restore over git's")).toBeGreaterThan(0);
    },
    RUN_DEADLINE_MS,
  );

  test(
    "files",
    async () => {
      const figures = await tiny("files");
      expect(valueIn(figures, "plans that chain")).toBeLessThan(50);
      expect(valueIn(figures, "plans that join")).toBeLessThan(50);
    },
    RUN_DEADLINE_MS,
  );
});

test("a scenario that doesn't exist is refused with the list of those that do", async () => {
  const { code, stderr } = await bench("speed");

  expect(code).toBe(2);
  expect(stderr).toContain('There is no scenario "speed".');
  expect(stderr).toContain("throughput");
});

test("a figure is the median of its samples, with the smallest and the largest beside it", () => {
  expect(figure("f", "ms", [5, 1, 3])).toMatchObject({ value: 3, low: 1, high: 5, samples: 3, bar: null });
  expect(figure("f", "ms", [4, 1, 3, 2]).value).toBe(2.5);
  expect(() => figure("f", "ms", [])).toThrow('There is no sample of "f"');
});

test("the 99th of a hundred samples is their p99, and of fewer it is the slowest", () => {
  const hundred = Array.from({ length: 100 }, (_, i) => i + 1);

  expect(quantile(hundred, 0.99)).toBe(99);
  expect(quantile([3, 1, 2], 0.99)).toBe(3);
});

test("a figure at its bar meets it, and one beyond it falls short", () => {
  const meets = (value: number, bar: { atLeast: number } | { atMost: number } | null) =>
    meetsBar(figure("f", "×", [value], bar));

  expect([meets(1.8, { atLeast: 1.8 }), meets(1.79, { atLeast: 1.8 })]).toEqual([true, false]);
  expect([meets(0.6, { atMost: 0.6 }), meets(0.61, { atMost: 0.6 })]).toEqual([true, false]);
  expect(meets(1, null)).toBeNull();
});

test("ratios are of the same round", () => {
  expect(ratios([10, 30], [5, 10])).toEqual([2, 3]);
});
