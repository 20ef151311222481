/** `plan scheduler`: resumes interrupted plans, where their definitions let it, until it is stopped. */
import { pino } from "pino";
import { AutoResume } from "../../scheduler/auto-resume.js";
import type { CommandContext } from "../context.js";

export async function scheduler(context: CommandContext): Promise<number> {
  const { io, debug } = context;
  const config = await context.config();
  const log = pino({ level: debug ? "debug" : config.logLevel }, { write: (line: string) => io.stderr.write(line) });
  const store = await context.store();
  await store.requireSuitable();
  const resumes = new AutoResume({ store, actor: context.actor, log, sandboxes: context.sandboxes });
  const stopped = new Promise<void>((resolve) => {
    const unsubscribe = io.onSignal(() => {
      unsubscribe();
      resolve();
    });
  });
  resumes.start();
  log.info({ store: store.address }, "looking for interrupted plans");
  await stopped;
  await resumes.stop();
  return 0;
}
