/** Tells whether the process that left a note is still the one that runs under its pid: pids are reused, start times are not. */
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, readlinkSync } from "node:fs";

export interface ProcessIdentity {
  readonly pid: number;
  /** Clock ticks since boot where there is /proc, else the date that `ps` prints. */
  readonly startedAt: string;
  /** Which life of which machine, and which pid namespace, the pid belongs to. */
  readonly boot: string;
}

/** Who runs under this pid, or null when nobody does. A zombie is nobody: without an init to reap it, it stays for ever. */
export function identify(pid: number): ProcessIdentity | null {
  return existsSync("/proc/self/stat") ? identifyByProc(pid) : identifyByPs(pid);
}

/** False, too, for a process of another pid namespace: it cannot be seen from here. */
export function isRunning(noted: ProcessIdentity): boolean {
  const found = identify(noted.pid);
  return found !== null && found.startedAt === noted.startedAt && found.boot === noted.boot;
}

function identifyByProc(pid: number): ProcessIdentity | null {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  } catch {
    return null;
  }
  // The command's name is in parentheses and may hold spaces and parentheses: fields are counted from the last one.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const [state, startedAt] = [fields[0], fields[19]];
  if (state === "Z" || state === "X" || startedAt === undefined) return null;
  const bootId = readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
  return { pid, startedAt, boot: `${bootId} ${readlinkSync("/proc/self/ns/pid")}` };
}

/** For systems without /proc, such as macOS. The date of the start includes the boot it belongs to. */
export function identifyByPs(pid: number): ProcessIdentity | null {
  let line: string;
  try {
    line = execFileSync("/bin/ps", ["-o", "stat=", "-o", "lstart=", "-p", String(pid)], {
      encoding: "utf8",
      env: { LC_ALL: "C", TZ: "UTC" },
      stdio: ["ignore", "pipe", "ignore"],
    }).trim();
  } catch {
    return null;
  }
  const found = /^(\S+)\s+(.+)$/.exec(line);
  return found && !found[1]!.startsWith("Z") ? { pid, startedAt: found[2]!, boot: "" } : null;
}
