/** The plans that this process has directories of, which go when the plan has ended: nobody goes on from there. */
import type { Sandboxes } from "../sandbox/sandboxes.js";

export interface PlanFoldersOptions {
  readonly open: () => Promise<Sandboxes>;
  /** Which of these plans are completed, cancelled or gone. */
  readonly ended: (planIds: readonly string[]) => Promise<readonly string[]>;
}

export class PlanFolders {
  private readonly plans = new Set<string>();

  constructor(private readonly options: PlanFoldersOptions) {}

  /** For a step of this plan. */
  async open(planId: string): Promise<Sandboxes> {
    this.plans.add(planId);
    return this.options.open();
  }

  async tidy(): Promise<void> {
    if (this.plans.size === 0) return;
    const { workspaces } = await this.options.open();
    for (const planId of await this.options.ended([...this.plans])) {
      await workspaces.removePlan(planId);
      this.plans.delete(planId);
    }
  }
}
