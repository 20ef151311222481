/** One event of a plan's history as one line. */
import type { EventDocument } from "../../client/documents.js";
import { formatDurationMs } from "../../core/duration.js";
import { WAIT_WORDS } from "../../core/plan.js";
import { localTime } from "./marks.js";
import { printable } from "./printable.js";
import type { Colors } from "./terminal.js";

export function renderEvent(event: EventDocument, c: Colors, withPlan: boolean): string {
  const parts = [c.dim(localTime(event.at)), withPlan ? printable(event.planId) : String(event.seq).padStart(4)];
  return [...parts, event.type.padEnd(17), describeEvent(event)].join("  ").trimEnd();
}

function describeEvent(event: EventDocument): string {
  switch (event.type) {
    case "plan.submitted":
      return `by ${printable(event.actor)}`;
    case "plan.forked": {
      const from = event.from === null ? "" : ` at ${printable(event.from)}`;
      return `from ${printable(event.source)} (epoch ${event.sourceEpoch})${from} by ${printable(event.actor)}${event.newInput ? ", with a new input" : ""}`;
    }
    case "step.started":
      return `${printable(event.step)}  attempt ${event.attempt} on ${printable(event.workerId)}`;
    case "step.completed":
      return `${printable(event.step)}  ${printable(event.checkpointId)}${by(event.actor)}`;
    case "step.skipped":
    case "step.continued":
      return `${printable(event.step)}  ${printable(event.checkpointId)}`;
    case "step.admitted":
      return `${printable(event.step)}  its condition holds`;
    case "step.failed": {
      const next = event.final ? "for good" : `again in ${formatDurationMs(event.retryInMs ?? 0)}`;
      return `${printable(event.step)}  attempt ${event.attempt} ${next}: ${printable(event.error.message)}`;
    }
    case "step.released":
      return `${printable(event.step)}  attempt ${event.attempt} handed back: ${printable(event.reason)}`;
    case "step.crashed":
      return `${printable(event.step)}  attempt ${event.attempt} lost with worker ${printable(event.workerId)}`;
    case "step.waiting": {
      const due = event.dueAt === null ? "" : ` until ${localTime(new Date(event.dueAt).toISOString())}`;
      return `${printable(event.step)}  for ${WAIT_WORDS[event.wait]}${due}`;
    }
    case "decision.recorded":
      return `${printable(event.step)}  ${printable(event.decisionId)}${by(event.actor)}`;
    case "plan.grown":
      return `${printable(event.step)} appended ${event.appended.map(printable).join(", ")}`;
    case "plan.pause_requested":
    case "plan.cancelled":
      return `by ${printable(event.actor)}${because(event.reason)}`;
    case "plan.resumed": {
      const from = event.from === null ? "" : ` from ${printable(event.from)}`;
      const again = event.superseded === 0 ? "" : `, ${event.superseded} superseded`;
      return `epoch ${event.epoch}${from} by ${printable(event.actor)}${because(event.reason)}${again}`;
    }
    case "sandbox.kept":
      return event.sandbox ?? "";
    case "plan.redefined":
      return `v${event.version}  ${event.definitionDigest.slice(0, 12)}`;
    case "steps.superseded":
      return event.steps.map(printable).join(", ");
    case "plan.paused":
    case "plan.failed":
    case "plan.interrupted":
    case "plan.waiting":
    case "plan.completed":
      return "";
    default:
      return event satisfies never;
  }
}

function by(actor: string | null): string {
  return actor === null ? "" : ` by ${printable(actor)}`;
}

function because(reason: string | null): string {
  return reason === null ? "" : `: ${printable(reason)}`;
}
