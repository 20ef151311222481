/** `plan get`: what a plan is, how it stands and why. */
import type { CommandContext } from "../context.js";
import { renderPlan } from "../render/plan-tree.js";

export async function get(context: CommandContext, [id]: readonly [string]): Promise<number> {
  const { client, terminal } = context;
  const plan = await client.get(await context.planId(id));
  if (terminal.human) terminal.line(renderPlan(plan, Date.now(), terminal.colors));
  else terminal.document(plan);
  return 0;
}
