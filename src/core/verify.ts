/**
 * Whether what is stored of a plan follows from its history, and whether the plan can go on. Everything is read in one
 * moment, and transitions are atomic, so all of it must hold at any time, also while the plan runs. Pure.
 */

import type { CompiledDefinition } from "./definition.js";
import { type DoneEvent, isDone, type PlanEvent } from "./history.js";
import { decisionId, decisionPlace } from "./ids.js";
import { Line } from "./line.js";
import { isTerminal, type OpenStep, type PlanState, type PlanView, type StepRecord } from "./plan.js";
import { keptOf } from "./rewind.js";
import type { SandboxSnapshot } from "./sandbox.js";
import { type JobEvidence, verifyJobs } from "./verify-jobs.js";

/**
 * I1 a step is done once in a line. I4 record, checkpoint, metadata and successors are there together. I5 the newest
 * checkpoint is the one that is named. I6 decisions and snapshots that checkpoints name are there. I7 a step starts when its
 * needs are done. I8 terminal plans don't change. I9 the history gives what is stored. I10 each step on the frontier has
 * exactly the job that it needs. L1 what isn't over has somebody or something that takes it further.
 */
export type Invariant = "I1" | "I4" | "I5" | "I6" | "I7" | "I8" | "I9" | "I10" | "L1";

export interface Violation {
  readonly invariant: Invariant;
  /** A sentence with the facts. */
  readonly message: string;
}

/** The steps of one queue, one priority and the same limits. */
export interface Lane {
  readonly name: string;
  /** How many are in the queue and let one of the backlog follow, as the plan counts them and as its steps say. */
  readonly counted: number;
  readonly queued: number;
  readonly backlog: readonly string[];
}

/** Everything that is stored of a plan, read in one moment. */
export interface Evidence {
  readonly view: PlanView;
  readonly compiled: CompiledDefinition;
  readonly records: ReadonlyMap<string, StepRecord>;
  readonly events: readonly PlanEvent[];
  readonly snapshots: readonly SandboxSnapshot[];
  /** How many decisions there are after the root. */
  readonly decisions: number;
  /** `step/key` and the place of the decision that the step made under it. */
  readonly choices: ReadonlyMap<string, number>;
  /** Places of decisions that steps made under a key, and under which. */
  readonly keyed: ReadonlyMap<number, string>;
  readonly needs: ReadonlyMap<string, number>;
  readonly lanes: readonly Lane[];
  /** Steps that wait for their turn to write the sandbox, and whose turn it is. */
  readonly exclusive: readonly string[];
  readonly holder: string | null;
  /** Steps that wait for a limit or run within one, as far as the limit doesn't know of them. */
  readonly unlimited: readonly { readonly stepId: string; readonly runs: boolean; readonly limit: string }[];
  readonly counts: { readonly failed: number; readonly waiting: number; readonly uncertain: number };
  /** Whether starts were taken off the history again: then it doesn't tell the state. */
  readonly undone: boolean;
  readonly pausing: boolean;
  /** Whether it is in the index of all plans, and in that of those which aren't over. */
  readonly listed: { readonly all: boolean; readonly open: boolean };
  readonly jobs: JobEvidence;
}

/** @returns none where everything holds */
export function verify(evidence: Evidence): Violation[] {
  const fold = new Fold(evidence.compiled);
  for (const event of evidence.events) fold.apply(event);
  return [
    ...fold.violations,
    ...verifyRecords(evidence, fold),
    ...verifyMetadata(evidence, fold),
    ...verifyDecisions(evidence, fold),
    ...verifyFiles(evidence, fold),
    ...verifyFrontier(evidence, fold),
    ...verifyTurns(evidence),
    ...verifyLanes(evidence),
    ...verifyLimits(evidence),
    ...verifyJobs(evidence),
  ];
}

