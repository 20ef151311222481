/**
 * What a producer, an operator or a scheduler does with plans. The command line is built on it. Results are the
 * command line's JSON in camelCase, errors are WaymarkErrors with its codes.
 */
import { resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { CompiledDefinition } from "../core/definition.js";
import {
  InvalidChoiceError,
  InvalidInputError,
  NotWaitingError,
  PlanNotFoundError,
  StepFailedError,
  StepQuarantinedError,
  UsageError,
  WaymarkError,
} from "../core/errors.js";
import type { ForkSummary } from "../core/fork.js";
import { isId, newPlanId } from "../core/ids.js";
import { type JsonObject, requireFits, toJson, toStoredJson } from "../core/json.js";
import type { Ask } from "../core/outcome.js";
import { ANSWERED_WAITS, type PlanState, WAIT_WORDS } from "../core/plan.js";
import type { Answerable, DocumentFile, LogChunk, PlanStore, Preview } from "../core/ports.js";
import type { ResumeSummary } from "../core/resume-summary.js";
import type { SandboxSnapshot } from "../core/sandbox.js";
import type { RecurrenceOptions } from "../core/schedule.js";
import { waitCommand } from "../core/state-sentences.js";
import { isPlan } from "../define/is-plan.js";
import type { AnyPlan, PlanHandle, PlanInput, PlanOutput } from "../define/typed-plan.js";
import { checkListOptions, checkTexts, misfit } from "./check-options.js";
import {
  type CheckpointDocument,
  type DecisionDocument,
  dated,
  type EventDocument,
  hasWaited,
  type PlanDocument,
  type PlanSummary,
  planDocument,
  planSummary,
  type WorkerDocument,
  workerDocument,
} from "./documents.js";
import { followPlan, type PlanStanding, type PlanUpdate, planStanding } from "./follow-plan.js";
import { checkedInput, type ForkOptions, type ForkPlacement, forkPlan } from "./fork.js";
import { type PruneOptions, type PruneReport, prunePlans } from "./prune.js";
import {
  type ExecutesHere,
  type OfferDefinition,
  type ResumeOptions,
  type ResumeOutcome,
  resumePlan,
} from "./resume.js";
import { firstSnapshot, type OpenSandboxes, sandboxesByDefault } from "./sandboxes.js";
import type { ScheduleDocument, ScheduledDocument, SchedulePlacement } from "./schedules.js";
import { withOwnErrors } from "./store-outage.js";
import { type VerifyDocument, type VerifyOptions, verifyPlan } from "./verify.js";

export interface SubmitOptions {
  /** Makes the submit idempotent. Made from name and time unless given. */
  readonly planId?: string;
  readonly actor?: string;
}

/** For a process that executes what it submits. */
export interface SubmitPlacement {
  readonly privateQueue?: string;
  readonly workdir?: string;
  /** The plan's document. */
  readonly file?: DocumentFile;
  /** What the sandbox's `from` is relative to: the working directory unless given, null where nobody named the plan's file. */
  readonly folder?: string | null;
}

/** `cron` or `every`, and what becomes of due times that no scheduler was there for. */
export type ScheduleOptions = RecurrenceOptions;

export interface ListOptions {
  readonly states?: readonly PlanState[];
  /** Exact, or a glob with `*`. */
  readonly name?: string;
  /** Milliseconds since 1970, or a date. */
  readonly createdSince?: number | Date;
  readonly limit?: number;
}

export interface Follow {
  readonly signal?: AbortSignal;
}

export interface Why {
  readonly reason?: string;
  readonly actor?: string;
}

export interface SignalOptions {
  /** Makes a repeated signal the same signal. */
  readonly signalId?: string;
  readonly actor?: string;
}

export interface DecideOptions {
  /** Why, recorded with the decision. */
  readonly rationale?: string;
  readonly actor?: string;
}

export interface ApproveOptions extends DecideOptions {
  readonly reject?: boolean;
}

/** How often a plan that has stopped is read, until somebody resumes it. */
const STOPPED_READ_MS = 500;

export class Client {
  #store: Promise<PlanStore> | null = null;
  readonly #open: () => Promise<PlanStore>;
  readonly #openSandboxes: OpenSandboxes;

  /** @param open connects at the first use; a failure to connect is tried again at the next */
  constructor(
    open: () => Promise<PlanStore>,
    readonly actor: string,
    openSandboxes: OpenSandboxes = sandboxesByDefault,
  ) {
    this.#open = open;
    this.#openSandboxes = openSandboxes;
  }

  /**
   * Enqueues a plan. A repeated submit with the same `planId` and content is the same plan.
   * @throws InvalidInputError, PlanExistsError
   */
  async submit<D extends AnyPlan>(plan: D, input: PlanInput<D>, options: SubmitOptions = {}): Promise<PlanHandle<D>> {
    const stored = await storedInput(plan, input);
    const { planId, existing } = await this.submitCompiled(plan.compiled, stored, options);
    return { planId, existing, result: () => this.result(planId) as Promise<PlanOutput<D>> };
  }

  /** Submits a checked definition with its checked, serialised input. */
  async submitCompiled(
    compiled: CompiledDefinition,
    input: string,
    options: SubmitOptions & SubmitPlacement = {},
  ): Promise<{ planId: string; existing: boolean }> {
    requirePlanId(options.planId);
    const planId = options.planId ?? newPlanId(compiled.definition.name, Date.now());
    const store = await this.store();
    requireFits(input, "Input", store.payloadLimitBytes);
    const { existing } = await store.submit({
      planId,
      compiled,
      input,
      actor: options.actor ?? this.actor,
      privateQueue: options.privateQueue ?? null,
      workdir: options.workdir ?? null,
      ...(options.file && { file: options.file }),
      ...(compiled.definition.sandbox !== null && { sandbox: () => this.#firstSnapshot(compiled, options) }),
    });
    return { planId, existing };
  }

  /**
   * Submits a plan at each due time from now on, where a `plan scheduler` runs. The same name again replaces what is there;
   * what it was submitted with then, definition and input, is kept.
   * @throws InvalidInputError, UsageError
   */
  async schedule<D extends AnyPlan>(
    name: string,
    plan: D,
    input: PlanInput<D>,
    options: ScheduleOptions,
  ): Promise<ScheduledDocument> {
    const stored = await storedInput(plan, input);
    return this.scheduleCompiled(name, plan.compiled, stored, options);
  }

  /** Schedules a checked definition with its checked, serialised input. */
  async scheduleCompiled(
    name: string,
    compiled: CompiledDefinition,
    input: string,
    options: ScheduleOptions & SchedulePlacement,
  ): Promise<ScheduledDocument> {
    const { putSchedule } = await import("./schedules.js");
    return putSchedule(await this.store(), name, compiled, input, options);
  }

  /** By name. */
  async schedules(): Promise<ScheduleDocument[]> {
    const { listSchedules } = await import("./schedules.js");
    return listSchedules(await this.store());
  }

  /** Plans that were submitted by it stay. @throws WaymarkError SCHEDULE_NOT_FOUND */
  async unschedule(name: string): Promise<void> {
    const { removeSchedule } = await import("./schedules.js");
    await removeSchedule(await this.store(), name);
  }

  /** @throws PlanNotFoundError */
  async get(planId: string): Promise<PlanDocument> {
    const store = await this.storeFor(planId);
    const [detail, decisions] = await Promise.all([store.detail(planId), store.decisions(planId)]);
    return planDocument(detail, decisions, hasWaited(detail) ? await store.history(planId) : []);
  }

  /** The head of `get`, at the cost of the frontier only. */
  async summary(planId: string): Promise<PlanSummary> {
    return (await this.standing(planId)).plan;
  }

  /** The summary, whether the plan has stopped, and what a person can do about it. */
  async standing(planId: string): Promise<PlanStanding> {
    return planStanding(await (await this.storeFor(planId)).view(planId));
  }

  /** Newest first, 50 unless `limit` says otherwise. @throws UsageError */
  async list(options: ListOptions = {}): Promise<PlanSummary[]> {
    const { states, name, createdSince, limit = 50 } = options;
    checkListOptions(options);
    const store = await this.store();
    const listed = await store.list({
      limit,
      ...(states && { states }),
      ...(name !== undefined && { name }),
      ...(createdSince !== undefined && { createdSince: Number(createdSince) }),
    });
    return listed.map(planSummary);
  }

  /** The history so far, then each change, until the plan stops. */
  async *watch(
    planId: string,
    options: Follow & { fromSeq?: number } = {},
  ): AsyncGenerator<PlanUpdate, void, undefined> {
    const signal = options.signal ?? new AbortController().signal;
    yield* followPlan(await this.storeFor(planId), planId, signal, options.fromSeq);
  }

  /** Oldest first. */
  async history(planId: string, fromSeq = 1): Promise<EventDocument[]> {
    return (await (await this.storeFor(planId)).history(planId, fromSeq)).map(dated);
  }

  /** Of every plan, oldest first: it reads them all. */
  async historyAll(): Promise<EventDocument[]> {
    const store = await this.store();
    const events: EventDocument[] = [];
    for await (const planId of store.planIds()) {
      try {
        for (const event of await store.history(planId)) events.push(dated(event));
      } catch (error) {
        // Removed since it was listed.
        if (!(error instanceof PlanNotFoundError)) throw error;
      }
    }
    // What happened at the same time stays in its plan's order.
    return events.sort((a, b) => (a.at < b.at ? -1 : a.at > b.at ? 1 : 0));
  }

  /** Events as they happen: of one plan from its first on, until it is completed or cancelled; or of all, from now on. */
  async *events(
    options: Follow & { planId?: string; fromSeq?: number } = {},
  ): AsyncGenerator<EventDocument, void, undefined> {
    const signal = options.signal ?? new AbortController().signal;
    const { planId } = options;
    const events =
      planId === undefined
        ? (await this.store()).followAll(signal)
        : (await this.storeFor(planId)).follow(planId, options.fromSeq ?? 1, signal);
    for await (const event of events) yield dated(event);
  }

  async checkpoints(planId: string): Promise<CheckpointDocument[]> {
    return (await (await this.storeFor(planId)).checkpoints(planId)).map(dated);
  }

  async decisions(planId: string): Promise<DecisionDocument[]> {
    return (await (await this.storeFor(planId)).decisions(planId)).map(dated);
  }

  async logs(planId: string, stepId?: string): Promise<LogChunk[]> {
    return (await this.storeFor(planId)).logs(planId, stepId);
  }

  async workers(): Promise<WorkerDocument[]> {
    return (await (await this.store()).workers()).map(workerDocument);
  }

  /** The input as it was submitted. */
  async input(planId: string): Promise<unknown> {
    return JSON.parse(await (await this.storeFor(planId)).input(planId));
  }

  /** The definition that a plan was submitted with, and where on the submitting machine its document or module lies. */
  async definition(planId: string): Promise<{ compiled: CompiledDefinition; workdir: string | null; read: Preview }> {
    const store = await this.storeFor(planId);
    const read = await store.preview(planId, "frontier");
    return { compiled: await store.definition(read.view.meta.definitionDigest, planId), workdir: read.workdir, read };
  }

  /** What a step recorded. */
  async output(planId: string, stepId: string): Promise<unknown> {
    return JSON.parse(await (await this.storeFor(planId)).output(planId, stepId));
  }

  /**
   * Continues a plan. With `dryRun`: what that would do, eligible or not, and nothing is written.
   * @throws NotEligibleError with the code of the refusal
   */
  async resume(planId: string, options: ResumeOptions = {}): Promise<ResumeSummary> {
    return (await this.resumeOn(planId, options, null)).summary;
  }

  /** The same for a process that executes what it resumes, and where it matters who won. */
  async resumeOn(
    planId: string,
    options: ResumeOptions,
    here: ExecutesHere | null,
    offer?: OfferDefinition,
  ): Promise<ResumeOutcome> {
    const store = await this.storeFor(planId);
    const by = { ...options, actor: options.actor ?? this.actor };
    return resumePlan(store, planId, by, here, this.#openSandboxes, offer);
  }

  /**
   * Creates a plan that starts from what another one has done, in any state: from its newest checkpoint, or from the point
   * that is named. What it keeps is recorded as done; the rest runs anew. With `dryRun`: what that would be.
   * @throws NotForkableError with the code of the refusal, InvalidInputError, PlanExistsError
   */
  async fork(planId: string, options: ForkOptions = {}): Promise<ForkSummary> {
    const { input, definition, ...rest } = options;
    if (input === undefined) return this.forkChecked(planId, rest, null);
    const { compiled } = await this.definition(planId);
    return this.forkChecked(planId, rest, await checkedInput(compiled, input, definition ?? null));
  }

  /** The same with an input that was checked, serialised; null for that of the source. */
  async forkChecked(planId: string, options: ForkPlacement, input: string | null): Promise<ForkSummary> {
    requirePlanId(options.planId);
    const store = await this.storeFor(planId);
    if (input !== null) requireFits(input, "Input", store.payloadLimitBytes);
    return forkPlan(store, planId, { ...options, actor: options.actor ?? this.actor }, input, this.#openSandboxes);
  }

  /** Checks what is stored of a plan against its history, and whether something takes it further. @throws PlanNotFoundError */
  async verify(planId: string, options: VerifyOptions = {}): Promise<VerifyDocument> {
    return verifyPlan(await this.storeFor(planId), planId, this.#openSandboxes, options);
  }

  /** The same for every plan. */
  async *verifyAll(options: VerifyOptions = {}): AsyncGenerator<VerifyDocument, void, undefined> {
    const store = await this.store();
    for await (const planId of store.planIds()) {
      try {
        yield await verifyPlan(store, planId, this.#openSandboxes, options);
      } catch (error) {
        // Removed since it was listed.
        if (!(error instanceof PlanNotFoundError)) throw error;
      }
    }
  }

  /** Removes plans that are completed or cancelled for long, and snapshots that no plan names any more. @throws UsageError */
  async prune(options: PruneOptions = {}): Promise<PruneReport> {
    return prunePlans(await this.store(), options, this.#openSandboxes);
  }

  /** Stops a plan until it is resumed. Active steps are aborted, or with `afterStep` finish first. */
  async pause(planId: string, options: Why & { afterStep?: boolean } = {}): Promise<PlanSummary> {
    const store = await this.storeFor(planId);
    await store.pause(planId, options.actor ?? this.actor, options.reason ?? null, options.afterStep ?? false);
    return this.summary(planId);
  }

  async cancel(planId: string, options: Why = {}): Promise<PlanSummary> {
    const store = await this.storeFor(planId);
    await store.cancel(planId, options.actor ?? this.actor, options.reason ?? null);
    return this.summary(planId);
  }

  /**
   * Gives a step the data that it waits for. What comes before it waits is kept: `kept` is true. The first counts.
   * @throws NotWaitingError, and InvalidInputError where the data don't fit the step's schema
   */
  async signal(
    planId: string,
    stepId: string,
    data: unknown = null,
    options: SignalOptions = {},
  ): Promise<{ kept: boolean }> {
    checkTexts({ ...options }, ["signalId"]);
    const store = await this.storeFor(planId);
    const stored = toStoredJson(data, "Signal", store.payloadLimitBytes);
    const to = await store.answerable(planId, stepId);
    await checkSignal(to, stored);
    return store.signal(to, {
      data: stored,
      cancels: false,
      signalId: options.signalId ?? null,
      actor: options.actor ?? this.actor,
      choice: null,
    });
  }

  /** Answers what an `approve` step asks. @throws NotWaitingError */
  async approve(planId: string, stepId: string, options: ApproveOptions = {}): Promise<void> {
    await this.decide(planId, stepId, options.reject ? "reject" : "approve", options);
  }

  /**
   * Answers what an `ask` or `approve` step asks, with one of its options.
   * @throws InvalidChoiceError, NotWaitingError
   */
  async decide(planId: string, stepId: string, choice: string, options: DecideOptions = {}): Promise<void> {
    const store = await this.storeFor(planId);
    const to = await store.answerable(planId, stepId);
    const ask = askedBy(to);
    if (!ask.options.includes(choice)) {
      throw new InvalidChoiceError(
        `The answer to ${stepId} of plan ${planId}`,
        choice,
        ask.options,
        `plan get ${planId}`,
      );
    }
    const actor = options.actor ?? this.actor;
    const { rationale = null } = options;
    const recorded = { question: ask.question, options: ask.options, choice, rationale };
    requireFits(JSON.stringify(recorded), `The decision on ${stepId}`, store.payloadLimitBytes);
    await store.signal(to, {
      data: JSON.stringify({ choice, by: actor }),
      cancels: choice === "reject" && ask.onReject === "cancel",
      signalId: null,
      actor,
      choice: recorded,
    });
  }

  /** What a step asks a person. @throws NotWaitingError */
  async asked(planId: string, stepId: string): Promise<Ask> {
    return askedBy(await (await this.storeFor(planId)).answerable(planId, stepId));
  }

  /**
   * What the plan's last step recorded, once the plan is completed. A plan that is paused or interrupted is waited
   * for: somebody may resume it.
   * @throws StepFailedError or StepQuarantinedError when it failed; WaymarkError PLAN_TERMINAL when it was cancelled
   */
  async result(planId: string, options: Follow = {}): Promise<unknown> {
    for (;;) {
      let last: PlanUpdate | undefined;
      for await (const update of this.watch(planId, options)) last = update;
      options.signal?.throwIfAborted();
      switch (last?.plan.state) {
        case "completed":
          return this.output(planId, await this.#lastStep(planId));
        case "failed":
          throw await this.failure(planId);
        case "cancelled":
          throw new WaymarkError("PLAN_TERMINAL", `Plan ${planId} was cancelled`, {
            details: { planId, state: "cancelled" },
          });
        default:
          await this.#moved(planId, last, options.signal);
      }
    }
  }

  /** Why a failed plan failed. */
  async failure(planId: string): Promise<StepFailedError | StepQuarantinedError> {
    const { view, errors } = await (await this.storeFor(planId)).detail(planId);
    const step = view.open.find((open) => open.kind === "failed");
    const stepId = step?.stepId ?? "unknown";
    const reason = errors.get(stepId)?.message ?? "no reason was recorded";
    if (step?.quarantined) return new StepQuarantinedError(planId, stepId, reason);
    return new StepFailedError(planId, stepId, reason);
  }

  /** Closes what it opened. Safe before the first use, and twice. */
  async close(): Promise<void> {
    const store = this.#store;
    this.#store = null;
    await store?.then(
      (opened) => opened.close(),
      () => {},
    );
  }

  /** The store itself, for what executes steps. */
  async store(): Promise<PlanStore> {
    this.#store ??= this.#open().then(withOwnErrors);
    try {
      return await this.#store;
    } catch (error) {
      this.#store = null;
      throw error;
    }
  }

  // An id that can't exist never becomes part of a key.
  private async storeFor(planId: string): Promise<PlanStore> {
    if (!isId(planId)) throw new PlanNotFoundError(planId);
    return this.store();
  }

  async #firstSnapshot(compiled: CompiledDefinition, { folder = "." }: SubmitPlacement): Promise<SandboxSnapshot> {
    return firstSnapshot(compiled, folder === null ? null : resolve(folder), this.#openSandboxes);
  }

  async #lastStep(planId: string): Promise<string> {
    const { view } = await (await this.store()).detail(planId);
    const { definition } = await (await this.store()).definition(view.meta.definitionDigest, planId);
    return definition.steps.at(-1)!.id;
  }

  /** Resolves when a stopped plan has moved on. */
  async #moved(planId: string, last: PlanUpdate | undefined, signal: AbortSignal | undefined): Promise<void> {
    const standing = (plan: PlanSummary | undefined) => `${plan?.state} ${plan?.epoch}`;
    while (standing(await this.summary(planId)) === standing(last?.plan)) {
      await sleep(STOPPED_READ_MS, undefined, { signal });
    }
  }
}

/** The schema's output may hold what JSON can't, such as dates: the input is stored as given and parsed on the worker. */
async function storedInput<D extends AnyPlan>(plan: D, input: PlanInput<D>): Promise<string> {
  if (!isPlan(plan)) throw misfit("The plan", "one that was made with definePlan", plan);
  const { parseInput } = await import("../define/parse-input.js");
  const stored = toJson(input, "Input");
  await parseInput(plan.inputSchema, JSON.parse(stored));
  return stored;
}

/** @throws UsageError */
function requirePlanId(planId: string | undefined): void {
  if (planId === undefined || isId(planId)) return;
  throw new UsageError(
    `"${planId}" can't be the id of a plan: ids are letters, digits, '.', '_' and '-', at most 128, the first a letter or a digit`,
    { details: { planId } },
  );
}

/** What a step that waits for a person asks. @throws NotWaitingError */
function askedBy({ planId, step, wait, ask }: Answerable): Ask {
  if (wait !== null && ask !== null && ask.options.length > 0) return ask;
  const asked = ANSWERED_WAITS.get(step.uses);
  if (asked === "signal") {
    const next = waitCommand(planId, { stepId: step.id, wait: asked });
    throw new NotWaitingError(planId, step.id, `it waits for ${WAIT_WORDS.signal}`, { wait, try: next });
  }
  const why = asked === undefined ? "it asks nobody" : "it isn't reached yet, or is over";
  throw new NotWaitingError(planId, step.id, why, { wait });
}

/** Data must be for a `wait`, and fit its schema: a choice is a person's decision, and data must not open the gate. */
async function checkSignal({ planId, step, wait: waitsFor }: Answerable, data: string): Promise<void> {
  const stepId = step.id;
  const wait = ANSWERED_WAITS.get(step.uses);
  if (wait === undefined) {
    throw new NotWaitingError(planId, stepId, `it runs ${step.uses} and never waits for an answer`);
  }
  if (wait !== "signal") {
    const why = `it asks for ${WAIT_WORDS[wait]}, not for a signal`;
    // What is over takes no answer of any kind.
    throw new NotWaitingError(
      planId,
      stepId,
      why,
      waitsFor === null ? {} : { try: waitCommand(planId, { stepId, wait }) },
    );
  }
  const { schema } = step.with;
  if (schema === undefined) return;
  const { checkValueSchema, validateValue } = await import("../core/input.js");
  // The store is trusted less than the document that was checked when it was submitted.
  const faults = checkValueSchema(schema as JsonObject, "schema");
  if (faults.length > 0) throw new InvalidInputError(`The schema of ${step.id}`, faults);
  await validateValue(schema as JsonObject, JSON.parse(data), `The signal to ${step.id}`);
}
