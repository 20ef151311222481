/**
 * `npm run bench [-- SCENARIO… ] [--size tiny] [-o json]`: measures the built code and says how it stands to its bars.
 * Exit code 1 where a figure falls short of its bar, or a scenario fails; the other ones are measured all the same.
 */
import { execFileSync } from "node:child_process";
import { cpus, loadavg } from "node:os";
import { parseArgs } from "node:util";
import Table from "cli-table3";
import { dryRunProcess } from "./dry-run-process.js";
import { files } from "./files.js";
import { fleet } from "./fleet.js";
import { large } from "./large.js";
import { latency } from "./latency.js";
import { memory } from "./memory.js";
import { recovery } from "./recovery.js";
import { resume } from "./resume.js";
import { roundTrips } from "./round-trips.js";
import { sandbox } from "./sandbox.js";
import { type Figure, meetsBar } from "./support/figure.js";
import type { Scenario, Size } from "./support/scenario.js";
import { throughput } from "./throughput.js";

const SCENARIOS: readonly Scenario[] = [
  throughput,
  latency,
  roundTrips,
  resume,
  dryRunProcess,
  memory,
  recovery,
  large,
  fleet,
  sandbox,
  files,
];

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    size: { type: "string", default: "full" },
    output: { type: "string", short: "o", default: "table" },
    help: { type: "boolean", short: "h" },
  },
});
process.exitCode = await main();

async function main(): Promise<number> {
  const unknown = positionals.filter((name) => !SCENARIOS.some((scenario) => scenario.name === name));
  const { size, output } = values;
  if (values.help || unknown.length > 0 || !isSize(size) || (output !== "table" && output !== "json")) {
    console.error(usage(unknown));
    return values.help ? 0 : 2;
  }
  const chosen = SCENARIOS.filter(({ name }) => positionals.length === 0 || positionals.includes(name));
  console.error(machine());
  let failed = false;
  const figures: (Figure & { scenario: string })[] = [];
  for (const scenario of chosen) {
    console.error(`\n${scenario.name}: ${scenario.about} (load ${load()})`);
    const found = await scenario
      .run(size, (line) => console.error(`  ${line}`))
      .catch((error: unknown) => {
        console.error(error);
        failed = true;
        return [];
      });
    figures.push(...found.map((figure) => ({ scenario: scenario.name, ...figure })));
    if (output === "table" && found.length > 0) console.log(tableOf(found));
  }
  if (output === "json") console.log(JSON.stringify(figures.map((figure) => ({ ...figure, ok: meetsBar(figure) }))));
  return failed || figures.some((figure) => meetsBar(figure) === false) ? 1 : 0;
}

function usage(unknown: readonly string[]): string {
  return [
    ...unknown.map((name) => `There is no scenario "${name}".`),
    "npm run bench [-- SCENARIO…] [--size full|tiny] [-o table|json]",
    ...SCENARIOS.map(({ name, about }) => `  ${name.padEnd(16)} ${about}`),
  ].join("\n");
}

function machine(): string {
  const redis = execFileSync("redis-server", ["--version"], { encoding: "utf8" }).match(/v=(\S+)/)?.[1];
  const processors = cpus();
  return `${processors.length} × ${processors[0]?.model}, Node ${process.versions.node}, Redis ${redis}`;
}

function load(): string {
  return loadavg()[0]!.toFixed(1);
}

function isSize(text: string): text is Size {
  return text === "full" || text === "tiny";
}

function tableOf(figures: readonly Figure[]): string {
  const table = new Table({
    head: ["figure", "value", "low", "high", "unit", "n", "bar", ""],
    style: { head: [], border: [], compact: true },
  });
  for (const figure of figures) {
    const { name, value, low, high, unit, samples } = figure;
    table.push([name, short(value), short(low), short(high), unit, samples, barText(figure), standing(figure)]);
  }
  return table.toString();
}

function barText({ bar }: Figure): string {
  if (bar === null) return "";
  return "atLeast" in bar ? `≥ ${bar.atLeast}` : `≤ ${bar.atMost}`;
}

function standing(figure: Figure): string {
  const meets = meetsBar(figure);
  return meets === null ? "" : meets ? "ok" : "short";
}

/** Three digits that count. */
function short(value: number): string {
  if (Math.abs(value) >= 100) return value.toFixed(0);
  return value.toPrecision(3);
}