/** The history, event by event. */
class Fold {
  readonly violations: Violation[] = [];
  readonly line = new Line();
  /** Starts of each step since it was last superseded. */
  readonly starts = new Map<string, number>();
  terminal: "completed" | "cancelled" | null = null;
  /** Null where the history leaves it open. */
  state: PlanState | null = null;
  epoch = 1;
  lineEpoch = 1;
  fence = 0;
  resumes = 0;
  redefined = false;
  private count = 0;
  private resumedIn = 0;
  /** Starts before their needs were done, by step: they count only if the step wasn't another one then. */
  private readonly early = new Map<string, Violation[]>();

  constructor(private readonly compiled: CompiledDefinition) {}

  apply(event: PlanEvent): void {
    const say = (invariant: Invariant, sentence: string) => {
      this.violations.push({ invariant, message: `event ${event.seq}, ${event.type}: ${sentence}` });
    };
    if (this.terminal !== null) say("I8", `it follows the end of the plan, which was ${this.terminal}`);
    if ((this.count++ === 0) !== (event.type === "plan.submitted")) say("I9", "it is out of place");
    if (event.epoch < this.epoch) say("I9", `epoch ${event.epoch} comes after ${this.epoch}`);
    this.epoch = Math.max(this.epoch, event.epoch);
    if (isDone(event) && this.line.done.has(event.step)) say("I1", `${event.step} was done already`);
    switch (event.type) {
      case "step.started":
        this.started(event, say);
        break;
      case "plan.grown":
        for (const id of event.appended) this.early.delete(id);
        // A map that makes its list anew may have had other items to wait for.
        this.early.delete(event.step.replace(/#$/, ""));
        break;
      case "plan.redefined":
        this.redefined = true;
        this.early.clear();
        break;
      case "plan.resumed":
        this.resumes++;
        if (event.epoch <= this.resumedIn) say("I10", `epoch ${event.epoch} was begun by an earlier resume`);
        this.resumedIn = event.epoch;
        if (event.superseded > 0) this.lineEpoch = event.epoch;
        break;
      case "steps.superseded":
        for (const id of event.steps) this.starts.delete(id);
        break;
      case "plan.completed":
        this.terminal = "completed";
        break;
      case "plan.cancelled":
        this.terminal = "cancelled";
        break;
      default:
    }
    this.state = stateAfter(this.state, event);
    this.line.apply(event);
  }

  /** Starts of steps as the plan has them now, before their needs were done. */
  get startedTooEarly(): Violation[] {
    return [...this.early.values()].flat();
  }

  private started(
    event: Extract<PlanEvent, { readonly type: "step.started" }>,
    say: (invariant: Invariant, sentence: string) => void,
  ): void {
    const { step, attempt, fence } = event;
    if (this.line.done.has(step)) say("I1", `${step} is done`);
    const missing = (this.compiled.steps.get(step)?.needs ?? []).filter((need) => !this.line.done.has(need));
    if (missing.length > 0) {
      const message = `event ${event.seq}, ${event.type}: ${step} needs ${list(missing)}, which ${missing.length === 1 ? "is" : "are"} not done`;
      this.early.set(step, [...(this.early.get(step) ?? []), { invariant: "I7", message }]);
    }
    if (fence <= this.fence) say("I9", `fence ${fence} comes after ${this.fence}`);
    this.fence = Math.max(this.fence, fence);
    const nth = (this.starts.get(step) ?? 0) + 1;
    this.starts.set(step, nth);
    if (attempt !== nth) say("I9", `attempt ${attempt} of ${step} is number ${nth} of its line`);
  }
}

/** The stored state that an event leaves; null where it could be one of several. */
function stateAfter(before: PlanState | null, event: PlanEvent): PlanState | null {
  switch (event.type) {
    case "plan.submitted":
    case "plan.forked":
      return "queued";
    case "step.started":
      return "running";
    case "step.admitted":
    case "step.completed":
    case "step.skipped":
    case "step.continued":
    case "step.failed":
    case "step.released":
    case "step.crashed":
    case "step.waiting":
      // One of several that wait may be answered, or acknowledged by a resume, and the plan goes on as it was.
      return before === "running" ? "running" : null;
    case "plan.resumed":
      return null;
    case "plan.paused":
    case "plan.failed":
    case "plan.interrupted":
    case "plan.waiting":
    case "plan.completed":
    case "plan.cancelled":
      return event.type.slice("plan.".length) as PlanState;
    case "decision.recorded":
    case "plan.grown":
    case "plan.pause_requested":
    case "plan.redefined":
    case "steps.superseded":
    case "sandbox.kept":
      return before;
    default:
      return event satisfies never;
  }
}

function verifyRecords({ records }: Evidence, fold: Fold): Violation[] {
  const { done } = fold.line;
  const violations = [...fold.startedTooEarly];
  const claim = claimInto(violations);
  const unrecorded = [...done.keys()].filter((id) => !records.has(id));
  const unheard = [...records.keys()].filter((id) => !done.has(id));
  claim("I4", unrecorded.length === 0, `${list(unrecorded)} completed in the history, without a record`);
  claim("I4", unheard.length === 0, `${list(unheard)} recorded as done, and the history doesn't say so`);
  for (const [id, event] of done) {
    const record = records.get(id);
    if (record === undefined) continue;
    const agree = record.attempts === event.attempt && record.fence === event.fence;
    claim(
      "I9",
      agree,
      `the record of ${id} is of attempt ${record.attempts}, fence ${record.fence}; the history says ${event.attempt}, fence ${event.fence}`,
    );
  }
  return violations;
}

function verifyMetadata(evidence: Evidence, fold: Fold): Violation[] {
  const { records, compiled, listed, undone } = evidence;
  const { meta } = evidence.view;
  const violations: Violation[] = [];
  const claim = claimInto(violations);
  const isOver = isTerminal(meta.storedState);
  claim(
    "I8",
    isOver === (fold.terminal !== null) && (fold.terminal === null || fold.terminal === meta.storedState),
    `the plan is stored as ${meta.storedState}; the history ends ${fold.terminal ?? "without an end"}`,
  );
  claim("I8", listed.all, "the plan is not in the index of plans");
  claim(
    "I8",
    listed.open !== isOver,
    `the plan is ${meta.storedState}, and ${listed.open ? "" : "not "}listed as open`,
  );
  claim(
    "I9",
    isOver || undone || fold.state === null || fold.state === meta.storedState,
    `the plan is stored as ${meta.storedState}; the history says ${fold.state}`,
  );
  const isComplete = records.size === meta.total;
  claim(
    "I9",
    isComplete === (meta.storedState === "completed") || meta.storedState === "cancelled",
    `${records.size} of ${meta.total} steps are done, and the plan is ${meta.storedState}`,
  );
  claim(
    "I9",
    compiled.steps.size === meta.total,
    `the plan has ${compiled.steps.size} steps; its total says ${meta.total}`,
  );

  const last = newest(fold.line.done.values());
  claim(
    "I5",
    meta.lastCompletedStep === (last?.step ?? null),
    `last_completed_step is ${meta.lastCompletedStep}; the newest of the line is ${last?.step ?? "none"}`,
  );
  claim(
    "I5",
    meta.lastCheckpointId === (last?.checkpointId ?? null),
    `last_checkpoint_id is ${meta.lastCheckpointId}; the newest of the line is ${last?.checkpointId ?? "none"}`,
  );

  claim("I9", meta.fence >= fold.fence, `the fence is ${meta.fence}, below that of an attempt, ${fold.fence}`);
  // Whatever stops a plan raises the epoch after its own event.
  claim(
    "I9",
    meta.epoch === fold.epoch || meta.epoch === fold.epoch + 1,
    `the epoch is ${meta.epoch}; the history has come to ${fold.epoch}`,
  );
  claim(
    "I9",
    meta.line === fold.lineEpoch,
    `the line is that of epoch ${meta.line}; the history says ${fold.lineEpoch}`,
  );
  claim(
    "I9",
    meta.resumeCount === fold.resumes,
    `resume_count is ${meta.resumeCount}; the history has ${fold.resumes} resumes`,
  );
  return violations;
}

function verifyDecisions({ view, decisions, choices, keyed }: Evidence, { line }: Fold): Violation[] {
  const { tag, createdAt, lastDecisionId } = view.meta;
  const violations: Violation[] = [];
  const claim = claimInto(violations);
  const placeOf = (id: string) => decisionPlace(createdAt, id);
  const resolves = (id: string) => placeOf(id) >= 0 && placeOf(id) <= decisions;
  for (const event of line.done.values()) {
    claim(
      "I6",
      resolves(event.decisionId),
      `the checkpoint of ${event.step} names decision ${event.decisionId}, which isn't there`,
    );
  }
  const newestStanding = [...line.decisions.keys()].at(-1) ?? decisionId(tag, createdAt, 0);
  claim(
    "I9",
    lastDecisionId === newestStanding,
    `last_decision_id is ${lastDecisionId}; the newest of the line is ${newestStanding}`,
  );
  const made = new Map<string, number>();
  for (const { decisionId: id, step } of line.decisions.values()) {
    claim("I6", resolves(id), `the history names decision ${id} of ${step}, which isn't there`);
    const key = keyed.get(placeOf(id));
    if (key !== undefined) made.set(`${step}/${key}`, placeOf(id));
  }
  for (const [name, place] of made) {
    claim(
      "I9",
      choices.get(name) === place,
      `the choice ${name} is decision ${place}; kept for its step is ${choices.get(name) ?? "none"}`,
    );
  }
  for (const step of line.admitted) made.set(`${step}/:when`, 0);
  for (const name of choices.keys())
    claim("I9", made.has(name), `a choice ${name} is kept that the history doesn't have`);
  return violations;
}

function verifyFiles({ view, compiled, snapshots }: Evidence, { line, redefined }: Fold): Violation[] {
  if (compiled.definition.sandbox === null) return [];
  const { sandboxPlace } = view.meta;
  const violations: Violation[] = [];
  const claim = claimInto(violations);
  for (const event of line.done.values()) {
    claim("I6", event.sandbox !== null, `the checkpoint of ${event.step} names a snapshot that isn't there`);
  }
  const inForce = snapshots[(sandboxPlace ?? 0) - 1];
  claim("I6", inForce !== undefined, `the snapshot in force, number ${sandboxPlace}, isn't there`);
  // Under another definition other steps may be those that write.
  if (inForce === undefined || redefined) return violations;
  const written = keptOf(compiled, line, new Set(), null).sandbox ?? snapshots[0]!.digest;
  claim("I9", inForce.digest === written, `the snapshot in force is ${inForce.digest}; the line left ${written}`);
  return violations;
}

/** What is open is what is free to run, and what is not is counted. */
function verifyFrontier(evidence: Evidence, fold: Fold): Violation[] {
  const { view, compiled, records, counts, needs } = evidence;
  const { storedState } = view.meta;
  const violations: Violation[] = [];
  const claim = claimInto(violations);
  const open = view.open.map((step) => step.stepId);
  if (storedState === "completed") claim("I4", open.length === 0, `the plan is completed, with ${list(open)} open`);
  if (isTerminal(storedState)) return violations;

  const isOpen = new Set(open);
  for (const { id, needs: all } of compiled.steps.values()) {
    if (records.has(id)) continue;
    const done = all.filter((need) => records.has(need)).length;
    if (done === all.length) {
      claim("I4", isOpen.has(id), `everything that ${id} needs is done, and it was not released`);
      claim("L1", isOpen.has(id), `nothing takes ${id} further: it is free to run, and not open`);
      continue;
    }
    claim("I4", !isOpen.has(id), `${id} is open, and ${all.length - done} of its needs are not done`);
    const counted = needs.get(id) ?? 0;
    claim("I4", counted === done, `${done} needs of ${id} are done; counted are ${counted}`);
  }
  const backlog = new Set(evidence.lanes.flatMap((lane) => lane.backlog));
  const openOf = (kind: OpenStep["kind"]) => view.open.filter((step) => step.kind === kind).length;
  for (const kind of ["failed", "waiting", "uncertain"] as const) {
    const found = openOf(kind);
    // A drain may have left steps to a resume: they are held, as a pause holds them, and counted with the uncertain ones.
    const most = kind === "uncertain" ? found + openOf("held") : found;
    const isRight = counts[kind] >= found && counts[kind] <= most;
    claim("I9", isRight, `${kind} is ${counts[kind]}, with ${found} such steps open`);
  }
  for (const { stepId, attempts, kind } of view.open) {
    claim("I4", compiled.steps.has(stepId), `${stepId} is open, and no step of the plan`);
    claim("I4", !records.has(stepId), `${stepId} is open, and recorded as done`);
    const started = fold.starts.get(stepId) ?? 0;
    claim("I9", started === attempts, `${stepId} was started ${started} times; its record says ${attempts}`);
    const isKept = kind !== "backlog" || backlog.has(stepId);
    claim("L1", isKept, `${stepId} waits in the backlog, which doesn't have it`);
  }
  claim("L1", open.length > 0, `the plan is ${storedState}, and nothing of it is open`);
  return violations;
}

/** At most one step that writes the sandbox has its turn, and the others wait for exactly that. */
function verifyTurns({ view, compiled, exclusive, holder, pausing }: Evidence): Violation[] {
  const violations: Violation[] = [];
  const claim = claimInto(violations);
  const writers = view.open.filter((step) => compiled.steps.get(step.stepId)?.sandbox === "write");
  const turn = writers.filter((step) => ["queued", "backlog", "delayed", "running", "limited"].includes(step.kind));
  const waiting = writers.filter((step) => step.kind === "exclusive").map((step) => step.stepId);
  claim(
    "I9",
    turn.length <= 1,
    `${list(turn.map((step) => step.stepId))} have their turn to write the sandbox at once`,
  );
  claim(
    "L1",
    list(waiting) === list(exclusive),
    `${list(waiting)} wait for the sandbox; in its queue: ${list(exclusive)}`,
  );
  // A plan that is pausing has taken the turn from whoever still runs.
  const hasTurn = pausing || (turn[0]?.stepId ?? null) === holder;
  claim("L1", hasTurn, `the turn to write the sandbox has ${holder ?? "nobody"}, not ${turn[0]?.stepId ?? "nobody"}`);
  return violations;
}

/** A backlog has steps in front of it, whose start takes it further. */
function verifyLanes({ view, lanes }: Evidence): Violation[] {
  const violations: Violation[] = [];
  const claim = claimInto(violations);
  if (isTerminal(view.meta.storedState)) return violations;
  for (const { name, counted, queued, backlog } of lanes) {
    claim("I9", counted === queued, `${queued} steps of ${name} are in the queue; counted are ${counted}`);
    const behind = `${backlog.length} steps of ${name} wait in the backlog, and none is in the queue before them`;
    claim("L1", backlog.length === 0 || queued > 0, behind);
  }
  return violations;
}

function verifyLimits({ unlimited }: Evidence): Violation[] {
  return unlimited.map(({ stepId, runs, limit }) =>
    runs
      ? { invariant: "I9", message: `${stepId} runs, and ${limit} doesn't count it` }
      : {
          invariant: "L1",
          message: `nothing takes ${stepId} further: it waits for ${limit}, which doesn't know of it`,
        },
  );
}

function newest(done: Iterable<DoneEvent>): DoneEvent | undefined {
  return [...done].at(-1);
}

/** Adds a violation where something doesn't hold. */
export function claimInto(violations: Violation[]) {
  return (invariant: Invariant, holds: boolean, message: string): void => {
    if (!holds) violations.push({ invariant, message });
  };
}

export function list(ids: Iterable<string>): string {
  return [...ids].sort().join(", ") || "nothing";
}
