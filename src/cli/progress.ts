/** Shows a plan as it moves: a live tree on a terminal, a line for each end of a step elsewhere. */
import type { EventDocument } from "../client/documents.js";
import type { PlanUpdate } from "../client/follow-plan.js";
import { planCommand } from "../core/plan-command.js";
import { AnswerPrompt } from "./answer-prompt.js";
import type { CommandContext } from "./context.js";
import type { LiveTree } from "./render/live-tree.js";
import { printable, printableText } from "./render/printable.js";
import { StepLines } from "./render/step-lines.js";
import { answerCommand } from "./shell-words.js";

export interface ProgressOptions {
  readonly signal: AbortSignal;
  /** Events of earlier epochs are history, not progress. */
  readonly sinceEpoch: number;
  /** Ask for approvals and choices where a person sits at the terminal. */
  readonly asks: boolean;
  /** `watch` is asked for progress, so there it is the result. */
  readonly to: "stdout" | "stderr";
}

/** How many lines of a failed attempt's log are shown. */
const LOG_TAIL_LINES = 12;

/** @returns the update with which the plan stopped, or null when `signal` was aborted first */
export async function showProgress(
  context: CommandContext,
  planId: string,
  options: ProgressOptions,
): Promise<PlanUpdate | null> {
  const { client, io } = context;
  const view = await openView(context, planId, options.to);
  const prompt = options.asks && io.stdin.isTTY && io.stderr.isTTY ? new AnswerPrompt(context, planId, view) : null;
  try {
    for await (const update of client.watch(planId, { signal: options.signal })) {
      const fresh = update.events.filter((event) => event.epoch >= options.sinceEpoch);
      view.update({ ...update, events: fresh });
      for (const event of fresh) {
        if (event.type === "step.failed" && event.final) await showLogTail(context, view, event);
        if (event.type === "step.waiting" && event.wait !== "timer" && prompt === null)
          await showQuestion(context, view, event);
      }
      prompt?.update(update, fresh);
      if (update.stopped) return update;
    }
    return null;
  } finally {
    prompt?.close();
    context.terminal.talkAbove(null);
    view.close();
  }
}

/** What a live tree and plain lines have in common. */
export interface ProgressView {
  update(update: PlanUpdate): void;
  /** A lasting line. */
  print(text: string): void;
  suspend(): void;
  resume(): void;
  close(): void;
}

async function openView(context: CommandContext, planId: string, to: "stdout" | "stderr"): Promise<ProgressView> {
  const { io, terminal, client } = context;
  const sink = to === "stdout" && terminal.human ? io.stdout : io.stderr;
  const colors = sink === io.stdout ? terminal.colors : terminal.talkColors;
  if (sink.isTTY && io.env.TERM !== "dumb") {
    const { LiveTree: Tree } = await import("./render/live-tree.js");
    const tree: LiveTree = new Tree(sink, colors, await client.get(planId), Date.now());
    if (io.stderr.isTTY) terminal.talkAbove((text) => tree.print(text));
    return tree;
  }
  const lines = new StepLines(colors);
  const print = (text: string) => void sink.write(`${text}\n`);
  return {
    update({ events }) {
      for (const event of events) {
        const line = lines.line(event);
        if (line !== null) print(line);
      }
    },
    print,
    suspend() {},
    resume() {},
    close() {},
  };
}

async function showLogTail(
  { client, terminal }: CommandContext,
  view: ProgressView,
  event: Extract<EventDocument, { type: "step.failed" }>,
): Promise<void> {
  const chunks = await client.logs(event.planId, event.step);
  const written = chunks.find((chunk) => chunk.attempt === event.attempt)?.text ?? "";
  const lines = printableText(written).trimEnd().split("\n");
  if (lines.length === 1 && lines[0] === "") return;
  const c = terminal.talkColors;
  const left = lines.length - LOG_TAIL_LINES;
  const tail = lines.slice(-LOG_TAIL_LINES).map((line) => `  ${c.dim("│")} ${line}`);
  if (left > 0) tail.unshift(c.dim(`  │ … ${left} more: ${planCommand("logs", event.planId, event.step)}`));
  view.print(tail.join("\n"));
}

async function showQuestion(
  { client }: CommandContext,
  view: ProgressView,
  event: Extract<EventDocument, { type: "step.waiting" }>,
): Promise<void> {
  const { steps } = await client.get(event.planId);
  const step = steps.find((known) => known.id === event.step);
  // It may have been answered already.
  if (step?.state !== "waiting") return;
  if (step.ask !== null) {
    const options = event.wait === "choice" ? ` (${step.ask.options.map(printable).join(", ")})` : "";
    view.print(`  ${printable(step.ask.question)}${options}`);
  }
  view.print(`  Answer with: ${answerCommand(event.planId, event.step, event.wait)}`);
}
