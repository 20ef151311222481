/** `plan run`: submits a plan and executes it here, to the end. */
import { WaymarkError } from "../../core/errors.js";
import { newPlanId } from "../../core/ids.js";
import type { CommandContext } from "../context.js";
import { executeHere, reportInterruption } from "../execute-here.js";
import { planInput } from "../input-values.js";
import { fileOf, folderOf, type LoadedDefinition, loadDefinition, workdirOf } from "../load-definition.js";
import { reportEnd } from "../outcome.js";
import { planArguments } from "../plan-arguments.js";
import { printable } from "../render/printable.js";
import { requireTrust, trustIn } from "../trust.js";

interface RunOptions {
  readonly input?: readonly string[];
  readonly id?: string;
}

export async function run(context: CommandContext, args: readonly string[], options: RunOptions): Promise<number> {
  const { client, terminal } = context;
  const { target, input } = planArguments(args, options.input);
  const loaded = await loadDefinition(context, target);
  const stored = await planInput(input, loaded, context.io);
  const trust = await trustIn(context, {
    allowShell: false,
    local: loaded.kind === "document" ? [loaded.compiled] : [],
  });
  requireTrust(loaded.compiled, trust, "plan run");
  requireCode(loaded);
  const workdir = workdirOf(loaded);
  // Known before the worker starts: it serves the shard of its plan.
  const planId = options.id ?? newPlanId(loaded.compiled.definition.name, Date.now());
  let existing = false;
  const ending = await executeHere(context, {
    planId,
    module: loaded.kind === "code" ? loaded.module : null,
    trust,
    async begin(privateQueue) {
      const submitted = await client.submitCompiled(loaded.compiled, stored, {
        privateQueue,
        planId,
        ...(workdir !== null && { workdir }),
        ...fileOf(loaded),
        folder: folderOf(loaded, context.io.cwd),
      });
      existing = submitted.existing;
      const standing = await client.standing(planId);
      if (existing) terminal.talk(`Plan ${printable(planId)} exists already; it is ${standing.plan.state}.`);
      // A live tree has it in its title.
      else if (!context.io.stderr.isTTY) {
        terminal.talk(`Plan ${printable(planId)}  ${printable(standing.plan.name)} v${standing.plan.version}`);
      }
      return 1;
    },
  });
  switch (ending.kind) {
    case "nothing":
      return 0;
    case "stopped":
      return reportEnd(context, planId, { document: (plan) => ({ ...plan, existing }) });
    case "interrupted":
      return reportInterruption(context, planId, { document: (plan) => ({ ...plan, existing }) });
    default:
      return ending satisfies never;
  }
}

/** The functions of a plan in code are not in the store. */
function requireCode(loaded: LoadedDefinition): void {
  if (loaded.kind !== "stored" || loaded.compiled.definition.source !== "code") return;
  const { name } = loaded.compiled.definition;
  throw new WaymarkError(
    "HANDLER_NOT_FOUND",
    `Plan ${name} is written in code, and its functions are not in the store`,
    {
      details: { name },
      try: "plan run FILE.ts",
    },
  );
}
