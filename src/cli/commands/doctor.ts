/** `plan doctor`: whether the store is fit to hold plans. */
import { checkStore, type StoreCheck } from "../../client/check-store.js";
import { EXIT_CODES, StoreUnavailableError, WaymarkError } from "../../core/errors.js";
import { describeStoreUrl } from "../../core/store-address.js";
import type { CommandContext } from "../context.js";
import { printable } from "../render/printable.js";
import type { Colors } from "../render/terminal.js";

export async function doctor(context: CommandContext): Promise<number> {
  const { terminal, client } = context;
  const store = await context.store().catch((error: unknown) => {
    throw withoutAdvice(error);
  });
  const checks = await checkStore(store, await client.workers());
  const unsuitable = checks.some((check) => check.status === "fail");
  const where = (await context.usesEmbeddedStore())
    ? `embedded in ${(await context.config()).dataDir}`
    : describeStoreUrl((await context.storeLocation()).url);
  if (terminal.human) {
    terminal.line(`Store  ${printable(where)}`);
    for (const check of checks) terminal.line(renderCheck(check, terminal.colors));
  } else terminal.document({ store: where, suitable: !unsuitable, checks });
  return unsuitable ? EXIT_CODES.STORE_UNSUITABLE : 0;
}

/** What a store that is out of reach suggests is this command. */
function withoutAdvice(error: unknown): unknown {
  if (!(error instanceof StoreUnavailableError)) return error;
  return new WaymarkError(error.code, error.message, { details: error.details, cause: error });
}

function renderCheck({ name, status, found, advice }: StoreCheck, c: Colors): string {
  const mark = { ok: c.green("ok  "), warn: c.yellow("warn"), fail: c.red("fail") }[status];
  const line = `${mark}  ${name.padEnd(12)} ${printable(found)}`;
  return advice === null ? line : `${line}\n                    ${c.dim("→")} ${printable(advice)}`;
}
