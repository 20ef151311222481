/** Gets a redis-server onto this machine by the first way that works here. Uses only what Node brings. */
import { spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";

const CACHE = fileURLToPath(new URL("../.cache/redis", import.meta.url));

/** Where a server that was unpacked without root is found. */
export const CACHED_BIN = join(CACHE, "bin");

/**
 * @param {() => string | null} findServer tells whether a server can be started now
 * @returns {string} what was done
 */
export function installRedis(findServer) {
  const failures = [];
  for (const way of waysHere()) {
    try {
      way.install();
    } catch (error) {
      failures.push(`${way.name}: ${error.message}`);
      continue;
    }
    const server = findServer();
    if (server !== null) return `installed ${server} with ${way.name}`;
    failures.push(`${way.name}: it ended well, but left no server that starts`);
  }
  throw new Error(
    "No redis-server or valkey-server in PATH, and none could be installed. Install one with the system's package " +
      "manager (apt-get install redis-server, dnf install redis, apk add redis, brew install redis), or set REDIS_URL " +
      `to the address of a running one.${failures.map((failure) => `\n  tried ${failure}`).join("")}`,
  );
}

function waysHere() {
  const isRoot = process.getuid?.() === 0;
  return [
    { name: "apt-get install", here: isRoot && has("apt-get"), install: installWithApt },
    { name: "dnf install", here: isRoot && has("dnf"), install: () => installFirst("dnf", ["install", "-y"]) },
    { name: "apk add", here: isRoot && has("apk"), install: () => installFirst("apk", ["add", "--no-cache"]) },
    { name: "brew install", here: !isRoot && has("brew"), install: () => run("brew", ["install", "redis"]) },
    { name: "apt-get download and dpkg-deb", here: has("apt-get") && has("dpkg-deb"), install: unpackWithApt },
  ].filter((way) => way.here);
}

function installWithApt() {
  // RUNLEVEL=1: the package would start a server on port 6379, and nobody here asked for that one.
  const environment = { ...process.env, DEBIAN_FRONTEND: "noninteractive", RUNLEVEL: "1" };
  run("apt-get", ["update"], environment);
  // Reinstalled, because a package whose command is not in PATH any more counts as installed.
  run("apt-get", ["install", "-y", "--reinstall", "--no-install-recommends", "redis-server"], environment);
}

/** Newer systems offer valkey instead. */
function installFirst(manager, args) {
  try {
    run(manager, [...args, "redis"]);
  } catch {
    run(manager, [...args, "valkey"]);
  }
}

/** Without root: the packages that are missing here, from the system's own sources, unpacked beside the checkout. */
function unpackWithApt() {
  const apt = join(CACHE, "apt");
  const debs = join(CACHE, "debs");
  const unpacked = join(CACHE, "root");
  rmSync(CACHE, { recursive: true, force: true });
  for (const path of [join(apt, "lists/partial"), join(apt, "archives/partial"), debs, unpacked, CACHED_BIN]) {
    mkdirSync(path, { recursive: true });
  }
  const options = [
    ["Dir::State::lists", join(apt, "lists")],
    ["Dir::Cache", apt],
    ["Dir::Cache::archives", join(apt, "archives")],
    ["Dir::State::status", "/var/lib/dpkg/status"],
    ["APT::Sandbox::User", ""],
    ["Debug::NoLocking", "1"],
  ].flatMap(([name, value]) => ["-o", `${name}=${value}`]);
  run("apt-get", [...options, "update"]);
  const plan = run("apt-get", [...options, "--simulate", "--no-install-recommends", "install", "redis-server"]);
  const missing = [...plan.matchAll(/^Inst (\S+)/gm)].map((match) => match[1]);
  // Those that are installed, but perhaps not where PATH leads, are fetched as well.
  const packages = new Set([...missing, "redis-server", "redis-tools"]);
  run("apt-get", [...options, "download", ...packages], process.env, debs);
  for (const name of readdirSync(debs)) run("dpkg-deb", ["-x", join(debs, name), unpacked]);
  rmSync(apt, { recursive: true });
  rmSync(debs, { recursive: true });
  writeWrapper(unpacked);
}

/** A command that finds its libraries beside it. It becomes the server, so that its pid is the server's. */
function writeWrapper(unpacked) {
  const libraries = librariesIn(unpacked);
  const wrapper = join(CACHED_BIN, "redis-server");
  // An empty entry would stand for the working directory.
  const search = `LD_LIBRARY_PATH="${libraries.join(delimiter)}\${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"`;
  const script = [
    "#!/bin/sh",
    ...(libraries.length === 0 ? [] : [search, "export LD_LIBRARY_PATH"]),
    `exec "${join(unpacked, "usr/bin/redis-server")}" "$@"`,
    "",
  ];
  writeFileSync(wrapper, script.join("\n"));
  chmodSync(wrapper, 0o755);
}

function librariesIn(unpacked) {
  const found = [];
  for (const base of ["lib", "usr/lib"].map((path) => join(unpacked, path))) {
    if (!existsSync(base)) continue;
    const directories = readdirSync(base, { withFileTypes: true }).filter((entry) => entry.isDirectory());
    found.push(base, ...directories.map((entry) => join(base, entry.name)));
  }
  return found.filter((path) => readdirSync(path).some((name) => name.includes(".so")));
}

function has(command) {
  return (process.env.PATH ?? "").split(delimiter).some((directory) => existsSync(join(directory, command)));
}

function run(command, args, env = process.env, cwd = CACHE) {
  mkdirSync(cwd, { recursive: true });
  const result = spawnSync(command, args, { cwd, env, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
  if (result.status === 0) return result.stdout;
  const output = (result.stderr || result.stdout || result.error?.message || "")
    .trim()
    .split("\n")
    .slice(-3)
    .join(" | ");
  throw new Error(`${command} failed: ${output}`);
}
