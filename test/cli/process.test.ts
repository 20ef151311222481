import { spawn } from "node:child_process";
import { EventEmitter, once } from "node:events";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { finish, processIo } from "../../src/cli/process-io.js";
import { aStore, type TestStore } from "../support/plans.js";
import { aPrefix } from "../support/store.js";
import { until } from "../support/until.js";

const prefix = aPrefix();
let store: TestStore;

beforeAll(async () => {
  store = await aStore(inject("redisUrl"), { prefix });
});

afterAll(() => store.drop());

function aProcess(main: string, ...argv: string[]) {
  const file = fileURLToPath(new URL(`../../${main}`, import.meta.url));
  const child = spawn(process.execPath, ["--import", "tsx", file, ...argv], {
    env: { ...process.env, WAYMARK_REDIS_URL: inject("redisUrl"), WAYMARK_PREFIX: prefix },
  });
  const seen = { stdout: "", stderr: "" };
  child.stdout.on("data", (data) => {
    seen.stdout += data;
  });
  child.stderr.on("data", (data) => {
    seen.stderr += data;
  });
  return { child, seen, ended: once(child, "close").then(([code]) => code as number) };
}

test("the command exits with its code, and its document on stdout is whole", async () => {
  const { seen, ended } = aProcess("src/cli/bin.ts", "get", "nosuch", "-o", "json");

  expect(await ended).toBe(4);
  expect(JSON.parse(seen.stdout)).toMatchObject({ error: { code: "PLAN_NOT_FOUND" } });
  expect(seen.stderr).toBe("");
});

test("the worker process drains at SIGTERM and exits 0", async () => {
  const { child, seen, ended } = aProcess("workers/step-worker.ts", "--queues", "a,b");
  await until("the worker to accept steps", () => seen.stderr.includes("accepting steps"), 20_000);

  child.kill("SIGTERM");

  expect(await ended).toBe(0);
  expect(seen.stderr).toContain("drained");
  expect(seen.stdout).toBe("");
});

test("a reader that has left is no error; anything else on a stream is", async () => {
  const { fake, exits } = aFakeProcess();
  const io = processIo(fake);

  fake.stdout.emit("error", Object.assign(new Error("gone"), { code: "EPIPE" }));
  expect(() => fake.stderr.emit("error", new Error("disk full"))).toThrow("disk full");
  await finish(fake, 3);

  expect(exits).toEqual([3]);
  expect(io.cwd).toBe("/somewhere");
});

test("signals are heard only while somebody listens", () => {
  const { fake } = aFakeProcess();
  const heard: string[] = [];

  const unsubscribe = processIo(fake).onSignal((signal) => heard.push(signal));
  fake.emit("SIGINT", "SIGINT");
  fake.emit("SIGTERM", "SIGTERM");
  unsubscribe();

  expect(heard).toEqual(["SIGINT", "SIGTERM"]);
  expect(fake.listenerCount("SIGINT") + fake.listenerCount("SIGTERM")).toBe(0);
});

function aFakeProcess() {
  const stream = () => Object.assign(new EventEmitter(), { write: (_text: string, done: () => void) => done() });
  const exits: number[] = [];
  const fake = Object.assign(new EventEmitter(), {
    stdout: stream(),
    stderr: stream(),
    stdin: stream(),
    env: {},
    cwd: () => "/somewhere",
    exit: (code: number) => exits.push(code),
  });
  return { fake: fake as unknown as NodeJS.Process, exits };
}
