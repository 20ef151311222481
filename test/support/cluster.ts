/** A Redis Cluster of a test's own on loopback: three primaries with a replica each. */
import { Redis } from "ioredis";
import { freePort, type PrivateRedis, startPrivateRedis } from "./private-redis.js";
import { until } from "./until.js";

const SLOTS = 16_384;
const PRIMARIES = 3;
/** Silence after which a server counts as dead: short, so that a replica takes over within seconds. */
const NODE_TIMEOUT_MS = 1_500;
const FORMED_DEADLINE_MS = 30_000;

export interface PrivateClusterOptions {
  /** How many primaries: three unless given. */
  readonly primaries?: number;
  /** False for primaries alone. */
  readonly replicas?: boolean;
}

/** Stop it when the test ends. */
export async function startPrivateCluster(options: PrivateClusterOptions = {}): Promise<PrivateCluster> {
  const { primaries = PRIMARIES, replicas = true } = options;
  const count = replicas ? 2 * primaries : primaries;
  const servers = await Promise.all(Array.from({ length: count }, startNode));
  const cluster = new PrivateCluster(servers);
  try {
    await cluster.form(primaries);
  } catch (error) {
    await cluster.stop();
    throw error;
  }
  return cluster;
}

async function startNode(): Promise<PrivateRedis> {
  return startPrivateRedis({
    settings: {
      "cluster-enabled": "yes",
      // Not 10,000 above the other port, as by default: there may be no such port.
      "cluster-port": String(await freePort()),
      "cluster-node-timeout": String(NODE_TIMEOUT_MS),
      // Replicas of a loaded machine may be far behind; the test waits until they aren't.
      "cluster-replica-validity-factor": "0",
      "repl-diskless-sync-delay": "0",
    },
  });
}

export class PrivateCluster {
  private readonly connections = new Map<PrivateRedis, Redis>();

  constructor(private readonly servers: readonly PrivateRedis[]) {}

  /** A comma between its nodes. */
  get url(): string {
    const [first, ...others] = this.servers.map(({ port }) => `127.0.0.1:${port}`);
    return [`redis://${first}`, ...others].join(",");
  }

  async form(primaries: number): Promise<void> {
    const heads = this.servers.slice(0, primaries);
    for (const [i, server] of heads.entries()) {
      const from = Math.floor((SLOTS * i) / primaries);
      const to = Math.floor((SLOTS * (i + 1)) / primaries) - 1;
      await this.ask(server, "CLUSTER", "ADDSLOTSRANGE", String(from), String(to));
    }
    for (const server of this.servers.slice(1)) {
      const { port, settings } = this.servers[0]!;
      await this.ask(server, "CLUSTER", "MEET", "127.0.0.1", String(port), settings["cluster-port"]!);
    }
    for (const [i, server] of this.servers.slice(primaries).entries()) {
      const primary = await this.idOf(heads[i]!);
      await until(
        "a replica to know its primary",
        () => this.ask(server, "CLUSTER", "REPLICATE", primary).catch(() => null),
        FORMED_DEADLINE_MS,
      );
    }
    await until("the cluster to be formed", () => this.isFormed(), FORMED_DEADLINE_MS);
  }

  /** The primary that a key is on now. */
  async primaryOf(key: string): Promise<PrivateRedis> {
    return this.ownerOf(await this.slotOf(key));
  }

  /** SIGKILL for the primary of a key, once its replica has what was written until now. @returns it */
  async killPrimaryOf(key: string): Promise<PrivateRedis> {
    const primary = await this.primaryOf(key);
    await this.ask(primary, "SET", `${key}:mark`, "1");
    await this.ask(primary, "WAIT", "1", "5000");
    await primary.kill();
    return primary;
  }

  /**
   * Moves the slot of a key to another primary, key by key, as resharding does. `midway` runs while it is on both, when
   * `first` have been moved, or else some.
   */
  async moveSlotOf(key: string, midway: () => Promise<void>, first: readonly string[] = []): Promise<PrivateRedis> {
    const slot = await this.slotOf(key);
    const from = await this.ownerOf(slot);
    const others = await this.primaries();
    const to = others.find((server) => server !== from)!;
    const [fromId, toId] = [await this.idOf(from), await this.idOf(to)];
    await this.ask(to, "CLUSTER", "SETSLOT", String(slot), "IMPORTING", fromId);
    await this.ask(from, "CLUSTER", "SETSLOT", String(slot), "MIGRATING", toId);
    const some = async () => (await this.ask(from, "CLUSTER", "GETKEYSINSLOT", String(slot), "5")) as string[];
    let moving: readonly string[] = first.length > 0 ? first : await some();
    for (let isFirst = true; moving.length > 0; isFirst = false) {
      await this.ask(from, "MIGRATE", "127.0.0.1", String(to.port), "", "0", "5000", "KEYS", ...moving);
      if (isFirst) await midway();
      moving = await some();
    }
    for (const server of [to, from, ...others])
      await this.ask(server, "CLUSTER", "SETSLOT", String(slot), "NODE", toId);
    return to;
  }

  async ask(server: PrivateRedis, ...[command, ...args]: [string, ...string[]]): Promise<unknown> {
    let redis = this.connections.get(server);
    if (!redis) {
      redis = new Redis(server.url, { protocol: 2, enableReadyCheck: false, maxRetriesPerRequest: 1 } as never);
      redis.on("error", () => {});
      this.connections.set(server, redis);
    }
    return redis.call(command, ...args);
  }

  async stop(): Promise<void> {
    for (const redis of this.connections.values()) redis.disconnect();
    await Promise.all(this.servers.map((server) => server.stop()));
  }

  /** Those that run. */
  async primaries(): Promise<PrivateRedis[]> {
    const running = this.servers.filter((server) => server.isRunning);
    const roles = await Promise.all(running.map(async (server) => ((await this.ask(server, "ROLE")) as string[])[0]));
    return running.filter((_, i) => roles[i] === "master");
  }

  private async slotOf(key: string): Promise<number> {
    const [server] = await this.primaries();
    return Number(await this.ask(server!, "CLUSTER", "KEYSLOT", key));
  }

  private async ownerOf(slot: number): Promise<PrivateRedis> {
    const [any] = await this.primaries();
    const ranges = (await this.ask(any!, "CLUSTER", "SLOTS")) as [number, number, [string, number]][];
    const [, , [, port]] = ranges.find(([from, to]) => from <= slot && slot <= to)!;
    return this.servers.find((server) => server.port === port)!;
  }

  private async idOf(server: PrivateRedis): Promise<string> {
    return String(await this.ask(server, "CLUSTER", "MYID"));
  }

  private async isFormed(): Promise<boolean> {
    for (const server of this.servers) {
      const info = String(await this.ask(server, "CLUSTER", "INFO"));
      if (!info.includes("cluster_state:ok") || !info.includes(`cluster_known_nodes:${this.servers.length}`))
        return false;
      const replication = String(await this.ask(server, "INFO", "replication"));
      if (replication.includes("master_link_status:down")) return false;
    }
    return true;
  }
}
