/**
 * Counters and histograms, and the OpenMetrics text of them. A worker has a dozen series with labels that are known
 * beforehand, so that a library for it would be larger than this and ask every user of a worker to install it.
 */

export type Labels = Readonly<Record<string, string>>;

export interface Sample {
  readonly suffix?: "_total" | "_bucket" | "_sum" | "_count" | "_info";
  readonly labels?: Labels;
  readonly value: number;
}

/** One family of the exposition, named without a suffix; a unit is the end of its name. */
export interface Family {
  readonly name: string;
  readonly type: "counter" | "gauge" | "histogram" | "stateset" | "info";
  readonly unit?: "seconds";
  readonly help: string;
  readonly samples: readonly Sample[];
}

export const OPEN_METRICS_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8";

export class Counter {
  private readonly series = new Map<string, { readonly labels: Labels; value: number }>();

  constructor(
    private readonly name: string,
    private readonly help: string,
  ) {}

  add(labels: Labels = {}, by = 1): void {
    const key = keyOf(labels);
    const found = this.series.get(key);
    if (found) found.value += by;
    else this.series.set(key, { labels, value: by });
  }

  get family(): Family {
    const samples = [...this.series.values()].map(({ labels, value }): Sample => ({ suffix: "_total", labels, value }));
    return { name: this.name, type: "counter", help: this.help, samples };
  }
}

export class Histogram {
  private readonly series = new Map<string, { labels: Labels; counts: number[]; sum: number }>();

  /** @param bounds upper bounds in seconds, rising; one without a bound comes on top */
  constructor(
    private readonly name: string,
    private readonly help: string,
    private readonly bounds: readonly number[],
  ) {}

  observe(seconds: number, labels: Labels = {}): void {
    const key = keyOf(labels);
    let found = this.series.get(key);
    if (!found) {
      found = { labels, counts: new Array<number>(this.bounds.length + 1).fill(0), sum: 0 };
      this.series.set(key, found);
    }
    const bucket = this.bounds.findIndex((bound) => seconds <= bound);
    found.counts[bucket < 0 ? this.bounds.length : bucket]!++;
    found.sum += seconds;
  }

  get family(): Family {
    const samples: Sample[] = [];
    for (const { labels, counts, sum } of this.series.values()) {
      let upTo = 0;
      counts.forEach((count, i) => {
        upTo += count;
        const le = i < this.bounds.length ? floatText(this.bounds[i]!) : "+Inf";
        samples.push({ suffix: "_bucket", labels: { ...labels, le }, value: upTo });
      });
      samples.push({ suffix: "_count", labels, value: upTo }, { suffix: "_sum", labels, value: sum });
    }
    return { name: this.name, type: "histogram", unit: "seconds", help: this.help, samples };
  }
}

/** What a scrape gets. */
export function exposition(families: readonly Family[]): string {
  return `${families.flatMap(familyLines).join("\n")}\n# EOF\n`;
}

function familyLines({ name, type, unit, help, samples }: Family): string[] {
  return [
    `# TYPE ${name} ${type}`,
    ...(unit === undefined ? [] : [`# UNIT ${name} ${unit}`]),
    `# HELP ${name} ${escaped(help)}`,
    ...samples.map(({ suffix = "", labels = {}, value }) => `${name}${suffix}${labelText(labels)} ${value}`),
  ];
}

function labelText(labels: Labels): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${escaped(value)}"`);
  return pairs.length === 0 ? "" : `{${pairs.join(",")}}`;
}

function escaped(text: string): string {
  return text.replace(/\\/g, "\\\\").replace(/\n/g, "\\n").replace(/"/g, '\\"');
}

/** The canonical form of a bound: 1.0, not 1. */
function floatText(bound: number): string {
  return Number.isInteger(bound) ? bound.toFixed(1) : String(bound);
}

function keyOf(labels: Labels): string {
  return Object.values(labels).join("\n");
}
