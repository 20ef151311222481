/** Starts a thread that runs a module of this project. */
import { basename, extname } from "node:path";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";

/**
 * Of the user's options for Node it gets none: what they load is not needed there and would only delay its start.
 * @param module without extension
 */
export function startThread(module: URL, workerData: unknown): Worker {
  const extension = extname(fileURLToPath(import.meta.url));
  const file = new URL(`${module.href}${extension}`);
  const options = { workerData, execArgv: [], name: `waymark-${basename(module.pathname, "-thread")}` };
  if (extension === ".js") return new Worker(file, options);
  // From sources: a thread doesn't inherit a loader of TypeScript.
  const loader = new URL("../../node_modules/tsx/dist/esm/api/index.mjs", import.meta.url);
  const load = `import("${loader.href}").then(({ register }) => { register(); return import("${file.href}"); });`;
  return new Worker(load, { ...options, eval: true });
}
