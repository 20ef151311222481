/** The public API. Nothing else is importable. */

export type {
  ApproveOptions,
  DecideOptions,
  Follow,
  ListOptions,
  ScheduleOptions,
  SignalOptions,
  SubmitOptions,
  Why,
} from "./client/client.js";
export { Client } from "./client/client.js";
export { type ClientOptions, createClient, type RedisSource } from "./client/create-client.js";
export { createWorker, FleetWorker, type WorkerOptions } from "./client/create-worker.js";
export type {
  CheckpointDocument,
  DecisionDocument,
  EventDocument,
  PlanDocument,
  PlanSummary,
  StepDocument,
  StepState,
  WorkerDocument,
} from "./client/documents.js";
export type { PlanStanding, PlanUpdate } from "./client/follow-plan.js";
export type { ForkOptions } from "./client/fork.js";
export type { PruneOptions, PruneReport } from "./client/prune.js";
export type { Ack, ResumeOptions } from "./client/resume.js";
export type { SandboxOptions } from "./client/sandboxes.js";
export type { ScheduleDocument, ScheduledDocument } from "./client/schedules.js";
export type { VerifyDocument, VerifyOptions } from "./client/verify.js";
export type { Duration } from "./core/duration.js";
export {
  type ErrorCode,
  type ErrorDocument,
  EXIT_CODES,
  FencedError,
  InvalidChoiceError,
  InvalidDefinitionError,
  InvalidInputError,
  InvalidPlanError,
  NonRetryableError,
  NotEligibleError,
  NotForkableError,
  PayloadTooLargeError,
  PlanExistsError,
  PlanNotFoundError,
  RetryAfterError,
  StepFailedError,
  StepQuarantinedError,
  StoreUnavailableError,
  StoreUnsuitableError,
  UsageError,
  WaymarkError,
} from "./core/errors.js";
export type { ForkSummary } from "./core/fork.js";
export type { AppendedStep, AttemptMemory, Choice, Question } from "./core/handler.js";
export type { Json, JsonObject } from "./core/json.js";
export { aesPayloads, type PayloadCodec, type PayloadKey } from "./core/payload-codec.js";
export type { PlanState } from "./core/plan.js";
export type { LogChunk } from "./core/ports.js";
export type { ResumeSummary } from "./core/resume-summary.js";
export type {
  SandboxAccess,
  SandboxChanges,
  SandboxProvider,
  SandboxRules,
  SandboxSnapshot,
} from "./core/sandbox.js";
export type { Invariant, Violation } from "./core/verify.js";
export { expression } from "./define/append.js";
export type { Context, Seen } from "./define/context.js";
export { defineHandler, type Handler, type HandlerContext } from "./define/define-handler.js";
export { definePlan, type PlanOptions, services } from "./define/define-plan.js";
export type { Log, LogLine } from "./define/log.js";
export type {
  Answer,
  AnyPlan,
  Approval,
  Plan,
  PlanHandle,
  PlanInput,
  PlanOutput,
  PlanOutputs,
  PlanServices,
  RetryOptions,
  StepOptions,
} from "./define/typed-plan.js";
export type { HealthOptions } from "./observe/health-server.js";
export { VERSION } from "./version.js";
export type { DrainReport, OnDrain, WorkerLog } from "./worker/step-worker.js";
