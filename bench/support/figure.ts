/** One measured number: what it is, its noise, and the bar that it is held to. */

export type Bar = { readonly atLeast: number } | { readonly atMost: number };

export interface Figure {
  readonly name: string;
  readonly unit: string;
  /** Lower than the smallest unit shown never matters: figures are compared as measured, not as printed. */
  readonly value: number;
  /** The smallest and largest of the samples, which is the noise. */
  readonly low: number;
  readonly high: number;
  readonly samples: number;
  /** Null where the figure only explains others. */
  readonly bar: Bar | null;
}

/** The median of the samples, or another quantile of them. */
export function figure(
  name: string,
  unit: string,
  samples: readonly number[],
  bar: Bar | null = null,
  part = 0.5,
): Figure {
  if (samples.length === 0) throw new Error(`There is no sample of "${name}"`);
  return {
    name,
    unit,
    value: quantile(samples, part),
    low: Math.min(...samples),
    high: Math.max(...samples),
    samples: samples.length,
    bar,
  };
}

/** Null where there is no bar. */
export function meetsBar({ value, bar }: Figure): boolean | null {
  if (bar === null) return null;
  return "atLeast" in bar ? value >= bar.atLeast : value <= bar.atMost;
}

/** By nearest rank; the median of an even number is the mean of the two in the middle. */
export function quantile(samples: readonly number[], part: number): number {
  const sorted = [...samples].sort((a, b) => a - b);
  const at = (rank: number) => sorted[Math.min(sorted.length, Math.max(1, rank)) - 1]!;
  if (part === 0.5) return (at(Math.floor((sorted.length + 1) / 2)) + at(Math.ceil((sorted.length + 1) / 2))) / 2;
  return at(Math.ceil(sorted.length * part));
}

/** Pairs of one round, divided: the machine's load is in both of them. */
export function ratios(samples: readonly number[], baselines: readonly number[]): number[] {
  return samples.map((sample, i) => sample / baselines[i]!);
}
