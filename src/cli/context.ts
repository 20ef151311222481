/** What a command gets: the terminal, the settings, and a client that is opened when it is first needed. */
import { defaultActor } from "../client/actor.js";
import { Client } from "../client/client.js";
import { type Config, type ConfigInput, readConfig } from "../config.js";
import { UsageError, WaymarkError } from "../core/errors.js";
import type { StoreLocation } from "../core/store-address.js";
import type { Sandboxes } from "../sandbox/sandboxes.js";
import type { ShardedPlanStore } from "../store/sharded-plan-store.js";
import type { Io } from "./io.js";
import type { GlobalOptions } from "./program.js";
import type { Terminal } from "./render/terminal.js";

export class CommandContext {
  readonly actor: string;
  #config: Promise<Config> | null = null;
  #client: Client | null = null;
  #store: Promise<ShardedPlanStore> | null = null;
  #sandboxes: Promise<Sandboxes> | null = null;
  #embedded: { url: string; release(): Promise<void> } | null = null;

  constructor(
    readonly io: Io,
    readonly terminal: Terminal,
    private readonly globals: GlobalOptions,
  ) {
    if (globals.actor?.trim() === "") throw new UsageError("--actor is empty");
    this.actor = globals.actor ?? defaultActor();
  }

  /** Whether --debug asks for the whole story. */
  get debug(): boolean {
    return this.globals.debug === true;
  }

  /** Settings, with those of this command's own flags the first time. */
  config(flags: ConfigInput = {}): Promise<Config> {
    const { redisUrl, prefix, dataDir, sandboxStore, payloadLimit } = this.globals;
    this.#config ??= readConfig(
      { redisUrl, prefix, dataDir, sandboxStore, payloadLimit, ...flags },
      this.io.env,
      this.io.cwd,
    );
    return this.#config;
  }

  /** Whether the store is the private one of this data directory. */
  async usesEmbeddedStore(): Promise<boolean> {
    return (await this.config()).redis === null;
  }

  /** Where the store is, started if it is the embedded one and nobody has started it yet. */
  async storeLocation(): Promise<StoreLocation> {
    const config = await this.config();
    if (config.redis !== null) return config.redis;
    if (this.#embedded === null) {
      const { startEmbedded } = await import("../embedded/start-embedded.js");
      this.#embedded = await startEmbedded({
        dataDir: config.dataDir,
        runtimeDir: config.runtimeDir,
      });
    }
    return { url: this.#embedded.url };
  }

  get client(): Client {
    this.#client ??= new Client(() => this.store(), this.actor, this.sandboxes);
    return this.#client;
  }

  /** Files of plans on this machine. Opened at the first use. */
  readonly sandboxes = async (): Promise<Sandboxes> => {
    this.#sandboxes ??= this.openSandboxes();
    return this.#sandboxes;
  };

  private async openSandboxes(): Promise<Sandboxes> {
    const { dataDir, sandboxStore } = await this.config();
    const { sandboxesOf } = await import("../client/sandboxes.js");
    return sandboxesOf({ dataDir, ...(sandboxStore !== null && { store: sandboxStore }) })();
  }

  /** The store that the client works on, for what executes steps. */
  store(): Promise<ShardedPlanStore> {
    this.#store ??= this.openStore();
    return this.#store;
  }

  private async openStore(): Promise<ShardedPlanStore> {
    const { prefix, shards, deadAfterMs, payloadLimitBytes, payloadKeys } = await this.config();
    const location = await this.storeLocation();
    const { openStore } = await import("../store/open-store.js");
    const { aesPayloads } = await import("../core/payload-codec.js");
    const payloads = payloadKeys === null ? undefined : aesPayloads(payloadKeys);
    return openStore({ ...location, prefix, shards, deadAfterMs, payloadLimitBytes, payloads });
  }

  /** The plan that an argument names; `@latest` is the newest. */
  async planId(argument: string): Promise<string> {
    if (argument !== "@latest") return argument;
    const [newest] = await this.client.list({ limit: 1 });
    if (newest) return newest.planId;
    throw new WaymarkError("PLAN_NOT_FOUND", "There is no plan in this store yet", { try: "plan run --help" });
  }

  async close(): Promise<void> {
    await this.#client?.close();
    // Last: the embedded server stops when its last user has left.
    await this.#embedded?.release();
  }
}
