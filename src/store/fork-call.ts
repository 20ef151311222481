/**
 * A decision to fork, as fork.lua takes it. What the new plan inherits may be long: it is written first, in pieces, under
 * keys that belong to no plan and expire, and the script makes them the plan's. Source and new plan may be in different
 * shards: the source is only read, and read again at the end, so that nothing is inherited that it has taken back meanwhile.
 */
import { randomBytes } from "node:crypto";
import { PlanNotFoundError } from "../core/errors.js";
import { isDone, type PlanEvent } from "../core/history.js";
import { checkpointId, newPlanTag } from "../core/ids.js";
import type { ForkWrite } from "../core/ports.js";
import type { SandboxSnapshot } from "../core/sandbox.js";
import { type EncodeBase, encodeEvent, encodeRecord, oneField } from "./codec.js";
import type { PlanPart } from "./keys.js";
import { INLINE_INPUT_BYTES } from "./payloads.js";
import type { RedisPlanStore } from "./redis-plan-store.js";
import { sealChoice } from "./resume-call.js";
import { timeOf } from "./scripts.js";
import { declaredOf, queueOf } from "./step-log.js";

/** Long enough for the largest plan; what a process that died had written is gone after it. */
const STAGED_FOR_S = 3_600;
/** Fields or items of one command, so that none blocks the server. */
const CHUNK = 500;
/** Outputs are larger. */
const OUTPUT_CHUNK = 50;

/**
 * @param from the shard of the source   @param store that of the new plan
 * @returns null where the source was rewound while it was read
 * @throws PlanNotFoundError where it is gone
 */
export async function stageFork(
  from: RedisPlanStore,
  store: RedisPlanStore,
  stage: Stage,
  write: ForkWrite,
): Promise<{ keys: string[]; args: string[] } | null> {
  const { keys, redis, sealed } = store;
  const { planId, source } = write;
  const { meta } = source.view;
  const actions = write.decision.actions!;
  const createdAt = await timeOf(redis, keys);

  const snapshots = snapshotsOf(write);
  const base: EncodeBase = {
    createdAt,
    decisions: nearestKept(source.decisions, places(actions.decisions.map(({ decisionId }) => decisionId))),
    snapshots: places(snapshots.keys()),
  };
  const input = sealed.sealInput(planId, write.input);
  const decided = await stageDecisions(store, stage, write, base);
  await stage.push(
    "sandboxes",
    [...snapshots.values()].map((snapshot) => JSON.stringify(snapshot)),
  );
  await stage.push(
    "history",
    actions.events.map((event) => encodeEvent(base, event)),
  );
  await stage.set(
    "steps",
    actions.kept.flatMap((id) => [id, encodeRecord(source.records.get(id)!, createdAt)]),
  );
  await stage.set(
    "needs",
    [...actions.counts].flatMap(([id, done]) => [id, String(done)]),
  );
  await stage.set("out", [":input", input]);
  await stageOutputs(from, stage, write);
  await stageAppended(from, stage, write);
  await stage.set("origin", originOf(write));

  // Only a rewind changes what is done. And a plan that is pruned takes its snapshots with it, unless they are staged by then.
  const line = await from.redis.hget(from.keys.plan(meta.planId), "line");
  if (line === null) throw new PlanNotFoundError(meta.planId);
  if (line !== String(meta.line)) return null;

  const first = firstSteps(store, write);
  const tag = newPlanTag();
  const { last } = actions.standing;
  const events = [encodeEvent(base, forkedEvent(write, createdAt)), ...decided.events];
  return {
    keys: [
      keys.plan(planId),
      keys.definition(meta.definitionDigest),
      keys.staged,
      ...stage.keys,
      ...keys.planKeys(planId),
      keys.plans,
      ...first.jobKeys,
    ],
    args: [
      keys.base,
      planId,
      write.request,
      String(write.decision.summary.total),
      meta.name,
      String(meta.version),
      meta.definitionDigest,
      oneField(write.actor),
      Buffer.byteLength(input) <= INLINE_INPUT_BYTES ? "1" : "0",
      tag,
      write.decision.summary.phase,
      String(createdAt),
      String(meta.fence),
      actions.sandbox === null ? "" : String(base.snapshots.get(actions.sandbox.digest)!),
      String(decided.place),
      last?.step ?? "",
      last === null ? "" : checkpointId(tag, last.fence),
      stage.parts.includes("appended") ? "1" : "0",
      stage.name,
      String(stage.parts.length),
      String(events.length),
      ...stage.parts,
      ...events,
      ...first.args,
    ],
  };
}

