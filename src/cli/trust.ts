/**
 * Whether shell steps may run on this machine. A shared Redis can't make it run commands: on a given Redis, only
 * definitions that equal a file somebody named here are trusted, unless --allow-shell says otherwise.
 */
import type { CompiledDefinition } from "../core/definition.js";
import { UsageError } from "../core/errors.js";
import type { ShellTrust } from "../worker/execute.js";
import type { CommandContext } from "./context.js";
import { runsShell } from "./load-definition.js";

export interface TrustSources {
  readonly allowShell: boolean;
  /** Definitions of files that the command line named. */
  readonly local: readonly CompiledDefinition[];
}

export async function trustIn(context: CommandContext, sources: TrustSources): Promise<ShellTrust> {
  if (sources.allowShell || (await context.usesEmbeddedStore())) return { kind: "all" };
  return { kind: "digests", digests: new Set(sources.local.map((compiled) => compiled.digest)) };
}

/** Refuses to begin what could never be finished here. @throws UsageError */
export function requireTrust(compiled: CompiledDefinition, trust: ShellTrust, command: string, next?: string): void {
  if (trust.kind === "all" || trust.digests.has(compiled.digest) || !runsShell(compiled)) return;
  throw new UsageError(
    `${command} does not run shell steps of ${compiled.definition.name}: the definition comes from Redis, not from a file named here`,
    { details: { definition: compiled.digest }, ...(next !== undefined && { try: next }) },
  );
}
