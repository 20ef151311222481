/** `plan get`: what a plan is, how it stands and why. */
import type { CommandContext } from "../context.js";
import { nextCommandHere } from "../next-command.js";
import { renderPlan } from "../render/plan-tree.js";

export async function get(context: CommandContext, [id]: readonly [string]): Promise<number> {
  const { client, terminal } = context;
  const found = await client.get(await context.planId(id));
  const plan = { ...found, try: await nextCommandHere(context, found, found.try) };
  if (terminal.human) terminal.line(renderPlan(plan, Date.now(), terminal.colors));
  else terminal.document(plan);
  return 0;
}
