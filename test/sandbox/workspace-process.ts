/** Acquires a workspace, says where, writes into it, and stays until it is killed. Run by workspaces.test.ts. */
import { spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { SandboxSnapshot } from "../../src/core/sandbox.js";
import { createDirectoryProvider } from "../../src/sandbox/directory-provider.js";
import { Workspaces } from "../../src/sandbox/workspaces.js";

export interface WorkspaceProcessOptions {
  readonly dataDir: string;
  readonly snapshot: SandboxSnapshot;
  readonly fence: number;
  readonly end: "keep" | "none" | "child";
}

const { dataDir, snapshot, fence, end } = JSON.parse(process.argv[2]!) as WorkspaceProcessOptions;
const provider = createDirectoryProvider({ dataDir });
const workspaces = new Workspaces({ dataDir, workerId: "w-other", provider: () => provider });
const rules = { exclude: [], ignore: ["installed"], include: [] };
const workspace = await workspaces.acquire({ planId: "web", epoch: 1, fence, snapshot, mode: "write", rules });
writeFileSync(join(workspace.path, "installed"), "by the other");
if (end === "keep") workspace.keep(snapshot);
else writeFileSync(join(workspace.path, "half"), "half");
const child =
  end === "child" ? spawn("sleep", ["300"], { cwd: workspace.path, detached: true, stdio: "ignore" }).pid : null;
console.log(JSON.stringify({ path: workspace.path, child }));
setInterval(() => {}, 1_000);
