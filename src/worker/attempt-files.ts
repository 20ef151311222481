/** A plan's files in one attempt: made ready before the step's function runs, and kept as a snapshot after it. */
import type { CompiledDefinition, CompiledStep } from "../core/definition.js";
import type { SandboxDeclaration, SandboxSnapshot } from "../core/sandbox.js";
import type { Sandboxes } from "../sandbox/sandboxes.js";
import type { Workspace } from "../sandbox/workspaces.js";
import { decodeSnapshot } from "../store/codec.js";
import type { Attempt } from "./attempt.js";

export class AttemptFiles {
  private constructor(
    private readonly attempt: Attempt,
    private readonly before: SandboxSnapshot,
    private readonly mode: "read" | "write",
    private readonly rules: SandboxDeclaration,
    private readonly sandboxes: Sandboxes,
    private readonly workspace: Workspace,
  ) {}

  /** The files as the checkpoint before the step left them. `prepare` runs the plan's command in a directory that is new. */
  static async open(
    attempt: Attempt,
    declared: CompiledStep,
    { definition }: CompiledDefinition,
    sandboxes: Sandboxes,
    prepare: (path: string, command: string) => Promise<void>,
  ): Promise<AttemptFiles> {
    const { planId, epoch, fence } = attempt.step;
    const mode = declared.sandbox === "write" ? "write" : "read";
    const rules = definition.sandbox!;
    const snapshot = decodeSnapshot(planId, attempt.step.sandbox!);
    const request = { planId, epoch, fence, snapshot, mode, rules, signal: attempt.signal } as const;
    sandboxes.begin();
    const workspace = await sandboxes.workspaces.acquire(request);
    const files = new AttemptFiles(attempt, snapshot, mode, rules, sandboxes, workspace);
    try {
      if (workspace.fresh && rules.prepare !== null) await prepare(workspace.path, rules.prepare.run);
      workspace.prepared();
    } catch (error) {
      files.close();
      throw error;
    }
    attempt.sandbox = { path: workspace.path, fresh: workspace.fresh };
    return files;
  }

  /**
   * What the step made of them, durable, so that the commit may name it. Undefined where they are as before, and of a step
   * that only reads: whatever it did to them is not kept.
   */
  async snapshot(): Promise<SandboxSnapshot | undefined> {
    if (this.mode === "read") return undefined;
    const taken = await this.sandboxes
      .keeper(this.rules.provider)
      .snapshot(this.workspace.path, this.rules, this.attempt.signal);
    this.workspace.keep(taken);
    return taken.digest === this.before.digest ? undefined : taken;
  }

  /** Must run after the function has ended: whatever it still wrote would meet the next step. */
  close(): void {
    if (this.attempt.aborted === "lost") this.workspace.abandon();
    else this.workspace.discard();
  }
}
