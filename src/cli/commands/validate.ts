/** `plan validate`: every fault of a definition at once. */
import { resolve } from "node:path";
import { InvalidPlanError } from "../../core/errors.js";
import type { CommandContext } from "../context.js";
import { type LoadedDefinition, loadFile } from "../load-definition.js";
import { printable } from "../render/printable.js";

export async function validate(context: CommandContext, [file]: readonly [string]): Promise<number> {
  const { terminal, io } = context;
  let loaded: LoadedDefinition;
  try {
    loaded = await loadFile(resolve(io.cwd, file), file);
  } catch (error) {
    if (!(error instanceof InvalidPlanError)) throw error;
    return reportFaults(context, error);
  }
  const { definition, digest } = loaded.compiled;
  const steps = definition.steps.length;
  if (terminal.human) {
    const count = `${steps} ${steps === 1 ? "step" : "steps"}`;
    terminal.line(
      `${terminal.colors.green("✔")} ${printable(file)} is valid: ${printable(definition.name)} v${definition.version}, ${count}`,
    );
  } else terminal.document({ valid: true, name: definition.name, version: definition.version, steps, digest });
  return 0;
}

function reportFaults({ terminal }: CommandContext, error: InvalidPlanError): number {
  if (!terminal.human) {
    terminal.document({ valid: false, error: error.toDocument() });
    return error.exitCode;
  }
  for (const fault of error.faults) {
    terminal.line(`${printable(error.source)}:${fault.line}:${fault.column}  ${printable(fault.message)}`);
  }
  const [first] = error.faults;
  const count = `${error.faults.length} ${error.faults.length === 1 ? "fault" : "faults"}`;
  const where = first ? `, the first in line ${first.line}, column ${first.column}` : "";
  terminal.error({ ...error.toDocument(), message: `${error.source} has ${count}${where}` });
  return error.exitCode;
}
