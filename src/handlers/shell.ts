/** `shell`: runs a command of a plan document. */
import { stat } from "node:fs/promises";
import { StringDecoder } from "node:string_decoder";
import { NonRetryableError } from "../core/errors.js";
import { type HandlerCall, isReservedVariable, type StepHandler } from "../core/handler.js";
import { type Json, parseJson, toStoredJson } from "../core/json.js";
import { DEFAULT_PAYLOAD_LIMIT_BYTES } from "../core/payload-limit.js";
import { checkFields, type Fields, field, isText, refuseFaults } from "./check-fields.js";
import { coded } from "./coded-error.js";
import { type GroupEnd, runInGroup } from "./process-group.js";
import { TailBuffer } from "./tail-buffer.js";

/** What is kept of a standard output that isn't JSON. */
export const STDOUT_TAIL_BYTES = 64 * 1024;
const STDERR_TAIL_BYTES = 8 * 1024;
const LAST_LINE_CHARS = 500;
const BASE_VARIABLES = ["PATH", "HOME", "LANG", "TMPDIR"];

const FIELDS: Fields = {
  required: ["run"],
  checks: new Map([
    ["run", field("a non-empty string", isText)],
    ["shell", field("sh or bash", (value) => value === "sh" || value === "bash")],
  ]),
};

/**
 * `with: { run, shell? }`: `/bin/sh -c`, or bash where `shell: bash`, in the plan's folder, with an empty standard input.
 *
 * The command sees these variables and no others: PATH, HOME, LANG and TMPDIR of the worker; IDEMPOTENCY_KEY,
 * STEP_ATTEMPT, STEP_FENCE, PLAN_ID and STEP_ID; what `pass-env` names, except settings of Waymark and Redis
 * (`WAYMARK_…`, `REDIS_…`), which are refused; and the step's `env`, which wins over all of them. Values never become
 * part of the command's text.
 *
 * Standard output that is JSON is the output of the step, else `{ stdout }` with its last 64 KiB. The command and
 * everything it started end with the attempt: SIGTERM on abort, SIGKILL two seconds later.
 */
export function createShellHandler(
  workerEnv: Readonly<Record<string, string | undefined>>,
  limitBytes = DEFAULT_PAYLOAD_LIMIT_BYTES,
): StepHandler {
  return {
    name: "shell",
    check: (input) => checkFields(input, FIELDS, "declared"),
    async run(call) {
      refuseFaults(call, checkFields(call.with, FIELDS, "resolved"));
      const cwd = await findFolder(call);
      const env = commandEnv(call, workerEnv);
      call.signal.throwIfAborted();
      const stdout = new TailBuffer(Math.max(limitBytes, STDOUT_TAIL_BYTES));
      const stderr = new TailBuffer(STDERR_TAIL_BYTES);
      const end = await runCommand(call, { cwd, env, stdout, stderr });
      if (end.aborted) call.signal.throwIfAborted();
      refuseFailure(end, stderr);
      return { kind: "completed", output: outputOf(stdout, limitBytes) };
    },
  };
}

async function findFolder(call: HandlerCall): Promise<string> {
  if (call.workdir === null) {
    throw new NonRetryableError(
      `Step ${call.stepId} has no folder to run in: its plan has neither a sandbox nor a folder`,
    );
  }
  const found = await stat(call.workdir).catch(() => null);
  if (!found?.isDirectory()) {
    throw new NonRetryableError(`Step ${call.stepId} runs in ${call.workdir}, which is not a folder on this machine`);
  }
  return call.workdir;
}

function commandEnv(
  call: HandlerCall,
  workerEnv: Readonly<Record<string, string | undefined>>,
): Record<string, string> {
  const reserved = call.passEnv.filter(isReservedVariable);
  if (reserved.length > 0) {
    throw new NonRetryableError(
      `Step ${call.stepId} asks for ${reserved.join(", ")}: settings of Waymark and Redis are never passed to a command`,
    );
  }
  const env: Record<string, string> = {};
  for (const name of [...BASE_VARIABLES, ...call.passEnv]) {
    const value = workerEnv[name];
    if (value !== undefined) env[name] = value;
  }
  return {
    ...env,
    IDEMPOTENCY_KEY: call.idempotencyKey,
    STEP_ATTEMPT: String(call.attempt),
    STEP_FENCE: String(call.fence),
    PLAN_ID: call.planId,
    STEP_ID: call.stepId,
    ...call.env,
  };
}

