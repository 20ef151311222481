/**
 * The promise, at random: small plans with decisions, files, maps and appended steps, in whatever state a few transitions leave
 * them, resumed or forked from whatever point, also under a definition that has changed since. The dry-run leaves every key as it was, to the byte; what follows does what it said: it reuses
 * and runs the same steps, and goes on with the same files. A case is a seed, WAYMARK_TEST_SEED the first one; more with
 * WAYMARK_TEST_CASES.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { Client } from "../../src/client/client.js";
import type { Ack, PointOptions } from "../../src/client/resume.js";
import { sandboxesOf } from "../../src/client/sandboxes.js";
import type { CompiledDefinition, Effect, SandboxUse, StepDefinition } from "../../src/core/definition.js";
import { NotWaitingError } from "../../src/core/errors.js";
import { isDone } from "../../src/core/history.js";
import { itemSteps } from "../../src/core/map.js";
import type { Outcome } from "../../src/core/outcome.js";
import type { StartedStep } from "../../src/core/ports.js";
import type { SandboxProvider, SandboxSnapshot } from "../../src/core/sandbox.js";
import { RedisAttemptStore } from "../../src/store/attempt-store.js";
import { checkInvariants } from "../support/invariants.js";
import { A_SANDBOX, aDefinition, aStore, type HandWorker, type StepSpec, type TestStore } from "../support/plans.js";
import { aFolder, readTree, type Tree } from "../support/sandboxes.js";

const CASES = Number(process.env.WAYMARK_TEST_CASES ?? 150);
const FIRST_SEED = Number(process.env.WAYMARK_TEST_SEED ?? 1);
const MOST_STEPS = 7;
/** Different contents that steps leave. */
const CONTENTS = 8;
const OPTIONS = ["patch", "rewrite"];

let t: TestStore;
let client: Client;
let keeper: SandboxProvider;
let pool: { readonly snapshot: SandboxSnapshot; readonly tree: Tree }[];
const seen = new Map<string, number>();

beforeAll(async () => {
  t = await aStore(inject("redisUrl"));
});

afterAll(async () => {
  await t.drop();
});

test(`a resume, and a fork, does what its dry-run said, and that changes nothing (${CASES} cases from seed ${FIRST_SEED})`, {
  timeout: 900_000,
}, async () => {
  await keepContents();
  for (let seed = FIRST_SEED; seed < FIRST_SEED + CASES; seed++) {
    try {
      await new Case(seed).run();
    } catch (error) {
      throw new Error(`The case of WAYMARK_TEST_SEED=${seed} WAYMARK_TEST_CASES=1`, { cause: error });
    }
  }
  if (CASES < 100) return;
  // Each claim was really put to the test.
  const points = ["frontier", "step", "checkpoint", "decision"];
  const claims = [
    ...points.flatMap((from) => [`resumed from ${from}`, `forked from ${from}`]),
    ...["queued", "interrupted", "failed", "paused", "waiting", "completed", "cancelled"],
    ...["superseded", "choice", "files", "files restored"],
    ...["keep", "rerun", "keep of a grown plan", "rerun of a grown plan", "DEFINITION_DRIFT"],
    ...["PLAN_TERMINAL", "PLAN_WAITING", "CHECKPOINT_NOT_FOUND", "DECISION_NOT_FOUND", "STEP_NOT_FOUND"],
  ];
  expect(claims.filter((claim) => !seen.has(claim))).toEqual([]);
});

/** Snapshots of real files, which steps are said to have left. */
async function keepContents(): Promise<void> {
  const dataDir = aFolder();
  client = new Client(async () => t.store, "ada", sandboxesOf({ dataDir }));
  keeper = (await sandboxesOf({ dataDir })()).keeper("directory");
  pool = [];
  for (let content = 0; content < CONTENTS; content++) {
    const folder = aFolder();
    for (let file = 0; file <= content; file++)
      writeFileSync(join(folder, `f${file}`), `${file % 2 === 0 ? content : file}`);
    pool.push({ snapshot: await keeper.snapshot(folder, A_SANDBOX), tree: readTree(folder) });
  }
}

