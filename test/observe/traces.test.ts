import { context, SpanStatusCode, trace } from "@opentelemetry/api";
import { AsyncLocalStorageContextManager } from "@opentelemetry/context-async-hooks";
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  type ReadableSpan,
  SimpleSpanProcessor,
} from "@opentelemetry/sdk-trace-base";
import { afterEach, beforeEach, expect, inject, test } from "vitest";
import { resumePlan } from "../../src/client/resume.js";
import { planSpanContext, traces } from "../../src/observe/traces.js";
import { aChain, aStore, type TestStore } from "../support/plans.js";
import { type RunningWorker, runWorker } from "../support/step-workers.js";
import { until } from "../support/until.js";

let t: TestStore;
let exporter: InMemorySpanExporter;
let running: RunningWorker[];

beforeEach(async () => {
  t = await aStore(inject("redisUrl"));
  exporter = new InMemorySpanExporter();
  running = [];
});

afterEach(async () => {
  await Promise.all(running.map((worker) => worker.close()));
  await t.drop();
  trace.disable();
  context.disable();
});

function registerSdk(): void {
  const provider = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] });
  trace.setGlobalTracerProvider(provider);
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
}

async function start(act: Parameters<typeof runWorker>[1]): Promise<RunningWorker> {
  const worker = await runWorker(t, act, { observer: await traces() });
  running.push(worker);
  return worker;
}

function facts(span: ReadableSpan) {
  const { attributes } = span;
  return {
    name: span.name,
    attempt: attributes["waymark.step.attempt"],
    epoch: attributes["waymark.epoch"],
    outcome: attributes["waymark.outcome"],
  };
}

test("without a registered SDK nothing is traced", async () => {
  expect(await traces()).toBeNull();
});

test("a plan is one trace over its workers and resumes, with a span for each attempt", async () => {
  registerSdk();
  let broken = true;
  const act = (call: { stepId: string }) => {
    if (call.stepId === "b" && broken) throw new Error("no");
  };
  const first = await start(act);
  const plan = await t.submit(aChain(["a", "b"], { retry: { attempts: 2, backoff: "fixed", delayMs: 1, maxMs: 1 } }));
  await until("the plan to fail", async () => (await t.state(plan)) === "failed");
  await first.close();
  broken = false;
  await resumePlan(t.store, plan, { actor: "tester" });
  await start(act);
  await until("the plan to complete", async () => (await t.state(plan)) === "completed");

  const spans = exporter.getFinishedSpans();
  expect(spans.map(facts)).toEqual([
    { name: "step a", attempt: 1, epoch: 1, outcome: "complete" },
    { name: "step b", attempt: 1, epoch: 1, outcome: "retry" },
    { name: "step b", attempt: 2, epoch: 1, outcome: "fail" },
    { name: "step b", attempt: 3, epoch: 2, outcome: "complete" },
  ]);
  const { createdAt } = (await t.store.view(plan)).meta;
  const { traceId, spanId } = planSpanContext(plan, createdAt);
  expect(new Set(spans.map((span) => span.spanContext().traceId))).toEqual(new Set([traceId]));
  expect(new Set(spans.map((span) => span.parentSpanContext?.spanId))).toEqual(new Set([spanId]));
  expect(spans[0]!.attributes).toMatchObject({ "waymark.plan.id": plan, "waymark.plan.name": "test" });
  expect(new Set(spans.map((span) => span.attributes["waymark.worker"])).size).toBe(2);
  expect(spans[2]!.status).toEqual({ code: SpanStatusCode.ERROR, message: "no" });
  expect(spans[2]!.events[0]).toMatchObject({ name: "exception" });
});

test("what a handler traces belongs to its attempt", async () => {
  registerSdk();
  await start(async () => {
    await Promise.resolve();
    trace.getTracer("theirs").startSpan("query").end();
  });
  const plan = await t.submit(aChain(["a"]));
  await until("the plan to complete", async () => (await t.state(plan)) === "completed");

  const [query, step] = exporter.getFinishedSpans();
  expect(query!.name).toBe("query");
  expect(query!.parentSpanContext?.spanId).toBe(step!.spanContext().spanId);
});

test("two plans of one id are two traces", () => {
  const ids = [planSpanContext("web-1", 1), planSpanContext("web-1", 2), planSpanContext("web-2", 1)];

  expect(new Set(ids.map(({ traceId }) => traceId)).size).toBe(3);
  for (const { traceId, spanId } of ids)
    expect([traceId, spanId]).toEqual([
      expect.stringMatching(/^[0-9a-f]{32}$/),
      expect.stringMatching(/^[0-9a-f]{16}$/),
    ]);
});