/** @returns the place of the decision in force, and the event of one that is set instead of being asked again */
async function stageDecisions(
  { sealed }: RedisPlanStore,
  stage: Stage,
  { planId, decision, actor }: ForkWrite,
  base: EncodeBase,
): Promise<{ place: number; events: string[] }> {
  const { decisions, standing, takenAnew } = decision.actions!;
  const items: string[] = [];
  const choices: string[] = [];
  const record = (step: string | null, key: string | null, parent: number, sealedDecision: string) => {
    const place = items.push(`${parent}|${sealedDecision}`);
    if (key !== null) choices.push(`${step}/${key}`, String(place));
    return place;
  };
  for (const { decisionId: _, current: __, parent, ...made } of decisions) {
    record(made.step, made.key, base.decisions.get(parent!)!, sealed.sealDecision(planId, made));
  }
  let place = base.decisions.get(standing.decisionId ?? "") ?? 0;
  const events: string[] = [];
  if (takenAnew?.set) {
    const { stepId, set } = takenAnew;
    const chosen = sealChoice(sealed, planId, stepId, set, { actor, reason: null, now: base.createdAt });
    if (set.key === null) {
      await stage.set("signals", [stepId, keptAnswer(set.cancels, oneField(actor), chosen)]);
    } else {
      place = record(stepId, set.key, place, chosen.decision);
      events.push(`d|0|1|${stepId}|${place}|${oneField(actor)}`);
    }
  }
  await stage.push("decisions", items);
  await stage.set("choices", choices);
  return { place, events };
}

/** As answer.lua keeps an answer to a step that doesn't wait yet. */
function keptAnswer(cancels: boolean, actor: string, answer: { decision: string; output: string }): string {
  return [cancels ? "cancel" : "", actor, answer.decision, answer.output].join("\n");
}

function forkedEvent({ planId, source, decision, actor }: ForkWrite, at: number): PlanEvent {
  const { meta } = source.view;
  const { from, newInput } = decision.summary;
  const facts = { type: "plan.forked", seq: 0, planId, epoch: 1, at } as const;
  return { ...facts, actor: oneField(actor), source: meta.planId, sourceEpoch: meta.epoch, from, newInput };
}

function originOf({ source, decision, answer }: ForkWrite): string[] {
  const { workdir, file } = source;
  const { planId, epoch } = source.view.meta;
  const fork = [planId, epoch, decision.summary.from ?? ""].join(" ").trimEnd();
  return [
    ...["fork", fork, "answer", answer],
    ...(workdir === null ? [] : ["workdir", workdir]),
    ...(file === null ? [] : ["file", `${file.digest} ${file.path}`]),
  ];
}

function firstSteps({ keys }: RedisPlanStore, { planId, source, decision }: ForkWrite) {
  const args: string[] = [];
  const jobKeys = new Set<string>();
  for (const id of decision.actions!.free) {
    const step = source.compiled!.steps.get(id)!;
    const queue = queueOf(step, null);
    args.push(id, queue, step.phase, declaredOf(step, keys));
    jobKeys.add(keys.job(queue, planId, id, 1));
    for (const key of keys.queueKeys(queue)) jobKeys.add(key);
  }
  return { args, jobKeys };
}

