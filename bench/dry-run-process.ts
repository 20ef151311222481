/** `plan resume ID --dry-run` as a process, from its start to its end, over a Node that does nothing. */
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { figure, ratios } from "./support/figure.js";
import { anInterruptedPlan } from "./support/interrupted.js";
import { onServer } from "./support/runs.js";
import type { Scenario, Size } from "./support/scenario.js";

const PAIRS: Readonly<Record<Size, number>> = { full: 31, tiny: 2 };
const BIN = fileURLToPath(new URL("../dist/src/cli/bin.js", import.meta.url));

const run = promisify(execFile);

export const dryRunProcess: Scenario = {
  name: "dry-run-process",
  about: "`plan resume ID --dry-run` as a process over `node -e 0`",
  run: (size) =>
    onServer(async (url) => {
      const planId = await anInterruptedPlan(url, 10);
      const empty: number[] = [];
      const dryRun: number[] = [];
      for (let pair = 0; pair < PAIRS[size]; pair++) {
        empty.push(await timed(["-e", "0"], url));
        dryRun.push(await timed([BIN, "resume", planId, "--dry-run", "-o", "json"], url));
      }
      return [
        figure("node -e 0", "ms", empty),
        figure("plan resume --dry-run", "ms", dryRun),
        figure("plan resume --dry-run over node -e 0", "×", ratios(dryRun, empty), { atMost: 5 }),
      ];
    }),
};

/** Fails where the command does. */
async function timed(args: readonly string[], url: string): Promise<number> {
  const startedMs = performance.now();
  await run(process.execPath, args, { env: { ...process.env, WAYMARK_REDIS_URL: url } });
  return performance.now() - startedMs;
}
