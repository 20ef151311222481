/** What reaches Redis, as MONITOR tells it. */
import { Redis } from "ioredis";
import { until } from "./until.js";

export interface Monitored {
  /** Commands as they came, names in lower case; without those that scripts run, and those of clients that don't count. */
  readonly commands: readonly string[][];
  /** Resolves when everything sent before this call has been told. */
  caughtUp(): Promise<void>;
  stop(): void;
}

export async function monitor(url: string, except: Redis): Promise<Monitored> {
  const exceptAddress = / addr=(\S+)/.exec(String(await except.client("INFO")))?.[1];
  const redis = new Redis(url, { protocol: 2 } as never);
  const other = new Redis(url, { protocol: 2 } as never);
  const commands: string[][] = [];
  const feed = await redis.monitor();
  let mark = "";
  feed.on("monitor", (_time: string, args: string[], source: string) => {
    if (args[0]?.toLowerCase() === "echo") mark = args[1] ?? "";
    else if (source !== "lua" && source !== exceptAddress) commands.push([args[0]!.toLowerCase(), ...args.slice(1)]);
  });
  let marks = 0;
  return {
    commands,
    async caughtUp() {
      const wanted = `mark-${++marks}`;
      await other.echo(wanted);
      await until("MONITOR to catch up", () => mark === wanted);
    },
    stop() {
      feed.disconnect();
      redis.disconnect();
      other.disconnect();
    },
  };
}
