/** Plans as they are read, in a line: open steps by name, workers alive or dead, queues served or not. */
import type { PlanEvent } from "../../src/core/history.js";
import type { OpenStep, PlanMeta, PlanView, WorkerView } from "../../src/core/plan.js";

export const NOW = Date.UTC(2026, 0, 1, 12);
export const QUEUE = "work";

type OpenKind = OpenStep["kind"];
type OpenSpec<K extends OpenKind> = Partial<Extract<OpenStep, { kind: K }>>;

/** Started once, unless `changes` says otherwise. */
export function anOpenStep<K extends OpenKind>(stepId: string, kind: K, changes: OpenSpec<NoInfer<K>> = {}): OpenStep {
  const facts = { stepId, attempts: 1, failures: 0, crashes: 0, queue: QUEUE, phase: "execute", line: 1 };
  return { ...facts, effect: "idempotent", ...OF_KIND[kind], ...changes } as OpenStep;
}

const OF_KIND: { readonly [K in OpenKind]: Omit<Extract<OpenStep, { kind: K }>, keyof OpenStep> & { kind: K } } = {
  queued: { kind: "queued" },
  delayed: { kind: "delayed", dueAt: NOW + 5_000, rate: null },
  backlog: { kind: "backlog" },
  uncertain: { kind: "uncertain", workerId: "", since: NOW - 5_000 },
  exclusive: { kind: "exclusive" },
  limited: { kind: "limited", limit: { kind: "concurrency", key: "api", limit: 3 } },
  held: { kind: "held" },
  running: { kind: "running", workerId: "w-dead", startedAt: NOW - 5_000 },
  waiting: { kind: "waiting", wait: "approval", dueAt: null, since: NOW - 5_000 },
  failed: { kind: "failed", failedAt: NOW - 5_000, quarantined: false },
};

export function aWorker(workerId: string, changes: Partial<WorkerView> = {}): WorkerView {
  const times = { startedAt: NOW - 60_000, lastSeenAt: NOW - 400 };
  const serves = { plans: [], queues: [QUEUE], concurrency: 4, active: 1 };
  return { workerId, label: "box:4121", pid: 4121, state: "accepting", ...serves, ...times, alive: true, ...changes };
}

export interface ViewSpec {
  readonly meta?: Partial<PlanMeta>;
  readonly open?: readonly OpenStep[];
  /** Queues that a live worker serves. */
  readonly served?: readonly string[];
}

/** Knows two workers: `w-live`, who serves what is served, and `w-dead`. */
export function aView({ meta = {}, open = [], served = [] }: ViewSpec = {}): PlanView {
  const live = aWorker("w-live");
  const dead = aWorker("w-dead", { label: "gone:7", alive: false, lastSeenAt: NOW - 9_000 });
  return {
    meta: { ...META, ...meta },
    open,
    owners: new Map([live, dead].map((worker) => [worker.workerId, worker])),
    servers: new Map(open.map((step) => [step.queue, served.includes(step.queue) ? live : null])),
    inUse: new Map([["api", 3]]),
    liveWorkers: served.length,
    goneWorkers: [],
    now: NOW,
  };
}

const META: PlanMeta = {
  planId: "web-42",
  name: "refactor",
  version: 3,
  storedState: "running",
  epoch: 4,
  line: 1,
  fence: 170,
  revision: 23,
  grown: 0,
  definitionDigest: "d".repeat(64),
  total: 6,
  done: 2,
  phase: "execute",
  lastCompletedStep: "choose",
  lastCheckpointId: "ckp_1",
  lastDecisionId: "dec_1",
  sandboxPlace: null,
  keptAnswers: 0,
  resumedAt: null,
  resumeCount: 0,
  createdAt: NOW - 600_000,
  updatedAt: NOW - 1_000,
  finishedAt: null,
  privateQueue: null,
  tag: "0123456789ABCDEF",
  workdir: null,
  actor: "alice@laptop",
  stop: null,
};

/** What happened to a plan, in a line: each one is the event after the one before it. */
export class AHistory {
  readonly events: PlanEvent[] = [];
  private epoch = 1;
  private fence = 100;

  started(step: string): this {
    return this.add({ type: "step.started", step, attempt: 1, fence: ++this.fence, workerId: "w-dead" });
  }

  /** Its checkpoint is `ckp_` and the step, and the epoch after the first. */
  completed(step: string, sandbox: string | null = null): this {
    const checkpointId = `ckp_${step}${this.epoch === 1 ? "" : `_${this.epoch}`}`;
    const facts = { step, attempt: 1, fence: this.fence, checkpointId, decisionId: "dec_1", sandbox, actor: null };
    return this.add({ type: "step.completed", ...facts });
  }

  /** Each of them started and completed, one after the other. */
  did(...steps: readonly string[]): this {
    for (const step of steps) this.started(step).completed(step);
    return this;
  }

  decided(decisionId: string, step: string): this {
    return this.add({ type: "decision.recorded", decisionId, step, actor: "alice@laptop" });
  }

  rewound(from: string, ...steps: readonly string[]): this {
    this.epoch++;
    const actor = "alice@laptop";
    this.add({ type: "plan.resumed", actor, reason: null, from, superseded: steps.length });
    return this.add({ type: "steps.superseded", steps });
  }

  get last(): PlanEvent | undefined {
    return this.events.at(-1);
  }

  private add(event: DistributiveOmit<PlanEvent, "seq" | "at" | "planId" | "epoch">): this {
    const seq = this.events.length + 1;
    this.events.push({ seq, at: NOW - 600_000 + seq, planId: "web-42", epoch: this.epoch, ...event } as PlanEvent);
    return this;
  }
}

type DistributiveOmit<T, K extends PropertyKey> = T extends unknown ? Omit<T, K> : never;
