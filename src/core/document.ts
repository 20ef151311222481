/**
 * Plan documents: YAML or JSON to a compiled definition, or every fault with its line and column. Nothing that a
 * document says is passed over: what this version doesn't know, or can't do yet, is a fault.
 */
import {
  type CompiledDefinition,
  compile,
  DOCUMENT_QUEUE,
  RESUME_POLICIES,
  STEP_LIMIT,
  type StepDefinition,
} from "./definition.js";
import { linkSteps } from "./document/graph.js";
import { checkKeys } from "./document/keys.js";
import { type Field, LocatedDocument } from "./document/located.js";
import { checkReferences } from "./document/references.js";
import { readSandbox } from "./document/sandbox.js";
import { type DraftStep, readChoice, readDefaults, readPriority, readStep } from "./document/step.js";
import { readId } from "./document/values.js";
import type { StepHandler } from "./handler.js";
import { checkInputSchema } from "./input.js";
import type { JsonObject } from "./json.js";

const KEYS = [
  "plan",
  "version",
  "phases",
  "input",
  "defaults",
  "queue",
  "priority",
  "failFast",
  "resume",
  "sandbox",
  "steps",
] as const;
const KEYS_OF_LATER_VERSIONS = ["prepare", "onFailure", "env"] as const;

/**
 * @param source what the document is called in faults, usually its path
 * @param handlers what `uses` may name; each checks its own `with`
 * @throws InvalidPlanError with all faults
 */
export function parseDocument(
  text: string,
  source: string,
  handlers: ReadonlyMap<string, StepHandler>,
): CompiledDefinition {
  const document = new LocatedDocument(text, source);
  const fields = document.fields(document.root);
  if (fields === null) return document.throwFaults();
  checkKeys(document, document.root, fields, KEYS, KEYS_OF_LATER_VERSIONS);

  const plan = fields.get("plan");
  if (!plan) document.fault(document.root, "a plan needs a name: plan is missing");
  const name = plan ? readId(document, plan) : null;
  const version = fields.get("version");
  const failFast = fields.get("failFast");
  const queue = fields.get("queue");
  const inputSchema = readInputSchema(document, fields.get("input"));
  const sandbox = fields.get("sandbox");
  const defaults = readDefaults(document, fields.get("defaults"), {
    queue: (queue ? readId(document, queue) : null) ?? DOCUMENT_QUEUE,
    priority: readPriority(document, fields.get("priority")),
    hasSandbox: sandbox !== undefined,
  });
  const declaredSandbox = sandbox ? readSandbox(document, sandbox) : null;
  const resume = readChoice(document, fields.get("resume"), RESUME_POLICIES);
  const listedPhases = readPhases(document, fields.get("phases"));
  const versionNumber = version ? document.count(version) : 1;
  const stopsAtFirstFailure = failFast ? document.boolean(failFast) : false;

  const drafts = readSteps(document, fields.get("steps"), (at, index) =>
    readStep(document, at, index, defaults, handlers),
  );
  const graph = linkSteps(document, drafts, listedPhases);
  checkReferences(document, drafts, graph, inputSchema);
  if (document.faulty) document.throwFaults();

  return compile({
    name: name!,
    version: versionNumber!,
    source: "document",
    phases: graph.phases,
    steps: drafts.map((draft, index): StepDefinition => {
      const { id, uses, with: input, env, passEnv, queue, effect, sandbox, retry, timeoutMs, rev } = draft;
      const { when, onFailure, priority, map, concurrency, rate } = draft;
      const needs = graph.needs[index]!.map((need) => drafts[need]!.id);
      const phase = graph.phaseOf[index]!;
      const what = { uses, with: input, env, passEnv };
      const shape = {
        ...(when && { when }),
        ...(priority && { priority }),
        ...(onFailure && { onFailure }),
        ...(map && { map }),
        ...(concurrency && { concurrency }),
        ...(rate && { rate }),
      };
      return { id, phase, needs, ...what, queue, effect, sandbox, retry, timeoutMs, rev, ...shape };
    }),
    inputSchema,
    failFast: stopsAtFirstFailure!,
    sandbox: declaredSandbox,
    ...(resume && { resume }),
  });
}

/** Null where the document says nothing about its input: then any input is taken. */
function readInputSchema(document: LocatedDocument, at: Field | undefined): JsonObject | null {
  const properties = at ? document.object(at) : null;
  if (!at || properties === null) return null;
  for (const { path, message } of checkInputSchema(properties)) {
    document.fault(document.find(at, path), message);
  }
  const required = Object.entries(properties)
    .filter(([, schema]) => !hasDefault(schema))
    .map(([name]) => name);
  return { type: "object", properties, required };
}

function hasDefault(schema: unknown): boolean {
  return typeof schema === "object" && schema !== null && Object.hasOwn(schema, "default");
}

function readPhases(document: LocatedDocument, at: Field | undefined): readonly string[] | null {
  const items = at ? document.items(at, "a list of phases") : null;
  if (!at || items === null) return null;
  if (items.length === 0) document.fault(at, "phases is empty; leave it out for the one phase execute");
  const phases = new Set<string>();
  for (const item of items) {
    const phase = readId(document, item);
    if (phase === null) continue;
    if (phases.has(phase)) document.fault(item, `phases names "${phase}" twice`);
    else phases.add(phase);
  }
  return phases.size > 0 ? [...phases] : null;
}

function readSteps(
  document: LocatedDocument,
  at: Field | undefined,
  read: (at: Field, index: number) => DraftStep | null,
): DraftStep[] {
  if (!at) {
    document.fault(document.root, "a plan needs at least one step: steps is missing");
    return [];
  }
  const items = document.items(at, "a list of steps");
  if (items === null) return [];
  if (items.length === 0) document.fault(at, "a plan needs at least one step");
  if (items.length > STEP_LIMIT) {
    document.fault(at, `the plan has ${items.length} steps; the limit is ${STEP_LIMIT}`);
    return document.throwFaults();
  }
  return items.map((item, index) => read(item as Field, index)).filter((draft) => draft !== null);
}
