/** Plans, steps and events as a client reads them, in a line. */
import type { EventDocument, PlanDocument, StepDocument, StepState } from "../../../src/client/documents.js";

export const AT = "2026-01-01T10:00:00.000Z";

export function aStep(id: string, state: StepState, facts: Partial<StepDocument> = {}): StepDocument {
  return {
    id,
    phase: "execute",
    uses: "shell",
    needs: [],
    effect: "idempotent",
    state,
    attempts: state === "pending" || state === "queued" ? 0 : 1,
    failures: 0,
    crashes: 0,
    worker: null,
    workerLabel: null,
    startedAt: null,
    durationMs: null,
    wait: null,
    limit: null,
    dueAt: null,
    ask: null,
    error: null,
    unserved: null,
    progress: null,
    items: null,
    ...facts,
  };
}

export function aPlan(steps: readonly StepDocument[], facts: Partial<PlanDocument> = {}): PlanDocument {
  return {
    planId: "web-42",
    name: "refactor",
    version: 3,
    state: "running",
    why: "fix is executing",
    phase: "execute",
    epoch: 2,
    done: 0,
    total: steps.length,
    lastCompletedStep: null,
    lastCheckpointId: null,
    lastDecisionId: "dec_1",
    resumeCount: 0,
    actor: "sam@laptop",
    stop: null,
    createdAt: AT,
    updatedAt: AT,
    finishedAt: null,
    definitionDigest: "d",
    workdir: null,
    forkedFrom: null,
    sandbox: null,
    steps,
    decisions: [],
    try: null,
    ...facts,
  };
}

export function anEvent(fields: object): EventDocument {
  return { seq: 7, at: AT, planId: "web-42", epoch: 2, ...fields } as EventDocument;
}
