/** A worker's side of the store: fetch, and the ways in which an attempt ends, each one script. */
import type { Redis } from "ioredis";
import {
  type CompiledDefinition,
  type CompiledStep,
  grow,
  STEP_LIMIT,
  type StepDefinition,
} from "../core/definition.js";
import { checkpointId } from "../core/ids.js";
import { type Limits, shareOf } from "../core/limits.js";
import type { Outcome } from "../core/outcome.js";
import type { FetchReply, StartedStep, StepLog } from "../core/ports.js";
import { decodeFetch, decodeSettle, nextInSlot, WAIT_LETTERS } from "./codec.js";
import { appendedText, type DefinitionStore } from "./definitions.js";
import { type HandOn, HandOns } from "./hand-on.js";
import { bullQueueName, type Keys } from "./keys.js";
import type { Payloads } from "./payloads.js";
import { runScript, type ScriptName } from "./scripts.js";

/**
 * Locks are never renewed: liveness is the worker's beat. They only must outlive any attempt, and all the steps that a slot
 * goes on with: those have the lock of the first.
 */
export const LOCK_MS = String(30 * 24 * 60 * 60 * 1_000);

/** How many steps of one plan a slot runs in a row before others get their turn. */
const MOST_HANDED_OFF = 15;
/** More where each of them would have to restore files elsewhere. */
const MOST_HANDED_OFF_IN_SANDBOX = 64;

/** Errors are stored with the history; a longer text is cut. */
const MOST_ERROR_CHARS = 2_048;

type Completion = Outcome & { readonly kind: "complete" };

export class RedisStepLog implements StepLog {
  private readonly own: string;
  private readonly handOns: HandOns;
  private readonly queueKeys = new Map<string, string[]>();

