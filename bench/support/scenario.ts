/** What `main.ts` runs. */
import type { Figure } from "./figure.js";

/** `tiny` proves in seconds that a scenario runs; its figures are noise. */
export type Size = "full" | "tiny";

export interface Scenario {
  readonly name: string;
  readonly about: string;
  run(size: Size, talk: (line: string) => void): Promise<Figure[]>;
}

/** The order of one round: each starts as often as the others, so that a machine that warms up or slows down favours none. */
export function rotated<T>(items: readonly T[], round: number): T[] {
  const from = round % items.length;
  return [...items.slice(from), ...items.slice(0, from)];
}
