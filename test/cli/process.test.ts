import { spawn } from "node:child_process";
import { EventEmitter, once } from "node:events";
import { symlinkSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { finish, processIo } from "../../src/cli/process-io.js";
import { Workplace } from "../support/cli.js";
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

// Where Node loads TypeScript itself, it looks whether a file is a module.
test.skipIf("typescript" in process.features)(
  "TypeScript that counts as CommonJS says how to make it a module",
  async () => {
    const place = new Workplace();
    try {
      place.write("package.json", "{}");
      place.write("plan.ts", "export const n: number = 1;");
      symlinkSync(fileURLToPath(new URL("../../node_modules", import.meta.url)), join(place.directory, "node_modules"));

      const { code, stderr } = await place.plan("validate", "plan.ts");

      expect(code).toBe(2);
      expect(stderr).toMatch(/^Error: USAGE: .*plan\.ts .*"type": "module"/);
    } finally {
      await place.close();
    }
  },
);

test("the worker process drains at SIGTERM and exits 0", async () => {
  const { child, seen, ended } = aProcess("workers/step-worker.ts", "--queues", "a,b");
  await until("the worker to accept steps", () => seen.stderr.includes("accepting steps"), 20_000);

  child.kill("SIGTERM");

  expect(await ended).toBe(0);
  expect(seen.stderr).toContain("drained");
  expect(seen.stdout).toBe("");
});

test.each(["EPIPE", "EIO"])(
  "a reader that has left (%s) is no error, and those who follow hear of it",
  async (code) => {
    const { fake, exits } = aFakeProcess();
    const io = processIo(fake);
    let heard = 0;
    const unsubscribe = io.onReaderGone(() => {
      heard += 1;
    });

    fake.stdout.emit("error", Object.assign(new Error("gone"), { code }));
    unsubscribe();
    fake.stdout.emit("error", Object.assign(new Error("gone"), { code }));
    await finish(fake, 3);

    expect(exits).toEqual([3]);
    expect(heard).toBe(1);
  },
);

test.each([
  [0, 1],
  [3, 3],
])("a full disk ends a command that would exit %i with %i, when its work is done", async (code, exit) => {
  const { fake, exits, written } = aFakeProcess();
  processIo(fake);

  fake.stdout.emit("error", Object.assign(new Error("no space left on device"), { code: "ENOSPC" }));
  await finish(fake, code);

  expect(exits).toEqual([exit]);
  expect(written()).toBe("Error: INTERNAL: Not everything could be written: no space left on device.\n");
});

test("the current directory is looked up when it is needed, and its loss is an error that a person can read", () => {
  const { fake } = aFakeProcess();
  const io = processIo(fake);
  expect(io.cwd).toBe("/somewhere");

  fake.cwd = () => {
    throw new Error("ENOENT: no such file or directory, uv_cwd");
  };

  expect(() => io.cwd).toThrow("The current directory does not exist any more");
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
  let text = "";
  const stream = () =>
    Object.assign(new EventEmitter(), {
      write: (part: string, done?: () => void) => {
        text += part;
        done?.();
      },
    });
  const exits: number[] = [];
  const fake = Object.assign(new EventEmitter(), {
    stdout: stream(),
    stderr: stream(),
    stdin: stream(),
    env: {},
    cwd: () => "/somewhere",
    exit: (code: number) => {
      exits.push(code);
    },
  });
  return { fake: fake as unknown as NodeJS.Process, exits, written: () => text };
}
