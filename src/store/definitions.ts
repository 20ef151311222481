/** Definitions in the store: once each, under their digest, one field a step. */

import type { Redis } from "ioredis";
import { type CompiledDefinition, compile, type Definition, grow, type StepDefinition } from "../core/definition.js";
import { StoreUnsuitableError } from "../core/errors.js";
import { isId, isStepId } from "../core/ids.js";
import { itemStep, listStepId } from "../core/map.js";
import type { Keys } from "./keys.js";
import { timeOf } from "./scripts.js";

/** Fields of one upload, so that no single command blocks the server. */
const UPLOAD_CHUNK = 500;
/** Written last: a definition without it is not there. */
const COMPLETE = ":complete";
const HEAD = ":head";

/** How many definitions a process keeps. */
const MOST_CACHED = 100;

export class DefinitionStore {
  /** Of plans with appended steps, by plan. */
  private readonly plans = new Map<string, { readonly grown: number; readonly compiled: CompiledDefinition }>();

  constructor(
    private readonly redis: Redis,
    private readonly keys: Keys,
    /** By digest. What is in it need not be in this store. */
    private readonly cache = new Map<string, CompiledDefinition>(),
  ) {}

  /** Makes sure that the store has it. */
  async upload(compiled: CompiledDefinition): Promise<void> {
    const key = this.keys.definition(compiled.digest);
    const { steps, ...head } = compiled.definition;
    const now = await timeOf(this.redis, this.keys);
    const pipeline = this.redis.pipeline();
    pipeline.hset(key, HEAD, JSON.stringify(head));
    for (let from = 0; from < steps.length; from += UPLOAD_CHUNK) {
      const fields: string[] = [];
      steps.slice(from, from + UPLOAD_CHUNK).forEach((step, i) => {
        const { next } = compiled.steps.get(step.id)!;
        fields.push(step.id, JSON.stringify({ ...step, index: from + i, next }));
      });
      pipeline.hset(key, ...fields);
    }
    const lists = [...compiled.steps.values()].filter((step) => step.lists !== undefined);
    for (const { digest: _, ...list } of lists) pipeline.hset(key, list.id, JSON.stringify(list));
    pipeline.hset(key, COMPLETE, String(steps.length));
    // What is uploaded is about to be used.
    pipeline.zadd(this.keys.definitions, now, compiled.digest);
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

  /** What a plan runs: its definition, and the steps that were appended to it. */
  async ofPlan(planId: string, digest: string, grown: number): Promise<CompiledDefinition> {
    const known = this.cachedOfPlan(planId, digest, grown);
    if (known) return known;
    const [base, appended] = await Promise.all([
      this.get(digest),
      this.redis.hgetall(this.keys.planPart(planId, "appended")),
    ]);
    return this.grow(planId, base, grown, appended);
  }

  cachedOfPlan(planId: string, digest: string, grown: number): CompiledDefinition | undefined {
    if (grown === 0) return this.cache.get(digest);
    const known = this.plans.get(planId);
    return known?.grown === grown && known.compiled.digest === digest ? known.compiled : undefined;
  }

  /** @param appended step -> what `appendedText` gives */
  grow(
    planId: string,
    base: CompiledDefinition,
    grown: number,
    appended: Readonly<Record<string, string>> | ReadonlyMap<string, string>,
  ): CompiledDefinition {
    const texts = appended instanceof Map ? appended : new Map(Object.entries(appended));
    const steps = [...texts]
      .map(([id, text]) => decodeAppended(planId, base, id, text))
      .sort((a, b) => a.index - b.index);
    return this.rememberGrown(planId, grown, grow(base, steps.map(declared)));
  }

  rememberGrown(planId: string, grown: number, compiled: CompiledDefinition): CompiledDefinition {
    this.plans.delete(planId);
    this.plans.set(planId, { grown, compiled });
    if (this.plans.size > MOST_CACHED) this.plans.delete(this.plans.keys().next().value!);
    return compiled;
  }

  /** One step and those that need it, or null where there is no such step; without the rest, which may be long. */
  async around(
    digest: string,
    stepId: string,
  ): Promise<{ step: StepDefinition; next: readonly StepDefinition[] } | null> {
    const cached = this.cache.get(digest);
    if (cached) return around(cached, stepId);
    const key = this.keys.definition(digest);
    const text = stepId.startsWith(":") ? null : await this.redis.hget(key, stepId);
    if (text === null) return null;
    const stored = JSON.parse(text) as StoredStep;
    const { next } = stored;
    const texts = next.length === 0 ? [] : await this.redis.hmget(key, ...next);
    const missing = texts.indexOf(null);
    if (missing >= 0) {
      throw new StoreUnsuitableError(`Definition ${digest} has lost its step ${next[missing]}`, { digest });
    }
    return { step: declared(stored), next: texts.map((found) => declared(JSON.parse(found!))) };
  }

  /** @throws StoreUnsuitableError where it is missing, incomplete, or doesn't have the digest it is stored under */
  decode(digest: string, hash: Readonly<Record<string, string>> | ReadonlyMap<string, string>): CompiledDefinition {
    const fields = hash instanceof Map ? hash : new Map(Object.entries(hash));
    const head = fields.get(HEAD);
    if (head === undefined || !fields.has(COMPLETE))
      throw new StoreUnsuitableError(`Definition ${digest} is not in this store`, { digest });
    const steps: StoredStep[] = [];
    // List steps follow from their maps.
    for (const [id, text] of fields) if (!/^:|#$/.test(id)) steps.push(JSON.parse(text));
    steps.sort((a, b) => a.index - b.index);
    const definition = { ...JSON.parse(head), steps: steps.map(declared) } as Definition;
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

/** One step and those that need it, or null where there is no such step. */
export function around(
  compiled: CompiledDefinition,
  stepId: string,
): { step: StepDefinition; next: readonly StepDefinition[] } | null {
  const step = compiled.steps.get(stepId);
  return step ? { step, next: step.next.map((id) => compiled.steps.get(id)!) } : null;
}

/** How an appended step is stored. */
export function appendedText(step: StepDefinition, index: number): string {
  const { id, phase, appendedBy, itemOf, item } = step;
  // What an item's step does stands in the definition, whose digest covers it, and nowhere else.
  if (itemOf !== undefined) return JSON.stringify({ id, phase, appendedBy, itemOf, item, index });
  return JSON.stringify({ ...step, index });
}

function decodeAppended(planId: string, base: CompiledDefinition, id: string, text: string): StoredStep {
  const refuse = () =>
    new StoreUnsuitableError(`The store holds something that Waymark did not write: step ${id} of plan ${planId}`, {
      planId,
    });
  let step: Partial<StoredStep> | null;
  try {
    step = JSON.parse(text) as Partial<StoredStep> | null;
  } catch {
    throw refuse();
  }
  if (step?.itemOf !== undefined) {
    const { itemOf, item, index } = step;
    const isItem =
      step.id === id &&
      base.steps.get(itemOf)?.map !== undefined &&
      id.startsWith(listStepId(itemOf)) &&
      Number.isInteger(item) &&
      Number.isInteger(index);
    if (!isItem) throw refuse();
    return { ...itemStep(base, itemOf, id, item!), index: index!, next: [] };
  }
  const isStep =
    step?.id === id &&
    isId(id) &&
    Number.isInteger(step.index) &&
    [step.phase, step.uses, step.queue].every(isId) &&
    Array.isArray(step.needs) &&
    [step.appendedBy, ...step.needs].every(isStepId) &&
    typeof step.with === "object";
  if (!isStep) throw refuse();
  return { ...(step as StoredStep), next: [] };
}

/** A field of a definition: a step, its place, and the ids of the steps that need it. */
type StoredStep = StepDefinition & { readonly index: number; readonly next: readonly string[] };

function declared({ index: _, next: __, ...step }: StoredStep): StepDefinition {
  return step;
}
