/** Asks the person at the terminal what a plan waits for, one question at a time, until it is answered by anybody. */
import { createInterface, type Interface } from "node:readline";
import type { EventDocument } from "../client/documents.js";
import type { PlanUpdate } from "../client/follow-plan.js";
import { asStoreUnavailable, isStoreOutage } from "../client/store-outage.js";
import type { CommandContext } from "./context.js";
import type { ProgressView } from "./progress.js";
import { printable } from "./render/printable.js";
import { errorDocument } from "./render/terminal.js";
import { planCommand } from "./shell-words.js";

export class ApprovalPrompt {
  private readonly waiting: string[] = [];
  private asking: { readonly step: string; readonly lines: Interface } | null = null;
  private closed = false;

  constructor(
    private readonly context: CommandContext,
    private readonly planId: string,
    private readonly view: ProgressView,
  ) {}

  update(update: PlanUpdate, events: readonly EventDocument[]): void {
    for (const event of events) {
      if (event.type === "step.waiting" && event.wait === "approval") this.waiting.push(event.step);
      else if (event.type === "step.waiting" && event.wait === "signal") this.tellSignal(event.step);
      else if (event.type === "step.completed") this.drop(event.step);
    }
    if (update.stopped) this.close();
    else this.askNext();
  }

  close(): void {
    this.closed = true;
    this.asking?.lines.close();
  }

  private tellSignal(step: string): void {
    this.view.print(`  Answer with: ${planCommand("signal", this.planId, step, "--data", "JSON")}`);
  }

  private drop(step: string): void {
    const place = this.waiting.indexOf(step);
    if (place >= 0) this.waiting.splice(place, 1);
    if (this.asking?.step === step) this.asking.lines.close();
  }

  private askNext(): void {
    const step = this.waiting[0];
    if (step === undefined || this.asking !== null || this.closed) return;
    const { io } = this.context;
    this.view.suspend();
    const lines = createInterface({ input: io.stdin });
    this.asking = { step, lines };
    void this.question(step);
    lines.on("line", (line) => void this.answer(step, line.trim().toLowerCase()));
    lines.on("close", () => {
      this.asking = null;
      io.stdin.pause();
      // The end of stdin is no answer; somebody else may give one.
      if (!this.closed && this.waiting[0] === step) {
        this.waiting.shift();
        this.view.print(`  Answer with: ${planCommand("approve", this.planId, step)}`);
      }
      if (!this.closed) this.view.resume();
      this.askNext();
    });
  }

  private async question(step: string): Promise<void> {
    const asked = await this.context.client.get(this.planId).then(
      ({ steps }) => steps.find((known) => known.id === step)?.ask?.question,
      // The step can be answered without its question; an outage shows when that is tried.
      () => undefined,
    );
    if (this.asking?.step === step) this.write(`${printable(step)}: ${printable(asked ?? "Go on?")} [approve/reject] `);
  }

  private async answer(step: string, line: string): Promise<void> {
    const reject = ["r", "reject", "n", "no"].includes(line);
    if (!reject && !["a", "approve", "y", "yes"].includes(line)) {
      this.write("Type approve or reject: ");
      return;
    }
    try {
      await this.context.client.approve(this.planId, step, { reject });
    } catch (error) {
      this.write(`${printable(errorDocument(asStoreUnavailable(error)).message)}\n`);
      // The answer has not arrived. Any other refusal means that the step is over: the next update says so.
      if (isStoreOutage(error)) {
        this.write("Type approve or reject: ");
        return;
      }
    }
    this.drop(step);
  }

  private write(text: string): void {
    this.context.io.stderr.write(text);
  }
}
