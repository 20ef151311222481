/** One worker of the fleet. SIGTERM drains it. */
import { createWorker } from "waymark";
import { primes } from "./plan.js";
import { store } from "./store.js";

const worker = createWorker({ ...store, plans: [primes], services: {}, concurrency: 2 });
process.once("SIGTERM", () => void worker.drain({ grace: "10s" }));
await worker.start();
