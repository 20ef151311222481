/** Asks before something that touches many plans. */
import { createInterface } from "node:readline";
import { UsageError } from "../core/errors.js";
import type { CommandContext } from "./context.js";

/** @throws UsageError where nobody is there to ask, or the answer is no */
export async function confirm({ io }: CommandContext, question: string, next: string): Promise<void> {
  if (!io.stdin.isTTY || !io.stderr.isTTY) {
    throw new UsageError(`"${question}" can't be asked without a terminal; --yes answers it`, { try: next });
  }
  io.stderr.write(`${question} [y/N] `);
  const lines = createInterface({ input: io.stdin });
  try {
    const { value } = (await lines[Symbol.asyncIterator]().next()) as { value: string | undefined };
    if (!/^y(es)?$/i.test((value ?? "").trim())) throw new UsageError("Nothing was resumed: the answer was not yes");
  } finally {
    lines.close();
  }
}
