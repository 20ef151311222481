/** What must hold of every plan, as `plan verify` finds it. Returns the violations, each a sentence. */
import { verify } from "../../src/core/verify.js";
import { readEvidence } from "../../src/store/evidence.js";
import type { RedisPlanStore } from "../../src/store/redis-plan-store.js";

export async function checkInvariants(store: RedisPlanStore, planId: string): Promise<string[]> {
  return verify(await readEvidence(store, planId)).map(({ invariant, message }) => `${invariant}: ${message}`);
}
