/** `plan verify`: checks what is stored of plans against their histories. Exits 1 where something doesn't hold. */
import type { VerifyDocument } from "../../client/verify.js";
import { UsageError } from "../../core/errors.js";
import type { CommandContext } from "../context.js";
import { printable } from "../render/printable.js";

interface VerifyFlags {
  readonly all?: boolean;
  readonly files?: boolean;
}

export async function verify(
  context: CommandContext,
  [id]: readonly [string | undefined],
  flags: VerifyFlags,
): Promise<number> {
  if ((id === undefined) === (flags.all !== true)) {
    throw new UsageError("plan verify takes the id of a plan, or --all", { try: "plan verify --help" });
  }
  return id === undefined ? verifyAll(context, flags) : verifyOne(context, id, flags);
}

async function verifyOne(context: CommandContext, id: string, flags: VerifyFlags): Promise<number> {
  const { client, terminal } = context;
  const document = await client.verify(await context.planId(id), { files: flags.files ?? true });
  if (terminal.format === "json") terminal.document(document);
  else if (terminal.format === "jsonl") terminal.item(document);
  else print(context, document);
  return document.violations.length === 0 ? 0 : 1;
}

/** Without the content of files unless it is asked for: a store may hold many. */
async function verifyAll(context: CommandContext, flags: VerifyFlags): Promise<number> {
  const { client, terminal } = context;
  const documents: VerifyDocument[] = [];
  let plans = 0;
  let faulty = 0;
  for await (const document of client.verifyAll({ files: flags.files ?? false })) {
    plans++;
    if (document.violations.length > 0) faulty++;
    if (terminal.format === "json") documents.push(document);
    else if (terminal.format === "jsonl") terminal.item(document);
    else if (document.violations.length > 0) print(context, document);
  }
  if (terminal.format === "json") terminal.document(documents);
  const found = faulty === 0 ? "all invariants hold" : `${counted(faulty, "plan")} with violations`;
  if (terminal.human) terminal.line(`${counted(plans, "plan")} verified: ${found}.`);
  return faulty === 0 ? 0 : 1;
}

function print({ terminal }: CommandContext, { planId, state, violations, ...counts }: VerifyDocument): void {
  const c = terminal.colors;
  const facts = [
    counted(counts.events, "event"),
    counted(counts.checkpoints, "checkpoint"),
    ...(counts.snapshots === null ? [] : [counted(counts.snapshots, "snapshot")]),
  ];
  const found = violations.length === 0 ? "all invariants hold" : counted(violations.length, "violation");
  terminal.line(`Plan ${printable(planId)}  ${state ?? "unreadable"}  ${facts.join(", ")}: ${found}.`);
  for (const { invariant, message } of violations) {
    terminal.line(`${c.red("✖")} ${invariant.padEnd(4)}${printable(message)}`);
  }
}

function counted(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? "" : "s"}`;
}
