/**
 * Tells whether the process that left a note is still the one that runs under its pid. Pids are reused, start times are
 * not; machines are told apart by boot and pid namespace, not by host name.
 */
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, readlinkSync } from "node:fs";

export interface ProcessIdentity {
  /** Which life of which machine, and which pid namespace, the pid belongs to. Empty where the system doesn't tell. */
  readonly machine: string;
  readonly pid: number;
  /** Clock ticks since boot where there is /proc, else the date that `ps` prints. Empty where neither tells. */
  readonly processStart: string;
}

export function thisProcess(): ProcessIdentity {
  return identify(process.pid) ?? { machine: "", pid: process.pid, processStart: "" };
}

/** Who runs under this pid, or null when nobody does. A zombie is nobody: without an init to reap it, it stays for ever. */
export function identify(pid: number): ProcessIdentity | null {
  return existsSync("/proc/self/stat") ? identifyByProc(pid) : identifyByPs(pid);
}

/** Whether it can be seen to run. False, too, for a process of another machine or pid namespace. */
export function isRunning(noted: ProcessIdentity): boolean {
  const found = identify(noted.pid);
  return found !== null && found.processStart === noted.processStart && found.machine === noted.machine;
}

/** True only where it is certain: it was a process of this machine, and its pid is nobody's or somebody else's. */
export function isProcessGone(noted: ProcessIdentity): boolean {
  if (noted.machine === "" || noted.machine !== machineId() || noted.processStart === "") return false;
  const found = identify(noted.pid);
  if (found !== null) return found.processStart !== noted.processStart;
  return !isHidden(noted.pid);
}

/** With /proc mounted `hidepid`, processes of other users can't be seen; they still answer that they are not ours. */
function isHidden(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
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
  const [state, processStart] = [fields[0], fields[19]];
  if (state === "Z" || state === "X" || processStart === undefined) return null;
  return { machine: machineId(), pid, processStart };
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
  return found && !found[1]!.startsWith("Z") ? { machine: "", pid, processStart: found[2]! } : null;
}

let machine: string | undefined;

/** Without spaces: it becomes part of a key. */
function machineId(): string {
  if (machine === undefined) {
    try {
      const boot = readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
      machine = `${boot}.${readlinkSync("/proc/self/ns/pid").replace(/\D/g, "")}`;
    } catch {
      machine = "";
    }
  }
  return machine;
}
