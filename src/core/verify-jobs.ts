/** Whether each open step has exactly the job that it needs, and whether somebody is there who holds what is held. */
import { isTerminal, type OpenStep } from "./plan.js";
import { claimInto, type Evidence, type Violation } from "./verify.js";

/** Where a job is: the last one holds those that a worker has. */
export type JobPlace = "wait" | "delayed" | "active";

export interface FoundJob {
  readonly queue: string;
  /** Plan, step and epoch. */
  readonly id: string;
  readonly place: JobPlace;
  readonly exists: boolean;
  /** Whether its lock belongs to a worker that is registered and knows of it. */
  readonly isOwned: boolean;
}

export interface JobEvidence {
  /** Jobs of the plan in the queues that its steps may be in. */
  readonly found: readonly FoundJob[];
  /** Queues that are too long to be looked through. */
  readonly unseen: ReadonlySet<string>;
  /** Jobs of the plan, or locks of them, that exist, whatever list has them. */
  readonly existing: readonly { readonly queue: string; readonly id: string }[];
  /** Workers that hold a running step, and are registered. */
  readonly registered: ReadonlySet<string>;
}

export function verifyJobs({ view, jobs }: Evidence): Violation[] {
  const { planId, epoch, storedState } = view.meta;
  const violations: Violation[] = [];
  const claim = claimInto(violations);
  const expected = new Map(view.open.map((step) => [`${planId}/${step.stepId}/${epoch}`, step]));
  const isIdle = storedState === "paused" || isTerminal(storedState);
  const seen = new Map<string, JobPlace[]>();
  for (const { queue, id, place, exists, isOwned } of jobs.found) {
    const isStale = isIdle || !expected.has(id) || expected.get(id)!.kind === "held";
    // Stale jobs may wait until somebody meets them, and an owner that has been told to stop drops its own with its next
    // call; but nobody else may hold one, and no timer may be set for one.
    if (isStale && (place === "wait" || (place === "active" && isOwned))) continue;
    seen.set(id, [...(seen.get(id) ?? []), place]);
    claim("I10", exists, `the job ${id} is in ${queue} ${place}, and doesn't exist`);
  }
  for (const [id, step] of expected) {
    const found = seen.get(id) ?? [];
    seen.delete(id);
    if (jobs.unseen.has(step.queue)) continue;
    const places = found.join(" and ") || "nowhere";
    const due = isIdle ? "nowhere" : placeOf(step);
    // A job whose time has come may have been promoted.
    const isPromoted = due === "delayed" && places === "wait";
    claim(
      "I10",
      places === due || isPromoted,
      `${step.stepId} is ${step.kind}, so its job belongs ${due === "nowhere" ? due : `in ${due}`}; it is ${places === "nowhere" ? places : `in ${places}`}`,
    );
    if (places === "nowhere")
      claim("L1", due === "nowhere", `nothing takes ${step.stepId} further: it is ${step.kind}, and has no job`);
  }
  for (const [id, places] of seen)
    claim("I10", false, `the job ${id} is of no open step, and in ${places.join(" and ")}`);
  for (const { queue, id } of jobs.existing) {
    const isListed = jobs.unseen.has(queue) || jobs.found.some((job) => job.queue === queue && job.id === id);
    claim("I10", isListed, `the job ${id} is left over: no list of ${queue} has it`);
  }
  for (const step of isIdle ? [] : view.open) {
    if (step.kind !== "running") continue;
    claim(
      "L1",
      jobs.registered.has(step.workerId),
      `${step.stepId} is held by worker ${step.workerId}, which is not registered`,
    );
  }
  return violations;
}

function placeOf(step: OpenStep): JobPlace | "nowhere" {
  switch (step.kind) {
    case "queued":
      return "wait";
    case "delayed":
      return "delayed";
    case "running":
      return "active";
    case "waiting":
      return step.dueAt === null ? "nowhere" : "delayed";
    case "backlog":
    case "exclusive":
    case "limited":
    case "held":
    case "uncertain":
    case "failed":
      return "nowhere";
    default:
      return step satisfies never;
  }
}
