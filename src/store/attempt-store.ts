/** What an attempt writes before it ends. Each write is refused once the step is another's, as its result would be. */
import type { Redis } from "ioredis";
import type { AttemptStore, StartedStep, Written } from "../core/ports.js";
import { oneField } from "./codec.js";
import type { Keys } from "./keys.js";
import { runScript, type ScriptName } from "./scripts.js";

export class RedisAttemptStore implements AttemptStore {
  constructor(
    private readonly redis: Redis,
    private readonly keys: Keys,
  ) {}

  decide(step: StartedStep, key: string, made: { decision: string; by: string } | null): Promise<Written> {
    return this.write("decide", step, [key, made?.decision ?? "", oneField(made?.by ?? "")]);
  }

  save(step: StartedStep, cursor: string): Promise<Written> {
    return this.write("save", step, [cursor]);
  }

  saved(step: StartedStep): Promise<string | null> {
    return this.redis.hget(this.keys.planPart(step.planId, "saved"), step.stepId);
  }

  private async write(script: ScriptName, step: StartedStep, args: readonly string[]): Promise<Written> {
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
