/**
 * Makes this checkout ready to run, with nothing but Node: dependencies, build, a redis-server. Prints one line for
 * each thing that it did, and nothing when nothing was needed. `node scripts/setup.mjs [--server]`; with `--server` a
 * redis-server is needed even where WAYMARK_REDIS_URL or REDIS_URL names a running one.
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { CACHED_BIN, installRedis } from "./install-redis.mjs";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const DEPENDENCIES_STAMP = join(ROOT, "node_modules/.waymark-setup");
const BUILD_STAMP = join(ROOT, "dist/.waymark-setup");
const BUILD_INPUTS = ["src", "workers", "scripts/build.mjs", "tsconfig.json", "tsconfig.build.json"];

/** @returns {Promise<NodeJS.ProcessEnv>} the environment in which the project's commands find what was set up */
export async function setUp({ server = false } = {}) {
  installDependencies();
  build();
  await provideRedis(server);
  const path = [join(ROOT, "node_modules/.bin"), CACHED_BIN, process.env.PATH ?? ""].join(delimiter);
  return { ...process.env, PATH: path };
}

function installDependencies() {
  const wanted = hashOf(["package-lock.json"]);
  if (readStamp(DEPENDENCIES_STAMP) === wanted) return;
  if (!isInstalledByHand()) {
    did(() => {
      run("npm", ["ci", "--include=dev", "--no-audit", "--no-fund"]);
      return "installed the dependencies with npm ci";
    });
  }
  writeFileSync(DEPENDENCIES_STAMP, wanted);
}

/** npm leaves a copy of the lock file in node_modules: when that is the newer one, somebody has run npm here. */
function isInstalledByHand() {
  const copy = statSync(join(ROOT, "node_modules/.package-lock.json"), { throwIfNoEntry: false });
  return copy !== undefined && copy.mtimeMs >= statSync(join(ROOT, "package-lock.json")).mtimeMs;
}

function build() {
  const wanted = hashOf(BUILD_INPUTS);
  if (readStamp(BUILD_STAMP) === wanted) return;
  did(() => {
    run("npm", ["run", "--silent", "build"]);
    return "built dist with npm run build";
  });
  writeFileSync(BUILD_STAMP, wanted);
}

async function provideRedis(server) {
  const path = [CACHED_BIN, process.env.PATH ?? ""].join(delimiter);
  if (findServer(path) !== null) return;
  const variable = ["WAYMARK_REDIS_URL", "REDIS_URL"].find((name) => process.env[name]);
  if (!server && variable !== undefined && (await answers(process.env[variable]))) return;
  did(() => installRedis(() => findServer(path)));
}

/** The first command in PATH that is a server and runs. */
function findServer(path) {
  for (const command of ["redis-server", "valkey-server"]) {
    const asked = spawnSync(command, ["--version"], { env: { ...process.env, PATH: path }, encoding: "utf8" });
    if (asked.status === 0 && asked.stdout.includes(" server v=")) return command;
  }
  return null;
}

/** Whether something listens at a Redis address. What it is, the store itself checks. */
function answers(address) {
  const url = toUrl(address.split(",")[0]);
  if (url === null) return false;
  const where = url.protocol === "unix:" ? { path: url.pathname } : { host: url.hostname, port: url.port || 6379 };
  return new Promise((resolve) => {
    const socket = connect({ ...where, timeout: 2_000 });
    const answer = (yes) => {
      socket.destroy();
      resolve(yes);
    };
    socket
      .once("connect", () => answer(true))
      .once("error", () => answer(false))
      .once("timeout", () => answer(false));
  });
}

function toUrl(text) {
  try {
    return new URL(text);
  } catch {
    return null;
  }
}

/** Runs an action that returns what it did, and says so in one line, with the time it took. */
function did(action) {
  const startedMs = Date.now();
  const what = action();
  console.log(`setup: ${what} (${((Date.now() - startedMs) / 1000).toFixed(1)} s)`);
}

function run(command, args) {
  const result = spawnSync(command, args, { cwd: ROOT, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
  if (result.status === 0) return;
  const output = `${result.stdout ?? ""}${result.stderr ?? ""}`.trim() || result.error?.message;
  throw new Error(`${command} ${args.join(" ")} failed:\n${output}`);
}

function readStamp(path) {
  return existsSync(path) ? readFileSync(path, "utf8") : null;
}

function hashOf(paths) {
  const hash = createHash("sha256");
  for (const path of paths) addTo(hash, path);
  return hash.digest("hex");
}

function addTo(hash, path) {
  const full = join(ROOT, path);
  const stat = statSync(full, { throwIfNoEntry: false });
  if (stat?.isDirectory()) {
    for (const name of readdirSync(full).sort()) addTo(hash, `${path}/${name}`);
  } else if (stat !== undefined) {
    hash.update(`${path}\0${stat.size}\0`).update(readFileSync(full));
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    await setUp({ server: process.argv.includes("--server") });
  } catch (error) {
    console.error(`setup: ${error.message}`);
    process.exitCode = 1;
  }
}
