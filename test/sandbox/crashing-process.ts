/** Takes a snapshot, restores another one, prunes; and kills itself at a named point. Run by crashes.test.ts. */
import type { SandboxSnapshot } from "../../src/core/sandbox.js";
import type { CrashPoint } from "../../src/sandbox/crash-points.js";
import { createDirectoryProvider } from "../../src/sandbox/directory-provider.js";
import { createGitProvider } from "../../src/sandbox/git-provider.js";

export interface CrashingProcessOptions {
  readonly keeper: "directory" | "git";
  readonly dataDir: string;
  readonly tree: string;
  readonly target: string;
  readonly earlier: SandboxSnapshot;
  readonly point: CrashPoint;
  /** Which time the point is passed, from 1. */
  readonly time: number;
}

const { keeper, dataDir, tree, target, earlier, point, time } = JSON.parse(process.argv[2]!) as CrashingProcessOptions;
let times = 0;
const atPoint = (passed: CrashPoint) => {
  if (passed !== point) return;
  times += 1;
  if (times === time) process.kill(process.pid, "SIGKILL");
};
const make = { directory: createDirectoryProvider, git: createGitProvider };
const provider = make[keeper]({ dataDir, atPoint });
const rules = { exclude: [], ignore: [], include: [] };
await provider.snapshot(tree, rules);
await provider.restore(earlier, target, rules);
await provider.prune(new Set([earlier.digest]), { dryRun: false, minAgeMs: 0 });
