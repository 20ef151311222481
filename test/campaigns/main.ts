/** `npm run campaign -- kills [--count 200] [--workers 4] [--seed N] [-o json]`: exit code 1 where anything was lost. */
import { parseArgs } from "node:util";
import { startPrivateRedis } from "../support/private-redis.js";
import { runKills } from "./kills.js";

const USAGE = "Usage: npm run campaign -- kills [--count N] [--workers N] [--seed N] [-o text|json]";

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    count: { type: "string", default: "200" },
    workers: { type: "string", default: "4" },
    seed: { type: "string", default: String(Date.now() % 1_000_000) },
    output: { type: "string", short: "o", default: "text" },
    help: { type: "boolean", short: "h" },
  },
});
process.exitCode = await main();

async function main(): Promise<number> {
  const [count, workers, seed] = [values.count, values.workers, values.seed].map(Number);
  const isSound = [count, workers, seed].every((n) => Number.isSafeInteger(n) && n! >= 1) && workers! >= 2;
  const isKnown = positionals.join() === "kills" && (values.output === "text" || values.output === "json");
  if (values.help || !isSound || !isKnown) {
    console.error(USAGE);
    return values.help ? 0 : 2;
  }
  const redis = await startPrivateRedis();
  try {
    console.error(`seed ${seed}`);
    const startedAtMs = performance.now();
    const options = { url: redis.url, prefix: "campaign", count: count!, workers: workers!, seed: seed! };
    const report = await runKills({ ...options, talk: (text) => console.error(text) });
    const tookMs = Math.round(performance.now() - startedAtMs);
    if (values.output === "json") console.log(JSON.stringify({ ...report, seed, tookMs }));
    else for (const [name, value] of Object.entries({ ...report, tookMs })) console.log(name.padEnd(16), value);
    return report.lost.length + report.duplicates.length + report.violations.length === 0 ? 0 : 1;
  } finally {
    await redis.stop();
  }
}