  constructor(
    private readonly redis: Redis,
    private readonly keys: Keys,
    private readonly workerId: string,
    private readonly definitions: DefinitionStore,
    private readonly sealed: Payloads,
  ) {
    this.own = keys.own(workerId);
    this.handOns = new HandOns(redis, keys, workerId);
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

  async settle(step: StartedStep, outcome: Outcome, fetchNext: boolean, mayWait = false): Promise<FetchReply> {
    switch (outcome.kind) {
      case "complete":
        return this.complete(step, outcome, fetchNext, mayWait);
      case "retry": {
        const args = [String(outcome.delayMs), errorText(outcome.error)];
        return decodeFetch(await this.end("retry", step, fetchNext, args), step.token, step.queue);
      }
      case "skip":
        return this.pass(step, ["n", ""], fetchNext);
      case "fail": {
        const { definition, steps } = await this.definitionOf(step);
        const error = errorText(outcome.error);
        if (steps.get(step.stepId)?.onFailure === "continue") return this.pass(step, ["o", error], fetchNext);
        const args = [error, definition.failFast ? "1" : "0"];
        return decodeFetch(await this.end("fail", step, fetchNext, args), step.token, step.queue);
      }
      case "release":
      case "defer": {
        const args = outcome.kind === "release" ? ["0", outcome.hold ? "h" : "0"] : [String(outcome.delayMs), "1"];
        const reply = await this.end("release", step, fetchNext, [outcome.reason, ...args]);
        return decodeFetch(reply, step.token, step.queue);
      }
      case "park": {
        const { args, jobKeys } = this.successors(await this.definitionOf(step), step);
        const due = outcome.dueInMs === null ? "" : String(Math.max(0, Math.round(outcome.dueInMs)));
        const ask = outcome.ask === null ? "" : this.sealed.sealAsk(step.planId, step.stepId, outcome.ask);
        const head = [WAIT_LETTERS[outcome.wait], due, ask, checkpointOf(step), String(step.grown)];
        const reply = await this.end("park", step, fetchNext, [...head, ...args], jobKeys);
        return decodeFetch(reply, step.token, step.queue);
      }
      default:
        return outcome satisfies never;
    }
  }

  private async complete(
    started: StartedStep,
    outcome: Completion,
    fetchNext: boolean,
    mayWait: boolean,
  ): Promise<FetchReply> {
    const plain = fetchNext ? this.plainCommit(started, outcome) : null;
    if (plain !== null) {
      const handed = await this.handOns.commit(plain, mayWait);
      if (handed !== null) return nextInSlot(started, plain.successor.id, handed.now, handed.fence);
    }
    for (let step = started; ; step = { ...step, grown: await this.grownNow(step.planId) }) {
      const compiled = await this.definitionOf(step);
      const reply = decodeSettle(await this.sendCompletion(step, outcome, compiled, fetchNext), step);
      // Another step of the plan appended some, which may need this one: it is said again with what follows.
      if (reply.verdict === "GROWN") continue;
      if (reply.verdict === "UNFIT") {
        return this.settle(step, { kind: "fail", error: { code: "INVALID_PLAN", message: reply.why } }, fetchNext);
      }
      if (outcome.appended && reply.verdict === "OK") {
        this.definitions.rememberGrown(step.planId, step.grown + 1, grow(compiled, outcome.appended));
      }
      return reply;
    }
  }

  /** Ends a step that counts as done without an output. `how` is what pass.lua says it with. */
  private async pass(started: StartedStep, how: readonly [string, string], fetchNext: boolean): Promise<FetchReply> {
    for (let step = started; ; step = { ...step, grown: await this.grownNow(step.planId) }) {
      const compiled = await this.definitionOf(step);
      const { args, jobKeys } = this.successors(compiled, step);
      const head = [...how, checkpointOf(step), String(step.grown)];
      const reply = decodeSettle(await this.end("pass", step, fetchNext, [...head, ...args], jobKeys), step);
      if (reply.verdict !== "GROWN") return reply as FetchReply;
    }
  }

  /** Null where the step, its plan or what follows it wants more than the plain case does. */
  private plainCommit(step: StartedStep, { output, hasSaved, sandbox, appended }: Completion): HandOn | null {
    if (step.handedOff >= MOST_HANDED_OFF || step.grown !== 0 || hasSaved || sandbox || appended) return null;
    const compiled = this.cachedDefinitionOf(step);
    const successor = compiled && onlySuccessor(step, compiled);
    if (!successor) return null;
    return {
      step,
      output: this.sealed.sealOutput(step.planId, step.stepId, output),
      checkpointId: checkpointOf(step),
      successor: { id: successor.id, phase: successor.phase, traits: declaredOf(successor, this.keys) },
      keys: () => this.keysOf(step, successorArgs(this.keys, [successor], step).jobKeys),
    };
  }

  private sendCompletion(
    step: StartedStep,
    { output, hasSaved, sandbox, appended }: Completion,
    compiled: CompiledDefinition,
    fetchNext: boolean,
  ): Promise<unknown> {
    // A map has the items of its list to wait for from this commit on.
    const known = appended ? grow(compiled, appended) : compiled;
    const following = (compiled.steps.get(step.stepId)?.next ?? []).map((id) => known.steps.get(id)!);
    const { args, jobKeys } = successorArgs(this.keys, following, step);
    const most = step.sandbox === null ? MOST_HANDED_OFF : MOST_HANDED_OFF_IN_SANDBOX;
    const mayGoOn = fetchNext && step.handedOff < most;
    const grown = step.grown === 0 ? "" : `g${step.grown}`;
    const rest = `${hasSaved ? "s" : ""}${grown}${sandbox === undefined ? "" : JSON.stringify(sandbox)}`;
    const sealed = this.sealed.sealOutput(step.planId, step.stepId, output);
    const head = [sealed, checkpointOf(step), `${mayGoOn ? "1" : "0"}${rest}`];
    if (!appended) return this.end("complete", step, fetchNext, [...head, ...args], jobKeys);
    const steps = appended.flatMap((one, i) => this.appendedArgs(one, compiled.steps.size + i, step.privateQueue));
    const growth = [compiled.digest, String(STEP_LIMIT), String(args.length / 5)];
    return this.end("grow", step, fetchNext, [...head, ...growth, ...args, ...steps], jobKeys);
  }

  private cachedDefinitionOf({ planId, definitionDigest, grown }: StartedStep): CompiledDefinition | undefined {
    return this.definitions.cachedOfPlan(planId, definitionDigest, grown);
  }

  private definitionOf({ planId, definitionDigest, grown }: StartedStep): Promise<CompiledDefinition> {
    return this.definitions.ofPlan(planId, definitionDigest, grown);
  }

  private async grownNow(planId: string): Promise<number> {
    return Number(await this.redis.hget(this.keys.plan(planId), "grown"));
  }

  private successors(compiled: CompiledDefinition, step: StartedStep) {
    return successorArgs(this.keys, successorsOf(compiled, step.stepId), step);
  }

  private appendedArgs(step: StepDefinition, index: number, privateQueue: string | null): string[] {
    const { id, phase, needs } = step;
    const queue = queueOf(step, privateQueue);
    return [id, appendedText(step, index), queue, phase, declaredOf(step, this.keys), String(needs.length), ...needs];
  }

  private end(
    name: ScriptName,
    step: StartedStep,
    fetchNext: boolean,
    args: readonly string[],
    jobKeys: () => readonly string[] = () => [],
  ): Promise<unknown> {
    return runScript(
      this.redis,
      name,
      this.keys.declare([this.own, this.keys.plan(step.planId)], () => this.keysOf(step, jobKeys)),
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
  }

  private keysOf(step: StartedStep, jobKeys: () => readonly string[]): string[] {
    const job = this.keys.job(step.queue, step.planId, step.stepId, step.epoch);
    const jobParts = [job, `${job}:lock`, `${job}:logs`];
    return [...this.keys.planKeys(step.planId), ...this.keysOfQueue(step.queue), ...jobParts, ...jobKeys()];
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

/** The step's only successor, where it can follow in the same slot, for all that a definition tells. */
function onlySuccessor(step: StartedStep, { definition, steps }: CompiledDefinition): CompiledStep | null {
  const ended = steps.get(step.stepId)!;
  if (definition.sandbox !== null || ended.next.length !== 1) return null;
  const successor = steps.get(ended.next[0]!)!;
  if (isLimited(successor) || isLimited(ended)) return null;
  // Others may be more urgent.
  if (successor.priority !== undefined || ended.priority !== undefined) return null;
  return successor.needs.length === 1 && queueOf(successor, step.privateQueue) === step.queue ? successor : null;
}

function isLimited({ concurrency, rate }: Limits): boolean {
  return concurrency !== undefined || rate !== undefined;
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
    args.push(next.id, String(next.needs.length), queueOf(next, plan.privateQueue), next.phase, declaredOf(next, keys));
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

/** How records spell what a step declares that scripts must know, its traits and its limits: see lua/open-record.lua. */
export function declaredOf(step: StepDefinition, keys: Keys): string {
  const sandbox = { none: "", read: "r", write: "w" }[step.sandbox];
  const priority = step.priority === undefined ? "" : `p${step.priority}`;
  return `${step.effect === "irreversible" ? "i" : ""}${sandbox}${priority}${turnsOf(step)}${limitsOf(step, keys)}`;
}

/** This shard's part of them. */
function limitsOf({ concurrency, rate }: Limits, { shard, shardCount }: Keys): string {
  if (!concurrency && !rate) return "";
  const part = (most: number) => shareOf(most, shard, shardCount);
  const place = concurrency ? `${concurrency.key}:${part(concurrency.limit)}` : "";
  return `|${place}|${rate ? `${rate.key}:${part(rate.max)}:${rate.perMs}` : ""}`;
}

/** How many items of its map run at once, where that is limited. Those that write the sandbox take turns anyway. */
function turnsOf({ sandbox, turns }: StepDefinition): string {
  return turns === undefined || sandbox === "write" ? "" : `m${turns}`;
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