class Case {
  private readonly random: () => number;
  /** As it was submitted, or adopted since. */
  private compiled: CompiledDefinition;
  /** Steps that were appended, or added to a definition. */
  private made = 0;
  private planId: string;
  private worker!: HandWorker;
  /** What the files are: the digest of what was left last. */
  private files = pool[0]!.snapshot.digest;

  constructor(seed: number) {
    this.random = mulberry32(seed);
    this.planId = `plan-${seed}`;
    this.compiled = this.aPlan();
  }

  async run(): Promise<void> {
    await this.submit();
    for (let round = this.among(3); round >= 0; round--) {
      await this.advance(this.among(10), true);
      await this.stop();
      if (this.chance(0.25)) await this.fork();
      else await this.resume();
      expect(await checkInvariants(t.store, this.planId)).toEqual([]);
    }
    const keys = await t.scan();
    await t.redis.unlink(...keys);
  }

  private aPlan(): CompiledDefinition {
    const count = 1 + this.among(MOST_STEPS);
    const hasFiles = this.chance(0.6);
    const steps: StepSpec[] = Array.from({ length: count }, (_, i) => {
      const needs = Array.from({ length: i }, (_, above) => `s${above}`).filter(() => this.chance(0.4));
      const map = this.chance(0.15) ? { over: "input.list", key: null, concurrency: this.oneOf([null, 1]) } : undefined;
      const uses = map === undefined && this.chance(0.2) ? "ask" : "act";
      const effect: Effect = this.chance(0.1) ? "irreversible" : "idempotent";
      const sandbox: SandboxUse = !hasFiles || uses === "ask" ? "none" : this.oneOf(["none", "read", "write", "write"]);
      return { id: `s${i}`, needs, uses, effect, sandbox, ...(map !== undefined && { map }) };
    });
    return aDefinition(steps, { sandbox: hasFiles ? A_SANDBOX : null });
  }

  private async submit(): Promise<void> {
    const { compiled, planId } = this;
    const request = { planId, compiled, input: "{}", actor: "ada", privateQueue: null, workdir: null };
    await t.store.submit({
      ...request,
      ...(compiled.definition.sandbox !== null && { sandbox: async () => pool[0]!.snapshot }),
    });
  }

  /** Takes and ends up to so many steps, in all ways if `wildly`, else well. @returns those that were completed */
  private async advance(most: number, wildly: boolean): Promise<void> {
    this.worker = await t.worker();
    const held: StartedStep[] = [];
    for (let i = 0; i < most; i++) {
      const { next } = await this.worker.fetchAwake();
      if (next.kind === "step") {
        held.push(next.step);
        if (next.step.sandbox !== null)
          expect((JSON.parse(next.step.sandbox) as SandboxSnapshot).digest).toBe(this.files);
      }
      if (held.length === 0) {
        if (!(await this.answer(wildly))) break;
        continue;
      }
      // Others may be under way beside it.
      if (wildly && this.chance(0.3)) continue;
      const step = held.splice(this.among(held.length), 1)[0]!;
      await this.decide(step);
      if (wildly && this.chance(0.05)) continue;
      const outcome = await this.outcomeOf(step, wildly);
      const { verdict } = await this.worker.settle(step, outcome, false);
      if (verdict === "OK" && outcome.kind === "complete") this.files = outcome.sandbox?.digest ?? this.files;
    }
  }

  /** What waits for somebody gets its answer. @returns whether anything did */
  private async answer(sometimes: boolean): Promise<boolean> {
    const { open } = await t.store.view(this.planId);
    const waiting = open.find((step) => step.kind === "waiting");
    if (waiting === undefined || (sometimes && this.chance(0.5))) return false;
    try {
      await client.decide(this.planId, waiting.stepId, this.oneOf(OPTIONS));
      return true;
    } catch (error) {
      // Of a paused plan, which keeps its answer until it is resumed.
      if (error instanceof NotWaitingError) return false;
      throw error;
    }
  }

