/** Whether what is stored of a plan is consistent, for library and command line alike. Reads only. */
import { SandboxCorruptError, SandboxMissingError, StoreUnsuitableError } from "../core/errors.js";
import type { PlanState } from "../core/plan.js";
import { planState } from "../core/plan.js";
import type { PlanStore } from "../core/ports.js";
import { type Evidence, type Violation, verify } from "../core/verify.js";
import type { OpenSandboxes } from "./sandboxes.js";

export interface VerifyOptions {
  /** Whether the content of every snapshot that a checkpoint names is read and compared with its digest: true unless given. */
  readonly files?: boolean;
}

export interface VerifyDocument {
  readonly planId: string;
  /** Null where what is stored can't be read. */
  readonly state: PlanState | null;
  /** None where everything holds. */
  readonly violations: readonly Violation[];
  readonly events: number;
  readonly checkpoints: number;
  /** How many snapshots were read; null where none was to be, or they are kept where this process can't look. */
  readonly snapshots: number | null;
}

/** @throws PlanNotFoundError */
export async function verifyPlan(
  store: PlanStore,
  planId: string,
  openSandboxes: OpenSandboxes,
  { files = true }: VerifyOptions = {},
): Promise<VerifyDocument> {
  let evidence: Evidence;
  try {
    evidence = await store.evidence(planId);
  } catch (error) {
    if (!(error instanceof StoreUnsuitableError)) throw error;
    const violations = [{ invariant: "I9" as const, message: error.message }];
    return { planId, state: null, violations, events: 0, checkpoints: 0, snapshots: null };
  }
  const violations = verify(evidence);
  const snapshots = files ? await verifySnapshots(evidence, openSandboxes, violations) : null;
  return {
    planId,
    state: planState(evidence.view),
    violations,
    events: evidence.events.length,
    checkpoints: evidence.records.size,
    snapshots,
  };
}

/** Reads each snapshot that the plan may go back to, once. */
async function verifySnapshots(
  { snapshots, events }: Evidence,
  openSandboxes: OpenSandboxes,
  violations: Violation[],
): Promise<number | null> {
  const steps = new Map<string, string>();
  for (const event of events) {
    if (event.type === "step.completed" && event.sandbox !== null) steps.set(event.sandbox, event.step);
  }
  const distinct = new Map(snapshots.map((snapshot) => [snapshot.digest, snapshot]));
  if (distinct.size === 0) return null;
  const sandboxes = await openSandboxes();
  let read: number | null = null;
  for (const snapshot of distinct.values()) {
    if (!sandboxes.keeps(snapshot.provider)) continue;
    read = (read ?? 0) + 1;
    try {
      await sandboxes.provider(snapshot.provider).verify(snapshot);
    } catch (error) {
      if (!(error instanceof SandboxMissingError || error instanceof SandboxCorruptError)) throw error;
      const step = steps.get(snapshot.digest);
      const whose = step === undefined ? "A snapshot that the plan names" : `The checkpoint of ${step}`;
      violations.push({ invariant: "I6", message: `${whose}: ${error.message}` });
    }
  }
  return read;
}
