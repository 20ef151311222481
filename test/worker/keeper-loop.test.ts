/** What the keeper does with what it sees, in the test's own thread. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { performance } from "node:perf_hooks";
import { MessageChannel, type MessagePort } from "node:worker_threads";
import { afterEach, beforeEach, expect, inject, test } from "vitest";
import { type FromKeeper, KeeperLoop, type ToKeeper } from "../../src/worker/keeper-loop.js";
import { VitalSigns } from "../../src/worker/vital-signs.js";
import { aStore, type TestStore } from "../support/plans.js";
import { until } from "../support/until.js";

let t: TestStore;
let signs: VitalSigns;
let port: MessagePort | null = null;
let heard: FromKeeper[] = [];
let ended = 0;

beforeEach(async () => {
  t = await aStore(inject("redisUrl"));
  signs = VitalSigns.forAttempts(2);
  heard = [];
  ended = 0;
});

afterEach(async () => {
  const closed = port && once(port, "close");
  tell({ kind: "stop" });
  await closed;
  port = null;
  await t.drop();
});

test("a worker that the store doesn't know loses its commands, with those that ignore SIGTERM", async () => {
  keeper();
  const polite = spawn("sleep", ["600"], { detached: true });
  const stubborn = spawn("/bin/sh", ["-c", "trap '' TERM; echo; while :; do sleep 0.1; done"], { detached: true });
  const over = spawn("sleep", ["600"], { detached: true });
  await once(stubborn.stdout, "data");
  for (const { pid } of [polite, stubborn, over]) tell({ kind: "group", group: pid!, lives: true });
  tell({ kind: "group", group: over.pid!, lives: false });

  tell({ kind: "keep", workerId: "nobody", queues: [] });

  await Promise.all([once(polite, "exit"), once(stubborn, "exit")]);
  expect([polite.signalCode, stubborn.signalCode, over.signalCode]).toEqual(["SIGTERM", "SIGKILL", null]);
  expect(heard).toEqual([{ kind: "ready" }, { kind: "unregistered", workerId: "nobody" }]);
  over.kill("SIGKILL");
});

test("a main thread that is stuck with a step beyond its deadline is the end of the process; one that is late is not", async () => {
  signs.show(performance.now() + 3_600_000);
  signs.pulse(performance.now());
  keeper();
  // As long as this would be enough for a step that is overdue.
  await until("it to look long enough", () => performance.now() - signs.pulseAt > 4_000);
  expect(ended).toBe(0);

  const place = signs.show(1);
  await until("the end", () => ended > 0);

  signs.withdraw(place);
  expect(signs.isOverdue(performance.now())).toBe(false);
});

test("what can't be shown for lack of room is not watched, and withdrawing it changes nothing", () => {
  signs.withdraw(signs.show(5));
  expect(signs.isOverdue(10)).toBe(false);
  const places = [1, 2, 3].map((deadline) => signs.show(deadline));
  signs.withdraw(places[2]!);
  expect(signs.isOverdue(10)).toBe(true);
  signs.withdraw(places[0]!);
  signs.withdraw(places[1]!);
  expect(signs.isOverdue(10)).toBe(false);
});

test("a store that is away is said", async () => {
  keeper("redis://127.0.0.1:1");
  await until("it to be said", () => heard.some((message) => message.kind === "error"));
});

function keeper(url = t.url): void {
  const channel = new MessageChannel();
  port = channel.port1;
  port.on("message", (message: FromKeeper) => heard.push(message));
  new KeeperLoop(
    { url, shards: [0], prefix: t.prefix, deadAfterMs: 3_000, memory: signs.memory },
    channel.port2,
    () => {
      ended++;
    },
  );
}

function tell(message: ToKeeper): void {
  port?.postMessage(message);
}
