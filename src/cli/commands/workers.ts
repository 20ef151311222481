/** `plan workers`: who is alive, draining, doing what. */
import type { CommandContext } from "../context.js";
import { ago } from "../render/marks.js";
import { printable } from "../render/printable.js";
import { renderTable } from "../render/table.js";

export async function workers(context: CommandContext): Promise<number> {
  const { client, terminal } = context;
  const found = await client.workers();
  if (terminal.format === "json") terminal.document(found);
  else if (terminal.format === "jsonl") for (const worker of found) terminal.item(worker);
  else if (found.length === 0) terminal.talk("No workers.");
  else {
    const c = terminal.colors;
    const now = Date.now();
    const rows = found.map((worker) => [
      printable(worker.label),
      worker.state === "dead"
        ? c.red("dead")
        : worker.state === "draining"
          ? c.yellow("draining")
          : c.green("accepting"),
      `${worker.active}/${worker.concurrency}`,
      worker.queues.map(printable).join(", "),
      worker.plans.map(printable).join(", "),
      ago(worker.startedAt, now),
      ago(worker.lastSeenAt, now),
      c.dim(printable(worker.workerId)),
    ]);
    terminal.line(
      await renderTable(["WORKER", "STATE", "ACTIVE", "QUEUES", "PLANS", "STARTED", "SEEN", "ID"], rows, c),
    );
  }
  return 0;
}
