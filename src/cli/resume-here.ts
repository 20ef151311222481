/** A resume that this process executes: on its private queue, to the end, like `plan run`. */
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import type { ExecutesHere, ResumeOptions } from "../client/resume.js";
import type { CompiledDefinition } from "../core/definition.js";
import { UsageError, WaymarkError } from "../core/errors.js";
import { planCommand } from "../core/plan-command.js";
import type { ResumeSummary } from "../core/resume-summary.js";
import { printSummary, type ResumeFlags } from "./commands/resume.js";
import type { CommandContext } from "./context.js";
import { executeHere, reportInterruption } from "./execute-here.js";
import { type LoadedDefinition, loadFile, needsFolder, type PlanModule } from "./load-definition.js";
import { offerFrom } from "./offered-definition.js";
import { reportEnd } from "./outcome.js";
import { printable } from "./render/printable.js";
import { requireTrust, trustIn } from "./trust.js";

export async function resumeHere(
  context: CommandContext,
  planId: string,
  options: ResumeOptions,
  flags: ResumeFlags,
  emit: (document: object) => void,
): Promise<number> {
  const { client, terminal } = context;
  const { compiled: stored, workdir, read } = await client.definition(planId);
  const offer = offerFrom(context, flags, true);
  const adopts = flags.onDrift === "keep" || flags.onDrift === "rerun";
  const compiled = (adopts ? await offer(read) : null) ?? stored;
  const files = await Promise.all((flags.plans ?? []).map((file) => loadFile(resolve(context.io.cwd, file), file)));
  const trust = await trustIn(context, {
    allowShell: flags.allowShell === true,
    // What is adopted is a file of this machine.
    local: [...files.map((file) => file.compiled), ...(compiled === stored ? [] : [compiled])],
  });
  requireTrust(compiled, trust, "plan resume --here", planCommand("resume", planId, "--here", "--allow-shell"));
  const module = await moduleOf(context, compiled, files, options.workdir ?? workdir);
  let summary: ResumeSummary | null = null;
  const ending = await executeHere(context, {
    planId,
    module,
    trust,
    async begin(privateQueue) {
      const answer = await client.resumeOn(planId, options, hereFor(privateQueue, flags), offer);
      summary = answer.summary;
      await printSummary(context, summary);
      if (!answer.repeated) return summary.nextEpoch;
      terminal.talk(`Plan ${printable(planId)} was resumed by an earlier request of this id; this is its answer.`);
      return null;
    },
  });
  const document = (plan: object) => ({ ...summary, outcome: plan });
  switch (ending.kind) {
    case "nothing":
      if (!terminal.human) emit(document(await client.summary(planId)));
      return 0;
    case "stopped":
      return reportEnd(context, planId, { document, emit });
    case "interrupted":
      return reportInterruption(context, planId, { document, emit });
    default:
      return ending satisfies never;
  }
}

/** What a resume needs on this machine. Without a queue it is a dry-run. */
export function hereFor(privateQueue: string | null, flags: ResumeFlags): ExecutesHere {
  return {
    privateQueue,
    async missingWorkdir({ workdir, compiled, doneSteps }) {
      const place = flags.workdir ?? workdir;
      if (place === null || existsSync(place)) return null;
      if (compiled === null) return place;
      if (compiled.definition.source === "code") return flags.plans === undefined ? place : null;
      const done = new Set((flags.fromStep ?? flags.fromCheckpoint ?? flags.fromDecision) ? [] : doneSteps);
      return compiled.definition.steps.some((step) => needsFolder(step) && !done.has(step.id)) ? place : null;
    },
  };
}

/** The module of a plan in code. One that Redis names is imported only where Redis is our own. */
async function moduleOf(
  context: CommandContext,
  compiled: CompiledDefinition,
  files: readonly LoadedDefinition[],
  place: string | null,
): Promise<PlanModule | null> {
  if (compiled.definition.source !== "code") return null;
  const { name, version } = compiled.definition;
  const given = files.find((file) => file.kind === "code" && file.compiled.definition.name === name);
  if (given?.kind === "code") return given.module;
  if (!(await context.usesEmbeddedStore()) || place === null) {
    throw new UsageError(`Plan ${name} v${version} is written in code: name its module with --plans`, {
      details: { name, version },
    });
  }
  const loaded = await loadFile(place, place);
  if (loaded.kind === "code" && loaded.compiled.definition.name === name) return loaded.module;
  throw new WaymarkError("HANDLER_NOT_FOUND", `${place} has no plan ${name}`, { details: { name, module: place } });
}
