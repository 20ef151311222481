/**
 * What must hold of every plan, at any moment at which no transition is under way: its history folded gives what is
 * stored, and what is stored has exactly the jobs that it needs. Returns the violations, each a sentence.
 */
import type { CompiledDefinition } from "../../src/core/definition.js";
import type { PlanEvent } from "../../src/core/history.js";
import type { OpenStep, PlanView } from "../../src/core/plan.js";
import { planState } from "../../src/core/plan.js";
import type { RedisPlanStore } from "../../src/store/redis-plan-store.js";

export async function checkInvariants(store: RedisPlanStore, planId: string): Promise<string[]> {
  const { view, compiled, records } = await store.detail(planId);
  const events = await store.history(planId);
  const fold = foldHistory(events, compiled);
  const violations = [...fold.violations];
  const claim = (holds: boolean, sentence: string) => {
    if (!holds) violations.push(sentence);
  };
  const { meta } = view;

  claim(
    same(fold.done.keys(), records.keys()),
    `history says done ${list(fold.done.keys())}, records ${list(records.keys())}`,
  );
  claim(meta.done === records.size, `done is ${meta.done}, with ${records.size} records`);
  claim(
    fold.terminal === null || fold.terminal === meta.storedState,
    `history ends ${fold.terminal}, stored ${meta.storedState}`,
  );
  const isOver = meta.storedState === "completed" || meta.storedState === "cancelled";
  claim(isOver === (fold.terminal !== null), `${meta.storedState}, with terminal event ${fold.terminal}`);
  claim(
    (meta.done === meta.total) === (meta.storedState === "completed") || meta.storedState === "cancelled",
    "completed means all done",
  );
  if (fold.done.size === 0) {
    claim(
      meta.lastCompletedStep === null && meta.lastCheckpointId === null,
      "nothing is done, but a checkpoint is named",
    );
  } else {
    const last = fold.done.get(meta.lastCompletedStep ?? "");
    const newestAt = Math.max(...[...fold.done.values()].map((event) => event.at));
    claim(
      last?.at === newestAt,
      `last completed ${meta.lastCompletedStep} is not the newest of ${list(fold.done.keys())}`,
    );
    claim(
      last?.checkpointId === meta.lastCheckpointId,
      `checkpoint ${meta.lastCheckpointId}, event says ${last?.checkpointId}`,
    );
  }
  claim(fold.lastFence <= meta.fence, `fence ${meta.fence} is below that of an attempt, ${fold.lastFence}`);
  claim(fold.lastEpoch <= meta.epoch, `epoch ${meta.epoch} is below that of an event, ${fold.lastEpoch}`);

  if (meta.storedState !== "completed") {
    const free = [...compiled.steps.values()].filter(
      (step) => !records.has(step.id) && step.needs.every((need) => records.has(need)),
    );
    const open = view.open.map((step) => step.stepId);
    if (meta.storedState !== "cancelled")
      claim(
        same(
          free.map((s) => s.id),
          open,
        ),
        `open is ${list(open)}, free to run ${list(free.map((s) => s.id))}`,
      );
  } else {
    claim(view.open.length === 0, `completed, with ${list(view.open.map((step) => step.stepId))} open`);
  }
  if (!isOver) {
    for (const kind of ["failed", "waiting"] as const) {
      const stored = Number((await store.redis.hget(store.keys.plan(planId), kind)) ?? 0);
      const open = view.open.filter((step) => step.kind === kind).length;
      claim(stored === open, `${kind} is ${stored}, with ${open} such steps open`);
    }
    for (const step of view.open) {
      const started = fold.starts.get(step.stepId) ?? 0;
      claim(started === step.attempts, `${step.stepId} was started ${started} times; its record says ${step.attempts}`);
    }
  }
  violations.push(...(await checkJobs(store, view)));
  violations.push(...(await checkExclusivity(store, view, compiled)));
  if (compiled.definition.sandbox !== null) {
    for (const event of fold.done.values()) claim(event.sandbox !== null, `${event.step} names no snapshot`);
  }
  return violations;
}

