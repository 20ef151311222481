/**
 * Bull Board on the queues of plans, read only: what waits, what is delayed, what is active.
 *
 *   node examples/bull-board/board.mjs documents web
 */
import { createBullBoard } from "@bull-board/api";
import { BullMQAdapter } from "@bull-board/api/bullMQAdapter";
import { ExpressAdapter } from "@bull-board/express";
import { Queue } from "bullmq";
import express from "express";
import { Redis } from "ioredis";

const url = process.env.WAYMARK_REDIS_URL ?? "redis://127.0.0.1:6379";
/** All keys of plans carry it. */
const prefix = `{${process.env.WAYMARK_PREFIX ?? "waymark"}:0}`;
const names = process.argv.length > 2 ? process.argv.slice(2) : ["documents"];

const connection = new Redis(url, { maxRetriesPerRequest: null });
const queues = names.map((name) => new Queue(name, { connection, prefix }));
const serverAdapter = new ExpressAdapter();
// A job is a delivery: removing or retrying one would not be a decision about its plan.
createBullBoard({ queues: queues.map((queue) => new BullMQAdapter(queue, { readOnlyMode: true })), serverAdapter });

const server = express()
  .use(serverAdapter.getRouter())
  .listen(Number(process.env.PORT ?? 3000), "127.0.0.1", () => {
    console.log(`Bull Board on http://127.0.0.1:${server.address().port}`);
  });

process.once("SIGTERM", async () => {
  server.closeAllConnections();
  server.close();
  await Promise.all(queues.map((queue) => queue.close()));
  connection.disconnect();
});
