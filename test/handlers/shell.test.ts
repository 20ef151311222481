import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { NonRetryableError } from "../../src/core/errors.js";
import type { HandlerCall } from "../../src/core/handler.js";
import type { JsonObject } from "../../src/core/json.js";
import { builtinHandlers } from "../../src/handlers/index.js";
import { createShellHandler } from "../../src/handlers/shell.js";
import { aCall } from "./handler-call.js";

const shell = builtinHandlers().get("shell")!;
let workdir: string;

beforeAll(() => {
  workdir = realpathSync(mkdtempSync(join(tmpdir(), "shell-step-")));
});

afterAll(() => rmSync(workdir, { recursive: true, force: true }));

// Every process that a test starts has this folder as its own: none may outlive its attempt, nor a failed test.
afterEach(() => {
  const left = processesIn(workdir);
  for (const line of left) process.kill(Number(line.trim().split(/\s+/)[0]), "SIGKILL");
  expect(left).toEqual([]);
});

describe("the output of a step", () => {
  test.each([
    ['printf \'{"count": 3, "names": ["a", "b"]}\\n\'', { count: 3, names: ["a", "b"] }],
    ["echo; echo '  [1, 2]  '; echo", [1, 2]],
    ["echo 42", 42],
    ["echo null", null],
    ["echo hello", { stdout: "hello" }],
    ["printf 'a\\r\\n'", { stdout: "a" }],
    ["printf 'a\\n\\n'", { stdout: "a\n" }],
    ['printf \'{"a": 1}\\n{"b": 2}\\n\'', { stdout: '{"a": 1}\n{"b": 2}' }],
    ["true", { stdout: "" }],
    ["echo only talk >&2", { stdout: "" }],
    ["echo 1e999", { stdout: "1e999" }],
    [`echo '{"id":12345678901234567890}'`, { id: "12345678901234567890" }],
  ])("%s", async (run, output) => {
    expect(await shell.run(inFolder({ run }))).toEqual({ kind: "completed", output });
  });

  test("JSON of up to 256 KiB is the value, beyond it is text of which the tail is kept", async () => {
    const array = (bytes: number) => `printf '["'; head -c ${bytes - 4} /dev/zero | tr '\\0' x; printf '"]'`;

    const held = await shell.run(inFolder({ run: array(262_144) }));
    const tooLarge = await shell.run(inFolder({ run: array(262_145) }));

    expect(held).toEqual({ kind: "completed", output: ["x".repeat(262_140)] });
    expect(tooLarge).toEqual({ kind: "completed", output: { stdout: `${"x".repeat(65_534)}"]` } });
  });

  test("JSON that is too deep to be stored is text", async () => {
    const result = await shell.run(inFolder({ run: "for c in [ ]; do head -c 100000 /dev/zero | tr '\\0' $c; done" }));

    expect(result).toEqual({ kind: "completed", output: { stdout: "]".repeat(65_536) } });
  });

  test("three hundred megabytes are streamed through bounded memory, and 64 KiB of them are kept", async () => {
    const before = process.memoryUsage();
    let streamed = 0;
    let peak = 0;
    const write = (_stream: string, text: string) => {
      streamed += text.length;
      peak = Math.max(peak, process.memoryUsage.rss());
    };

    const result = await shell.run(inFolder({ run: "head -c 300000000 /dev/zero | tr '\\0' y; echo end" }, { write }));

    expect(result).toEqual({ kind: "completed", output: { stdout: `${"y".repeat(65_532)}end` } });
    expect(streamed).toBe(300_000_004);
    expect(peak - before.rss).toBeLessThan(150_000_000);
  });

  test("bytes that grow sixfold as JSON still fit into a payload", async () => {
    const result = await shell.run(inFolder({ run: "head -c 100000 /dev/zero" }));

    expect(result).toEqual({ kind: "completed", output: { stdout: "\0".repeat(32_768) } });
  });

  test("a smaller payload limit holds for JSON and for text", async () => {
    const small = createShellHandler({ PATH: process.env.PATH }, 1_000);

    const json = await small.run(inFolder({ run: "printf '[\"%0996d\"]' 0" }));
    const jsonBeyond = await small.run(inFolder({ run: "printf '[\"%0997d\"]' 0" }));

    expect(json).toHaveProperty("output", ["0".repeat(996)]);
    expect(JSON.stringify(jsonBeyond).length).toBeLessThan(1_100);
    expect(jsonBeyond).toHaveProperty("output.stdout", expect.stringMatching(/^0+"]$/));
  });
});

describe("what a step writes", () => {
  test("arrives while the command runs, each stream by itself", async () => {
    const gate = join(workdir, "gate");
    const call = inFolder({ run: `echo out; echo err >&2; until [ -e ${gate} ]; do sleep 0.02; done; echo last` });

    const running = shell.run(call);
    await vi.waitFor(() => expect(call.written).toMatchObject({ stdout: "out\n", stderr: "err\n" }), 10_000);
    writeFileSync(gate, "");

    expect(await running).toEqual({ kind: "completed", output: { stdout: "out\nlast" } });
    expect(call.written.stdout).toBe("out\nlast\n");
  });

  test("a character that is cut between two writes arrives whole", async () => {
    const pieces: string[] = [];
    const seen = join(workdir, "seen");
    const run = `printf '<\\360\\237'; until [ -e ${seen} ]; do sleep 0.02; done; printf '\\230\\200>'`;
    const write = (_stream: string, text: string) => {
      pieces.push(text);
      if (text === "<") writeFileSync(seen, "");
    };

    const result = await shell.run(inFolder({ run }, { write }));

    expect(pieces).toEqual(["<", "😀>"]);
    expect(result).toEqual({ kind: "completed", output: { stdout: "<😀>" } });
  });

  test("half a character at the very end is shown as such", async () => {
    const call = inFolder({ run: "printf 'a\\303'" });
    await shell.run(call);
    expect(call.written.stdout).toBe("a\ufffd");
  });
});

describe("a failure", () => {
  test.each([
    ["exit 3", "exit code 3", "EXIT_3"],
    ["echo first >&2; echo 'disk full  ' >&2; echo >&2; exit 28", "exit code 28: disk full", "EXIT_28"],
    ["kill -9 $$", "killed by SIGKILL", "EXIT_SIGKILL"],
    ["echo dying >&2; kill -ABRT $$", "killed by SIGABRT: dying", "EXIT_SIGABRT"],
  ])("%s is told as: %s", async (run, message, code) => {
    const failure = shell.run(inFolder({ run }));

    await expect(failure).rejects.toMatchObject({ message, code, name: "Error" });
  });

  test("has a bounded message", async () => {
    const failure = await shell
      .run(inFolder({ run: "head -c 9000 /dev/zero | tr '\\0' e >&2; exit 1" }))
      .catch((e) => e);
    expect(failure.message).toBe(`exit code 1: ${"e".repeat(500)}`);
  });
});

describe("the environment of a command", () => {
  const worker = {
    PATH: process.env.PATH,
    HOME: "/home/worker",
    LANG: "C.UTF-8",
    TMPDIR: undefined,
    CI_TOKEN: "t0ken",
    OTHER: "secret",
    REDIS_URL: "redis://:pass@store",
    WAYMARK_REDIS_URL: "redis://:pass@store",
    NODE_OPTIONS: "--inspect",
  };
  const isolated = createShellHandler(worker);

  test("is what was declared, the worker's own four, and who is asking", async () => {
    const call = inFolder(
      { run: "env" },
      { env: { TAG: "v1; rm -rf /", LANG: "fr" }, passEnv: ["CI_TOKEN", "ABSENT"] },
    );

    await isolated.run(call);

    // Some shells add these three on their own.
    const lines = call.written.stdout.split("\n").filter((line) => line !== "" && !/^(PWD|SHLVL|_)=/.test(line));
    expect(lines.sort()).toEqual(
      [
        `PATH=${process.env.PATH}`,
        "HOME=/home/worker",
        "LANG=fr",
        "CI_TOKEN=t0ken",
        "TAG=v1; rm -rf /",
        "IDEMPOTENCY_KEY=key-of-build",
        "STEP_ATTEMPT=2",
        "STEP_FENCE=1700000000123",
        "PLAN_ID=web-42",
        "STEP_ID=build",
      ].sort(),
    );
  });

  test.each(["WAYMARK_REDIS_URL", "REDIS_URL", "redis_url", "WAYMARK_SECRET_NPM", "REDISCLI_AUTH"])(
    "never holds the settings of Waymark or Redis, even where pass-env names them: %s",
    async (name) => {
      const refused = isolated.run(inFolder({ run: "env" }, { passEnv: ["CI_TOKEN", name] }));

      await expect(refused).rejects.toThrow(
        new NonRetryableError(
          `Step build asks for ${name}: settings of Waymark and Redis are never passed to a command`,
        ),
      );
    },
  );

  test("values reach the command as values", async () => {
    const call = inFolder({ run: 'printf %s "$TAG"' }, { env: { TAG: "$(touch pwned); `id`\n'\"" } });
    expect(await isolated.run(call)).toEqual({ kind: "completed", output: { stdout: "$(touch pwned); `id`\n'\"" } });
  });

  test("a value that no process can be given fails the step without being told", async () => {
    const nul = isolated.run(inFolder({ run: "true" }, { env: { KEY: "hush\0hush" } }));
    const huge = isolated.run(inFolder({ run: "true" }, { env: { KEY: "x".repeat(3_000_000) } }));

    await expect(nul).rejects.toThrow(
      new NonRetryableError(
        "Step build could not start /bin/sh: KEY holds a null character, which no command can be given",
      ),
    );
    await expect(huge).rejects.toThrow(
      new NonRetryableError(
        "Step build could not start /bin/sh: its command and its variables, KEY above all, are longer than the system takes (E2BIG): pass large values in a file",
      ),
    );
    await expect(isolated.run(inFolder({ run: "echo a\0b" }))).rejects.toThrow(
      new NonRetryableError(
        "Step build could not start /bin/sh: its command holds a null character, which no command can be given",
      ),
    );
  });
});

describe("where a command runs", () => {
  test("is the plan's folder, with nothing to read", async () => {
    const call = inFolder({ run: "pwd; cat; echo end of input" });
    expect(await shell.run(call)).toEqual({ kind: "completed", output: { stdout: `${workdir}\nend of input` } });
  });

  test.each([
    [null, "Step build has no folder to run in: its plan has neither a sandbox nor a folder"],
    ["/nowhere/at/all", "Step build runs in /nowhere/at/all, which is not a folder on this machine"],
    ["/bin/sh", "Step build runs in /bin/sh, which is not a folder on this machine"],
  ])("must exist: %s", async (folder, message) => {
    await expect(shell.run(aCall({ run: "true" }, { workdir: folder }))).rejects.toThrow(
      new NonRetryableError(message),
    );
  });

  test("sh is the default and bash can be asked for", async () => {
    const run = 'echo "bash:$BASH_VERSION"';
    expect(await shell.run(inFolder({ run, shell: "sh" }))).toEqual(await shell.run(inFolder({ run })));
    expect(await shell.run(inFolder({ run, shell: "bash" }))).toHaveProperty(
      "output.stdout",
      expect.stringMatching(/:\d/),
    );
  });

  test("a machine without bash says so", async () => {
    const bare = createShellHandler({ PATH: workdir });
    await expect(bare.run(inFolder({ run: "true", shell: "bash" }))).rejects.toThrow(
      new NonRetryableError("Step build could not start bash: ENOENT"),
    );
  });
});

describe("an abort", () => {
  test("ends the command and everything it started, and is why the attempt failed", async () => {
    const abort = new AbortController();
    const call = inFolder({ run: "sleep 1000 & (sleep 1000; :) & echo up; sleep 1000" }, { signal: abort.signal });

    const running = shell.run(call);
    running.catch(() => {});
    await vi.waitFor(() => expect(call.written.stdout).toBe("up\n"), 10_000);
    const reason = new Error("the step's time of 10m is over");
    abort.abort(reason);

    await expect(running).rejects.toBe(reason);
    expect(processesIn(workdir)).toEqual([]);
  });

  test("kills after two seconds what ignores it, in the leader's place or behind it", async () => {
    const deaf = "sh -c 'trap \"\" TERM; echo up; while :; do sleep 1; done'";
    for (const run of [`trap '' TERM; ${deaf}`, `${deaf} & wait`]) {
      const abort = new AbortController();
      const call = inFolder({ run }, { signal: abort.signal });

      const running = shell.run(call);
      running.catch(() => {});
      await vi.waitFor(() => expect(call.written.stdout).toBe("up\n"), 10_000);
      const at = performance.now();
      abort.abort(new Error("cancelled"));

      await expect(running).rejects.toThrow("cancelled");
      expect(processesIn(workdir)).toEqual([]);
      expect(performance.now() - at).toBeGreaterThan(1_900);
    }
  }, 30_000);

  test("lets a command clean up, and is an abort even if it then succeeds", async () => {
    const abort = new AbortController();
    const call = inFolder(
      { run: "trap 'echo cleaned; exit 0' TERM; echo up; while :; do sleep 0.05; done" },
      { signal: abort.signal },
    );

    const running = shell.run(call);
    running.catch(() => {});
    await vi.waitFor(() => expect(call.written.stdout).toBe("up\n"), 10_000);
    abort.abort(new Error("drain"));

    await expect(running).rejects.toThrow("drain");
    expect(call.written.stdout).toBe("up\ncleaned\n");
  });

  test("before the start starts nothing", async () => {
    const aborted = AbortSignal.abort(new Error("paused"));

    await expect(shell.run(inFolder({ run: "touch started" }, { signal: aborted }))).rejects.toThrow("paused");

    expect(() => readFileSync(join(workdir, "started"))).toThrow("ENOENT");
  });

  test("leaves no listener behind where it never comes", async () => {
    const { signal } = new AbortController();
    const removed = vi.spyOn(signal, "removeEventListener");
    const added = vi.spyOn(signal, "addEventListener");

    await shell.run(inFolder({ run: "true" }, { signal }));

    expect(added.mock.calls.map((args) => args[1])).toEqual(removed.mock.calls.map((args) => args[1]));
    expect(added).toHaveBeenCalledTimes(1);
  });
});

describe("what a command leaves in the background", () => {
  test("ends with the attempt, which succeeds", async () => {
    const result = await shell.run(inFolder({ run: "sleep 1000 & sleep 1000 >/dev/null 2>&1 & echo done" }));

    expect(result).toEqual({ kind: "completed", output: { stdout: "done" } });
    expect(processesIn(workdir)).toEqual([]);
  });

  test("is asked to end first, and has the time to clean up", async () => {
    const [ready, bye] = [join(workdir, "server-ready"), join(workdir, "server-bye")];
    const server = `trap 'sleep 0.2; echo bye > ${bye}; exit' TERM; touch ${ready}; while :; do sleep 0.05; done`;

    await shell.run(inFolder({ run: `(${server}) & until [ -e ${ready} ]; do sleep 0.02; done` }));

    expect(readFileSync(bye, "utf8")).toBe("bye\n");
  });

  test("is killed where it ignores SIGTERM", async () => {
    const ready = join(workdir, "ready");
    const deaf = `sh -c 'trap "" TERM; touch ${ready}; while :; do sleep 1; done' &`;

    await shell.run(inFolder({ run: `${deaf} until [ -e ${ready} ]; do sleep 0.02; done` }));

    expect(processesIn(workdir)).toEqual([]);
  });

  test("ends too where the command fails", async () => {
    await expect(shell.run(inFolder({ run: "sleep 1000 & exit 4" }))).rejects.toThrow("exit code 4");
    expect(processesIn(workdir)).toEqual([]);
  });

  test("may finish what it is about to write", async () => {
    const run = 'exec > >(while read -r line; do echo "> $line"; done); echo a; echo b';
    expect(await shell.run(inFolder({ run, shell: "bash" }))).toEqual({
      kind: "completed",
      output: { stdout: "> a\n> b" },
    });
  });

  test("can't hold the attempt by leaving the group with its output open", async () => {
    const daemon =
      "echo begin; setsid sh -c 'echo $$ > escaped; exec sleep 1000' & until [ -s escaped ]; do sleep 0.02; done";

    const result = await shell.run(inFolder({ run: daemon }));
    process.kill(Number(readFileSync(join(workdir, "escaped"), "utf8")), "SIGKILL");
    await vi.waitFor(() => expect(processesIn(workdir)).toEqual([]), 5_000);

    expect(result).toEqual({ kind: "completed", output: { stdout: "begin" } });
  });
});

describe("the check of a document", () => {
  test.each<[JsonObject, string, string]>([
    [{}, "", "run is missing"],
    [{ run: 3 }, "run", "run must be a non-empty string"],
    [{ run: " \n" }, "run", "run must be a non-empty string"],
    [{ run: "true", shell: "fish" }, "shell", "shell must be sh or bash"],
    [{ run: "true", cwd: "/" }, "cwd", "unknown key cwd; known are run, shell"],
  ])("%j", async (input, path, message) => {
    expect(shell.check(input)).toEqual([{ path, message }]);
    await expect(shell.run(inFolder(input))).rejects.toThrow(new NonRetryableError(`Step build can't run: ${message}`));
  });

  test("finds nothing wrong with what runs", () => {
    expect(shell.check({ run: "npm test", shell: "bash" })).toEqual([]);
  });
});

function inFolder(input: JsonObject, changes: Partial<HandlerCall> = {}) {
  return aCall(input, { workdir, ...changes });
}

/** Living processes whose current folder is this one; zombies have none. */
function processesIn(folder: string): string[] {
  const lines = execFileSync("ps", ["-A", "-o", "pid=,stat=,args="], { encoding: "utf8" }).split("\n");
  return lines.filter((line) => {
    const [pid, state] = line.trim().split(/\s+/);
    return pid && state && !state.startsWith("Z") && currentFolder(pid) === folder;
  });
}

function currentFolder(pid: string): string | null {
  try {
    if (process.platform === "linux") return realpathSync(`/proc/${pid}/cwd`);
    const found = execFileSync("lsof", ["-a", "-d", "cwd", "-p", pid, "-Fn"], { encoding: "utf8", stdio: "pipe" });
    return (
      found
        .split("\n")
        .find((line) => line.startsWith("n"))
        ?.slice(1) ?? null
    );
  } catch {
    return null;
  }
}
