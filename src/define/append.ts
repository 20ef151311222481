/** `append`: steps that a running step adds to its plan, checked and made steps of a definition. */
import {
  type CompiledDefinition,
  DEFAULT_STEP_TIMEOUT_MS,
  defaultPhase,
  type Effect,
  type StepDefinition,
} from "../core/definition.js";
import { InvalidDefinitionError, WaymarkError } from "../core/errors.js";
import { type Expression, findExpressions, formatExpression, stepReferences } from "../core/expression.js";
import type { AppendedStep, StepHandler } from "../core/handler.js";
import { isId } from "../core/ids.js";
import { type Json, type JsonObject, toStoredJson } from "../core/json.js";
import { durationMs, type Refuse, refuseUnknownKeys, retryPolicy, show } from "./define-plan.js";

const KEYS = ["id", "uses", "with", "needs", "phase", "queue", "effect", "timeout", "retry", "rev"];

/** Stands for a value that is known when the step runs. */
class ExpressionValue {
  constructor(readonly expression: Expression) {}
}

/**
 * A value in the `with` of an appended step that is looked up when it runs: `expression("steps.fix.output.file")`. The
 * texts around it are taken as they are.
 * @throws InvalidDefinitionError
 */
export function expression(path: string): unknown {
  const [found, more] = findExpressions(`\${{ ${path} }}`);
  if (found?.kind === "expression" && more === undefined) return new ExpressionValue(found.expression);
  const why = found?.kind === "fault" ? found.message : "is no single path";
  throw new InvalidDefinitionError(`The expression ${show(path)}`, why);
}

export interface AppendLimits {
  readonly handlers: ReadonlyMap<string, StepHandler>;
  /** What the `with` of a step may weigh. */
  readonly payloadLimitBytes: number;
}

/**
 * Each needs the step that appends it, whatever else it needs: what a rewind of that one makes undone is below it.
 * @param compiled the plan with what was appended so far
 * @throws InvalidDefinitionError; PayloadTooLargeError; WaymarkError HANDLER_NOT_FOUND
 */
export function toDefinitionSteps(
  steps: readonly AppendedStep[],
  by: string,
  compiled: CompiledDefinition,
  { handlers, payloadLimitBytes }: AppendLimits,
): StepDefinition[] {
  const made = new Map<string, StepDefinition>();
  const find = (id: string) => made.get(id) ?? compiled.steps.get(id);
  const appender = compiled.steps.get(by)!;
  const { phases } = compiled.definition;
  if (!Array.isArray(steps)) throw new InvalidDefinitionError(`What step ${show(by)} appends`, "is no list of steps");
  for (const step of steps) {
    const refuse: Refuse = (fault) =>
      new InvalidDefinitionError(`Step ${show(step?.id)}, appended by ${show(by)},`, fault);
    refuseUnknownKeys(step, KEYS, refuse);
    const { id, queue = appender.queue, rev = null, effect = "idempotent" } = step;
    if (!isId(id)) throw refuse("has an id that is not one: letters, digits, '.', '_' and '-', at most 128");
    if (find(id)) throw refuse("exists already");
    if (!isId(queue)) throw refuse(`has the queue ${show(queue)}, which is not an id`);
    if (effect !== "idempotent" && effect !== "irreversible") throw refuse(`has the effect ${show(effect)}`);
    const handler = handlerOf(step, handlers, refuse);
    const input = literal(step.with ?? {}, refuse) as JsonObject;
    toStoredJson(input, `The \`with\` of ${id}`, payloadLimitBytes);
    for (const { path, message } of handler.check(input)) throw refuse(`can't use ${handler.name}: ${path} ${message}`);
    const needs = [...new Set([by, ...(step.needs ?? []), ...stepReferences({ with: input, env: {} }).outputs])];
    const phasesOfNeeds = needs.map((need) => {
      const needed = find(need);
      if (!needed) throw refuse(`needs ${show(need)}, which the plan does not have`);
      return needed.phase;
    });
    const earliest = defaultPhase(null, phases, phasesOfNeeds);
    const phase = step.phase ?? earliest;
    if (!phases.includes(phase)) throw refuse(`has the phase ${show(phase)}; the plan's are ${phases.join(", ")}`);
    if (phases.indexOf(phase) < phases.indexOf(earliest))
      throw refuse(`of phase ${phase} needs a step of the later phase ${earliest}`);
    made.set(id, {
      id,
      phase,
      needs,
      uses: handler.name,
      with: input,
      env: {},
      passEnv: [],
      queue,
      effect: effect as Effect,
      sandbox: "none",
      retry: retryPolicy(step.retry, refuse),
      timeoutMs: durationMs(step.timeout, "timeout", refuse) ?? DEFAULT_STEP_TIMEOUT_MS,
      rev,
      ...(appender.priority !== undefined && { priority: appender.priority }),
      appendedBy: by,
    });
  }
  return [...made.values()];
}

function handlerOf(
  { id, uses }: AppendedStep,
  handlers: ReadonlyMap<string, StepHandler>,
  refuse: Refuse,
): StepHandler {
  const name = typeof uses === "string" ? uses : uses?.name;
  if (typeof name !== "string") throw refuse("names no handler in `uses`");
  const handler = handlers.get(name);
  if (handler) return handler;
  throw new WaymarkError("HANDLER_NOT_FOUND", `Step ${id} uses ${name}, and this worker has no such handler`, {
    details: { step: id, handler: name },
  });
}

/** Data may hold anything, also what looks like an expression: only those that were made with `expression` are. */
function literal(value: unknown, refuse: Refuse): Json {
  if (value instanceof ExpressionValue) {
    if (value.expression.root === "secrets") throw refuse("can't be given a secret");
    return `\${{ ${formatExpression(value.expression)} }}`;
  }
  if (typeof value === "string") return value.replaceAll("${{", "$$${{");
  if (Array.isArray(value)) return value.map((item) => literal(item, refuse));
  if (typeof value !== "object" || value === null || Object.getPrototypeOf(value) !== Object.prototype)
    return value as Json;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, literal(item, refuse)]));
}
