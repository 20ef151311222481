/** A plan with stand-ins for functions of its steps, and with the choices that a test makes. */
import { UsageError } from "../core/errors.js";
import type { AttemptMemory, Choice, StepHandler } from "../core/handler.js";
import { suggestion } from "../core/nearest.js";
import type { Context } from "../define/context.js";
import { parseInput } from "../define/parse-input.js";
import type { AnyPlan, StepCode } from "../define/typed-plan.js";

/** By step id: what the step records, or a function that stands in for the step's own. */
export type Fakes = ReadonlyMap<string, unknown>;

/** By the key of a decision, or step/key. */
export type Choices = ReadonlyMap<string, Choice<string>>;

type Once = (context: Context) => unknown;
type PerItem = (item: unknown, context: Context) => unknown;

/** @throws UsageError where a step can't be faked */
export function withFakes(plan: AnyPlan, fakes: Fakes, choices: Choices): AnyPlan {
  for (const id of fakes.keys()) {
    if (plan.code.has(id)) continue;
    const known = [...plan.code.keys()];
    throw new UsageError(
      `\`steps\` fakes ${JSON.stringify(id)}, and plan ${plan.name} has no such step${suggestion(id, known) || `: it has ${known.join(", ")}`}`,
      { details: { step: id, steps: known } },
    );
  }
  const { name, inputSchema, compiled } = plan;
  const code = new Map<string, StepCode>();
  for (const [id, own] of plan.code) {
    code.set(id, answered(id, fakes.has(id) ? faked(id, own, fakes.get(id)) : own, choices));
  }
  return { name, inputSchema, compiled, code };
}

/** The same for a handler that appended steps run. */
export function withChoices(handler: StepHandler, choices: Choices): StepHandler {
  return { ...handler, run: (call) => handler.run(choosing(call, call.stepId, choices)) };
}

function faked(id: string, own: StepCode, fake: unknown): StepCode {
  switch (own.kind) {
    case "run":
      return { ...own, run: async (context: Context) => ran(fake, context) };
    case "map": {
      if (typeof fake === "function") return { ...own, run: async (item, context) => (fake as PerItem)(item, context) };
      throw new UsageError(`The fake of ${id} must be a function: it runs for each item of a list`, {
        details: { step: id },
      });
    }
    case "use": {
      // The arguments are made and checked as ever, and the fake finds them in its context.
      const run = async (context: Context) => {
        const { name, schema } = own.handler;
        const given = await parseInput(schema, own.with(context), `The \`with\` of handler ${name}`);
        return ran(fake, Object.create(context, { with: { value: given } }));
      };
      return { kind: "run", run, ...(own.when && { when: own.when }) };
    }
    case "approve":
    case "ask":
    case "signal": {
      const [where, what] = own.kind === "signal" ? ["signals", "a signal"] : ["decisions", "a person"];
      throw new UsageError(`Step ${id} waits for ${what} and has no function to fake: answer it in \`${where}\``, {
        details: { step: id },
      });
    }
    default:
      return own satisfies never;
  }
}

function ran(fake: unknown, context: Context): unknown {
  return typeof fake === "function" ? (fake as Once)(context) : fake;
}

function answered(id: string, own: StepCode, choices: Choices): StepCode {
  switch (own.kind) {
    case "run":
      return { ...own, run: (context: Context) => own.run(choosing(context, id, choices)) };
    case "map":
      return { ...own, run: (item, context) => own.run(item, choosing(context, id, choices)) };
    case "use": {
      const { handler } = own;
      return { ...own, handler: { ...handler, run: (context) => handler.run(choosing(context, id, choices)) } };
    }
    case "approve":
    case "ask":
    case "signal":
      return own;
    default:
      return own satisfies never;
  }
}

/** A context whose decisions are the test's, where it makes them: they are recorded as if the step's own chooser had made them. */
function choosing<C extends Pick<AttemptMemory, "decide">>(context: C, stepId: string, choices: Choices): C {
  const decide: AttemptMemory["decide"] = (key, question, chooser) => {
    const chosen = choices.get(`${stepId}/${key}`) ?? choices.get(key);
    return context.decide(key, question, chosen === undefined ? chooser : () => chosen as ReturnType<typeof chooser>);
  };
  return Object.create(context, { decide: { value: decide } });
}
