/** A worker's side of the store: fetch, and the five ways in which an attempt ends, each one script. */
import type { Redis } from "ioredis";
import type { CompiledDefinition, CompiledStep, StepDefinition } from "../core/definition.js";
import { checkpointId } from "../core/ids.js";
import type { Outcome } from "../core/outcome.js";
import type { FetchReply, StartedStep, StepLog } from "../core/ports.js";
import { decodeFetch, WAIT_LETTERS } from "./codec.js";
import { bullQueueName, jobId, type Keys } from "./keys.js";
import { runScript, type ScriptName } from "./scripts.js";

/** Locks are never renewed: liveness is the worker's beat. They only must outlive any attempt. */
const LOCK_MS = "86400000";

/** How many steps of one plan a slot runs in a row before others get their turn. */
const MOST_HANDED_OFF = 15;
/** More where each of them would have to restore files elsewhere. */
const MOST_HANDED_OFF_IN_SANDBOX = 64;

/** Errors are stored with the history; a longer text is cut. */
const MOST_ERROR_CHARS = 2_048;

export class RedisStepLog implements StepLog {
  private readonly own: string;
  private readonly queueKeys = new Map<string, string[]>();

  constructor(
    private readonly redis: Redis,
    private readonly keys: Keys,
    private readonly workerId: string,
    /** The definition that a step runs under; loaded before the step started. */
    private readonly definitionOf: (digest: string) => CompiledDefinition,
  ) {
    this.own = keys.own(workerId);
  }

  async fetch(queue: string, token: string): Promise<FetchReply> {
    const reply = await runScript(
      this.redis,
      "fetch",
      this.keys.declare([this.keys.workers, this.own], () => this.keysOfQueue(queue)),
      [this.keys.base, queue, token, this.workerId, LOCK_MS],
    );
    return decodeFetch(reply, token, queue);
  }

  settle(step: StartedStep, outcome: Outcome, fetchNext: boolean): Promise<FetchReply> {
    switch (outcome.kind) {
      case "complete":
        return this.complete(step, outcome, fetchNext);
      case "retry":
        return this.end("retry", step, fetchNext, [String(outcome.delayMs), errorText(outcome.error)]);
      case "fail": {
        const failFast = this.definitionOf(step.definitionDigest).definition.failFast;
        return this.end("fail", step, fetchNext, [errorText(outcome.error), failFast ? "1" : "0"]);
      }
      case "release":
        return this.end("release", step, fetchNext, [outcome.reason, "0", "0"]);
      case "defer":
        return this.end("release", step, fetchNext, [outcome.reason, String(outcome.delayMs), "1"]);
      case "park": {
        const { args, jobKeys } = this.successors(step);
        const due = outcome.dueInMs === null ? "" : String(Math.max(0, Math.round(outcome.dueInMs)));
        const ask = outcome.ask === null ? "" : JSON.stringify(outcome.ask);
        const head = [WAIT_LETTERS[outcome.wait], due, ask, checkpointOf(step)];
        return this.end("park", step, fetchNext, [...head, ...args], jobKeys);
      }
      default:
        return outcome satisfies never;
    }
  }

  private complete(
    step: StartedStep,
    { output, hasSaved, sandbox }: Outcome & { readonly kind: "complete" },
    fetchNext: boolean,
  ): Promise<FetchReply> {
    const { args, jobKeys } = this.successors(step);
    const most = step.sandbox === null ? MOST_HANDED_OFF : MOST_HANDED_OFF_IN_SANDBOX;
    const mayGoOn = fetchNext && step.handedOff < most;
    const rest = `${hasSaved ? "s" : ""}${sandbox === undefined ? "" : JSON.stringify(sandbox)}`;
    const how = mayGoOn && rest === "" && this.isPlain(step) ? "p" : `${mayGoOn ? "1" : "0"}${rest}`;
    return this.end("complete", step, fetchNext, [output, checkpointOf(step), how, ...args], jobKeys);
  }

  /** Whether the step's only successor can follow in the same slot, for all that a definition tells. */
  private isPlain(step: StartedStep): boolean {
    const { definition, steps } = this.definitionOf(step.definitionDigest);
    const next = steps.get(step.stepId)?.next ?? [];
    if (definition.sandbox !== null || next.length !== 1) return false;
    const successor = steps.get(next[0]!)!;
    return successor.needs.length === 1 && queueOf(successor, step.privateQueue) === step.queue;
  }

