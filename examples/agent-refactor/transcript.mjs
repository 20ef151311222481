/**
 * `node examples/agent-refactor/transcript.mjs`: runs the example as its README says, on the built command line, and writes what the
 * commands said into docs/agent-refactor.md. Ids, digests, times and the name of the machine are replaced by fixed ones.
 */
import { execFile, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

const here = fileURLToPath(new URL(".", import.meta.url));
const bin = join(here, "../../dist/src/cli/bin.js");
const page = join(here, "../../docs/agent-refactor.md");
const folder = mkdtempSync(join(tmpdir(), "waymark-transcript-"));
const dataDir = join(folder, "data");
const hold = join(folder, "hold");
const env = { ...process.env, AGENT_HOLD: hold, WAYMARK_REDIS_URL: "", REDIS_URL: "", COLUMNS: "120", NO_COLOR: "1" };
const DEADLINE_MS = 60_000;

const said = [];
const seen = new Map();
const running = [];

try {
  writeFileSync(hold, "");
  const killed = start("run", "plan.ts", "--id", "agent");
  await until("an edited file", isEdited);
  killed.child.kill("SIGKILL");
  say("The agent is killed half-way through its edits.", "run plan.ts --id agent", await killed.ended, "Killed");
  rmSync(hold);
  await show("What resume would do: one file was changed since the checkpoint.", "resume", "agent", "--dry-run");
  const resumed = start("resume", "agent");
  await until("its question", isWaiting);
  resumed.child.kill("SIGINT");
  say(
    "It does that. The decision is not asked again. At the question for a person, Ctrl-C.",
    "resume agent",
    await resumed.ended,
  );
  await show("What was decided, and by whom.", "decisions", "agent");
  const decision = (await json("decisions", "agent")).find(({ key }) => key === "how").decision_id;
  const again = start("resume", "agent", "--from-decision", decision, "--choose", "rewrite");
  await until("the question after the other way", async () => (await json("get", "agent")).epoch === 3 && isWaiting());
  await run("approve", "agent", "sign-off");
  say(
    "The other way, from the same files. In another terminal: `plan approve agent sign-off`.",
    `resume agent --from-decision ${decision} --choose rewrite`,
    await again.ended,
  );
  await show("Every checkpoint, the superseded ones as well, names its files.", "checkpoints", "agent");
  await show("And where it stands.", "get", "agent");
  writeFileSync(page, `${head()}\n${said.join("\n")}`);
} finally {
  for (const child of running) child.kill("SIGKILL");
  rmSync(folder, { recursive: true, force: true });
}

function head() {
  return `# An agent, killed, resumed, and sent the other way

The transcript of [examples/agent-refactor](../examples/agent-refactor/README.md), written by \`node examples/agent-refactor/transcript.mjs\` from a real run.
Ids, digests, times and the machine's name are replaced by fixed ones, each by the same one everywhere.
`;
}

async function show(words, ...args) {
  say(words, args.join(" "), await run(...args));
}

function say(words, command, output, end = "") {
  const text = fixed(`$ plan ${command}\n${output.trimEnd()}${end === "" ? "" : `\n${end}`}`);
  said.push(`${words}\n\n\`\`\`text\n${text}\n\`\`\`\n`);
}

/** Each name by its place among those of its kind, as wide as it was. */
function fixed(text) {
  return text
    .replace(/\b(ckp|dec)_([0-9A-HJKMNP-TV-Z]{26})/g, (_, kind, id) => `${kind}_${placeOf(kind, id).padStart(26, "0")}`)
    .replace(/sha256:([0-9a-f]{8})/g, (_, hex) => `sha256:${placeOf("digest", hex).padStart(2, "0").repeat(4)}`)
    .replace(/wmk1\.[\w-]+/g, (token) => `wmk1.${placeOf("token", token)}`)
    .replace(/\d{4}-\d\d-\d\d \d\d:\d\d:\d\d/g, "2026-01-01 12:00:00")
    .replace(/[\w.-]+@[\w.-]+/g, "ann@laptop")
    .replace(/worker [\w.-]+:\d+/g, (worker) => `worker laptop:${4_120 + Number(placeOf("worker", worker))}`)
    .replace(/\b\d+(\.\d+)?(ms|s)\b/g, "1s");
}

function placeOf(kind, name) {
  const names = seen.get(kind) ?? seen.set(kind, []).get(kind);
  if (!names.includes(name)) names.push(name);
  return String(names.indexOf(name) + 1);
}

function start(...args) {
  const child = spawn(process.execPath, [bin, "--data-dir", dataDir, ...args], { cwd: here, env });
  running.push(child);
  let output = "";
  child.stdout.on("data", (chunk) => {
    output += chunk;
  });
  child.stderr.on("data", (chunk) => {
    output += chunk;
  });
  return { child, ended: new Promise((resolve) => child.once("close", () => resolve(output))) };
}

function run(...args) {
  return new Promise((resolve, reject) => {
    execFile(process.execPath, [bin, "--data-dir", dataDir, ...args], { cwd: here, env }, (error, stdout, stderr) =>
      error ? reject(error) : resolve(stdout + stderr),
    );
  });
}

async function json(...args) {
  return JSON.parse(await run(...args, "-o", "json"));
}

async function isWaiting() {
  return (await json("get", "agent")).state === "waiting";
}

function isEdited() {
  const work = join(dataDir, "sandboxes/work");
  if (!existsSync(work)) return false;
  const files = readdirSync(work, { recursive: true, encoding: "utf8" }).filter((path) => path.endsWith("cart.js"));
  return files.some((path) => readFileSync(join(work, path), "utf8").includes("let sum"));
}

async function until(what, condition) {
  for (const endMs = Date.now() + DEADLINE_MS; Date.now() < endMs; await sleep(50)) if (await condition()) return;
  throw new Error(`Waited in vain for ${what}`);
}
