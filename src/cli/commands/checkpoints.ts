/** `plan checkpoints`: the points that a plan passed. */
import type { CommandContext } from "../context.js";
import { localTime } from "../render/marks.js";
import { printable } from "../render/printable.js";
import { shortDigest } from "../render/snapshot-line.js";
import { renderTable } from "../render/table.js";

export async function checkpoints(context: CommandContext, [id]: readonly [string]): Promise<number> {
  const { client, terminal } = context;
  const found = await client.checkpoints(await context.planId(id));
  if (terminal.format === "json") terminal.document(found);
  else if (terminal.format === "jsonl") for (const checkpoint of found) terminal.item(checkpoint);
  else if (found.length === 0) terminal.talk("No step is done yet.");
  else {
    const c = terminal.colors;
    const hasFiles = found.some((checkpoint) => checkpoint.sandbox !== null);
    const rows = found.map((checkpoint) => [
      printable(checkpoint.checkpointId),
      printable(checkpoint.step),
      String(checkpoint.epoch),
      printable(checkpoint.decisionId),
      ...(hasFiles ? [shortDigest(checkpoint.sandbox ?? "")] : []),
      localTime(checkpoint.at),
      checkpoint.current ? "" : c.dim("superseded"),
    ]);
    const files = hasFiles ? ["SANDBOX"] : [];
    terminal.line(await renderTable(["CHECKPOINT", "AFTER", "EPOCH", "DECISION", ...files, "AT", ""], rows, c));
  }
  return 0;
}
