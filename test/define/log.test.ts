import { expect, test } from "vitest";
import { logTo } from "../../src/define/log.js";

test("each call is one line: level, message, facts", () => {
  const { log, lines } = aLog();

  log.debug("starting");
  log.info({ pushed: 3 }, "done");
  log.warn({ left: [1, 2] });
  log.error(undefined);

  expect(lines).toEqual(["debug starting\n", 'info done {"pushed":3}\n', 'warn {"left":[1,2]}\n', "error undefined\n"]);
});

test("a child says its facts in each line, and its own child both", () => {
  const { log, lines } = aLog();
  const child = log.child({ file: "a.ts", token: "t-1" });

  child.info("begun");
  child.child({ try: 2 }).fatal({ left: 1 }, "gave up");
  log.trace("over");

  expect(lines).toEqual([
    'info begun {"file":"a.ts","token":"***"}\n',
    'fatal gave up {"left":1} {"try":2} {"file":"a.ts","token":"***"}\n',
    "trace over\n",
  ]);
});

test("what is called a secret is not shown, however deep it lies in the facts", () => {
  const { log, lines } = aLog();

  log.info({ user: "ada", auth: { password: "hunter2", apiKey: "k" } });

  expect(lines).toEqual(['info {"user":"ada","auth":{"password":"***","apiKey":"***"}}\n']);
});

test("an error is logged with its stack, and inside facts with its message", () => {
  const { log, lines } = aLog();
  const error = new TypeError("no such branch");
  const bare = Object.assign(new Error("bare"), { stack: undefined });

  log.error(error, "push failed");
  log.error({ err: error });
  log.error(bare);

  expect(lines[0]).toMatch(/^error push failed TypeError: no such branch\n\s+at /);
  expect(lines[1]).toBe('error {"err":{"name":"TypeError","message":"no such branch"}}\n');
  expect(lines[2]).toBe("error Error: bare\n");
});

test("facts that JSON can't hold don't fail the step that logs them", () => {
  const { log, lines } = aLog();
  const loop: Record<string, unknown> = {};
  loop.self = loop;

  log.info(loop, "state");
  log.info({ big: 1n });

  expect(lines[0]).toMatch(/^info state \(facts that JSON can't hold: .*circular/);
  expect(lines[1]).toMatch(/^info \(facts that JSON can't hold: .*BigInt/);
});

function aLog() {
  const lines: string[] = [];
  return { lines, log: logTo((text) => lines.push(text)) };
}
