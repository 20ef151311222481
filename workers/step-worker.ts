/** A fleet worker as a process of its own: `node dist/workers/step-worker.js --plans 'plans/*.ts'`. */
import { main } from "../src/cli/main.js";
import { finish, processIo } from "../src/cli/process-io.js";

await finish(process, await main(["worker", ...process.argv.slice(2)], processIo(process)));
