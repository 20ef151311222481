/** The command line where a test needs more than a process: on the Redis of the run with fleet workers, or on an embedded store. */
import { join } from "node:path";
import { Redis } from "ioredis";
import { afterAll, afterEach, inject } from "vitest";
import { startEmbedded } from "../../src/embedded/start-embedded.js";
import { aStore, type TestStore } from "../support/plans.js";
import { aPrefix } from "../support/store.js";
import { until } from "../support/until.js";
import { Cli, type CliOptions, type Running } from "./a-cli.js";

export interface Fleet {
  readonly cli: Cli;
  readonly prefix: string;
  readonly store: TestStore;
  /** A fleet worker that accepts steps. It is drained after the test. */
  aWorker(...options: string[]): Promise<Running>;
}

/** For a whole test file, which leaves nothing behind. */
export async function aFleet(): Promise<Fleet> {
  const prefix = aPrefix();
  const cli = new Cli({ redisUrl: inject("redisUrl"), prefix });
  const store = await aStore(inject("redisUrl"), { prefix });
  const workers = new Set<Running>();
  afterEach(async () => {
    for (const worker of workers) worker.signal("SIGTERM");
    await Promise.all([...workers].map((worker) => worker.ended));
  });
  afterAll(async () => {
    await store.drop();
    cli.remove();
  });
  return {
    cli,
    prefix,
    store,
    async aWorker(...options) {
      const running = cli.start("worker", "--grace", "5s", ...options);
      workers.add(running);
      void running.ended.finally(() => workers.delete(running));
      await until("the worker to accept steps", () => running.stderr.includes("accepting steps"));
      return running;
    },
  };
}

/** For a whole test file. The store is held open, so that not every command starts a server of its own. */
export async function anEmbeddedCli(options: Pick<CliOptions, "env"> = {}): Promise<{ cli: Cli; redis: Redis }> {
  const cli = new Cli(options);
  const embedded = await startEmbedded({ dataDir: join(cli.cwd, ".waymark") });
  const redis = new Redis(embedded.socketPath);
  afterAll(async () => {
    redis.disconnect();
    await embedded.release();
    cli.remove();
  });
  return { cli, redis };
}
