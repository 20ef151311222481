/** Workers of a fleet on one Redis: killed, drained, and strangers to a document's commands. */
import { afterEach, beforeEach, expect, test } from "vitest";
import { ACT_RUN, type RunningCommand, Workplace } from "../support/cli.js";
import { type PrivateRedis, startPrivateRedis } from "../support/private-redis.js";
import { until } from "../support/until.js";

let place: Workplace;
let redis: PrivateRedis;

beforeEach(async () => {
  redis = await startPrivateRedis();
  place = new Workplace();
  place.env.WAYMARK_REDIS_URL = redis.url;
});

afterEach(async () => {
  await place.endCommands();
  expect(await place.violations()).toEqual([]);
  await place.close();
  await redis.stop();
});

test("a worker that is killed loses its steps to its neighbour on the same machine within a second", async () => {
  place.write("plan.yaml", document(["one", "two", "three", "four"].map((id) => ({ id, needs: [] }))));
  const [first, second] = [await aWorker(["--concurrency", "2"]), await aWorker(["--concurrency", "2"])];
  for (const id of ["one", "two", "three", "four"]) place.hold(id);
  await place.plan("submit", "plan.yaml", "--id", "p1");
  for (const id of ["one", "two", "three", "four"]) await place.untilBegun(id);
  // Both beat once before, so that they know of each other.
  await untilMet(2);
  const victims = await heldBy(first!);
  expect(victims).toHaveLength(2);

  first!.signal("SIGKILL");
  const killedAt = performance.now();
  for (const id of ["one", "two", "three", "four"].filter((id) => !victims.includes(id))) place.free(id);
  await until("the lost steps to begin again", () => victims.every((id) => place.count(id) === 2), 8_000);
  const tookMs = performance.now() - killedAt;

  for (const id of victims) place.free(id);
  await untilCompleted("p1");
  expect(tookMs).toBeLessThan(4_000);
  console.log(`taken over after ${Math.round(tookMs)} ms`);
  const crashed = (await history("p1")).filter((event) => event.type === "step.crashed");
  expect(crashed.map((event) => event.step).sort()).toEqual(victims.sort());
  second!.signal("SIGTERM");
  expect((await second!.finished).code).toBe(0);
});

test("a service manager that sends SIGTERM to a worker and to its commands costs no attempt", async () => {
  place.write("plan.yaml", `${document([{ id: "long", needs: [] }])}defaults: { retry: { attempts: 1 } }\n`);
  place.hold("long");
  const worker = await aWorker();
  await place.plan("submit", "plan.yaml", "--id", "p1");
  await place.untilBegun("long");

  worker.signal("SIGTERM");
  await worker.untilSaid("draining");
  process.kill(-place.ledger()[0]!.pid, "SIGTERM");
  expect((await worker.finished).code).toBe(0);

  place.free("long");
  await aWorker();
  await untilCompleted("p1");
  expect((await history("p1")).filter(({ type }) => type === "step.failed")).toEqual([]);
  expect(place.count("long")).toBe(2);
});

test("a step that can't end within the grace is handed back, and costs no attempt", async () => {
  place.write("plan.yaml", `${document([{ id: "long", needs: [] }])}defaults: { retry: { attempts: 1 } }\n`);
  place.hold("long");
  const worker = await aWorker(["--grace", "1s"]);
  await place.plan("submit", "plan.yaml", "--id", "p1");
  await place.untilBegun("long");

  worker.signal("SIGTERM");
  const ended = await worker.finished;
  expect(ended.code).toBe(0);
  expect((await place.json("get", "p1")).state).toBe("interrupted");

  place.free("long");
  await aWorker();
  await untilCompleted("p1");
  const events = await history("p1");
  expect(events.filter((event) => event.type === "step.released")).toHaveLength(1);
  expect(place.count("long")).toBe(2);
});

