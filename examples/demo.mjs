/**
 * `npm run demo`: runs the release of examples/release, kills it in the middle with SIGKILL, looks at what is left, and
 * resumes it. With `--play` it stops after the kill and leaves the rest to the reader. Everything happens in a temporary
 * directory, in the embedded store.
 */
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { stripVTControlCharacters, styleText } from "node:util";

const BIN = fileURLToPath(new URL("../dist/src/cli/bin.js", import.meta.url));
const PLAN = "pace-1.2.0";
// With `check` done, `test` runs: it takes about two seconds.
const KILL_AFTER = "check";

const play = process.argv.includes("--play");
const folder = mkdtempSync(join(tmpdir(), "waymark-demo-"));
const { WAYMARK_REDIS_URL, REDIS_URL, WAYMARK_DATA_DIR, WAYMARK_PREFIX, ...env } = process.env;
let running = null;
let left = false;

for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => end(130));
try {
  cpSync(new URL("./release", import.meta.url), folder, { recursive: true });
  say("A release in seven steps: assess, build, check and test side by side, package, verify, publish.");
  await runAndKill("run", "plan.yaml", "--input", "tag=v1.2.0", "--id", PLAN);
  say("Killed with SIGKILL while `test` was running: no handler, no clean-up, no last words.");
  if (play) {
    explainPlay();
    left = true;
  } else {
    say("What is left? Every completed step was recorded in the same write that released the next ones.");
    await plan("get", PLAN);
    say("What would resume do? A dry-run reads, decides, and writes nothing.");
    await plan("resume", PLAN, "--dry-run");
    say("The real one makes the same decision, and does it: what is done is not done again.");
    await plan("resume", PLAN);
    say("One release. `test` shows two attempts: the one that was killed, and the one that counts.");
    await plan("get", PLAN);
    say("Try it yourself: npm run demo -- --play leaves it killed and tells you how to go on.");
  }
  end(0);
} catch (error) {
  console.error(error.message);
  end(1);
}

/** Starts a command in a process group of its own, and kills the group when it reports the step. */
async function runAndKill(...args) {
  show(args);
  running = spawn(process.execPath, [BIN, ...args], { cwd: folder, env, detached: true, stdio: ["ignore", 1, "pipe"] });
  const ended = once(running, "exit");
  let killed = false;
  for await (const line of createInterface(running.stderr)) {
    console.log(line);
    if (!killed && stripVTControlCharacters(line).startsWith(`✔ ${KILL_AFTER} `)) {
      process.kill(-running.pid, "SIGKILL");
      killed = true;
    }
  }
  const [code] = await ended;
  running = null;
  if (!killed) throw new Error(`The run ended with exit code ${code} before it could be killed`);
}

async function plan(...args) {
  show(args);
  running = spawn(process.execPath, [BIN, ...args], { cwd: folder, env, stdio: ["ignore", "inherit", "inherit"] });
  const [code, signal] = await once(running, "exit");
  running = null;
  if (code !== 0) throw new Error(`plan ${args.join(" ")} ended with ${signal ?? `exit code ${code}`}`);
}

function explainPlay() {
  const named = ["WAYMARK_REDIS_URL", "REDIS_URL", "WAYMARK_DATA_DIR", "WAYMARK_PREFIX"].filter(
    (name) => process.env[name],
  );
  say("The plan and its store are yours now. Go on with:");
  for (const command of [
    `cd ${folder}`,
    `alias plan="node '${BIN}'"`,
    ...(named.length > 0 ? [`unset ${named.join(" ")}`] : []),
    `plan get ${PLAN}`,
    `plan resume ${PLAN} --dry-run`,
    `plan resume ${PLAN}`,
    `plan history ${PLAN}`,
    `plan logs ${PLAN} test`,
  ]) {
    console.log(`  ${command}`);
  }
  say(`And when you are done: rm -r ${folder}`);
}

function say(text) {
  console.log(`\n${styled("dim", text)}`);
}

function show(args) {
  console.log(`\n${styled("bold", `$ plan ${args.join(" ")}`)}`);
}

function styled(style, text) {
  return process.stdout.isTTY && !process.env.NO_COLOR ? styleText(style, text) : text;
}

/** Leaves nothing behind, whatever happened, unless the reader is to go on. */
function end(code) {
  running?.kill("SIGKILL");
  if (!left) {
    // The last command out stops the embedded server; a killed one could not.
    if (code !== 0) spawnSync(process.execPath, [BIN, "list"], { cwd: folder, env, stdio: "ignore" });
    rmSync(folder, { recursive: true, force: true });
  }
  process.exit(code);
}