  private async end(
    name: ScriptName,
    step: StartedStep,
    fetchNext: boolean,
    args: readonly string[],
    jobKeys: () => readonly string[] = () => [],
  ): Promise<FetchReply> {
    const reply = await runScript(
      this.redis,
      name,
      this.keys.declare([this.own, this.keys.plan(step.planId)], () => {
        const job = this.keys.job(step.queue, step.planId, step.stepId, step.epoch);
        const jobParts = [job, `${job}:lock`, `${job}:logs`];
        return [...this.keys.planKeys(step.planId), ...this.keysOfQueue(step.queue), ...jobParts, ...jobKeys()];
      }),
      [
        this.keys.base,
        step.queue,
        step.planId,
        step.stepId,
        String(step.epoch),
        step.token,
        String(step.attempt),
        this.workerId,
        fetchNext ? LOCK_MS : "0",
        ...args,
      ],
    );
    const [verdict, now, fence] = reply as string[];
    if (verdict === "HANDED") return this.handedOn(step, Number(now), Number(fence));
    return decodeFetch(reply, step.token, step.queue, step);
  }

  /** Everything but these is as it was for the step that the slot just ended. */
  private handedOn(ended: StartedStep, now: number, fence: number): FetchReply {
    const stepId = this.definitionOf(ended.definitionDigest).steps.get(ended.stepId)!.next[0]!;
    const step = {
      ...ended,
      stepId,
      fence,
      attempt: 1,
      failures: 0,
      crashes: 0,
      startedAt: now,
      dueAt: null,
      input: null,
      handedOff: ended.handedOff + 1,
    };
    return { verdict: "OK", now, next: { kind: "step", jobId: jobId(step.planId, stepId, step.epoch), step } };
  }

  private successors(step: StartedStep): { args: string[]; jobKeys: () => string[] } {
    return successorArgs(this.keys, successorsOf(this.definitionOf(step.definitionDigest), step.stepId), step);
  }

  private keysOfQueue(queue: string): string[] {
    let keys = this.queueKeys.get(queue);
    if (!keys) {
      keys = this.keys.queueKeys(queue);
      this.queueKeys.set(queue, keys);
    }
    return keys;
  }
}

/** The steps that need a step. */
export function successorsOf(compiled: CompiledDefinition, stepId: string): CompiledStep[] {
  return (compiled.steps.get(stepId)?.next ?? []).map((id) => compiled.steps.get(id)!);
}

/** Successors as scripts take them (step, number of needs, queue, phase, traits), and the keys of the jobs they may become. */
export function successorArgs(
  keys: Keys,
  successors: readonly StepDefinition[],
  plan: { readonly planId: string; readonly epoch: number; readonly privateQueue: string | null },
): { args: string[]; jobKeys: () => string[] } {
  const args: string[] = [];
  for (const next of successors) {
    args.push(next.id, String(next.needs.length), queueOf(next, plan.privateQueue), next.phase, traitsOf(next));
  }
  const jobKeys = () => {
    const found = new Set<string>();
    for (let i = 0; i < args.length; i += 5) {
      found.add(keys.job(args[i + 2]!, plan.planId, args[i]!, plan.epoch));
      for (const key of keys.queueKeys(args[i + 2]!)) found.add(key);
    }
    return [...found];
  };
  return { args, jobKeys };
}

/** How records spell what a step declares that scripts must know: see lua/plan-core.lua. */
export function traitsOf(step: StepDefinition): string {
  const sandbox = { none: "", read: "r", write: "w" }[step.sandbox];
  return `${step.effect === "irreversible" ? "i" : ""}${sandbox}`;
}

/** The BullMQ queue that a step goes to. */
export function queueOf(step: StepDefinition, privateQueue: string | null): string {
  return privateQueue ?? bullQueueName(step.queue);
}

function checkpointOf(step: StartedStep): string {
  return checkpointId(step.tag, step.fence);
}

function errorText(error: { code: string; message: string }): string {
  return JSON.stringify({ code: error.code, message: error.message.slice(0, MOST_ERROR_CHARS) });
}