/** At most one step that writes the sandbox has a turn, and the others wait for exactly that. */
async function checkExclusivity(
  { redis, keys }: RedisPlanStore,
  { open, meta }: PlanView,
  compiled: CompiledDefinition,
): Promise<string[]> {
  const [holder, queue] = await Promise.all([
    redis.hget(keys.plan(meta.planId), "holder"),
    redis.lrange(keys.planPart(meta.planId, "exclusive"), 0, -1),
  ]);
  const writers = open.filter((step) => compiled.steps.get(step.stepId)!.sandbox === "write");
  const turn = writers.filter((step) => ["queued", "backlog", "delayed", "running"].includes(step.kind));
  const waiting = writers.filter((step) => step.kind === "exclusive").map((step) => step.stepId);
  const violations: string[] = [];
  const claim = (holds: boolean, sentence: string) => {
    if (!holds) violations.push(sentence);
  };
  claim(turn.length <= 1, `${list(turn.map((step) => step.stepId))} write the sandbox at once`);
  claim(same(waiting, queue), `${list(waiting)} wait for the sandbox, in its queue are ${list(queue)}`);
  // A plan that is pausing has taken the turn from whoever still runs.
  const isPausing = ((await redis.hget(keys.plan(meta.planId), "pausing")) ?? "") !== "";
  if (!isPausing)
    claim(
      same(
        turn.map((step) => step.stepId),
        holder ? [holder] : [],
      ),
      `the turn has ${holder}`,
    );
  return violations;
}

interface Fold {
  readonly violations: string[];
  readonly done: Map<string, PlanEvent & { type: "step.completed" }>;
  readonly starts: Map<string, number>;
  terminal: "completed" | "cancelled" | null;
  lastFence: number;
  lastEpoch: number;
}

function foldHistory(events: readonly PlanEvent[], compiled: CompiledDefinition): Fold {
  const fold: Fold = { violations: [], done: new Map(), starts: new Map(), terminal: null, lastFence: 0, lastEpoch: 0 };
  const redefined = events.findLastIndex((event) => event.type === "plan.redefined");
  events.forEach((event, i) => {
    const say = (sentence: string) => fold.violations.push(`event ${event.seq}, ${event.type}: ${sentence}`);
    if (fold.terminal !== null) say(`follows ${fold.terminal}`);
    if ((i === 0) !== (event.type === "plan.submitted")) say("is out of place");
    if (event.epoch < fold.lastEpoch) say(`epoch ${event.epoch} after ${fold.lastEpoch}`);
    fold.lastEpoch = Math.max(fold.lastEpoch, event.epoch);
    switch (event.type) {
      case "step.started":
        if (fold.done.has(event.step)) say(`${event.step} is done`);
        // What came before stood under another definition; a step that was appended by one that a rewind superseded is gone.
        for (const need of i < redefined ? [] : (compiled.steps.get(event.step)?.needs ?? []))
          if (!fold.done.has(need)) say(`${event.step} needs ${need}`);
        if (event.fence <= fold.lastFence) say(`fence ${event.fence} after ${fold.lastFence}`);
        fold.lastFence = event.fence;
        fold.starts.set(event.step, (fold.starts.get(event.step) ?? 0) + 1);
        if (event.attempt !== fold.starts.get(event.step))
          say(`attempt ${event.attempt} of ${event.step} is its ${fold.starts.get(event.step)}th`);
        break;
      case "step.completed":
        if (fold.done.has(event.step)) say(`${event.step} was done already`);
        fold.done.set(event.step, event);
        break;
      case "steps.superseded":
        for (const id of event.steps) {
          fold.done.delete(id);
          fold.starts.delete(id);
        }
        break;
      case "plan.completed":
        fold.terminal = "completed";
        break;
      case "plan.cancelled":
        fold.terminal = "cancelled";
        break;
      default:
    }
  });
  return fold;
}

