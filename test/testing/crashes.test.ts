/** Plans whose worker dies in a test: what another one makes of them, and what of that a test finds fault with. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import { NotCrashSafeError } from "../../src/core/errors.js";
import { definePlan, services } from "../../src/define/define-plan.js";
import { repeatedEffect } from "../../src/testing/crash-everywhere.js";
import { testPlan } from "../../src/testing/index.js";

const input = z.object({});

class Ledger {
  readonly entries: string[] = [];

  add(key: string): number {
    if (!this.entries.includes(key)) this.entries.push(key);
    return this.entries.length;
  }
}

const shop = definePlan("shop", { input, services: services<{ ledger: Ledger }>() })
  .step("choose", async ({ decide, services }) => {
    const how = await decide("how", { question: "How?", options: ["a", "b"] }, () => "a");
    services.ledger.add("chosen");
    return how;
  })
  .step("charge", async ({ idempotencyKey, services }) => services.ledger.add(idempotencyKey))
  .step("count", async ({ save, saved }): Promise<string> => {
    const from = Number(saved ?? 0);
    await save(from + 1);
    return from === 0 ? "from the start" : "from the cursor";
  });

describe("one crash", () => {
  test("before a step's function is called costs an attempt, and nothing was called", async () => {
    const ledger = new Ledger();

    const run = await testPlan(shop, { input: {}, services: { ledger }, crashAt: { before: "charge" } });

    expect(run.state).toBe("completed");
    expect(run.steps.charge).toMatchObject({ state: "completed", attempts: 2 });
    expect(run.calls.map(({ step, attempt, ended }) => `${step} ${attempt} ${ended}`)).toEqual([
      "choose 1 completed",
      "charge 2 completed",
      "count 1 completed",
    ]);
  });

  test("after it, what it recorded on its way is there: the decision isn't made again, the cursor is given", async () => {
    let asked = 0;
    const plan = definePlan("choosy", { input }).step("choose", async ({ decide, saved, save }) => {
      const how = await decide("how", { question: "How?", options: ["a", "b"] }, () => (++asked === 1 ? "a" : "b"));
      const before = saved;
      await save("cursor");
      return [how, String(before)];
    });

    const run = await testPlan(plan, { input: {}, crashAt: { after: "choose" } });

    expect(run.output).toEqual(["a", "cursor"]);
    expect(run.decisions).toHaveLength(1);
    expect(run.calls.map(({ ended }) => ended)).toEqual(["crashed", "completed"]);
  });

  test("a condition that was asked is not asked again", async () => {
    let asked = 0;
    const plan = definePlan("once", { input }).step("maybe", { when: () => ++asked === 1 }, async () => "ran");

    expect((await testPlan(plan, { input: {}, crashAt: { after: "maybe" } })).output).toBe("ran");
  });

  test("in a later attempt, and at one that is never reached", async () => {
    const plan = definePlan("flaky", { input }).step("try", async ({ attempt }) => {
      if (attempt === 1) throw new Error("again");
      return attempt;
    });

    expect((await testPlan(plan, { input: {}, crashAt: { after: "try", attempt: 2 } })).output).toBe(3);
    await expect(testPlan(plan, { input: {}, crashAt: { before: "try", attempt: 3 } })).rejects.toMatchObject({
      code: "USAGE",
      message: "`crashAt` names attempt 3 of step try, which plan flaky never started in this test",
    });
  });

  test("of an irreversible step leaves the plan to a person, and what doesn't need the step goes on", async () => {
    const plan = definePlan("publish", { input })
      .step("publish", { effect: "irreversible" }, async () => "out")
      .step("tell", async () => "told")
      .step("beside", { needs: [] }, async () => "done");

    const run = await testPlan(plan, { input: {}, crashAt: { after: "publish" } });

    expect(run).toMatchObject({ state: "interrupted", held: ["publish"], outputs: { beside: "done" } });
    expect(run.steps).toMatchObject({ publish: { state: "uncertain", attempts: 1 }, tell: { state: "pending" } });
  });

  test("of a step that writes files leaves none of them to the next attempt", async () => {
    const plan = definePlan("files", { input, sandbox: {} }).step(
      "write",
      { sandbox: "write" },
      async ({ sandbox, attempt }) => {
        writeFileSync(join(sandbox.path, `of-${attempt}`), "");
      },
    );

    expect((await testPlan(plan, { input: {}, crashAt: { after: "write" } })).files).toEqual({ "of-2": "" });
  });
});

describe("crashes everywhere", () => {
  test("before and after each call, each with services of its own", async () => {
    const { state, crashes } = await testPlan(shop, {
      input: {},
      services: () => ({ ledger: new Ledger() }),
      steps: { count: "counted" },
      crashAt: "everywhere",
    });

    expect(state).toBe("completed");
    expect(crashes.map(({ crash }) => crash)).toEqual(
      ["choose", "charge", "count"].flatMap((step) => [
        { when: "before", step, attempt: 1 },
        { when: "after", step, attempt: 1 },
      ]),
    );
    for (const { services } of crashes) expect(services.ledger.entries).toEqual(["chosen", "test/charge/1"]);
  });

  test("a step that goes on from what a lost attempt left comes to something else, which is named", async () => {
    const failing = testPlan(shop, { input: {}, services: () => ({ ledger: new Ledger() }), crashAt: "everywhere" });

    await expect(failing).rejects.toThrow(NotCrashSafeError);
    await expect(failing).rejects.toMatchObject({
      code: "NOT_CRASH_SAFE",
      crash: { when: "after", step: "count", attempt: 1 },
      difference: { step: "count", what: "output", path: "", expected: "from the start", actual: "from the cursor" },
      message: expect.stringContaining(
        'Plan shop comes to something else when its worker dies after attempt 1 of step count: step count recorded "from the cursor" instead of "from the start". A step that runs again',
      ) as string,
    });
  });

  test("an effect without a key shows in the steps below", async () => {
    const plan = definePlan("twice", { input, services: services<{ sent: string[] }>() })
      .step("send", async ({ services }) => void services.sent.push("mail"))
      .step("report", async ({ services }) => ({ mails: { list: services.sent } }));

    await expect(
      testPlan(plan, { input: {}, services: () => ({ sent: [] }), crashAt: "everywhere" }),
    ).rejects.toMatchObject({
      crash: { when: "after", step: "send" },
      difference: { step: "report", path: "mails.list[1]", expected: null, actual: "mail" },
    });
  });

  test("chance is found without any crash", async () => {
    let n = 0;
    const plan = definePlan("random", { input })
      .step("a", async () => ({ n: 1 }))
      .step("b", async () => ({ ids: [{ id: ++n }] }));

    await expect(testPlan(plan, { input: {}, crashAt: "everywhere" })).rejects.toMatchObject({
      crash: null,
      difference: { step: "b", what: "output", path: "ids[0].id", expected: 1, actual: 2 },
      message: expect.stringContaining(
        "each time that it runs, also without a crash: step b recorded 2 instead of 1 at ids[0].id",
      ) as string,
    });
  });

  test("so is a step that ends otherwise, and one that is in one run only", async () => {
    const runs = () => {
      let n = 0;
      return () => ++n;
    };
    const next = runs();
    const ends = definePlan("ends", { input }).step("a", { retry: { attempts: 1 } }, async () => {
      if (next() === 2) throw new Error("this time");
    });
    const size = runs();
    const grows = definePlan("grows", { input }).map(
      "each",
      { over: () => new Array(size()).fill("x") as string[] },
      async (item) => item,
    );

    await expect(testPlan(ends, { input: {}, crashAt: "everywhere" })).rejects.toMatchObject({
      difference: { step: "a", what: "state", expected: "completed", actual: "failed" },
      message: expect.stringContaining("step a is failed instead of completed") as string,
    });
    await expect(testPlan(grows, { input: {}, crashAt: "everywhere" })).rejects.toMatchObject({
      difference: { step: "each#", what: "output", path: "[1]" },
    });
  });

  test("files that a lost attempt changed elsewhere count", async () => {
    let n = 0;
    const plan = definePlan("drift", { input, sandbox: {} }).step(
      "write",
      { sandbox: "write" },
      async ({ sandbox }) => {
        writeFileSync(join(sandbox.path, "n"), String(++n));
      },
    );

    await expect(testPlan(plan, { input: {}, crashAt: "everywhere" })).rejects.toMatchObject({
      difference: { step: null, what: "files" },
      message: expect.stringMatching(/its files are "sha256:\w+" instead of "sha256:\w+"/) as string,
    });
  });

  test("an irreversible step is held at its crashes, and the rest is compared", async () => {
    const called: string[] = [];
    const plan = definePlan("publish", { input })
      .step("build", async () => "built")
      .step("publish", { effect: "irreversible" }, async ({ idempotencyKey }) => void called.push(idempotencyKey))
      .approve("fine", { message: () => "Fine?" })
      .step("tell", async () => "told");

    const { crashes } = await testPlan(plan, { input: {}, decisions: { fine: "approve" }, crashAt: "everywhere" });

    expect(crashes.map(({ crash, state, held }) => `${crash.when} ${crash.step}: ${state} ${held}`)).toEqual([
      "before build: completed ",
      "after build: completed ",
      "before publish: interrupted publish",
      "after publish: interrupted publish",
      "before fine: completed ",
      "after fine: completed ",
      "before tell: completed ",
      "after tell: completed ",
    ]);
    // Two runs without a crash, six in which it is recorded, and one in which it was cut off.
    expect(called).toHaveLength(9);
  });

  test("a plan that waits, and one that fails, are compared as far as they go", async () => {
    const waits = definePlan("waits", { input })
      .step("a", async () => 1)
      .waitFor("ci", { signal: z.null() });
    const fails = definePlan("fails", { input }).step("a", async () => {
      throw new Error("always");
    });

    expect((await testPlan(waits, { input: {}, crashAt: "everywhere" })).crashes).toHaveLength(4);
    const { crashes } = await testPlan(fails, { input: {}, crashAt: "everywhere" });
    expect(crashes).toHaveLength(6);
    for (const run of crashes) expect(run).toMatchObject({ state: "failed", steps: { a: { attempts: 4 } } });
  });

  test("a call of an irreversible step is repeated by nobody; one that was would be named", () => {
    const { compiled } = definePlan("p", { input })
      .step("a", { effect: "irreversible" }, async () => 1)
      .step("b", async () => 2);
    const call = (step: string) =>
      ({ step, attempt: 1, idempotencyKey: `test/${step}/1`, ended: "completed" }) as const;

    expect(repeatedEffect(compiled, [call("a"), call("b"), call("b")])).toBeNull();
    expect(repeatedEffect(compiled, [call("a"), call("b"), call("a")])).toMatchObject({ step: "a", what: "effect" });
  });
});
