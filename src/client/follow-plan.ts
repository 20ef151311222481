/** A plan as it moves: its new events, and where it stands after them, until it stops. */
import { performance } from "node:perf_hooks";
import type { PlanEvent } from "../core/history.js";
import { isTerminal, type PlanState, type PlanView, planState } from "../core/plan.js";
import type { PlanStore } from "../core/ports.js";
import { explainState } from "../core/state-sentences.js";
import { dated, type EventDocument, nextCommand, type PlanSummary, planSummary } from "./documents.js";
import { isStoreOutage } from "./store-outage.js";

/** Where a plan stands. */
export interface PlanStanding {
  readonly plan: PlanSummary;
  /** Whether the plan goes no further by itself. */
  readonly stopped: boolean;
  /** The command that brings it forward, where a person can. */
  readonly try: string | null;
}

export interface PlanUpdate extends PlanStanding {
  /** What happened since the update before, oldest first. Empty where only the state changed. */
  readonly events: readonly EventDocument[];
}

/** A worker that dies writes no event, so the plan is read at least this often. */
const READ_EVERY_MS = 1_000;
/** A restart of Redis is waited out; the plan goes on after it. */
const OUTAGE_PATIENCE_MS = 30_000;

/**
 * Yields the history so far, then each change, until the plan is completed, cancelled, failed or paused, or is
 * interrupted with no live worker that could take its steps over.
 */
export async function* followPlan(
  store: PlanStore,
  planId: string,
  signal: AbortSignal,
  fromSeq = 1,
): AsyncGenerator<PlanUpdate, void, undefined> {
  let feed = new EventFeed(store, planId, fromSeq, signal);
  let outageSince: number | null = null;
  let shown = "";
  // Taken from the feed and not given yet: an outage must not lose them.
  const events: EventDocument[] = [];
  try {
    while (!signal.aborted) {
      try {
        // Events first: the view that is read after them is at least as new as they are.
        events.push(...feed.take());
        const view = await store.view(planId);
        outageSince = null;
        const update = { ...planStanding(view), events: events.splice(0) };
        if (update.stopped) {
          // What stopped it may not have reached the feed yet.
          const rest = (await store.history(planId, feed.nextSeq)).map(dated);
          yield { ...update, events: [...update.events, ...rest] };
          return;
        }
        const now = `${update.plan.state} ${update.plan.why}`;
        if (update.events.length > 0 || now !== shown) yield update;
        shown = now;
      } catch (error) {
        outageSince ??= performance.now();
        if (!isStoreOutage(error) || performance.now() - outageSince > OUTAGE_PATIENCE_MS) throw error;
        await feed.close();
        feed = new EventFeed(store, planId, feed.nextSeq, signal);
      }
      await feed.news(READ_EVERY_MS);
    }
  } finally {
    await feed.close();
  }
}

export function planStanding(view: PlanView): PlanStanding {
  const state = planState(view);
  return {
    plan: planSummary({ meta: view.meta, state, why: explainState(view, state) }),
    stopped: hasStopped(view, state),
    try: nextCommand(view, state),
  };
}

function hasStopped(view: PlanView, state: PlanState): boolean {
  if (isTerminal(state) || state === "paused" || state === "failed") return true;
  // With a live worker on its queues, a takeover is seconds away.
  return state === "interrupted" && view.liveWorkers === 0;
}

/** Collects events as they come, so that a slow reader gets them in one batch. */
class EventFeed {
  /** The first event that was not taken yet. */
  nextSeq: number;
  private waiting: PlanEvent[] = [];
  private wake: () => void = () => {};
  private failure: unknown = null;
  private readonly stop = new AbortController();
  private readonly pump: Promise<void>;
  private readonly onAbort = () => {
    this.stop.abort();
    this.wake();
  };

  constructor(
    store: PlanStore,
    planId: string,
    fromSeq: number,
    private readonly signal: AbortSignal,
  ) {
    this.nextSeq = fromSeq;
    signal.addEventListener("abort", this.onAbort);
    this.pump = this.collect(store.follow(planId, fromSeq, this.stop.signal));
  }

  take(): EventDocument[] {
    if (this.failure !== null) throw this.failure;
    const taken = this.waiting;
    this.waiting = [];
    const last = taken.at(-1);
    if (last) this.nextSeq = last.seq + 1;
    return taken.map(dated);
  }

  /** Resolves when there is something to take, on abort, and after `ms` in any case. */
  async news(ms: number): Promise<void> {
    if (this.waiting.length > 0 || this.failure !== null || this.signal.aborted) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.wake = () => {};
  }

  async close(): Promise<void> {
    this.signal.removeEventListener("abort", this.onAbort);
    this.stop.abort();
    await this.pump;
  }

  private async collect(events: AsyncIterable<PlanEvent>): Promise<void> {
    try {
      for await (const event of events) {
        this.waiting.push(event);
        this.wake();
      }
    } catch (error) {
      if (!this.stop.signal.aborted) this.failure = error;
      this.wake();
    }
  }
}
