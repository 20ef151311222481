/** What happened to a step, in one line for a log: `✔ build 1.2s`. */
import type { EventDocument } from "../../client/documents.js";
import { formatDurationMs } from "../../core/duration.js";
import { WAIT_WORDS } from "../../core/plan.js";
import { localTime, stepMark } from "./marks.js";
import { printable } from "./printable.js";
import type { Colors } from "./terminal.js";

/** Remembers when steps started, so that their ends can say how long they took. */
export class StepLines {
  private readonly startedAt = new Map<string, number>();

  constructor(private readonly c: Colors) {}

  /** Null for events that need no line. */
  line(event: EventDocument): string | null {
    const { c } = this;
    switch (event.type) {
      case "step.started":
        this.startedAt.set(event.step, Date.parse(event.at));
        return null;
      case "step.completed": {
        const by = event.actor === null ? "" : c.dim(` by ${printable(event.actor)}`);
        return `${stepMark("completed", c)} ${printable(event.step)}${this.took(event.step, event.at)}${by}`;
      }
      case "step.skipped":
        return `${stepMark("skipped", c)} ${printable(event.step)} ${c.dim("skipped")}`;
      case "step.continued":
        return `${stepMark("continued", c)} ${printable(event.step)} ${c.dim("has failed, and the plan goes on")}`;
      case "step.failed": {
        const head = `${printable(event.step)}${this.took(event.step, event.at)}  ${printable(event.error.message)}`;
        if (event.final) return `${stepMark("failed", c)} ${head}`;
        const again = `attempt ${event.attempt + 1} in ${formatDurationMs(event.retryInMs ?? 0)}`;
        return `${stepMark("delayed", c)} ${head} ${c.dim(`(${again})`)}`;
      }
      case "step.waiting":
        return `${stepMark("waiting", c)} ${printable(event.step)} ${waitsFor(event)}`;
      case "step.crashed":
        return `${stepMark("lost", c)} ${printable(event.step)} was lost with worker ${printable(event.workerId)}`;
      case "step.released":
        return `${stepMark("queued", c)} ${printable(event.step)} was handed back (${printable(event.reason)})`;
      case "plan.resumed":
        return `${c.cyan("↻")} resumed by ${printable(event.actor)} (epoch ${event.epoch})`;
      case "plan.pause_requested":
        return `${c.yellow("◷")} pause asked for by ${printable(event.actor)}${because(event.reason)}`;
      case "plan.cancelled":
        return `${c.red("✖")} cancelled by ${printable(event.actor)}${because(event.reason)}`;
      default:
        return null;
    }
  }

  private took(step: string, at: string): string {
    const startedAt = this.startedAt.get(step);
    return startedAt === undefined ? "" : ` ${this.c.dim(formatDurationMs(Math.max(0, Date.parse(at) - startedAt)))}`;
  }
}

function waitsFor(event: Extract<EventDocument, { type: "step.waiting" }>): string {
  if (event.wait !== "timer") return `waits for ${WAIT_WORDS[event.wait]}`;
  return event.dueAt === null ? "waits" : `waits until ${localTime(new Date(event.dueAt).toISOString())}`;
}

function because(reason: string | null): string {
  return reason === null ? "" : `: ${printable(reason)}`;
}
