/**
 * Every key, spelled once. All keys of a plan, its queues, its definition and the worker registry carry one hash tag, so
 * that a script may touch all of them on a Cluster. Queue names share that space with our own: a queue whose name is one
 * of our words gets a `~` behind it, which no id can hold.
 */

const OWN_WORDS = new Set([
  "plan",
  "plans",
  "def",
  "workers",
  "worker",
  "serving",
  "machine",
  "events",
  "sweep",
  "claims",
  "shards",
  "absent",
  "staged",
  "schedules",
  "definitions",
  "backlog",
  "limit",
  "limits",
  "rate",
]);

export class Keys {
  /** The tag: BullMQ's `prefix`. */
  readonly tag: string;
  /** The tag with its colon, as scripts concatenate it. */
  readonly base: string;
  readonly workers: string;
  /** Every plan by the time of its submission. */
  readonly plans: string;
  /** Those that are not terminal. */
  readonly openPlans: string;
  readonly events: string;
  readonly sweep: string;
  /** Plans that schedulers are resuming. */
  readonly claims: string;
  /** Forks that are being written, each under a name of its own. */
  readonly staged: string;
  /** When something was last begun under each definition. */
  readonly definitions: string;

  /** How many steps of each queue are in the backlogs of their plans. */
  readonly backlog: string;

  /** How many shards there are: in the first one, wherever these keys are. */
  readonly shards: string;

  /** Recurring plans by name: in the first shard, wherever the plans go. */
  readonly schedules: string;

  constructor(
    readonly prefix: string,
    readonly shard = 0,
    private readonly clustered = false,
    /** How many shards there are. */
    readonly shardCount = 1,
  ) {
    this.tag = `{${prefix}:${shard}}`;
    this.base = `${this.tag}:`;
    this.workers = `${this.base}workers`;
    this.plans = `${this.base}plans`;
    this.openPlans = `${this.base}plans:open`;
    this.events = `${this.base}events`;
    this.sweep = `${this.base}sweep`;
    this.shards = `{${prefix}:0}:shards`;
    this.schedules = `{${prefix}:0}:schedules`;
    this.claims = `${this.base}claims`;
    this.staged = `${this.base}staged`;
    this.definitions = `${this.base}definitions`;
    this.backlog = `${this.base}backlog`;
  }

  plan(planId: string): string {
    return `${this.base}plan:${planId}`;
  }

  /**
   * The keys that a script of the hot path is called with. On a Cluster a script must declare every key it may write: on
   * a slot in migration an undeclared one raises in the middle, a declared one before anything ran. Elsewhere naming
   * them changes nothing and costs as much as the writes, so that only those are named that the script asks for.
   */
  declare(asked: readonly string[], others: () => readonly string[]): readonly string[] {
    return this.clustered ? [...asked, ...others()] : asked;
  }

  /** All keys that a transition of this plan may write. */
  planKeys(planId: string): string[] {
    return [...this.ownKeys(planId), this.openPlans, this.events];
  }

  /** All keys that only this plan has. */
  ownKeys(planId: string): string[] {
    const plan = this.plan(planId);
    return [plan, ...PLAN_PARTS.map((part) => `${plan}:${part}`)];
  }

  planPart(planId: string, part: PlanPart): string {
    return `${this.plan(planId)}:${part}`;
  }

  /** A part of a plan that isn't there yet. */
  stagedPart(name: string, part: PlanPart): string {
    return `${this.staged}:${name}:${part}`;
  }

  definition(digest: string): string {
    return `${this.base}def:${digest}`;
  }

  worker(workerId: string): string {
    return `${this.base}worker:${workerId}`;
  }

  own(workerId: string): string {
    return `${this.base}worker:${workerId}:own`;
  }

  inbox(workerId: string): string {
    return `${this.base}worker:${workerId}:inbox`;
  }

  /** The workers of a machine. */
  machine(machine: string): string {
    return `${this.base}machine:${machine}`;
  }

  serving(queue: string): string {
    return `${this.base}serving:${queue}`;
  }

  /** The keys of a queue that a fetch or a commit may write. `queue` is a BullMQ name already. */
  queueKeys(queue: string): string[] {
    return QUEUE_PARTS.map((part) => `${this.base}${queue}:${part}`);
  }

  job(queue: string, planId: string, stepId: string, epoch: number): string {
    return `${this.base}${queue}:${jobId(planId, stepId, epoch)}`;
  }
}

const PLAN_PARTS = [
  "open",
  "steps",
  "out",
  "needs",
  "queued",
  "history",
  "decisions",
  "sandboxes",
  "exclusive",
  "turns",
  "appended",
  "origin",
  "stop",
  "choices",
  "saved",
  "signals",
  "requests",
  "logs",
] as const;
export type PlanPart = (typeof PLAN_PARTS)[number];

const QUEUE_PARTS = [
  "wait",
  "active",
  "delayed",
  "prioritized",
  "events",
  "meta",
  "marker",
  "id",
  "limiter",
  "pc",
  "stalled",
];

/** A job is a delivery: which step of which plan, in which epoch. No id holds a slash. */
export function jobId(planId: string, stepId: string, epoch: number): string {
  return `${planId}/${stepId}/${epoch}`;
}

/** The BullMQ queue that a queue of a definition is. */
export function bullQueueName(queue: string): string {
  return OWN_WORDS.has(queue) ? `${queue}~` : queue;
}

/** The queue of a process that executes plans alone. */
export function privateQueueName(workerId: string): string {
  return `run~${workerId}`;
}