  private async decide(step: StartedStep): Promise<void> {
    const attempts = new RedisAttemptStore(t.redis, t.keys, t.store.sealed);
    for (const key of ["how", "where"].filter(() => this.chance(0.25))) {
      const made = {
        question: `${key}?`,
        options: OPTIONS,
        choice: this.oneOf(OPTIONS),
        rationale: null,
        madeBy: "test",
      };
      await attempts.decide(step, key, made);
    }
  }

  private async outcomeOf(step: StartedStep, wildly: boolean): Promise<Outcome> {
    const { stepId, planId, definitionDigest, grown } = step;
    const compiled = await t.store.definitions.ofPlan(planId, definitionDigest, grown);
    const { uses, sandbox, lists } = compiled.steps.get(stepId)!;
    if (wildly && this.chance(0.12)) return { kind: "fail", error: { code: "STEP_FAILED", message: "boom" } };
    if (wildly && this.chance(0.05)) return { kind: "release", reason: "drain" };
    const ask = { question: "How?", options: OPTIONS, onReject: "continue" as const, schema: null };
    if (uses === "ask") return { kind: "park", wait: "choice", dueInMs: null, ask };
    const files = sandbox === "write" ? { sandbox: this.oneOf(pool).snapshot } : {};
    const appended = lists === undefined ? this.appendedBy(stepId, wildly) : this.itemsOf(compiled, lists, wildly);
    return { kind: "complete", output: JSON.stringify(stepId), ...files, ...(appended.length > 0 && { appended }) };
  }

  /** Where a dry-run is being held to its word, nothing is appended: it can't know of it. */
  private itemsOf(compiled: CompiledDefinition, mapId: string, wildly: boolean): readonly StepDefinition[] {
    return itemSteps(compiled, mapId, wildly ? Array(this.among(4)).fill("item") : []).steps;
  }

  private appendedBy(stepId: string, wildly: boolean): readonly StepDefinition[] {
    if (!wildly || this.chance(0.7)) return [];
    const hasFiles = this.compiled.definition.sandbox !== null;
    const first = this.made;
    const steps = Array.from({ length: 1 + this.among(2) }, (): StepSpec => {
      const beside = this.made > first && this.chance(0.5) ? [`m${first}`] : [];
      const declared = this.chance(0.2) ? [this.oneOf([...this.compiled.steps.keys()])] : [];
      const needs = [...new Set([stepId, ...beside, ...declared])];
      return { id: `m${this.made++}`, needs, sandbox: hasFiles ? this.oneOf(["none", "read", "write"]) : "none" };
    });
    return aDefinition(steps).definition.steps.map((step) => ({ ...step, appendedBy: stepId }));
  }

  /** The definition as somebody has changed it since: steps that mean something else, are gone, or have come. */
  private async changedDefinition(): Promise<CompiledDefinition> {
    const { compiled } = await t.store.preview(this.planId, "full");
    const { steps, sandbox, version } = compiled!.definition;
    const gone = new Set(steps.map((step) => step.id).filter(() => this.chance(0.12)));
    const left: StepDefinition[] = steps
      .filter((step) => step.appendedBy === undefined && !gone.has(step.id))
      .map((step) => ({
        ...step,
        needs: step.needs.filter((need) => !gone.has(need)),
        rev: this.chance(0.15) ? `${step.rev ?? ""}+` : step.rev,
      }));
    if (left.length === 0 || this.chance(0.4)) {
      const appended = steps.filter((step) => step.appendedBy !== undefined && step.itemOf === undefined);
      const id = appended.length > 0 && this.chance(0.4) ? this.oneOf(appended).id : `m${this.made++}`;
      const at = this.among(left.length + 1);
      const above = left.slice(0, at).map((step) => step.id);
      const [added] = aDefinition([{ id, needs: above.filter(() => this.chance(0.4)) }]).definition.steps;
      const below = left[at];
      if (below !== undefined && this.chance(0.6)) left[at] = { ...below, needs: [...below.needs, id] };
      left.splice(at, 0, added!);
    }
    return aDefinition(left, { sandbox, version: version + 1 });
  }

