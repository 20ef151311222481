/** A Redis with a replica, and a sentinel that makes the replica the primary when the primary is dead. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Redis } from "ioredis";
import { freePort, type PrivateRedis, startPrivateRedis } from "./private-redis.js";
import { until } from "./until.js";

const DOWN_AFTER_MS = 500;

export interface Watched {
  readonly primary: PrivateRedis;
  readonly replica: PrivateRedis;
  /** Names a sentinel that isn't there before the one that is. */
  readonly url: string;
  stop(): Promise<void>;
}

export async function startWatched(name = "main"): Promise<Watched> {
  const primary = await startPrivateRedis();
  const replica = await startPrivateRedis({ settings: { replicaof: `127.0.0.1 ${primary.port}` } });
  // A sentinel that looks before the replica is there looks again after ten seconds only.
  const first = new Redis(primary.url, { protocol: 2, enableReadyCheck: false } as never);
  await until("the replica to be connected", async () => (await first.info("replication")).includes("state=online"));
  first.disconnect();
  const directory = mkdtempSync(join(tmpdir(), "waymark-sentinel-"));
  const [port, nobody] = [await freePort(), await freePort()];
  const settings = [
    `port ${port}`,
    "bind 127.0.0.1",
    `dir ${directory}`,
    `sentinel monitor ${name} 127.0.0.1 ${primary.port} 1`,
    `sentinel down-after-milliseconds ${name} ${DOWN_AFTER_MS}`,
    `sentinel failover-timeout ${name} 2000`,
  ];
  // It writes what it finds out into its settings.
  const file = join(directory, "sentinel.conf");
  writeFileSync(file, `${settings.join("\n")}\n`);
  const sentinel = spawn("redis-server", [file, "--sentinel"], { stdio: "ignore" });
  const asker = new Redis(port, "127.0.0.1", { protocol: 2, enableReadyCheck: false } as never);
  asker.on("error", () => {});
  const facts = async () => {
    const flat = ((await asker.call("SENTINEL", "MASTER", name).catch(() => [])) as string[]) ?? [];
    return new Map(flat.flatMap((word, i) => (i % 2 === 0 ? [[word, flat[i + 1]!] as const] : [])));
  };
  await until("the sentinel to know the replica", async () => (await facts()).get("num-slaves") === "1", 20_000);
  return {
    primary,
    replica,
    url: `redis-sentinel://127.0.0.1:${nobody},127.0.0.1:${port}/${name}`,
    async stop() {
      asker.disconnect();
      await end(sentinel);
      await replica.stop();
      await primary.stop();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, "exit");
  child.kill("SIGKILL");
  await ended;
}
