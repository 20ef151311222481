/**
 * What a resume finds of a plan's files on this machine: whether the snapshot that it goes back to is whole, and what an
 * attempt has left in a directory here that is no checkpoint's. Reads only, until it keeps what would be lost.
 */

import type { ResumeDecision } from "../core/eligibility.js";
import {
  SandboxCorruptError,
  SandboxMissingError,
  SandboxUnsupportedError,
  type WaymarkError,
} from "../core/errors.js";
import type { PlanStore, Preview } from "../core/ports.js";
import type { SandboxDeclaration, SandboxSnapshot } from "../core/sandbox.js";
import { type SandboxFacts, snapshotOf } from "../core/sandbox-facts.js";
import type { OpenSandboxes } from "./sandboxes.js";

export class FilesHere {
  constructor(
    private readonly store: PlanStore,
    private readonly open: OpenSandboxes,
    /** Where another process restores the files, and nothing was ever kept here, there is nothing to look at. */
    private readonly executesHere: boolean,
  ) {}

  /** Null where the plan has no files, or nothing can be said of them from here. */
  async find(read: Preview, { actions }: ResumeDecision): Promise<SandboxFacts | null> {
    const goal = snapshotOf(read, actions);
    return goal === null ? null : this.look(goal, read, true);
  }

  /** Whether a snapshot that another plan is to start from is whole; what was left of it here stays. */
  async check(goal: SandboxSnapshot, read: Preview): Promise<SandboxFacts | null> {
    return this.look(goal, read, false);
  }

  private async look(goal: SandboxSnapshot, read: Preview, compares: boolean): Promise<SandboxFacts | null> {
    const { planId } = read.view.meta;
    const sandboxes = await this.open();
    if (!this.executesHere && !sandboxes.keeps(goal.provider)) return null;
    const provider = sandboxes.provider(goal.provider);
    const left = compares ? sandboxes.workspaces.leftBehind(planId) : null;
    try {
      await provider.verify(goal);
      if (left === null) return { fault: null, left: null };
      return { fault: null, left: await provider.compare(goal, left.path, await this.declaration(read)) };
    } catch (error) {
      if (error instanceof SandboxMissingError || error instanceof SandboxCorruptError) {
        return faulty(error, "an earlier checkpoint may have its files", `plan checkpoints ${planId}`);
      }
      if (error instanceof SandboxUnsupportedError && left !== null) {
        return faulty(
          error,
          `what an attempt has left can't be kept; remove it from ${left.path} first`,
          `plan resume ${planId}`,
        );
      }
      throw error;
    }
  }

  /** Makes what is discarded a snapshot first; null where it is gone meanwhile. */
  async keep(read: Preview): Promise<SandboxSnapshot | null> {
    const sandboxes = await this.open();
    const rules = await this.declaration(read);
    const left = sandboxes.workspaces.leftBehind(read.view.meta.planId);
    return left === null ? null : sandboxes.keeper(rules.provider).snapshot(left.path, rules);
  }

  private async declaration({ view, compiled }: Preview): Promise<SandboxDeclaration> {
    const { definition } = compiled ?? (await this.store.definition(view.meta.definitionDigest, view.meta.planId));
    return definition.sandbox!;
  }
}

function faulty(error: WaymarkError, consequence: string, next: string): SandboxFacts {
  const { code, message, details } = error;
  return { fault: { code, message: `${message}: ${consequence}`, details, try: next }, left: null };
}