interface Surroundings {
  readonly cwd: string;
  readonly env: Record<string, string>;
  readonly stdout: TailBuffer;
  readonly stderr: TailBuffer;
}

async function runCommand(call: HandlerCall, { cwd, env, stdout, stderr }: Surroundings): Promise<GroupEnd> {
  const file = call.with.shell === "bash" ? "bash" : "/bin/sh";
  // Characters that are cut by the border of a chunk wait in the decoder for their rest.
  const decoders = { stdout: new StringDecoder("utf8"), stderr: new StringDecoder("utf8") };
  const pass = (stream: "stdout" | "stderr", text: string) => {
    if (text !== "") call.write(stream, text);
  };
  try {
    return await runInGroup({
      file,
      args: ["-c", call.with.run as string],
      cwd,
      env,
      signal: call.signal,
      groups: call.groups,
      onStdout: (chunk) => {
        stdout.push(chunk);
        pass("stdout", decoders.stdout.write(chunk));
      },
      onStderr: (chunk) => {
        stderr.push(chunk);
        pass("stderr", decoders.stderr.write(chunk));
      },
    });
  } catch (error) {
    throw startFailure(call.stepId, file, env, error);
  } finally {
    pass("stdout", decoders.stdout.end());
    pass("stderr", decoders.stderr.end());
  }
}

/** Some of these say nothing of the command: the machine was short of something that it may have again. */
const PASSING_SHORTAGES = new Set(["EAGAIN", "EMFILE", "ENFILE", "ENOMEM"]);

/** Node's own message can quote the value of a variable, so it is not passed on. */
function startFailure(stepId: string, file: string, env: Readonly<Record<string, string>>, error: unknown): Error {
  const code = error instanceof Error && "code" in error ? String(error.code) : "unknown";
  const message = `Step ${stepId} could not start ${file}: ${startReason(code, env)}`;
  return PASSING_SHORTAGES.has(code) ? new Error(message) : new NonRetryableError(message);
}

function startReason(code: string, env: Readonly<Record<string, string>>): string {
  if (code === "E2BIG") {
    const [longest] = Object.keys(env).sort((a, b) => env[b]!.length - env[a]!.length);
    return `its command and its variables, ${longest} above all, are longer than the system takes (E2BIG): pass large values in a file`;
  }
  if (code !== "ERR_INVALID_ARG_VALUE") return code;
  const holder = Object.keys(env).find((name) => env[name]!.includes("\0")) ?? "its command";
  return `${holder} holds a null character, which no command can be given`;
}

function refuseFailure(end: GroupEnd, stderr: TailBuffer): void {
  if (end.kind === "exited" && end.code === 0) return;
  const line = stderr.text().trimEnd().split("\n").at(-1)!.trim().slice(0, LAST_LINE_CHARS);
  const how = end.kind === "exited" ? `exit code ${end.code}` : `killed by ${end.by}`;
  throw coded(new Error(line === "" ? how : `${how}: ${line}`), `EXIT_${end.kind === "exited" ? end.code : end.by}`);
}

function outputOf(stdout: TailBuffer, limitBytes: number): Json {
  if (stdout.isWhole) {
    const value = parseStorable(stdout.text().trim(), limitBytes);
    if (value !== undefined) return value;
  }
  // Escaped as JSON, control characters take six times their size.
  for (let bytes = STDOUT_TAIL_BYTES; ; bytes = Math.floor(bytes / 2)) {
    const output = { stdout: stdout.text(bytes).replace(/\r?\n$/, "") };
    if (bytes === 0 || Buffer.byteLength(JSON.stringify(output)) <= limitBytes) return output;
  }
}

/** Undefined where it isn't JSON, or is JSON that can't be held: too large, too deep, a number beyond all bounds. */
function parseStorable(text: string, limitBytes: number): Json | undefined {
  try {
    const value = parseJson(text);
    toStoredJson(value, "stdout", limitBytes);
    return value;
  } catch {
    return undefined;
  }
}
