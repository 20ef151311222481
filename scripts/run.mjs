/** `node scripts/run.mjs [--server] COMMAND…`: sets the checkout up, then runs the command with what was set up in PATH. */
import { spawn } from "node:child_process";
import { setUp } from "./setup.mjs";

const [first, ...rest] = process.argv.slice(2);
const server = first === "--server";
const [command, ...args] = server ? rest : [first, ...rest];

try {
  const env = await setUp({ server });
  const child = spawn(command, args, { stdio: "inherit", env });
  // The terminal sends its signals to the command as well: it decides, and this process ends as the command does.
  process.on("SIGINT", () => {});
  process.on("SIGTERM", () => child.kill("SIGTERM"));
  child.on("error", (error) => fail(`${command}: ${error.message}`));
  child.on("exit", (code, signal) => {
    if (signal === null) process.exitCode = code;
    else {
      process.removeAllListeners(signal);
      process.kill(process.pid, signal);
    }
  });
} catch (error) {
  fail(error.message);
}

function fail(message) {
  console.error(`setup: ${message}`);
  process.exitCode = 1;
}
