/** What schedulers do in the store: find plans that may be interrupted, and agree on who resumes which. */
import type { Redis } from "ioredis";
import type { Keys } from "./keys.js";
import { runScript } from "./scripts.js";

/** Auto-resumes of a plan without a completed step in between. */
export const AUTO_RESUME_BUDGET = 10;
const MOST_AT_ONCE = 100;
const CLAIM_MS = 5_000;
const PAGE = 200;

export type Claim = "OK" | "LATER" | "SPENT" | "STALE";

export class InterruptedPlans {
  private cursor = 0;

  constructor(
    private readonly redis: Redis,
    private readonly keys: Keys,
  ) {}

  /** Candidates of the next page of open plans, oldest first; after the last page it begins anew. */
  async nextPage(): Promise<string[]> {
    const { redis, keys } = this;
    const plans = await redis.zrange(keys.openPlans, String(this.cursor), String(this.cursor + PAGE - 1));
    this.cursor = plans.length === PAGE ? this.cursor + PAGE : 0;
    const pipeline = redis.pipeline();
    for (const plan of plans) pipeline.hmget(keys.plan(plan), "state", "queue");
    const replies = (await pipeline.exec())!;
    return plans.filter((_, i) => {
      const [error, reply] = replies[i]!;
      // What can't be read must not hide the others of its page: whoever looks closer says what is wrong with it.
      if (error) return true;
      const [state, privateQueue] = reply as (string | null)[];
      // Nobody alive may have been there to write that the only process of a private plan is gone.
      return state === "interrupted" || (privateQueue !== "" && /^(running|queued|waiting)$/.test(state ?? ""));
    });
  }

  async claim(planId: string, epoch: number, budget = AUTO_RESUME_BUDGET): Promise<Claim> {
    const { keys } = this;
    const answer = await runScript(
      this.redis,
      "claim",
      [keys.plan(planId), keys.planPart(planId, "steps"), keys.claims],
      [
        planId,
        String(epoch),
        String(budget),
        String(MOST_AT_ONCE),
        String(CLAIM_MS),
        String(Math.floor(Math.random() * 1_000)),
      ],
    );
    return answer as Claim;
  }
}
