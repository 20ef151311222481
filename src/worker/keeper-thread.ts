/** The keeper's thread. */
import { kill, pid } from "node:process";
import { parentPort, workerData } from "node:worker_threads";
import { KeeperLoop, type KeeperSettings } from "./keeper-loop.js";

// SIGKILL: anything milder waits for the main thread.
new KeeperLoop(workerData as KeeperSettings, parentPort!, () => kill(pid, "SIGKILL"));
