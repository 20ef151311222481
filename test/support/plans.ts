/** Plans for tests of the protocol: definitions in two lines, a store on the Redis of the run, workers moved by hand. */
import { createHash, randomBytes } from "node:crypto";
import { Redis } from "ioredis";
import {
  type CompiledDefinition,
  compile,
  DEFAULT_RETRY,
  type Definition,
  type StepDefinition,
} from "../../src/core/definition.js";
import { newWorkerId } from "../../src/core/ids.js";
import type { Outcome } from "../../src/core/outcome.js";
import type { FetchReply, SignalAnswer, StartedStep } from "../../src/core/ports.js";
import type { SandboxDeclaration, SandboxSnapshot } from "../../src/core/sandbox.js";
import { isProcessGone } from "../../src/machine/process-identity.js";
import { bullQueueName, Keys } from "../../src/store/keys.js";
import { RedisPlanStore } from "../../src/store/redis-plan-store.js";
import { runScript } from "../../src/store/scripts.js";
import { ShardedPlanStore } from "../../src/store/sharded-plan-store.js";
import { RedisStepLog } from "../../src/store/step-log.js";
import { aPrefix } from "./store.js";

export type StepSpec = Partial<StepDefinition> & { readonly id: string };

/** Steps that name no needs, need nothing. */
export function aDefinition(steps: readonly StepSpec[], head: Partial<Definition> = {}): CompiledDefinition {
  const queue = "work";
  return compile({
    name: "test",
    version: 1,
    source: "document",
    phases: ["execute"],
    inputSchema: null,
    failFast: false,
    sandbox: null,
    ...head,
    steps: steps.map((step) => ({
      phase: "execute",
      needs: [],
      uses: "act",
      with: {},
      env: {},
      passEnv: [],
      queue,
      effect: "idempotent",
      sandbox: "none",
      retry: { ...DEFAULT_RETRY, delayMs: 10 },
      timeoutMs: 60_000,
      rev: null,
      ...step,
    })),
  });
}

/** Each step needs the one before it. */
export function aChain(
  ids: readonly string[],
  spec: Partial<StepDefinition> = {},
  head: Partial<Definition> = {},
): CompiledDefinition {
  return aDefinition(
    ids.map((id, i) => ({ id, needs: i === 0 ? [] : [ids[i - 1]!], ...spec })),
    head,
  );
}

export interface TestStoreOptions {
  readonly prefix?: string;
  readonly deadAfterMs?: number;
  readonly isGone?: (worker: { machine: string; pid: number; processStart: string }) => boolean;
}

/** A store with a prefix of its own. `drop()` removes everything under it. */
export async function aStore(url: string, options: TestStoreOptions = {}): Promise<TestStore> {
  const prefix = options.prefix ?? aPrefix();
  const redis = new Redis(url, { protocol: 2, enableReadyCheck: false, maxRetriesPerRequest: null } as never);
  redis.on("error", () => {});
  const store = new RedisPlanStore({
    redis,
    location: { url },
    keys: new Keys(prefix),
    deadAfterMs: options.deadAfterMs ?? 3_000,
    isGone: options.isGone ?? isProcessGone,
  });
  return new TestStore(store, url, prefix);
}

export class TestStore {
  constructor(
    readonly store: RedisPlanStore,
    readonly url: string,
    readonly prefix: string,
  ) {}

  /** The same, as all the shards that there are. */
  get sharded(): ShardedPlanStore {
    return new ShardedPlanStore([this.store]);
  }

  get redis(): Redis {
    return this.store.redis;
  }

  get keys(): Keys {
    return this.store.keys;
  }

  /** A plan with a sandbox starts from the snapshot `aSnapshot(0)`. */
  async submit(compiled: CompiledDefinition, planId = aPlanId(), input = '{"n":1}'): Promise<string> {
    const request = { planId, compiled, input, actor: "tester", privateQueue: null, workdir: null };
    const files = compiled.definition.sandbox === null ? {} : { sandbox: async () => aSnapshot(0) };
    await this.store.submit({ ...request, ...files });
    return planId;
  }

  /** Answers a step, without the checks that a client makes. */
  async signal(planId: string, stepId: string, answer: SignalAnswer): Promise<{ kept: boolean }> {
    return this.store.signal(await this.store.answerable(planId, stepId), answer);
  }

  async state(planId: string): Promise<string> {
    return (await this.redis.hget(this.keys.plan(planId), "state")) ?? "none";
  }

  /** A worker that does nothing by itself. */
  async worker(
    queues: readonly string[] = ["work"],
    facts: Readonly<Record<string, string>> = {},
  ): Promise<HandWorker> {
    const worker = new HandWorker(this, queues.map(bullQueueName));
    await worker.register(facts);
    return worker;
  }

  /** Everything under the prefix, by DUMP. Event streams are left out: they aren't part of any plan. */
  async dump(pattern = "*"): Promise<Map<string, string>> {
    const dump = new Map<string, string>();
    for (const key of (await this.scan(pattern)).sort()) {
      if (key.endsWith(":events")) continue;
      const value = await this.redis.dumpBuffer(key);
      if (value) dump.set(key, value.toString("base64"));
    }
    return dump;
  }

