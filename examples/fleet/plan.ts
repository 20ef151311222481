/** Counts the primes of a range: two halves side by side, then their sum. */
import { setImmediate as turn } from "node:timers/promises";
import { definePlan } from "waymark";
import { z } from "zod";

const input = z.object({ from: z.number().int(), to: z.number().int() });

export const primes = definePlan("primes", { version: 1, input })
  .step("lower", async ({ input: { from, to }, signal }) => ({
    count: await countPrimes(from, middle(from, to), signal),
  }))
  .step("upper", { needs: [] }, async ({ input: { from, to }, signal }) => ({
    count: await countPrimes(middle(from, to), to, signal),
  }))
  .step("sum", { needs: ["lower", "upper"] }, async ({ outputs }) => ({
    count: outputs.lower.count + outputs.upper.count,
  }));

function middle(from: number, to: number): number {
  return Math.floor((from + to) / 2);
}

const CHUNK = 2_000;

/** By trial division: slow on purpose. */
async function countPrimes(from: number, to: number, signal: AbortSignal): Promise<number> {
  let count = 0;
  for (let start = from; start < to; start += CHUNK) {
    // A worker says that it lives between two turns of its event loop.
    await turn();
    signal.throwIfAborted();
    for (let n = start; n < Math.min(start + CHUNK, to); n++) if (isPrime(n)) count++;
  }
  return count;
}

function isPrime(n: number): boolean {
  if (n < 4) return n > 1;
  if (n % 2 === 0) return false;
  for (let divisor = 3; divisor * divisor <= n; divisor += 2) if (n % divisor === 0) return false;
  return true;
}
