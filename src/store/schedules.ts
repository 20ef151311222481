/** Recurring plans in the store: one hash in the first shard, beside the definitions that they submit. */
import type { Redis } from "ioredis";
import type { CompiledDefinition } from "../core/definition.js";
import { StoreUnsuitableError } from "../core/errors.js";
import type { Schedules, StoredSchedule } from "../core/ports.js";
import type { Schedule } from "../core/schedule.js";
import type { DefinitionStore } from "./definitions.js";
import type { Keys } from "./keys.js";
import type { Payloads } from "./payloads.js";
import { runScript, timeOf } from "./scripts.js";

export class ScheduleStore implements Schedules {
  constructor(
    private readonly redis: Redis,
    private readonly keys: Keys,
    private readonly definitions: DefinitionStore,
    private readonly sealed: Payloads,
  ) {}

  async list(): Promise<StoredSchedule[]> {
    const found = Object.entries(await this.redis.hgetall(this.keys.schedules));
    return found.sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, text]) => this.decode(name, text));
  }

  async find(name: string): Promise<StoredSchedule | null> {
    const text = await this.redis.hget(this.keys.schedules, name);
    return text === null ? null : this.decode(name, text);
  }

  async put(schedule: Schedule, input: string, before: StoredSchedule | null): Promise<boolean> {
    const { name } = schedule;
    const text = JSON.stringify({ ...schedule, input: this.sealed.sealScheduled(name, input) });
    return (await runScript(this.redis, "schedule", [this.keys.schedules], [name, before?.text ?? "", text])) === "OK";
  }

  async remove(name: string): Promise<boolean> {
    return (await this.redis.hdel(this.keys.schedules, name)) === 1;
  }

  upload(compiled: CompiledDefinition): Promise<void> {
    return this.definitions.upload(compiled);
  }

  definition(schedule: Schedule): Promise<CompiledDefinition> {
    return this.definitions.get(schedule.definitionDigest);
  }

  now(): Promise<number> {
    return timeOf(this.redis, this.keys);
  }

  private decode(name: string, text: string): StoredSchedule {
    try {
      const { input, ...schedule } = JSON.parse(text) as Schedule & { readonly input: string };
      if (schedule.name !== name) throw new Error("it has another name");
      return { schedule, text, input: () => this.sealed.openScheduled(name, input) };
    } catch (cause) {
      throw new StoreUnsuitableError(`The store holds something that Waymark did not write: schedule ${name}`, {
        schedule: name,
        reason: (cause as Error).message,
      });
    }
  }
}
