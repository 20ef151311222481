/** Counts what clients send to a server, by MONITOR; what scripts do inside of it is not counted. */
import { randomUUID } from "node:crypto";
import { Redis } from "ioredis";
import { until } from "../../test/support/until.js";

export interface Sent {
  readonly total: number;
  /** By name, in lower case. */
  readonly byName: ReadonlyMap<string, number>;
}

/** Everything that anybody sends while `action` runs. */
export async function countCommands(url: string, action: () => Promise<unknown>): Promise<Sent> {
  const control = new Redis(url, { protocol: 2 } as never);
  const watching = new Redis(url, { protocol: 2 } as never);
  const monitor = await watching.monitor();
  const byName = new Map<string, number>();
  const marks: string[] = [];
  const [from, to] = [randomUUID(), randomUUID()];
  monitor.on("monitor", (_time: string, args: string[], source: string) => {
    const name = args[0]!.toLowerCase();
    if (name === "echo") marks.push(args[1]!);
    else if (marks.includes(from) && !marks.includes(to) && source !== "lua")
      byName.set(name, (byName.get(name) ?? 0) + 1);
  });
  try {
    await control.echo(from);
    await action();
    await control.echo(to);
    await until("the end of the monitored time", () => marks.includes(to));
    return { total: [...byName.values()].reduce((sum, count) => sum + count, 0), byName };
  } finally {
    monitor.disconnect();
    watching.disconnect();
    control.disconnect();
  }
}