  /** Nobody alive has the plan any more, for one reason or another. */
  private async stop(): Promise<void> {
    const how = this.random();
    const { redis, keys } = t;
    if (how < 0.3) await t.store.pause(this.planId, "ada", null, false).catch(() => {});
    else if (how < 0.4) await t.store.cancel(this.planId, "ada", null).catch(() => {});
    if (this.chance(0.5)) await this.worker.deregister();
    else {
      // Silent, and nobody has noticed.
      await redis.zadd(keys.workers, 1, this.worker.id);
      await redis.zadd(keys.serving("work"), 1, this.worker.id);
    }
    const { state } = await client.summary(this.planId);
    count(state);
  }

  private async resume(): Promise<void> {
    const options = await this.aPoint();
    const from = kindOf(options);
    const onDrift = this.chance(0.3) ? this.oneOf(["keep", "rerun"] as const) : null;
    const offered = onDrift === null ? null : await this.changedDefinition();
    const drift = offered === null ? {} : { onDrift: onDrift!, definition: { compiled: offered } };
    const asked = { reason: "a test", ...options, ...drift };
    let preview = await this.untouched(() => client.resume(this.planId, { ...asked, dryRun: true }));
    const acks: Record<string, Ack> = {};
    for (const id of preview.ackRequired) {
      acks[id] = preview.repeated.includes(id) || this.chance(0.5) ? { said: "redo" } : { said: "done", output: id };
    }
    if (preview.ackRequired.length > 0) {
      preview = await this.untouched(() => client.resume(this.planId, { ...asked, acks, dryRun: true }));
    }
    if (!preview.eligible) {
      count(preview.error!.code);
      await this.untouched(() =>
        expect(client.resume(this.planId, { ...asked, acks })).rejects.toMatchObject({ code: preview.error!.code }),
      );
      return;
    }
    const before = (await t.store.history(this.planId)).length;
    const { meta } = await t.store.view(this.planId);

    const done = await client.resume(this.planId, { ...asked, acks, expect: preview.resumeToken });

    expect(done).toEqual({ ...preview, dryRun: false });
    count(`resumed from ${from}`);
    if (offered !== null) {
      this.compiled = offered;
      count(onDrift!);
      if (meta.grown > 0) count(`${onDrift} of a grown plan`);
    }
    if (preview.newKey.length > 0) count("superseded");
    await this.goesOnAs(preview, before);
    if (options.choose !== undefined) count("choice");
  }

  private async fork(): Promise<void> {
    const options = await this.aPoint();
    const forkId = `${this.planId}-f`;
    const source = this.planId;
    const preview = await this.untouched(() => client.fork(source, { ...options, planId: forkId, dryRun: true }));
    if (!preview.eligible) {
      count(preview.error!.code);
      await this.untouched(() =>
        expect(client.fork(source, { ...options, planId: forkId })).rejects.toMatchObject({
          code: preview.error!.code,
        }),
      );
      return;
    }
    const before = await contentsOf(source);

    const done = await client.fork(source, { ...options, planId: forkId });

    expect(done).toEqual({ ...preview, dryRun: false });
    expect(await contentsOf(source)).toEqual(before);
    for (const id of preview.reuse) expect(await t.store.output(forkId, id)).toBe(await t.store.output(source, id));
    count(`forked from ${kindOf(options)}`);
    // What the source has in the queues is no concern of this case.
    await t.store.cancel(source, "ada", null).catch(() => {});
    this.planId = forkId;
    expect(await checkInvariants(t.store, forkId)).toEqual([]);
    const began = (await t.store.history(forkId)).findIndex(
      (event) => event.type === "plan.forked" && event.source === source,
    );
    await this.goesOnAs(preview, began);
  }

