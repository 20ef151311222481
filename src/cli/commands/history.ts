/** `plan history`: what happened, oldest first. */
import type { EventDocument } from "../../client/documents.js";
import { UsageError } from "../../core/errors.js";
import type { CommandContext } from "../context.js";
import { untilStopped } from "../interrupt.js";
import { renderEvent } from "../render/event-line.js";

interface HistoryOptions {
  readonly all?: boolean;
  readonly follow?: boolean;
}

export async function history(
  context: CommandContext,
  [id]: readonly string[],
  options: HistoryOptions,
): Promise<number> {
  const { client, terminal } = context;
  if ((id === undefined) !== (options.all === true)) {
    throw new UsageError("plan history takes the id of a plan, or --all", { try: "plan history --help" });
  }
  const show = (event: EventDocument) =>
    terminal.human ? terminal.line(renderEvent(event, terminal.colors, id === undefined)) : terminal.item(event);
  if (options.follow) {
    if (terminal.format === "json") {
      throw new UsageError("A history that is followed has no end to print as one document; use -o jsonl");
    }
    const planId = id === undefined ? undefined : await context.planId(id);
    return untilStopped(context.io, async (signal) => {
      for await (const event of client.events({ signal, ...(planId !== undefined && { planId }) })) show(event);
    });
  }
  const events = id === undefined ? await client.historyAll() : await client.history(await context.planId(id));
  if (terminal.format === "json") terminal.document(events);
  else events.forEach(show);
  return 0;
}
