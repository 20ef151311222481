/** Finds the Redis or Valkey server in PATH, and says which stores it can open. */
import { execFile } from "node:child_process";
import { WaymarkError } from "../core/errors.js";

export interface ServerRelease {
  readonly server: "redis" | "valkey";
  /** Such as `7.0.15`. */
  readonly version: string;
}

export interface ServerBinary extends ServerRelease {
  readonly command: string;
}

const COMMANDS = ["redis-server", "valkey-server"];

/** @throws WaymarkError REDIS_NOT_FOUND, which says how to install one */
export async function findServer(): Promise<ServerBinary> {
  const reasons: string[] = [];
  for (const command of COMMANDS) {
    const found = await askVersion(command);
    if (typeof found !== "string") return { command, ...found };
    reasons.push(`${command}: ${found}`);
  }
  throw new WaymarkError(
    "REDIS_NOT_FOUND",
    `No Redis server could be started here (${reasons.join("; ")}): install one with "apt-get install redis-server" or ` +
      '"brew install redis", or set WAYMARK_REDIS_URL to the address of a running one',
    { details: { searched: COMMANDS } },
  );
}

/** Who answers INFO. Valkey, too, names a version of Redis: the one it is compatible with. */
export function releaseOf(info: string): ServerRelease {
  const valkey = /^valkey_version:(\S+)/m.exec(info);
  const [, version = "unknown"] = valkey ?? /^redis_version:(\S+)/m.exec(info) ?? [];
  return { server: valkey ? "valkey" : "redis", version };
}

/** Whether a server can read what the other one wrote. Formats change with minor releases only. */
export function canOpen(opener: ServerRelease, writer: ServerRelease): boolean {
  if (opener.server === writer.server) return compare(opener.version, writer.version) >= 0;
  // Valkey left Redis at 7.2 and kept its format until 9; Redis changed its own in 7.4.
  return writer.server === "valkey"
    ? compare(writer.version, "9.0") < 0 && compare(opener.version, "7.2") >= 0
    : compare(writer.version, "7.2") <= 0;
}

function askVersion(command: string): Promise<ServerRelease | string> {
  return new Promise((resolve) => {
    execFile(command, ["--version"], (error, stdout) => {
      const found = /^(Redis|Valkey) server v=(\d+\.\d+\.\d+)/.exec(stdout);
      if (found) resolve({ server: found[1]!.toLowerCase() as ServerRelease["server"], version: found[2]! });
      else if (error === null) resolve("--version printed no version");
      else resolve(error.code === ("ENOENT" as unknown) ? "not in PATH" : error.message.trim());
    });
  });
}

function compare(a: string, b: string): number {
  const [aMajor = 0, aMinor = 0] = a.split(".").map(Number);
  const [bMajor = 0, bMinor = 0] = b.split(".").map(Number);
  return aMajor - bMajor || aMinor - bMinor;
}
