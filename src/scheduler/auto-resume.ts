/**
 * Resumes interrupted plans without a person, where their definition lets it. Any number of schedulers may run and none
 * is needed: each plan is claimed by one, and its resume carries a request id made of plan and epoch, so that even two
 * that act at once are one.
 */
import { type ResumeOptions, type ResumeOutcome, resumePlan } from "../client/resume.js";
import type { OpenSandboxes } from "../client/sandboxes.js";
import type { ResumePolicy } from "../core/definition.js";
import { NotEligibleError } from "../core/errors.js";
import type { PlanMeta } from "../core/plan.js";
import { InterruptedPlans } from "../store/interrupted-plans.js";
import type { ShardedPlanStore } from "../store/sharded-plan-store.js";
import { Rounds } from "./rounds.js";

export interface AutoResumeOptions {
  readonly store: ShardedPlanStore;
  readonly actor: string;
  readonly log: SchedulerLog;
  /** Where this process finds snapshots of plans' files. */
  readonly sandboxes: OpenSandboxes;
  /** The mean pause between two pages of plans. */
  readonly everyMs?: number;
}

export interface SchedulerLog {
  info(facts: object, message: string): void;
  warn(facts: object, message: string): void;
}

const EVERY_MS = 1_000;

export class AutoResume {
  /** Of each shard. */
  private readonly plans: readonly InterruptedPlans[];
  private readonly spent = new Set<string>();
  private readonly rounds: Rounds;

  constructor(private readonly options: AutoResumeOptions) {
    this.plans = options.store.shards.map(({ redis, keys }) => new InterruptedPlans(redis, keys));
    this.rounds = new Rounds(options.everyMs ?? EVERY_MS, () => this.nextPage());
  }

  start(): void {
    this.rounds.start();
  }

  /** Resolves when nothing is under way. Safe before `start()` and twice. */
  stop(): Promise<void> {
    return this.rounds.stop();
  }

  private async nextPage(): Promise<void> {
    try {
      for (const plans of this.plans) {
        for (const planId of await plans.nextPage()) {
          if (this.rounds.stopped) return;
          await this.look(planId, plans);
        }
      }
    } catch (error) {
      this.options.log.warn({ err: error }, "interrupted plans could not be looked for");
    }
  }

  private async look(planId: string, plans: InterruptedPlans): Promise<void> {
    const { store, log } = this.options;
    try {
      const { summary } = await this.resume(planId, { dryRun: true });
      // Without a worker that can take a step, a resume would only use up the budget.
      if (!summary.eligible || summary.state !== "interrupted" || summary.workers === 0) return;
      const { meta } = await store.view(planId);
      if (policyOf(meta, (await store.definition(meta.definitionDigest, planId)).definition.resume) !== "auto") return;
      const claim = await plans.claim(planId, summary.epoch);
      if (claim === "SPENT") this.saySpent(planId);
      if (claim !== "OK") return;
      const requestId = `auto/${summary.epoch}`;
      const { summary: done } = await this.resume(planId, { requestId, reason: summary.why });
      log.info({ plan: planId, epoch: done.nextEpoch, why: summary.why }, "resumed");
    } catch (error) {
      // Another was faster, or something happened to the plan since it was looked at.
      if (error instanceof NotEligibleError) return;
      log.warn({ err: error, plan: planId }, "a plan could not be resumed");
    }
  }

  private resume(planId: string, options: ResumeOptions): Promise<ResumeOutcome> {
    const { store, actor, sandboxes } = this.options;
    return resumePlan(store, planId, { ...options, actor }, null, sandboxes);
  }

  private saySpent(planId: string): void {
    if (this.spent.has(planId)) return;
    this.spent.add(planId);
    this.options.log.warn({ plan: planId }, "resumed too often without a completed step: it waits for a person");
  }
}

/** A plan that a person runs in a process of their own is theirs to resume, unless its definition says otherwise. */
function policyOf(meta: PlanMeta, declared: ResumePolicy | undefined): ResumePolicy {
  return declared ?? (meta.privateQueue === null ? "auto" : "manual");
}
