/**
 * Traces, for a process that has registered an OpenTelemetry SDK. A plan is one trace over all processes and resumes: its
 * trace id follows from the plan, so that nobody has to pass one on. `@opentelemetry/api` is optional.
 */
import { createHash } from "node:crypto";
import type { Outcome } from "../core/outcome.js";
import type { StartedStep } from "../core/ports.js";
import { VERSION } from "../version.js";
import type { WorkerObserver } from "../worker/observer.js";

type Api = typeof import("@opentelemetry/api");
type SpanContext = import("@opentelemetry/api").SpanContext;
type Span = import("@opentelemetry/api").Span;
type Tracer = import("@opentelemetry/api").Tracer;

/** Null where nobody would see a span: without the API, or without a registered SDK. Then steps pay nothing. */
export async function traces(): Promise<WorkerObserver | null> {
  const api = await import("@opentelemetry/api").catch(() => null);
  if (api === null) return null;
  const provider = api.trace.getTracerProvider();
  // The API's stand-in has nobody to delegate to before an SDK is registered.
  if (provider instanceof api.ProxyTracerProvider && provider.getDelegateTracer("waymark") === undefined) return null;
  return new StepSpans(api, provider.getTracer("waymark", VERSION));
}

/**
 * The context that all spans of a plan have for a parent. It is nobody's span: the plan outlives every process that
 * could have recorded one.
 */
export function planSpanContext(planId: string, createdAt: number): SpanContext {
  const digest = createHash("sha256").update(`${planId}/${createdAt}`).digest("hex");
  const SAMPLED = 1;
  return { traceId: digest.slice(0, 32), spanId: digest.slice(32, 48), traceFlags: SAMPLED, isRemote: true };
}

class StepSpans implements WorkerObserver {
  constructor(
    private readonly api: Api,
    private readonly tracer: Tracer,
  ) {}

  async attempt(step: StartedStep, run: () => Promise<Outcome>): Promise<Outcome> {
    const { ROOT_CONTEXT, SpanKind, context, trace } = this.api;
    const plan = trace.setSpanContext(ROOT_CONTEXT, planSpanContext(step.planId, step.createdAt));
    const attributes = {
      "waymark.plan.id": step.planId,
      "waymark.plan.name": step.planName,
      "waymark.step.id": step.stepId,
      "waymark.step.attempt": step.attempt,
      "waymark.epoch": step.epoch,
      "waymark.fence": step.fence,
      "waymark.worker": step.token.slice(0, step.token.indexOf(".")),
    };
    const span = this.tracer.startSpan(`step ${step.stepId}`, { kind: SpanKind.CONSUMER, attributes }, plan);
    const outcome = await context.with(trace.setSpan(plan, span), run);
    this.describe(span, outcome);
    span.end();
    return outcome;
  }

  private describe(span: Span, outcome: Outcome): void {
    span.setAttribute("waymark.outcome", outcome.kind);
    if (outcome.kind !== "retry" && outcome.kind !== "fail") return;
    const { code, message } = outcome.error;
    span.recordException({ name: code, message });
    span.setStatus({ code: this.api.SpanStatusCode.ERROR, message });
  }
}
