/** Everything that is stored of a plan, for whoever checks it: one read, no write. */
import type { CompiledDefinition } from "../core/definition.js";
import { PlanNotFoundError } from "../core/errors.js";
import type { PlanMeta } from "../core/plan.js";
import { FULL_LIST_LIMIT } from "../core/resume-summary.js";
import type { Evidence } from "../core/verify.js";
import type { FoundJob, JobEvidence, JobPlace } from "../core/verify-jobs.js";
import { pairs } from "./codec.js";
import { bullQueueName } from "./keys.js";
import type { RedisPlanStore, ViewReply } from "./redis-plan-store.js";
import { readScript } from "./scripts.js";

/** Beyond this a list of a queue isn't looked through: nobody else is served meanwhile. */
const MOST_JOBS_LOOKED_AT = 10_000;
/** Left-over jobs are looked for in all epochs of a plan up to so many names of them, beyond in the current one. */
const MOST_JOB_NAMES = 20_000;

type EvidenceReply = [
  view: ViewReply,
  facts: string[],
  choices: string[],
  needs: string[],
  lanes: [name: string, counted: string, queued: number, backlog: string[]][],
  exclusive: string[],
  unlimited: [step: string, does: string, limit: string][],
  found: string[],
  unseen: string[],
  existing: string[],
  registered: string[],
];

/** @throws PlanNotFoundError; StoreUnsuitableError where something stands there that isn't ours */
export async function readEvidence(store: RedisPlanStore, planId: string): Promise<Evidence> {
  for (;;) {
    // Which queues there are to look into, the plan's definition says.
    const { meta } = await store.view(planId);
    const { queues, jobs, firstEpoch } = possibleJobs(await store.planDefinition(meta), meta);
    const reply = (await readScript(
      store.redis,
      "evidence",
      [store.keys.plan(planId), store.keys.workers],
      [
        store.keys.base,
        String(store.deadAfterMs),
        "line",
        meta.definitionDigest,
        String(FULL_LIST_LIMIT),
        planId,
        String(MOST_JOBS_LOOKED_AT),
        String(firstEpoch),
        String(queues.size),
        ...queues,
        ...jobs,
      ],
    )) as EvidenceReply | null;
    if (!reply) throw new PlanNotFoundError(planId);
    const read = await store.decodePreview(planId, "line", reply[0]);
    const now = read.view.meta;
    const isSame =
      now.definitionDigest === meta.definitionDigest &&
      now.grown === meta.grown &&
      now.privateQueue === meta.privateQueue;
    if (isSame) return decodeEvidence(read, reply);
  }
}

/** Where jobs of a plan may be: steps and queues in pairs, and the first epoch in which they are looked for. */
export function possibleJobs(
  { steps }: CompiledDefinition,
  { privateQueue, epoch }: PlanMeta,
): { queues: ReadonlySet<string>; jobs: string[]; firstEpoch: number } {
  const queues = new Set<string>();
  const jobs: string[] = [];
  for (const step of steps.values()) {
    for (const queue of [bullQueueName(step.queue), ...(privateQueue === null ? [] : [privateQueue])]) {
      queues.add(queue);
      jobs.push(step.id, queue);
    }
  }
  return { queues, jobs, firstEpoch: (jobs.length / 2) * epoch <= MOST_JOB_NAMES ? 1 : epoch };
}

function decodeEvidence(
  read: Awaited<ReturnType<RedisPlanStore["decodePreview"]>>,
  [, facts, choices, needs, lanes, exclusive, unlimited, found, unseen, existing, registered]: EvidenceReply,
): Evidence {
  const [failed, waiting, uncertain, holder, pausing, undone, all, open] = facts as [
    string,
    string,
    string,
    string,
    string,
    string,
    string,
    string,
  ];
  const { view, records, events, snapshots, decisions } = read;
  return {
    view,
    compiled: read.compiled!,
    records,
    events,
    snapshots,
    decisions: decisions.length - 1,
    choices: numbers(choices),
    keyed: new Map(decisions.flatMap(({ key }, place) => (key === null ? [] : [[place, key] as const]))),
    needs: numbers(needs),
    lanes: lanes.map(([name, counted, queued, backlog]) => ({ name, counted: Number(counted), queued, backlog })),
    exclusive,
    unlimited: unlimited.map(([stepId, does, limit]) => ({ stepId, runs: does === "runs", limit })),
    holder: holder || null,
    counts: { failed: Number(failed), waiting: Number(waiting), uncertain: Number(uncertain) },
    undone: undone !== "0",
    pausing: pausing !== "",
    listed: { all: all !== "", open: open !== "" },
    jobs: decodeJobs(found, unseen, existing, registered),
  };
}

function decodeJobs(found: string[], unseen: string[], existing: string[], registered: string[]): JobEvidence {
  const jobs: FoundJob[] = [];
  for (let i = 0; i < found.length; i += 5) {
    const [queue, id, place, exists, isOwned] = found.slice(i, i + 5) as [string, string, JobPlace, string, string];
    jobs.push({ queue, id, place, exists: exists !== "", isOwned: isOwned !== "" });
  }
  const left = existing.flatMap((queue, i) => (i % 2 === 0 ? [{ queue, id: existing[i + 1]! }] : []));
  return { found: jobs, unseen: new Set(unseen), existing: left, registered: new Set(registered) };
}

function numbers(flat: readonly string[]): Map<string, number> {
  return new Map([...pairs(flat)].map(([name, value]) => [name, Number(value)]));
}
