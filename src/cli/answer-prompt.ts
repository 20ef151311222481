/** Asks the person at the terminal what a plan waits for, one question at a time, until it is answered by anybody. */
import { createInterface, type Interface } from "node:readline";
import type { EventDocument } from "../client/documents.js";
import type { PlanUpdate } from "../client/follow-plan.js";
import { asStoreError, isStoreOutage } from "../client/store-outage.js";
import { InvalidChoiceError } from "../core/errors.js";
import type { WaitKind } from "../core/plan.js";
import type { CommandContext } from "./context.js";
import type { ProgressView } from "./progress.js";
import { printable } from "./render/printable.js";
import { errorDocument } from "./render/terminal.js";
import { answerCommand } from "./shell-words.js";

interface Asked {
  readonly step: string;
  readonly wait: "approval" | "choice";
}

export class AnswerPrompt {
  private readonly waiting: Asked[] = [];
  private asking: { readonly step: string; readonly lines: Interface } | null = null;
  private closed = false;

  constructor(
    private readonly context: CommandContext,
    private readonly planId: string,
    private readonly view: ProgressView,
  ) {}

  update(update: PlanUpdate, events: readonly EventDocument[]): void {
    for (const event of events) {
      if (event.type === "step.waiting") this.noteWaiting(event.step, event.wait);
      else if (event.type === "step.completed") this.drop(event.step);
    }
    if (update.stopped) this.close();
    else this.askNext();
  }

  close(): void {
    this.closed = true;
    this.asking?.lines.close();
  }

  private noteWaiting(step: string, wait: WaitKind): void {
    if (wait === "approval" || wait === "choice") this.waiting.push({ step, wait });
    else if (wait === "signal") this.tellCommand(step, wait);
  }

  private tellCommand(step: string, wait: WaitKind): void {
    this.view.print(`  Answer with: ${answerCommand(this.planId, step, wait)}`);
  }

  private drop(step: string): void {
    const place = this.waiting.findIndex((asked) => asked.step === step);
    if (place >= 0) this.waiting.splice(place, 1);
    if (this.asking?.step === step) this.asking.lines.close();
  }

  private askNext(): void {
    const asked = this.waiting[0];
    if (asked === undefined || this.asking !== null || this.closed) return;
    const { io } = this.context;
    const { step } = asked;
    this.view.suspend();
    const lines = createInterface({ input: io.stdin });
    this.asking = { step, lines };
    void this.question(asked);
    lines.on("line", (line) => void this.answer(asked, line.trim()));
    lines.on("close", () => {
      this.asking = null;
      io.stdin.pause();
      // The end of stdin is no answer; somebody else may give one.
      if (!this.closed && this.waiting[0] === asked) {
        this.waiting.shift();
        this.tellCommand(step, asked.wait);
      }
      if (!this.closed) this.view.resume();
      this.askNext();
    });
  }

  private async question({ step, wait }: Asked): Promise<void> {
    const ask = await this.context.client.get(this.planId).then(
      ({ steps }) => steps.find((known) => known.id === step)?.ask,
      // The step can be answered without its question; an outage shows when that is tried.
      () => undefined,
    );
    if (this.asking?.step !== step) return;
    const options = wait === "approval" ? ["approve", "reject"] : (ask?.options ?? []);
    this.write(`${printable(step)}: ${printable(ask?.question ?? "Go on?")} [${options.map(printable).join("/")}] `);
  }

  private async answer({ step, wait }: Asked, line: string): Promise<void> {
    const choice = wait === "approval" ? approvalIn(line) : line;
    if (choice === null) {
      this.write("Type approve or reject: ");
      return;
    }
    try {
      await this.context.client.decide(this.planId, step, choice);
    } catch (error) {
      this.write(`${printable(errorDocument(asStoreError(error)).message)}\n`);
      // The answer has not arrived. Any other refusal means that the step is over: the next update says so.
      if (isStoreOutage(error) || error instanceof InvalidChoiceError) {
        this.write(wait === "approval" ? "Type approve or reject: " : "Type one of the options: ");
        return;
      }
    }
    this.drop(step);
  }

  private write(text: string): void {
    this.context.io.stderr.write(text);
  }
}

/** What people type for it, or null. */
function approvalIn(line: string): "approve" | "reject" | null {
  const word = line.toLowerCase();
  if (["a", "approve", "y", "yes"].includes(word)) return "approve";
  return ["r", "reject", "n", "no"].includes(word) ? "reject" : null;
}
