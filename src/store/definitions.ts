/** Definitions in the store: once each, under their digest, one field a step. */

import type { Redis } from "ioredis";
import { type CompiledDefinition, compile, type Definition, type StepDefinition } from "../core/definition.js";
import { StoreUnsuitableError } from "../core/errors.js";
import type { Keys } from "./keys.js";

/** Fields of one upload, so that no single command blocks the server. */
const UPLOAD_CHUNK = 500;
/** Written last: a definition without it is not there. */
const COMPLETE = ":complete";
const HEAD = ":head";

/** How many definitions a process keeps. */
const MOST_CACHED = 100;

export class DefinitionStore {
  private readonly cache = new Map<string, CompiledDefinition>();

  constructor(
    private readonly redis: Redis,
    private readonly keys: Keys,
  ) {}

  /** Makes sure that the store has it. */
  async upload(compiled: CompiledDefinition): Promise<void> {
    const key = this.keys.definition(compiled.digest);
    const { steps, ...head } = compiled.definition;
    const pipeline = this.redis.pipeline();
    pipeline.hset(key, HEAD, JSON.stringify(head));
    for (let from = 0; from < steps.length; from += UPLOAD_CHUNK) {
      const fields: string[] = [];
      steps.slice(from, from + UPLOAD_CHUNK).forEach((step, i) => {
        fields.push(step.id, JSON.stringify({ ...step, index: from + i }));
      });
      pipeline.hset(key, ...fields);
    }
    pipeline.hset(key, COMPLETE, String(steps.length));
    const results = await pipeline.exec();
    for (const [error] of results ?? []) if (error) throw error;
    this.remember(compiled);
  }

  remember(compiled: CompiledDefinition): void {
    this.cache.delete(compiled.digest);
    this.cache.set(compiled.digest, compiled);
    if (this.cache.size > MOST_CACHED) this.cache.delete(this.cache.keys().next().value!);
  }

  cached(digest: string): CompiledDefinition | undefined {
    return this.cache.get(digest);
  }

  async get(digest: string): Promise<CompiledDefinition> {
    const cached = this.cache.get(digest);
    if (cached) return cached;
    return this.decode(digest, await this.redis.hgetall(this.keys.definition(digest)));
  }

  /** @throws StoreUnsuitableError where it is missing, incomplete, or doesn't have the digest it is stored under */
  decode(digest: string, hash: Readonly<Record<string, string>> | ReadonlyMap<string, string>): CompiledDefinition {
    const fields = hash instanceof Map ? hash : new Map(Object.entries(hash));
    const head = fields.get(HEAD);
    if (head === undefined || !fields.has(COMPLETE))
      throw new StoreUnsuitableError(`Definition ${digest} is not in this store`, { digest });
    const steps: (StepDefinition & { index: number })[] = [];
    for (const [id, text] of fields) if (!id.startsWith(":")) steps.push(JSON.parse(text));
    steps.sort((a, b) => a.index - b.index);
    const definition = { ...JSON.parse(head), steps: steps.map(({ index: _, ...step }) => step) } as Definition;
    const compiled = compile(definition);
    if (compiled.digest !== digest) {
      throw new StoreUnsuitableError(
        `Definition ${digest} was changed in the store: its content has digest ${compiled.digest}`,
        { digest },
      );
    }
    this.remember(compiled);
    return compiled;
  }
}