/** The snapshots that the new plan names, the one that its files began with first. */
function snapshotsOf({ source, decision }: ForkWrite): Map<string, SandboxSnapshot> {
  const named = new Set(decision.actions!.events.map((event) => (isDone(event) ? event.sandbox : null)));
  const kept = source.snapshots.filter((snapshot, i) => i === 0 || named.has(snapshot.digest));
  return new Map(kept.map((snapshot) => [snapshot.digest, snapshot]));
}

/** From 1. */
function places(ids: Iterable<string>): Map<string, number> {
  return new Map([...ids].map((id, i) => [id, i + 1]));
}

/** For each decision of the source its own place, or that of the nearest one before it that is kept. */
function nearestKept(
  decisions: ForkWrite["source"]["decisions"],
  kept: ReadonlyMap<string, number>,
): Map<string, number> {
  const nearest = new Map<string, number>();
  for (const { decisionId, parent } of decisions) {
    nearest.set(decisionId, kept.get(decisionId) ?? nearest.get(parent ?? "") ?? 0);
  }
  return nearest;
}

/** Payloads are bound to their plan. */
async function stageOutputs({ redis, keys, sealed }: RedisPlanStore, stage: Stage, write: ForkWrite): Promise<void> {
  const { kept } = write.decision.actions!;
  const sourceId = write.source.view.meta.planId;
  for (let from = 0; from < kept.length; from += OUTPUT_CHUNK) {
    const ids = kept.slice(from, from + OUTPUT_CHUNK);
    const fields = await redis.hmget(keys.planPart(sourceId, "out"), ...ids, ...ids.map((id) => `:failed:${id}`));
    await stage.set(
      "out",
      ids.flatMap((id, i) => {
        const stored = fields[i];
        const failure = fields[ids.length + i];
        return [
          ...(stored == null ? [] : [id, sealed.sealOutput(write.planId, id, sealed.openOutput(sourceId, id, stored))]),
          ...(failure == null ? [] : [`:failed:${id}`, failure]),
        ];
      }),
    );
  }
}

async function stageAppended({ redis, keys }: RedisPlanStore, stage: Stage, write: ForkWrite): Promise<void> {
  const { source, decision } = write;
  if (source.view.meta.grown === 0) return;
  const appended = await redis.hgetall(keys.planPart(source.view.meta.planId, "appended"));
  const { removed } = decision.actions!;
  await stage.set(
    "appended",
    Object.entries(appended)
      .filter(([id]) => source.compiled!.steps.has(id) && !removed.has(id))
      .flat(),
  );
}

/** Parts of a plan that isn't there yet. */
export class Stage {
  readonly name = randomBytes(8).toString("hex");
  readonly parts: PlanPart[] = [];

  constructor(private readonly store: RedisPlanStore) {}

  get keys(): string[] {
    return this.parts.map((part) => this.store.keys.stagedPart(this.name, part));
  }

  set(part: PlanPart, fields: readonly string[]): Promise<void> {
    return this.write(part, "hset", fields, 2 * CHUNK);
  }

  push(part: PlanPart, items: readonly string[]): Promise<void> {
    return this.write(part, "rpush", items, CHUNK);
  }

  /** For a fork that nothing came of. */
  async drop(): Promise<void> {
    const { redis, keys } = this.store;
    if (this.parts.length > 0) await redis.unlink(...this.keys);
    await redis.srem(keys.staged, this.name);
  }

  private async write(part: PlanPart, verb: "hset" | "rpush", items: readonly string[], chunk: number): Promise<void> {
    if (items.length === 0) return;
    const { redis, keys } = this.store;
    const key = keys.stagedPart(this.name, part);
    const pipeline = redis.pipeline();
    if (!this.parts.includes(part)) this.parts.push(part);
    pipeline.sadd(keys.staged, this.name);
    pipeline.expire(keys.staged, 2 * STAGED_FOR_S);
    for (let from = 0; from < items.length; from += chunk) pipeline[verb](key, ...items.slice(from, from + chunk));
    pipeline.expire(key, STAGED_FOR_S);
    for (const [error] of (await pipeline.exec()) ?? []) if (error) throw error;
  }
}