test("a worker whose terminal closes drains too, says what it leaves, and with --on-drain interrupt leaves it to a resume", async () => {
  place.write("plan.yaml", document([{ id: "long", needs: [] }]));
  place.hold("long");
  const worker = await aWorker(["--grace", "1s", "--on-drain", "interrupt"]);
  await place.plan("submit", "plan.yaml", "--id", "p1");
  await place.untilBegun("long");
  const other = await aWorker();

  worker.signal("SIGHUP");
  const ended = await worker.finished;

  expect(ended.code).toBe(0);
  expect(ended.stderr).toMatch(/^Handed back long of plan p1\. Resume with: plan resume p1$/m);
  const lines = ended.stderr.split("\n").filter((line) => line.startsWith("{"));
  expect(lines.map((line) => JSON.parse(line)).find(({ msg }) => msg === "handed back")).toMatchObject({
    plan: "p1",
    steps: ["long"],
    on_drain: "interrupt",
  });
  expect(await place.json("get", "p1")).toMatchObject({ state: "interrupted", try: "plan resume p1" });
  place.free("long");
  expect((await place.plan("resume", "p1")).code).toBe(0);
  await untilCompleted("p1");
  expect(place.count("long")).toBe(2);
  other.signal("SIGTERM");
  expect((await other.finished).stderr).not.toContain("Handed back");
});

test("a fleet's worker runs commands of the documents that were named to it, of others only with --allow-shell", async () => {
  place.write("plan.yaml", document([{ id: "mine", needs: [] }]));
  place.write("other.yaml", document([{ id: "theirs", needs: [] }]).replace("plan: fleet", "plan: other"));
  await place.plan("submit", "plan.yaml", "--id", "known");
  await place.plan("submit", "other.yaml", "--id", "unknown");

  const careful = await aWorker();
  await untilCompleted("known");
  const lack = "no worker may run commands of other v1 (plan worker --allow-shell)";
  await until("plan get to say what the workers lack", async () =>
    (await place.plan("get", "unknown")).stdout.includes(lack),
  );
  expect(place.count("theirs")).toBe(0);
  // Another text under the same name is another definition.
  place.write("plan.yaml", document([{ id: "mine", needs: [] }]).replace(ACT_RUN, `${ACT_RUN} # changed`));
  await place.plan("submit", "plan.yaml", "--id", "changed");
  careful.signal("SIGTERM");
  await careful.finished;

  const started = place.start(["worker", "--allow-shell"]);
  await started.untilSaid("accepting steps");
  await untilCompleted("unknown");
  await untilCompleted("changed");
  expect(place.count("theirs")).toBe(1);
});

test("resume --here runs commands from a shared Redis only with --allow-shell, or with their document named", async () => {
  place.write("plan.yaml", document([{ id: "mine", needs: [] }]));
  for (const id of ["p1", "p2"]) await place.plan("submit", "plan.yaml", "--id", id);

  const refused = await place.plan("resume", "p1", "--here");
  expect(refused.code).toBe(2);
  expect(refused.stderr).toContain("Try: plan resume p1 --here --allow-shell");
  expect(place.count("mine")).toBe(0);

  expect((await place.plan("resume", "p1", "--here", "--allow-shell")).code).toBe(0);
  expect((await place.plan("resume", "p2", "--here", "--plans", "plan.yaml")).code).toBe(0);
  expect(place.count("mine")).toBe(2);
});

interface Event {
  readonly type: string;
  readonly step?: string;
  readonly attempt?: number;
}

async function aWorker(options: readonly string[] = []): Promise<RunningCommand> {
  const worker = place.start(["worker", "--plans", "plan.yaml", ...options]);
  await worker.untilSaid("accepting steps");
  return worker;
}

function history(planId: string): Promise<Event[]> {
  return place.json<Event[]>("history", planId);
}

async function untilCompleted(planId: string): Promise<void> {
  await until(
    `plan ${planId} to complete`,
    async () => (await place.json("get", planId)).state === "completed",
    20_000,
  );
}

/** Until every worker has beaten once and so met the others. */
async function untilMet(count: number): Promise<void> {
  await until("the workers to meet", async () => {
    const workers = await place.json<{ started_at: string; last_seen_at: string }[]>("workers");
    return (
      workers.length === count && workers.every((w) => Date.parse(w.last_seen_at) - Date.parse(w.started_at) > 1_500)
    );
  });
}

async function heldBy(worker: RunningCommand): Promise<string[]> {
  const { steps } = await place.json<{ steps: { id: string; worker_label: string | null }[] }>("get", "p1");
  return steps.filter((step) => step.worker_label?.endsWith(`:${worker.pid}`)).map((step) => step.id);
}

function document(steps: readonly { id: string; needs: readonly string[] }[], run = ACT_RUN): string {
  const lines = steps.map(({ id, needs }) => `  - { id: ${id}, needs: [${needs.join(", ")}], run: "${run}" }\n`);
  return `plan: fleet\nsteps:\n${lines.join("")}`;
}
