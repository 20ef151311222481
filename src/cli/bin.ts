#!/usr/bin/env node
import { main } from "./main.js";
import { finish, processIo } from "./process-io.js";

await finish(process, await main(process.argv.slice(2), processIo(process)));
