/**
 * The plans of a fleet under test, for `plan worker --plans`: plain JavaScript, because workers that are killed by the dozen
 * have to start quickly.
 *
 * What a step does to the outside world is a line in the file `ledger` of FLEET_DIR: what, idempotency key, attempt,
 * fence, pid and the time. A step goes on for the time that its plan's input says, and while the file `hold` is there.
 */
import { appendFileSync, existsSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { definePlan } from "waymark";
import { z } from "zod";

const DIRECTORY = process.env.FLEET_DIR;
const LONG_STEPS = 150;

const input = z.object({ stepMs: z.number().default(0) });
const quick = { attempts: 3, backoff: "fixed", delay: 20 };

/** Ten steps, each of which needs the one before it. */
export const chain = stepsOf("fleet-chain", 10);

/** So many steps that it lasts as long as a test; with the file `stop` there, what is left takes no time. */
export const long = stepsOf("fleet-long", LONG_STEPS);

export const graph = definePlan("fleet-graph", { input })
  .step("root", work)
  .step("left", { needs: ["root"] }, work)
  .step("middle", { needs: ["root"] }, work)
  .step("right", { needs: ["root"] }, work)
  .step("join", { needs: ["left", "middle", "right"] }, work)
  .step("after", work);

/** Its step fails twice before it does anything. */
export const retrying = definePlan("fleet-retrying", { input })
  .step("first", work)
  .step("shaky", { retry: quick }, async (context) => {
    if (context.attempt <= 2) throw new Error(`attempt ${context.attempt} is too early`);
    await work(context);
  })
  .step("last", work);

/** Waits for a timer, a signal and a person. */
export const waiting = definePlan("fleet-waiting", { input })
  .step("first", work)
  .waitFor("pause", { signal: z.object({}), timeout: 300, onTimeout: "continue" })
  .step("second", work)
  .waitFor("news", { signal: z.object({ n: z.number() }) })
  .step("third", work)
  .approve("sign-off", { message: () => "Go on?" })
  .step("last", work);

/** Decides, saves where it is, and decides once more. */
export const deciding = definePlan("fleet-deciding", { input })
  .step("choose", async (context) => {
    const first = await choose(context, "first");
    await context.save({ first });
    await work(context);
    return { first, second: await choose(context, "second") };
  })
  .step("last", work);

/** One step that is in flight until it may end. */
export const held = definePlan("fleet-held", { input }).step("hold", work).step("next", work);

/** Steps that try to write after they were held. */
export const writers = definePlan("fleet-writers", { input })
  .step("commits", { needs: [] }, work)
  .step("saves", { needs: [] }, async (context) => {
    await heldUp(context);
    await attempted("save", context, () => context.save({ by: process.pid }));
  })
  .step("decides", { needs: [] }, async (context) => {
    await heldUp(context);
    await attempted("decide", context, () => choose(context, "how"));
  })
  .step("listens", { needs: [] }, async (context) => {
    note("begin", context);
    const { signal } = context;
    const told = new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
    while (existsSync(join(DIRECTORY, "hold")) && !signal.aborted) await Promise.race([sleep(20), told]);
    // Its hold may be over in the moment in which it wakes up: it is told all the same.
    if (existsSync(join(DIRECTORY, "listen"))) await told;
    note(signal.aborted ? "aborted" : "effect", context);
  });

function stepsOf(name, count) {
  let plan = definePlan(name, { input });
  for (let i = 1; i <= count; i++) plan = plan.step(`s${i}`, work);
  return plan;
}

async function work(context) {
  await heldUp(context);
  note("effect", context);
}

async function heldUp(context) {
  note("begin", context);
  if (!existsSync(join(DIRECTORY, "stop"))) await sleep(context.input.stepMs);
  while (existsSync(join(DIRECTORY, "hold"))) await sleep(20);
}

function choose(context, key) {
  return context.decide(key, { question: `${key}?`, options: ["a", "b"] }, async () => {
    note(`asked-${key}`, context);
    return context.attempt % 2 === 0 ? "a" : "b";
  });
}

async function attempted(what, context, write) {
  try {
    await write();
    note(`${what}-done`, context);
  } catch (error) {
    note(`${what}-refused`, context);
    throw error;
  }
}

function note(what, { idempotencyKey, attempt, fence }) {
  const line = [what, idempotencyKey, attempt, fence, process.pid, Date.now()].join(" ");
  appendFileSync(join(DIRECTORY, "ledger"), `${line}\n`);
}
