/** `plan scheduler`: submits recurring plans when they are due, and resumes interrupted ones, until it is stopped. */
import { pino } from "pino";
import { AutoResume } from "../../scheduler/auto-resume.js";
import { RecurringPlans } from "../../scheduler/recurring-plans.js";
import type { CommandContext } from "../context.js";

export async function scheduler(context: CommandContext): Promise<number> {
  const { io, debug } = context;
  const config = await context.config();
  const log = pino({ level: debug ? "debug" : config.logLevel }, { write: (line: string) => io.stderr.write(line) });
  const store = await context.store();
  await store.requireSuitable();
  const options = { store, actor: context.actor, log, sandboxes: context.sandboxes };
  const parts = [new AutoResume(options), new RecurringPlans(options)];
  const stopped = new Promise<void>((resolve) => {
    const unsubscribe = io.onSignal(() => {
      unsubscribe();
      resolve();
    });
  });
  for (const part of parts) part.start();
  log.info({ store: store.address }, "looking for recurring and interrupted plans");
  await stopped;
  await Promise.all(parts.map((part) => part.stop()));
  return 0;
}
