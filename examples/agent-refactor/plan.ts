/**
 * A scripted agent takes `var` out of a small repository: it looks, decides between two ways, edits the files of its
 * sandbox, runs their tests, commits, and asks a person. Nothing here is left to chance, so that a test can run it; where
 * a model would be asked, there is a line of code.
 */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { definePlan } from "waymark";
import { z } from "zod";

const run = promisify(execFile);

/** While this file is there, the agent stops half-way through its edits. */
const hold = process.env.AGENT_HOLD ?? "";

export const refactor = definePlan("agent-refactor", {
  version: 1,
  input: z.object({}),
  sandbox: { from: "project" },
})
  .step("import", { phase: "strategize", sandbox: "write" }, async ({ sandbox }) => {
    await git(sandbox.path, "init", "--quiet");
    await git(sandbox.path, "add", "--all");
    await git(sandbox.path, "commit", "--quiet", "--message", "As it was");
  })
  .step("scan", { phase: "strategize", sandbox: "read" }, async ({ sandbox }) => ({
    findings: await filesWithVar(sandbox.path),
  }))
  .step("choose", { phase: "strategize" }, async ({ outputs, decide }) => ({
    how: await decide(
      "how",
      { question: `How to take var out of ${outputs.scan.findings.join(", ")}?`, options: ["patch", "rewrite"] },
      () => ({ choice: "patch", rationale: "the smaller change", madeBy: "agent" }),
    ),
  }))
  .step("edit", { sandbox: "write" }, async ({ sandbox, outputs, signal }) => {
    for (const file of outputs.scan.findings) {
      const path = join(sandbox.path, file);
      const before = await readFile(path, "utf8");
      await writeFile(path, outputs.choose.how === "patch" ? patched(before) : (REWRITTEN[file] ?? before));
      while (existsSync(hold)) await sleep(20, undefined, { signal });
    }
  })
  .step("test", { sandbox: "read" }, async ({ sandbox, signal }) => {
    await run(process.execPath, ["--test", "test/till.test.js"], { cwd: sandbox.path, signal });
  })
  .step("commit", { phase: "apply", sandbox: "write" }, async ({ sandbox, outputs }) => {
    await git(sandbox.path, "commit", "--quiet", "--all", "--message", `Take out var: ${outputs.choose.how}`);
    return { stat: await git(sandbox.path, "show", "--format=", "--shortstat") };
  })
  .approve("sign-off", {
    phase: "apply",
    message: ({ outputs }) => `Keep it? ${outputs.choose.how}, ${outputs.commit.stat.trim()}`,
  });

async function git(cwd: string, ...args: readonly string[]): Promise<string> {
  const who = ["-c", "user.name=agent", "-c", "user.email=agent@example.org", "-c", "commit.gpgsign=false"];
  const { stdout } = await run("git", [...who, ...args], { cwd });
  return stdout.trimEnd();
}

async function filesWithVar(repository: string): Promise<string[]> {
  const files = (await readdir(join(repository, "src"))).sort().map((name) => `src/${name}`);
  const texts = await Promise.all(files.map((file) => readFile(join(repository, file), "utf8")));
  return files.filter((_, i) => /\bvar\b/.test(texts[i]!));
}

function patched(text: string): string {
  return text
    .replace(/for \(var /g, "for (const ")
    .replace(/\bvar (?=sum\b)/g, "let ")
    .replace(/\bvar /g, "const ");
}

const REWRITTEN: Readonly<Record<string, string>> = {
  "src/cart.js": `export const total = (cart) => cart.reduce((sum, { cents, count }) => sum + cents * count, 0);
`,
  "src/receipt.js": `import { total } from "./cart.js";

export const receipt = (cart) => \`Total: \${(total(cart) / 100).toFixed(2)}\`;
`,
};
