/** A thread that lists directories for a snapshot. */
import { parentPort } from "node:worker_threads";
import { answerLookUps } from "./look-up-threads.js";

answerLookUps(parentPort!);