  /** Runs all, or the beginning of it, and holds it to what was said. */
  private async goesOnAs(
    said: { run: readonly string[]; reuse: readonly string[]; sandbox: { digest: string } | null },
    before: number,
  ): Promise<void> {
    if (said.sandbox !== null) await this.startsFrom(said.sandbox.digest);
    const toTheEnd = this.chance(0.6);
    await this.advance(toTheEnd ? 1_000 : this.among(4), false);
    const events = (await t.store.history(this.planId)).slice(before);
    const acked = new Set(
      events
        .filter((event) => event.type === "step.completed" && event.actor === "ada")
        .map((event) => "step" in event && event.step),
    );
    const ran = events
      .filter(isDone)
      .map((event) => event.step)
      .filter((id) => said.run.includes(id) || !acked.has(id));
    const started = events.flatMap((event) => (event.type === "step.started" ? [event.step] : []));

    expect(new Set(ran).size, "each at most once").toBe(ran.length);
    for (const id of [...ran, ...started]) expect(said.run, `${id} was not said to run`).toContain(id);
    for (const id of said.reuse) expect(started, `${id} was said to be reused`).not.toContain(id);
    if (!toTheEnd) return;
    expect([...ran].sort()).toEqual([...said.run].sort());
    expect(await t.state(this.planId)).toBe("completed");
  }

  /** The next step begins with those files, and they can be had. */
  private async startsFrom(digest: string): Promise<void> {
    this.files = digest;
    count("files");
    if (!this.chance(0.1)) return;
    const kept = pool.find(({ snapshot }) => snapshot.digest === digest)!;
    const folder = aFolder();
    await keeper.restore(kept.snapshot, folder, A_SANDBOX);
    expect(readTree(folder)).toEqual(kept.tree);
    count("files restored");
  }

  /** A point of the plan, most often one that it has. */
  private async aPoint(): Promise<PointOptions> {
    const ids = [...this.compiled.steps.keys()];
    switch (this.among(4)) {
      case 0:
        return {};
      case 1:
        return { fromStep: this.oneOf(ids) };
      case 2: {
        const checkpoints = await client.checkpoints(this.planId);
        return { fromCheckpoint: checkpoints.length === 0 ? "ckp_none" : this.oneOf(checkpoints).checkpointId };
      }
      default: {
        if (this.chance(0.1)) return { fromDecision: "dec_none" };
        const decision = this.oneOf(await client.decisions(this.planId));
        const choose = decision.options.length > 0 && this.chance(0.5) ? { choose: this.oneOf(OPTIONS) } : {};
        return { fromDecision: decision.decisionId, ...choose };
      }
    }
  }

  /** What does this changes no key. */
  private async untouched<T>(what: () => Promise<T>): Promise<T> {
    const before = await t.dump();
    const result = await what();
    expect(await t.dump()).toEqual(before);
    return result;
  }

  private chance(of: number): boolean {
    return this.random() < of;
  }

  /** From 0, below `count`. */
  private among(count: number): number {
    return Math.floor(this.random() * count);
  }

  private oneOf<T>(items: readonly T[]): T {
    return items[this.among(items.length)]!;
  }
}

/** Not as DUMP gives it: a hash that is being rehashed moves its entries when it is read, and a fork reads its source. */
async function contentsOf(planId: string): Promise<object> {
  const { redis, keys } = t;
  const contents = keys.ownKeys(planId).map(async (key) => {
    const type = await redis.type(key);
    return [key, type === "hash" ? await redis.hgetall(key) : type === "list" ? await redis.lrange(key, 0, -1) : type];
  });
  return Object.fromEntries(await Promise.all(contents));
}

function kindOf({ fromStep, fromCheckpoint, fromDecision }: PointOptions): string {
  if (fromStep !== undefined) return "step";
  if (fromCheckpoint !== undefined) return "checkpoint";
  return fromDecision === undefined ? "frontier" : "decision";
}

function count(what: string): void {
  seen.set(what, (seen.get(what) ?? 0) + 1);
}

/** A small generator of numbers from 0 to 1, the same for the same seed. */
function mulberry32(seed: number): () => number {
  let a = seed;
  return () => {
    a = (a + 0x6d2b79f5) | 0;
    let x = Math.imul(a ^ (a >>> 15), 1 | a);
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x;
    return ((x ^ (x >>> 14)) >>> 0) / 4_294_967_296;
  };
}
