/** How a command that waited for a plan ends: a last line or document, and the exit code. */
import type { PlanDocument } from "../client/documents.js";
import { formatDurationMs } from "../core/duration.js";
import type { ErrorDocument } from "../core/errors.js";
import type { CommandContext } from "./context.js";
import { untilStopped } from "./interrupt.js";
import { showProgress } from "./progress.js";
import { planMark } from "./render/marks.js";
import { printable } from "./render/printable.js";

/** How the document of an ending is made and where it goes. */
export interface EndDocument {
  /** Puts the plan into the command's document. */
  document?(plan: object): object;
  emit?(document: object): void;
}

/** Follows a plan that others execute, then reports its end. */
export async function waitForEnd(context: CommandContext, planId: string, end: EndDocument = {}): Promise<number> {
  const { epoch } = await context.client.summary(planId);
  const code = await untilStopped(context.io, async (signal) => {
    await showProgress(context, planId, { signal, sinceEpoch: epoch, asks: false, to: "stderr" });
  });
  return code !== 0 ? code : reportEnd(context, planId, end);
}

/** Prints how a plan stands at the end. @returns 0 when it is completed, else 1 */
export async function reportEnd(context: CommandContext, planId: string, end: EndDocument = {}): Promise<number> {
  const { client, terminal } = context;
  const plan = await client.get(planId);
  const error = plan.state === "failed" ? (await client.failure(planId)).toDocument() : null;
  if (terminal.human) {
    terminal.line(lastLine(plan, terminal.colors));
    if (error !== null) terminal.error(error);
    else if (plan.state !== "completed" && plan.try !== null) terminal.talk(`Try: ${printable(plan.try)}`);
  } else {
    const output = plan.state === "completed" ? await client.result(planId) : null;
    printEnd(context, withError({ ...plan, output }, error), end);
  }
  return plan.state === "completed" ? 0 : 1;
}

/** The document of an ending, wherever it belongs. */
export function printEnd({ terminal }: CommandContext, plan: object, end: EndDocument): void {
  const document = end.document?.(plan) ?? plan;
  if (end.emit) end.emit(document);
  else terminal.document(document);
}

function withError(document: object, error: ErrorDocument | null): object {
  return error === null ? document : { ...document, error };
}

function lastLine(plan: PlanDocument, c: Parameters<typeof planMark>[1]): string {
  const steps =
    plan.done === plan.total
      ? `${plan.total} ${plan.total === 1 ? "step" : "steps"}`
      : `${plan.done} of ${plan.total} steps done`;
  const took = formatDurationMs(
    Math.max(0, Date.parse(plan.finishedAt ?? plan.updatedAt) - Date.parse(plan.createdAt)),
  );
  const when = plan.resumeCount === 0 ? `in ${took}` : `${took} after it was submitted`;
  return `${planMark(plan.state, c)} Plan ${printable(plan.planId)} ${STATE_PHRASES[plan.state]}: ${steps}, ${when}.`;
}

const STATE_PHRASES = {
  completed: "is completed",
  cancelled: "is cancelled",
  failed: "has failed",
  paused: "is paused",
  interrupted: "is interrupted",
  running: "is running",
  waiting: "waits",
  queued: "is queued",
} as const;
