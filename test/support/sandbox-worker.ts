/**
 * A worker as a process of its own whose steps change files, and which kills itself at a named point. Argument: JSON of
 * SandboxWorkerOptions.
 */
import { kill, pid } from "node:process";
import { sandboxesOf } from "../../src/client/sandboxes.js";
import { createDirectoryProvider } from "../../src/sandbox/directory-provider.js";
import { createGitProvider } from "../../src/sandbox/git-provider.js";
import { aStore } from "./plans.js";
import { changeFiles } from "./sandboxes.js";
import { runWorker } from "./step-workers.js";

export interface SandboxWorkerOptions {
  readonly url: string;
  readonly prefix: string;
  readonly deadAfterMs: number;
  readonly dataDir: string;
  /** Where it kills itself: at one of sandbox/crash-points.ts, or at `begun`, `half` or `ended` of a step, the nth time. */
  readonly point: string;
  readonly nth: number;
}

const options = JSON.parse(process.argv[2]!) as SandboxWorkerOptions;
let passed = 0;
const atPoint = (point: string) => {
  if (point === options.point && ++passed === options.nth) kill(pid, "SIGKILL");
};

const { dataDir } = options;
const t = await aStore(options.url, { prefix: options.prefix, deadAfterMs: options.deadAfterMs });
const providers = [createDirectoryProvider({ dataDir, atPoint }), createGitProvider({ dataDir, atPoint })];
const running = await runWorker(t, changeFiles(t, atPoint), { sandboxes: sandboxesOf({ dataDir, providers }) });
process.stdout.write(`ready ${running.worker.workerId}\n`);
