import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { aStore, type TestStore } from "../support/plans.js";
import { startPrivateRedis } from "../support/private-redis.js";
import { aPrefix } from "../support/store.js";
import { until } from "../support/until.js";
import { Cli, type Running } from "./a-cli.js";

const prefix = aPrefix();
const GATE = 'plan: gate\nsteps:\n  - { id: ok, uses: approve, with: { message: "Ship it?" } }\n  - { uses: noop }\n';
let cli: Cli;
let store: TestStore;

beforeAll(async () => {
  cli = new Cli({ redisUrl: inject("redisUrl"), prefix });
  store = await aStore(inject("redisUrl"), { prefix });
  cli.file("gate.yaml", GATE);
});

afterAll(async () => {
  await store.drop();
  cli.remove();
});

function said(running: Running, text: string): Promise<true> {
  return until(text, () => running.stderr.includes(text) || null);
}

test("a typed rejection cancels the plan", async () => {
  const running = cli.startAtTerminal("run", "gate.yaml", "--id", "gate-no");
  await said(running, "ok: Ship it? [approve/reject] ");

  running.stdin.write("No\n");
  const { code, stdout } = await running.ended;

  expect(code).toBe(1);
  expect(stdout).toContain("Plan gate-no is cancelled");
});

test("a choice is taken from the options that are shown, and nothing else", async () => {
  cli.file(
    "how.yaml",
    'plan: how\nsteps: [{ id: how, uses: ask, with: { question: "How?", options: [patch, rewrite] } }]\n',
  );
  const running = cli.startAtTerminal("run", "how.yaml", "--id", "how-1", "--actor", "ada");
  await said(running, "how: How? [patch/rewrite] ");

  running.stdin.write("both\n");
  await said(running, "the options are patch, rewrite\nType one of the options: ");
  running.stdin.write("patch\n");

  expect((await running.ended).code).toBe(0);
  expect((await cli.json("decisions", "how-1")).at(-1)).toMatchObject({ step: "how", choice: "patch", made_by: "ada" });
});

test("when stdin ends, the command that answers is told, and somebody else's answer is taken", async () => {
  const running = cli.startAtTerminal("run", "gate.yaml", "--id", "gate-eof");
  await said(running, "[approve/reject]");

  running.stdin.end();
  await said(running, "Answer with: plan approve gate-eof ok");
  expect((await cli.json("get", "gate-eof")).state).toBe("waiting");
  await cli.run("approve", "gate-eof", "ok");

  expect((await running.ended).code).toBe(0);
});

test("two approvals are asked for one after the other, also when somebody else answers the first", async () => {
  cli.file(
    "two.yaml",
    "plan: two\nsteps:\n  - { id: a, uses: approve, with: { message: A? } }\n  - { id: b, needs: [], uses: approve, with: { message: B? } }\n",
  );
  const running = cli.startAtTerminal("run", "two.yaml", "--id", "two-1");
  const [first, second] = await until("a question", () => {
    if (running.stderr.includes("a: A? [approve/reject]")) return ["a", "b: B?"] as const;
    return running.stderr.includes("b: B? [approve/reject]") ? (["b", "a: A?"] as const) : null;
  });
  expect(running.stderr).not.toContain(`${second} [approve/reject]`);

  await cli.run("approve", "two-1", first);
  await said(running, `${second} [approve/reject]`);
  running.stdin.write("approve\n");

  expect((await running.ended).code).toBe(0);
});

test("a second answer to the same question is refused, and the first one counts", async () => {
  const running = cli.startAtTerminal("run", "gate.yaml", "--id", "gate-both");
  await said(running, "[approve/reject]");

  running.stdin.write("approve\nreject\n");

  expect((await running.ended).code).toBe(0);
  expect((await cli.json("decisions", "gate-both")).at(-1)).toMatchObject({ step: "ok", choice: "approve" });
  expect(running.stderr).toMatch(
    /Step ok of plan gate-both takes no such answer: it is(n't reached yet, or is over| done)/,
  );
});

test("a step that waits for a signal is not asked about: the command that sends it is told", async () => {
  cli.file("ci.yaml", "plan: ci\nsteps: [{ id: ci, uses: wait }]\n");
  const running = cli.startAtTerminal("run", "ci.yaml", "--id", "ci-1");
  await said(running, "Answer with: plan signal ci-1 ci --data JSON");

  await cli.run("signal", "ci-1", "ci");

  expect((await running.ended).code).toBe(0);
  expect(running.stderr).not.toContain("[approve/reject]");
});

test("a dumb terminal is asked too, between plain lines", async () => {
  const dumb = new Cli({ redisUrl: inject("redisUrl"), prefix, env: { TERM: "dumb" } });
  dumb.file("gate.yaml", GATE);
  const running = dumb.startAtTerminal("run", "gate.yaml", "--id", "gate-dumb");
  await said(running, "[approve/reject]");

  running.stdin.write("y\n");
  const { code, stderr } = await running.ended;
  dumb.remove();

  expect(code).toBe(0);
  expect(stderr).toMatch(/✔ ok /);
  expect(stderr).not.toContain("\u001b");
});

test("an answer that is typed while Redis is away is asked for again, and taken when it is back", async () => {
  const server = await startPrivateRedis({ appendfsync: "always" });
  const away = new Cli({ redisUrl: server.url });
  away.file("gate.yaml", GATE);
  const running = away.startAtTerminal("run", "gate.yaml", "--id", "gate-away");
  await said(running, "[approve/reject]");

  await server.kill();
  running.stdin.write("approve\n");
  await said(running, "Type approve or reject: ");
  await server.start();
  running.stdin.write("approve\n");
  const { code, stderr } = await running.ended;
  await server.stop();
  away.remove();

  expect(stderr).toMatch(/No answer from Redis at/);
  expect(code).toBe(0);
});
