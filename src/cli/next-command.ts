/** The command that brings a plan forward, on the store that this command line works on. */
import type { PlanState } from "../core/plan.js";
import { planCommand } from "../core/plan-command.js";
import type { CommandContext } from "./context.js";

/**
 * @param suggested what to do in general
 * @returns for a plan that waits for a worker on the embedded store a resume, which executes it: there need be no fleet
 */
export async function nextCommandHere(
  context: CommandContext,
  { planId, state }: { readonly planId: string; readonly state: PlanState },
  suggested: string | null,
): Promise<string | null> {
  if (state !== "queued" || suggested === null || !(await context.usesEmbeddedStore())) return suggested;
  return planCommand("resume", planId);
}
