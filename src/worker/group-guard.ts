/**
 * Ends the process groups of shell steps when the process that started them can't: when it was killed, or is stuck and
 * has lost its steps. It is a shell of its own session that is told of every group on its standard input, and ends
 * those that are left when that input ends, however it came to end.
 */
import { type ChildProcessByStdio, spawn } from "node:child_process";
import { env } from "node:process";
import type { Writable } from "node:stream";
import type { GroupRegister } from "../core/handler.js";
import { KILL_AFTER_MS } from "../handlers/process-group.js";

/** Reads `+ GROUP` and `- GROUP`. The numbers come from the system, so they need no quotes. */
const SCRIPT = `
groups=' '
while read -r what group; do
  case $what in
    +) groups="$groups$group " ;;
    -) groups="\${groups%% $group *} \${groups#* $group }" ;;
  esac
done
set -- $groups
[ $# -eq 0 ] && exit
for group; do kill -s TERM -- -$group; done
sleep ${KILL_AFTER_MS / 1_000}
for group; do kill -s KILL -- -$group; done
`;

export class GroupGuard implements GroupRegister {
  private readonly groups = new Set<number>();
  private shell: ChildProcessByStdio<Writable, null, null> | null = null;

  /** The first group brings the guard; one that had to go is followed by another with the next group. */
  prepare(): void {
    if (this.shell === null) this.begin();
  }

  add(group: number): void {
    this.groups.add(group);
    this.say("+", group);
  }

  remove(group: number): void {
    if (this.groups.delete(group)) this.say("-", group);
  }

  /** Ends every group that was added and not removed. */
  end(): void {
    this.shell?.stdin.end();
    this.shell = null;
    this.groups.clear();
  }

  private begin(): void {
    const shell = spawn("/bin/sh", ["-c", SCRIPT], {
      // Neither the terminal's Ctrl-C nor a signal to the worker's own group reaches it.
      detached: true,
      stdio: ["pipe", "ignore", "ignore"],
      cwd: "/",
      env: { PATH: env.PATH },
    });
    const forget = () => {
      if (this.shell === shell) this.shell = null;
    };
    shell.on("error", forget);
    shell.on("exit", forget);
    shell.stdin.on("error", forget);
    shell.unref();
    this.shell = shell;
    for (const group of this.groups) this.say("+", group);
  }

  private say(what: "+" | "-", group: number): void {
    this.shell?.stdin.write(`${what} ${group}\n`);
  }
}
