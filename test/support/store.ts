/** Where a test keeps its things in the Redis of the run. */
import { randomBytes } from "node:crypto";

/** A prefix that nobody else uses, so that tests can share a Redis. */
export function aPrefix(): string {
  return `test-${randomBytes(6).toString("hex")}`;
}
