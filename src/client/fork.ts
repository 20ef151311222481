/** Fork, for library and command line alike: read the source, decide, and create exactly what was decided. */
import type { CompiledDefinition } from "../core/definition.js";
import { NotForkableError, UsageError, WaymarkError } from "../core/errors.js";
import { type ForkDecision, type ForkSummary, planFork } from "../core/fork.js";
import { newPlanId } from "../core/ids.js";
import { digestOf, type Json, toJson } from "../core/json.js";
import type { PlanStore, Preview } from "../core/ports.js";
import { describePoint } from "../core/rewind.js";
import type { AnyPlan } from "../define/typed-plan.js";
import { FilesHere } from "./files-here.js";
import { choiceOf, countLiveWorkers, type PointOptions, pointOf } from "./resume.js";
import type { OpenSandboxes } from "./sandboxes.js";

export interface ForkPlacement extends PointOptions {
  /** Of the new plan. Makes the fork idempotent. Made from name and time unless given. */
  readonly planId?: string;
  readonly dryRun?: boolean;
  readonly actor?: string;
}

export interface ForkOptions extends ForkPlacement {
  /** The whole input of the new plan, instead of the source's. Steps that are kept keep what they made of the old one. */
  readonly input?: unknown;
  /** The plan as it was made with `definePlan`: its schema checks `input`. */
  readonly definition?: AnyPlan;
}

/** How often a source may be rewound while it is read. */
const MOST_READS = 8;

/** @throws NotForkableError, PlanExistsError, PlanNotFoundError */
export async function forkPlan(
  store: PlanStore,
  sourceId: string,
  options: ForkPlacement & { readonly actor: string },
  input: string | null,
  openSandboxes: OpenSandboxes,
): Promise<ForkSummary> {
  const request = {
    from: pointOf(options),
    choose: choiceOf(options, store.payloadLimitBytes),
    newInput: input !== null,
  };
  const asked = { source: sourceId, from: describePoint(request.from), choose: request.choose };
  const digest = digestOf({ fork: asked as Json, input: input === null ? null : [JSON.parse(input)] }).slice(0, 32);
  const repeated = async (planId: string): Promise<ForkSummary | null> => {
    const answer = await store.forkAnswer(planId, digest);
    return answer === null ? null : { ...(JSON.parse(answer) as ForkSummary), existing: true };
  };
  const before = options.planId === undefined ? null : await repeated(options.planId);
  if (before !== null) return { ...before, dryRun: options.dryRun === true };

  const files = new FilesHere(store, openSandboxes, false);
  for (let reads = 1; reads <= MOST_READS; reads++) {
    const source = await store.preview(sourceId, "line");
    const decision = await decide(store, source, request, files);
    const summary: ForkSummary = { ...decision.summary, planId: options.planId ?? null };
    if (options.dryRun) return summary;
    if (decision.actions === null) throw new NotForkableError({ ...summary, dryRun: false, error: summary.error! });
    const planId = options.planId ?? newPlanId(summary.name, Date.now());
    const done: ForkSummary = { ...summary, planId, dryRun: false };
    const answer = await store.fork({
      planId,
      request: digest,
      source,
      decision: { ...decision, summary: done },
      input: input ?? (await store.input(sourceId)),
      answer: JSON.stringify(done),
      actor: options.actor,
    });
    if (answer === "created") return done;
    if (answer === "existing") return (await repeated(planId))!;
  }
  throw new WaymarkError("FENCED", `Plan ${sourceId} was rewound ${MOST_READS} times while it was being forked`, {
    details: { planId: sourceId },
    try: `plan get ${sourceId}`,
  });
}

async function decide(
  store: PlanStore,
  source: Preview,
  request: Parameters<typeof planFork>[1],
  files: FilesHere,
): Promise<ForkDecision> {
  const facts = { ...source, offered: null, files: null, missingWorkdir: null };
  const decision = planFork(facts, request);
  const { actions, summary } = decision;
  if (actions === null) return decision;
  const found = actions.sandbox === null ? null : await files.check(actions.sandbox, source);
  if (found?.fault) return planFork({ ...facts, files: found }, request);
  const workers = await countLiveWorkers(store, source.compiled!, actions.free);
  return { actions, summary: { ...summary, workers } };
}

/** @throws InvalidInputError; UsageError where only code could check it, and it isn't given */
export async function checkedInput(
  compiled: CompiledDefinition,
  input: unknown,
  definition: AnyPlan | null,
): Promise<string> {
  const { name, source, inputSchema } = compiled.definition;
  if (source === "document") {
    const { validateInput } = await import("../core/input.js");
    return toJson(await validateInput(inputSchema, input), "Input");
  }
  if (definition?.name !== name) {
    throw new UsageError(`The input of ${name} is checked by its code: give the plan as \`definition\``, {
      details: { name },
    });
  }
  const { parseInput } = await import("../define/parse-input.js");
  const stored = toJson(input, "Input");
  await parseInput(definition.inputSchema, JSON.parse(stored));
  return stored;
}
