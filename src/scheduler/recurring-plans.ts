/**
 * Submits recurring plans when they are due. Any number of schedulers may run: a due time is one plan, whose id is made of
 * the schedule's name and that time, and only when it is submitted does the schedule go on to the next. So one that is killed in between
 * loses nothing, and two that act at once submit the same.
 */
import { firstSnapshot, type OpenSandboxes } from "../client/sandboxes.js";
import { PlanExistsError } from "../core/errors.js";
import type { Schedules, StoredSchedule } from "../core/ports.js";
import { turn } from "../core/schedule.js";
import type { ShardedPlanStore } from "../store/sharded-plan-store.js";
import type { SchedulerLog } from "./auto-resume.js";
import { Rounds } from "./rounds.js";

export interface RecurringPlansOptions {
  readonly store: ShardedPlanStore;
  readonly actor: string;
  readonly log: SchedulerLog;
  /** Where this process finds and keeps snapshots of plans' files. */
  readonly sandboxes: OpenSandboxes;
  /** The mean pause between two looks. */
  readonly everyMs?: number;
}

const EVERY_MS = 1_000;

export class RecurringPlans {
  private readonly rounds: Rounds;
  /** Of each schedule, the due time that could not be submitted: said once. */
  private readonly failed = new Map<string, number>();

  constructor(private readonly options: RecurringPlansOptions) {
    this.rounds = new Rounds(options.everyMs ?? EVERY_MS, () => this.round());
  }

  start(): void {
    this.rounds.start();
  }

  /** Resolves when nothing is under way. Safe before `start()` and twice. */
  stop(): Promise<void> {
    return this.rounds.stop();
  }

  private get schedules(): Schedules {
    return this.options.store.schedules;
  }

  private async round(): Promise<void> {
    try {
      const [stored, now] = await Promise.all([this.schedules.list(), this.schedules.now()]);
      for (const first of stored) {
        // More than one due time may have come since the last look.
        for (let one: StoredSchedule | null = first; one !== null; one = await this.take(one, now)) {
          if (this.rounds.stopped) return;
        }
      }
    } catch (error) {
      this.options.log.warn({ err: error }, "recurring plans could not be looked for");
    }
  }

  /** @returns the schedule as it is afterwards, where it was this scheduler that took it further */
  private async take(stored: StoredSchedule, now: number): Promise<StoredSchedule | null> {
    const { name, dueAt } = stored.schedule;
    const { log } = this.options;
    try {
      const due = turn(stored.schedule, now);
      if (due === null) return null;
      const { planId, after } = due;
      if (planId !== null) await this.submit(stored, planId);
      if (!(await this.schedules.put(after, stored.input(), stored))) return null;
      if (planId === null) log.info({ schedule: name, due: dueAt }, "skipped what was missed");
      else log.info({ schedule: name, due: dueAt, plan: planId }, "submitted");
      return await this.schedules.find(name);
    } catch (error) {
      if (this.failed.get(name) !== dueAt) {
        log.warn({ err: error, schedule: name, due: dueAt }, "a recurring plan could not be submitted: tried again");
      }
      this.failed.set(name, dueAt);
      return null;
    }
  }

  private async submit({ schedule, input }: StoredSchedule, planId: string): Promise<void> {
    const { store, actor, sandboxes } = this.options;
    const { workdir, file, folder } = schedule;
    const compiled = await this.schedules.definition(schedule);
    try {
      await store.submit({
        planId,
        compiled,
        input: input(),
        actor,
        privateQueue: null,
        workdir,
        ...(file !== null && { file }),
        ...(compiled.definition.sandbox !== null && { sandbox: () => firstSnapshot(compiled, folder, sandboxes) }),
      });
    } catch (error) {
      // Submitted before the schedule was replaced: this due time has its plan.
      if (!(error instanceof PlanExistsError)) throw error;
    }
  }
}