  /** Every key of a plan, but the ones that it shares with others. */
  dumpPlan(planId: string): Promise<Map<string, string>> {
    return this.dump(`plan:${planId}*`);
  }

  async scan(pattern = "*"): Promise<string[]> {
    const keys: string[] = [];
    const escaped = this.keys.base.replace(/[{}]/g, "\\$&");
    for await (const page of this.redis.scanStream({ match: `${escaped}${pattern}`, count: 1_000 }))
      keys.push(...(page as string[]));
    return keys;
  }

  async drop(): Promise<void> {
    const keys = await this.scan().catch(() => []);
    for (let from = 0; from < keys.length; from += 1_000) await this.redis.unlink(...keys.slice(from, from + 1_000));
    this.redis.disconnect();
  }
}

/** Declares nothing but that the plan has one. */
export const A_SANDBOX: SandboxDeclaration = {
  from: null,
  exclude: [],
  ignore: [],
  include: [],
  prepare: null,
  provider: "directory",
};

/** A snapshot that no provider has. */
export function aSnapshot(nth: number): SandboxSnapshot {
  const digest = `sha256:${createHash("sha256").update(`snapshot ${nth}`).digest("hex")}`;
  return { provider: "directory", digest, files: nth, bytes: nth };
}

export function aPlanId(): string {
  return `p-${randomBytes(4).toString("hex")}`;
}

/** What a StepWorker's slot does, one call at a time, so that a test can repeat, swap and leave out calls. */
export class HandWorker {
  readonly id = newWorkerId();
  private tokens = 0;
  readonly log: RedisStepLog;

  constructor(
    private readonly test: TestStore,
    readonly queues: readonly string[],
  ) {
    this.log = new RedisStepLog(test.redis, test.keys, this.id, test.store.definitions, test.store.sealed);
  }

  async register(facts: Readonly<Record<string, string>>): Promise<void> {
    const { keys, redis } = this.test;
    const all = {
      label: "hand",
      pid: "0",
      process_start: "",
      state: "accepting",
      active: "0",
      concurrency: "1",
      plans: "",
      ...facts,
    };
    await runScript(
      redis,
      "register",
      [keys.workers, keys.worker(this.id), ...this.queues.map((queue) => keys.serving(queue))],
      [keys.base, this.id, facts.machine ?? "elsewhere", this.queues.join(" "), ...Object.entries(all).flat()],
    );
  }

  newToken(): string {
    return `${this.id}.0:${this.tokens++}`;
  }

  fetch(token = this.newToken(), queue = this.queues[0]!): Promise<FetchReply> {
    return this.log.fetch(queue, token);
  }

  /** As a worker that is woken as long as its queue has something: also what was left to another worker. */
  async fetchAwake(): Promise<FetchReply> {
    const marker = `${this.test.keys.base}${this.queues[0]!}:marker`;
    for (;;) {
      const reply = await this.fetch();
      if (reply.next.kind !== "none" || (await this.test.redis.zrem(marker, "0")) === 0) return reply;
    }
  }

  /** The next step; fails where there is none. */
  async take(token?: string, queue?: string): Promise<StartedStep> {
    return stepOf(await this.fetch(token, queue));
  }

  settle(step: StartedStep, outcome: Outcome, fetchNext = true): Promise<FetchReply> {
    return this.log.settle(step, outcome, fetchNext);
  }

  complete(step: StartedStep, output: unknown = null, fetchNext = true): Promise<FetchReply> {
    return this.settle(step, { kind: "complete", output: JSON.stringify(output) }, fetchNext);
  }

  /** Whatever there is to take, one after the other. Returns their ids. */
  async completeAll(): Promise<string[]> {
    const ran: string[] = [];
    for (let { next } = await this.fetch(); next.kind === "step"; { next } = await this.fetch()) {
      ran.push(next.step.stepId);
      await this.complete(next.step, null, false);
    }
    return ran;
  }

  beat(
    gone: readonly string[] = [],
  ): Promise<[string, string, string[], string[], number, string[], string[], string[]]> {
    const { keys, redis, store } = this.test;
    return runScript(
      redis,
      "beat",
      [keys.workers, keys.worker(this.id), keys.inbox(this.id), keys.sweep],
      [keys.base, this.id, "accepting", "0", String(store.deadAfterMs), ...gone],
    ) as never;
  }

  /** Gives back what it owns and doesn't know. */
  async audit(known: readonly string[]): Promise<number> {
    const { keys, redis } = this.test;
    return Number(await runScript(redis, "audit", [keys.own(this.id)], [keys.base, this.id, ...known]));
  }

  owned(): Promise<Record<string, string>> {
    return this.test.redis.hgetall(this.test.keys.own(this.id));
  }

  async deregister(): Promise<void> {
    const { keys, redis } = this.test;
    await runScript(redis, "deregister", [keys.workers], [keys.base, this.id, `run~${this.id}`]);
  }
}

export function stepOf(reply: FetchReply): StartedStep {
  if (reply.next.kind !== "step") throw new Error(`No step in ${JSON.stringify(reply)}`);
  return reply.next.step;
}

/** `plan/step` of a reply's step, or its kind. */
export function nextOf(reply: FetchReply): string {
  return reply.next.kind === "step" ? reply.next.step.stepId : reply.next.kind;
}
