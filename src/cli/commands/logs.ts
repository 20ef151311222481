/** `plan logs`: what attempts wrote. */
import { setTimeout as sleep } from "node:timers/promises";
import type { StepDocument } from "../../client/documents.js";
import { UsageError, WaymarkError } from "../../core/errors.js";
import { suggestion } from "../../core/nearest.js";
import { planCommand } from "../../core/plan-command.js";
import type { LogChunk } from "../../core/ports.js";
import type { CommandContext } from "../context.js";
import { untilStopped } from "../interrupt.js";
import { wholeNumber } from "../option-values.js";
import { printable, printableText } from "../render/printable.js";
import type { Terminal } from "../render/terminal.js";

const READ_EVERY_MS = 300;

interface LogsOptions {
  readonly attempt?: string;
  readonly failed?: boolean;
  readonly follow?: boolean;
}

export async function logs(
  context: CommandContext,
  [id, step]: readonly [string, string | undefined],
  options: LogsOptions,
): Promise<number> {
  const { client, terminal } = context;
  const planId = await context.planId(id);
  const attempt = options.attempt === undefined ? null : wholeNumber("--attempt", options.attempt, 1);
  const failed = options.failed ? await failedAttempts(context, planId) : null;
  const wanted = (chunk: LogChunk) =>
    (attempt === null || chunk.attempt === attempt) && (failed === null || failed.has(keyOf(chunk)));
  const plan = await client.summary(planId);
  if (step !== undefined) await checkStep(context, planId, step);
  const read = async () => (await client.logs(planId, step)).filter(wanted);
  if (options.follow) {
    if (terminal.format === "json") {
      throw new UsageError("A log that is followed has no end to print as one document; use -o jsonl");
    }
    return followLogs(context, planId, read);
  }
  const found = await read();
  if (terminal.format === "json") terminal.document(found);
  else if (terminal.format === "jsonl") for (const chunk of found) terminal.item(chunk);
  else if (found.length === 0) terminal.talk(`Nothing was written${plan.state === "queued" ? " yet" : ""}.`);
  else for (const chunk of found) printChunk(terminal, chunk);
  return 0;
}

async function failedAttempts({ client }: CommandContext, planId: string): Promise<ReadonlySet<string>> {
  const failed = new Set<string>();
  for (const event of await client.history(planId)) {
    if (event.type === "step.failed" || event.type === "step.crashed")
      failed.add(keyOf({ ...event, superseded: null }));
    if (event.type !== "steps.superseded") continue;
    const again = new Set(event.steps);
    for (const key of [...failed]) {
      const [, step, attempt] = /^([^@]+)\/(\d+)$/.exec(key) ?? [];
      if (step === undefined || !again.has(step)) continue;
      failed.delete(key);
      failed.add(keyOf({ step, attempt: Number(attempt), superseded: event.epoch - 1 }));
    }
  }
  return failed;
}

function keyOf({ step, attempt, superseded }: Pick<LogChunk, "step" | "attempt" | "superseded">): string {
  return `${step}${superseded === null ? "" : `@${superseded}`}/${attempt}`;
}

async function checkStep({ client }: CommandContext, planId: string, step: string): Promise<void> {
  const ids = (await client.get(planId)).steps.map((known: StepDocument) => known.id);
  if (ids.includes(step)) return;
  throw new WaymarkError("STEP_NOT_FOUND", `Plan ${planId} has no step ${step}${suggestion(step, ids)}`, {
    details: { planId, step },
    try: planCommand("get", planId),
  });
}

/** Prints what each attempt adds, until the plan stops and everything it wrote is out. */
async function followLogs(
  { client, terminal, io }: CommandContext,
  planId: string,
  read: () => Promise<LogChunk[]>,
): Promise<number> {
  const shown = new Map<string, LogChunk>();
  let heading = "";
  // A piece may end within a line: what comes next goes on there.
  let midLine = false;
  const print = (chunk: LogChunk, key: string, text: string) => {
    if (heading !== key) {
      if (midLine) terminal.line();
      terminal.line(headingOf(chunk, terminal));
      heading = key;
    }
    io.stdout.write(printableText(text));
    midLine = !text.endsWith("\n");
  };
  return untilStopped(io, async (signal) => {
    try {
      for (;;) {
        const stopped = (await client.standing(planId)).stopped;
        for (const chunk of await read()) {
          const key = keyOf(chunk);
          const text = unseen(chunk, shown.get(key));
          if (text === "") continue;
          shown.set(key, chunk);
          if (terminal.human) print(chunk, key, text);
          else terminal.item({ ...chunk, text });
        }
        if (stopped || signal.aborted) return;
        await sleep(READ_EVERY_MS, undefined, { signal });
      }
    } finally {
      if (midLine) terminal.line();
    }
  });
}

/** What was added since, as far as it is still kept. */
function unseen(chunk: LogChunk, before: LogChunk | undefined): string {
  if (before === undefined) return chunk.text;
  if (chunk.text.startsWith(before.text)) return chunk.text.slice(before.text.length);
  // Its beginning was dropped. Bytes that were hidden count as written, so this may repeat a few.
  const kept = Buffer.from(chunk.text);
  return kept.subarray(Math.max(0, kept.length - (chunk.bytes - before.bytes))).toString();
}

function printChunk(terminal: Terminal, chunk: LogChunk): void {
  const kept = Buffer.byteLength(chunk.text);
  const cut = chunk.bytes > kept ? terminal.colors.dim(`  (the last ${kept} of ${chunk.bytes} bytes)`) : "";
  terminal.line(`${headingOf(chunk, terminal)}${cut}`);
  terminal.line(printableText(chunk.text).replace(/\n$/, ""));
}

function headingOf({ step, attempt, superseded }: LogChunk, { colors: c }: Terminal): string {
  const line = superseded === null ? "" : `, superseded after epoch ${superseded}`;
  return `${c.bold(`── ${printable(step)}`)}${c.dim(`  attempt ${attempt}${line}`)}`;
}
