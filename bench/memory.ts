/** What a completed 10-step plan costs Redis, its payloads left out: its steps record nothing. */
import { Redis } from "ioredis";
import { Keys } from "../src/store/keys.js";
import { figure } from "./support/figure.js";
import { PLAN_NAME, type Shape } from "./support/plans.js";
import { measure, onServer, submitPlans, untilCompleted, withChild } from "./support/runs.js";
import type { Scenario, Size } from "./support/scenario.js";

const SHAPE = { kind: "chain", steps: 10 } as const satisfies Shape;
/** The first of them fill what is trimmed, such as the stream of events, and load the scripts. */
const SIZES = {
  full: { before: 1_500, counted: 1_000 },
  tiny: { before: 20, counted: 20 },
} as const satisfies Record<Size, object>;

export const memory: Scenario = {
  name: "memory",
  about: "bytes in Redis of a completed 10-step plan without payloads",
  run: async (size) => onServer((url) => measureMemory(url, SIZES[size])),
};
