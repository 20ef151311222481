/**
 * Whether a process of this machine still lives. Machines are told apart by boot and pid namespace, not by host name,
 * and a pid that was given to another process by its start time.
 */
import { readFileSync, readlinkSync } from "node:fs";

export interface ProcessIdentity {
  /** Empty where the system doesn't tell; then nothing is ever known to be gone. */
  readonly machine: string;
  readonly pid: number;
  /** In clock ticks since boot. */
  readonly processStart: string;
}

/** The identity of this process. */
export function thisProcess(): ProcessIdentity {
  return { machine: machineId(), pid: process.pid, processStart: processStart(process.pid) ?? "" };
}

/** True only where it is certain: same machine, and the process with that pid is gone or another one. */
export function isProcessGone(identity: ProcessIdentity): boolean {
  if (identity.machine === "" || identity.machine !== machineId() || identity.processStart === "") return false;
  return processStart(identity.pid) !== identity.processStart;
}

let machine: string | undefined;

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

/** Null where there is no such process, or only its zombie. */
function processStart(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The name in parentheses may hold spaces; fields count from behind it: 0 is the state, 19 the start time.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return fields[0] === "Z" || fields[0] === "X" ? null : (fields[19] ?? null);
  } catch {
    return null;
  }
}
