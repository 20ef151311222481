/** A scheduler as a process of its own: `node dist/workers/scheduler.js`. */
import { main } from "../src/cli/main.js";
import { finish, processIo } from "../src/cli/process-io.js";

await finish(process, await main(["scheduler", ...process.argv.slice(2)], processIo(process)));
