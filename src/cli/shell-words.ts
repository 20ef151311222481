/** Commands that answer, as people are told them. */
import type { WaitKind } from "../core/plan.js";
import { planCommand } from "../core/plan-command.js";

/** The command that answers, with a word in capitals for what only a person knows. */
export function answerCommand(planId: string, step: string, wait: WaitKind): string {
  switch (wait) {
    case "approval":
      return planCommand("approve", planId, step);
    case "choice":
      return planCommand("decide", planId, step, "CHOICE");
    case "signal":
      return planCommand("signal", planId, step, "--data", "JSON");
    case "timer":
      return planCommand("watch", planId);
    default:
      return wait satisfies never;
  }
}
