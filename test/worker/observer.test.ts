import { expect, test } from "vitest";
import type { Outcome } from "../../src/core/outcome.js";
import type { StartedStep } from "../../src/core/ports.js";
import { together, type WorkerObserver } from "../../src/worker/observer.js";

const STEP = { planId: "p", stepId: "s" } as StartedStep;
const DONE: Outcome = { kind: "complete", output: "null" };

test("nobody who watches is nobody", () => {
  expect(together([])).toBeNull();
  expect(together([null, null])).toBeNull();
});

test("one who watches is asked directly", () => {
  const only = anObserver("only", []);

  expect(together([null, only])).toBe(only);
  expect(together([only, null])).toBe(only);
});

test("several see each attempt from the outside in, and each hears of refusals and takeovers", async () => {
  const seen: string[] = [];
  const watchers = together([anObserver("metrics", seen), bare(seen), anObserver("traces", seen)])!;

  const outcome = await watchers.attempt(STEP, async () => {
    seen.push("run");
    return DONE;
  });
  watchers.refused?.(STEP, "LOST");
  watchers.tookOver?.({ workers: ["w"], steps: 1, silentMs: [1] });

  expect(outcome).toBe(DONE);
  expect(seen).toEqual([
    ...["metrics begins", "bare", "traces begins", "run", "traces ends", "metrics ends"],
    ...["metrics LOST", "traces LOST", "metrics w", "traces w"],
  ]);
});

function anObserver(name: string, seen: string[]): WorkerObserver {
  return {
    async attempt(_, run) {
      seen.push(`${name} begins`);
      const outcome = await run();
      seen.push(`${name} ends`);
      return outcome;
    },
    refused: (_, verdict) => void seen.push(`${name} ${verdict}`),
    tookOver: ({ workers }) => void seen.push(`${name} ${workers.join()}`),
  };
}

function bare(seen: string[]): WorkerObserver {
  return {
    attempt(_, run) {
      seen.push("bare");
      return run();
    },
  };
}
