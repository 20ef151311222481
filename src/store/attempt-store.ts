/** What an attempt writes before it ends. Each write is refused once the step is another's, as its result would be. */
import type { Redis } from "ioredis";
import type { AttemptStore, Decided, MadeDecision, StartedStep, Written } from "../core/ports.js";
import { oneField } from "./codec.js";
import type { Keys } from "./keys.js";
import type { Payloads } from "./payloads.js";
import { runScript, type ScriptName } from "./scripts.js";
import type { ShardedPlanStore } from "./sharded-plan-store.js";

export class RedisAttemptStore implements AttemptStore {
  constructor(
    private readonly redis: Redis,
    private readonly keys: Keys,
    private readonly sealed: Payloads,
  ) {}

  async decide(step: StartedStep, key: string, made: MadeDecision | null): Promise<Decided> {
    const { planId, stepId } = step;
    const text = made === null ? "" : this.sealed.sealDecision(planId, { step: stepId, key, ...made });
    const { verdict, value } = await this.write("decide", step, [key, text, oneField(made?.madeBy ?? "")]);
    return { verdict, choice: value === "" ? null : (this.sealed.openDecision(planId, value).choice as string) };
  }

  admit(step: StartedStep): Promise<Written> {
    return this.write("admit", step, []);
  }

  async admitted({ planId, stepId }: StartedStep): Promise<boolean> {
    return (await this.redis.hexists(this.keys.planPart(planId, "choices"), `${stepId}/:when`)) === 1;
  }

  save(step: StartedStep, cursor: string): Promise<Written> {
    return this.write("save", step, [this.sealed.sealCursor(step.planId, step.stepId, cursor)]);
  }

  async saved({ planId, stepId }: StartedStep): Promise<string | null> {
    const stored = await this.redis.hget(this.keys.planPart(planId, "saved"), stepId);
    return stored === null ? null : this.sealed.openCursor(planId, stepId, stored);
  }

  progress(step: StartedStep, fraction: number, note: string | null): Promise<Written> {
    return this.write("progress", step, [String(fraction), note ?? ""]);
  }

  private async write(
    script: ScriptName,
    step: StartedStep,
    args: readonly string[],
  ): Promise<Written & { readonly value: string }> {
    const { planId, stepId, queue, epoch, token, attempt } = step;
    const [verdict, value = ""] = (await runScript(this.redis, script, this.keys.planKeys(planId), [
      this.keys.base,
      queue,
      planId,
      stepId,
      String(epoch),
      token,
      String(attempt),
      ...args,
    ])) as [Written["verdict"], string?];
    return { verdict, value };
  }
}

/** Each step's in the shard of its plan. */
export function attemptsIn(store: ShardedPlanStore): AttemptStore {
  const stores = new Map(
    store.shards.map((shard) => [shard, new RedisAttemptStore(shard.redis, shard.keys, shard.sealed)]),
  );
  const of = (step: StartedStep) => stores.get(store.shardOf(step.planId))!;
  return {
    decide: (step, key, made) => of(step).decide(step, key, made),
    save: (step, cursor) => of(step).save(step, cursor),
    saved: (step) => of(step).saved(step),
    admit: (step) => of(step).admit(step),
    admitted: (step) => of(step).admitted(step),
    progress: (step, fraction, note) => of(step).progress(step, fraction, note),
  };
}
