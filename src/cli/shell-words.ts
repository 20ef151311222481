/** Commands that are printed so that they can be pasted. */
import type { WaitKind } from "../core/plan.js";

/** `plan …` with each word quoted for a POSIX shell where that is needed. */
export function planCommand(...words: readonly string[]): string {
  return ["plan", ...words.map(shellWord)].join(" ");
}

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

function shellWord(word: string): string {
  return /^[A-Za-z0-9@%+=:,./_-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}
