/**
 * The plain commits of a worker: of steps whose slot goes on with the plan's next step (lua/hand-on.lua). Those that end in
 * one turn of the event loop leave in one call: what a call costs by itself is a good part of what a step costs.
 */
import type { Redis } from "ioredis";
import type { StartedStep } from "../core/ports.js";
import type { Keys } from "./keys.js";
import { runScript } from "./scripts.js";

/** As many in one call as let the worker go on with the first while the store writes the next. */
const MOST_TOGETHER = 12;
/** A longer output leaves at once: beside it, what a call costs by itself is little. */
const MOST_CHARS = 2_048;

export interface HandOn {
  readonly step: StartedStep;
  /** JSON. */
  readonly output: string;
  readonly checkpointId: string;
  readonly successor: { readonly id: string; readonly phase: string; readonly traits: string };
  /** All keys that it may write, for a cluster. */
  readonly keys: () => readonly string[];
}

/** When the slot's next step started; null where it has to go the general way. */
export type HandedOn = { readonly now: number; readonly fence: number } | null;

interface Waiting {
  readonly commit: HandOn;
  readonly resolve: (handed: HandedOn) => void;
  readonly reject: (error: unknown) => void;
}

export class HandOns {
  private readonly own: string;
  private waiting: Waiting[] = [];

  constructor(
    private readonly redis: Redis,
    private readonly keys: Keys,
    private readonly workerId: string,
  ) {
    this.own = keys.own(workerId);
  }

  /** `mayWait`: it can leave at the end of this turn of the event loop. Else it leaves now, and takes along what waits. */
  commit(commit: HandOn, mayWait: boolean): Promise<HandedOn> {
    return new Promise((resolve, reject) => {
      this.waiting.push({ commit, resolve, reject });
      if (!mayWait || commit.output.length > MOST_CHARS || this.waiting.length === MOST_TOGETHER) this.send();
      else if (this.waiting.length === 1) setImmediate(() => this.send());
    });
  }

  private send(): void {
    const sent = this.waiting;
    if (sent.length === 0) return;
    this.waiting = [];
    const args = [this.keys.base, this.workerId];
    for (const { commit } of sent) {
      const { step, output, checkpointId, successor } = commit;
      args.push(step.queue, step.planId, step.stepId, String(step.epoch), step.token, String(step.attempt));
      args.push(output, checkpointId, successor.id, successor.phase, successor.traits);
    }
    const asked = [this.own, ...sent.map(({ commit }) => this.keys.plan(commit.step.planId))];
    const declared = this.keys.declare(asked, () => sent.flatMap(({ commit }) => commit.keys()));
    runScript(this.redis, "hand-on", declared, args).then(
      (reply) => {
        const [now, ...fences] = reply as string[];
        for (const [i, { resolve }] of sent.entries()) {
          resolve(fences[i] === "" ? null : { now: Number(now), fence: Number(fences[i]) });
        }
      },
      (error) => {
        for (const { reject } of sent) reject(error);
      },
    );
  }
}