/** Queued, delayed and timed steps have one job where it belongs, running ones are active and locked, others have none. */
async function checkJobs(store: RedisPlanStore, view: PlanView): Promise<string[]> {
  const violations: string[] = [];
  const { redis, keys } = store;
  const { planId, epoch, storedState } = view.meta;
  const left = new Set(await jobKeysOf(store, planId));
  const queues = new Set((await queuesOf(store, planId, left)).concat(view.open.map((step) => step.queue)));
  const mine = (ids: readonly string[]) => ids.filter((id) => id.startsWith(`${planId}/`));
  const expected = new Map(view.open.map((step) => [`${planId}/${step.stepId}/${epoch}`, step]));
  const idle = storedState === "paused" || storedState === "cancelled" || storedState === "completed";
  const seen = new Map<string, string[]>();
  for (const queue of queues) {
    const q = `${keys.base}${queue}:`;
    const [wait, delayed, active] = await Promise.all([
      redis.lrange(`${q}wait`, 0, -1),
      redis.zrange(`${q}delayed`, "0", "-1"),
      redis.lrange(`${q}active`, 0, -1),
    ]);
    for (const [place, ids] of Object.entries({ wait, delayed, active })) {
      for (const id of mine(ids)) {
        left.delete(`${q}${id}`);
        if (place === "active") left.delete(`${q}${id}:lock`);
        const isStale = !expected.has(id) || idle || expected.get(id)!.kind === "held";
        // Stale jobs may wait until somebody meets them, but nobody may hold one and no timer may be set for one.
        if (isStale && place === "wait") continue;
        // Its owner has been told to stop, and drops it with its next call.
        if (isStale && place === "active" && (await hasLiveOwner(store, queue, id))) continue;
        seen.set(id, [...(seen.get(id) ?? []), place]);
        if ((await redis.exists(`${q}${id}`)) === 0) violations.push(`${id} is in ${queue} ${place} without its hash`);
      }
    }
  }
  for (const [id, step] of expected) {
    const places = (seen.get(id) ?? []).join(" and ") || "nowhere";
    seen.delete(id);
    const due = idle ? "nowhere" : placeOf(step);
    // A delayed job that is due may have been promoted.
    if (places !== due && !(due === "delayed" && places === "wait"))
      violations.push(`the job of ${id}, which is ${step.kind}, is in ${places}`);
  }
  for (const [id, places] of seen) violations.push(`the job ${id} of no open step is in ${places.join(" and ")}`);
  for (const key of left) violations.push(`${key} is left of a job that is in no queue`);
  if (planState(view) === "running" && view.open.length === 0) violations.push("it runs and nothing is open");
  return violations;
}

async function hasLiveOwner({ redis, keys }: RedisPlanStore, queue: string, id: string): Promise<boolean> {
  const token = await redis.get(`${keys.base}${queue}:${id}:lock`);
  if (token === null) return false;
  const worker = token.slice(0, token.indexOf("."));
  const [beat, entry] = await Promise.all([redis.zscore(keys.workers, worker), redis.hget(keys.own(worker), token)]);
  return beat !== null && entry === `${queue} ${id}`;
}

/** Keys of jobs of the plan, and what hangs on them. */
async function jobKeysOf({ redis, keys }: RedisPlanStore, planId: string): Promise<string[]> {
  const found: string[] = [];
  const escaped = keys.base.replace(/[{}]/g, "\\$&");
  const scan = redis.scanStream({ match: `${escaped}*:${planId}/*`, count: 1_000 });
  for await (const page of scan) found.push(...(page as string[]));
  return found;
}

async function queuesOf(store: RedisPlanStore, planId: string, jobKeys: Iterable<string>): Promise<string[]> {
  const { compiled, view } = await store.detail(planId);
  const { base } = store.keys;
  const named = [...compiled.steps.values()].map((step) => step.queue);
  const privately = view.meta.privateQueue === null ? [] : [view.meta.privateQueue];
  const held = [...jobKeys].map((key) => key.slice(base.length, key.lastIndexOf(`:${planId}/`)));
  return [...new Set([...named, ...privately, ...held])];
}

function placeOf(step: OpenStep): string {
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
    case "held":
    case "uncertain":
    case "failed":
      return "nowhere";
    default:
      return step satisfies never;
  }
}

function same(a: Iterable<string>, b: Iterable<string>): boolean {
  return list(a) === list(b);
}

function list(ids: Iterable<string>): string {
  return [...ids].sort().join(", ") || "nothing";
}
