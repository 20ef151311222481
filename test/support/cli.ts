/**
 * The command line as an operator has it: processes of their own in a folder of their own, real signals, and the
 * store seen from outside. Everything that a workplace started ends with it.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { Redis } from "ioredis";
import { type EmbeddedStore, startEmbedded } from "../../src/embedded/start-embedded.js";
import { openStore } from "../../src/store/open-store.js";
import { checkInvariants } from "./invariants.js";
import { until } from "./until.js";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const COMMAND_DEADLINE_MS = 60_000;

/** The built command line; WAYMARK_TEST_CLI names another one. */
export function cliPath(): string {
  const path = process.env.WAYMARK_TEST_CLI ?? join(ROOT, "dist/src/cli/bin.js");
  if (!existsSync(path))
    throw new Error(`There is no ${path}: run "npm run build" first, or name one in WAYMARK_TEST_CLI`);
  return path;
}

/** How a command ended, and what it said. */
export interface Finished {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly tookMs: number;
}

/** One line of the ledger: what a step's command did in the outside world. */
export interface LedgerLine {
  readonly step: string;
  readonly attempt: number;
  readonly pid: number;
  readonly what: "begin" | "end";
}

/**
 * What the steps of a test's plans run, from whatever folder: it notes its beginning, waits while `hold-STEP` is there,
 * fails while `break-STEP` is there, and notes its end. Once the workplace is gone it ends by itself.
 */
function act(directory: string): string {
  return `cd "${directory}" || exit 1
echo "$STEP_ID $STEP_ATTEMPT $$ begin" >> ledger
while [ -e "hold-$STEP_ID" ]; do sleep 0.02; done
if [ -e "break-$STEP_ID" ]; then echo "$STEP_ID is broken" >&2; exit 1; fi
echo "$STEP_ID $STEP_ATTEMPT $$ end" >> ledger
echo "{\\"by\\":\\"$STEP_ID\\"}"
`;
}

/** A step of a test's plan that runs the above. */
export const ACT_RUN = ". ./act";

export class Workplace {
  readonly directory: string;
  readonly dataDir: string;
  /** What commands get besides PATH, HOME and LANG. */
  readonly env: Record<string, string> = {};
  private readonly running = new Set<RunningCommand>();
  private embedded: EmbeddedStore | null = null;
  private connection: Redis | null = null;

  constructor() {
    this.directory = realpathSync(mkdtempSync(join(tmpdir(), "waymark-place-")));
    this.dataDir = join(this.directory, ".waymark");
    this.write("act", act(this.directory));
  }

  write(name: string, content: string): string {
    const path = join(this.directory, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, content);
    return path;
  }

  /** Steps of this name wait until `free`. */
  hold(step: string): void {
    this.write(`hold-${step}`, "");
  }

  free(step: string): void {
    rmSync(join(this.directory, `hold-${step}`), { force: true });
  }

  /** Steps of this name fail until `mend`. */
  break(step: string): void {
    this.write(`break-${step}`, "");
  }

  mend(step: string): void {
    rmSync(join(this.directory, `break-${step}`), { force: true });
  }

  ledger(): LedgerLine[] {
    const path = join(this.directory, "ledger");
    if (!existsSync(path)) return [];
    const lines = readFileSync(path, "utf8").split("\n").slice(0, -1);
    return lines.map((line) => {
      const [step, attempt, pid, what] = line.split(" ");
      return { step: step!, attempt: Number(attempt), pid: Number(pid), what: what as LedgerLine["what"] };
    });
  }

  /** All that is kept of sandboxes: content, mode and time of each file, by path. */
  sandboxFiles(): Map<string, string> {
    const folder = join(this.dataDir, "sandboxes");
    if (!existsSync(folder)) return new Map();
    const paths = readdirSync(folder, { recursive: true, encoding: "utf8" }).sort();
    return new Map(
      paths.map((path) => {
        const stat = lstatSync(join(folder, path));
        const content = stat.isFile() ? readFileSync(join(folder, path), "base64") : "";
        return [path, `${stat.mode} ${stat.mtimeMs} ${content}`];
      }),
    );
  }

  /** How often the ledger shows that a step did something. */
  count(step: string, what: LedgerLine["what"] = "begin"): number {
    return this.ledger().filter((line) => line.step === step && line.what === what).length;
  }

  async untilBegun(step: string, times = 1): Promise<void> {
    await until(`${step} to begin for the ${times}. time`, () => this.count(step) >= times, 20_000);
  }

  /** Starts `plan …` and leaves it running. It leads a process group, as a shell's job does. */
  start(
    args: readonly string[],
    options: { stdin?: string; env?: Readonly<Record<string, string>> } = {},
  ): RunningCommand {
    const command = new RunningCommand(
      spawn(process.execPath, [cliPath(), ...args], {
        cwd: this.directory,
        env: { ...baseEnv(), ...this.env, ...options.env },
        detached: true,
        stdio: ["pipe", "pipe", "pipe"],
      }),
      args,
    );
    command.child.stdin!.on("error", () => {});
    command.child.stdin!.end(options.stdin ?? "");
    this.running.add(command);
    return command;
  }

  /** Runs `plan …` to its end. */
  plan(...args: string[]): Promise<Finished> {
    return this.start(args).finished;
  }

  /** The same, with its one JSON document. */
  async json<T = Record<string, unknown>>(...args: string[]): Promise<T> {
    const { stdout } = await this.plan(...args, "-o", "json");
    return JSON.parse(stdout) as T;
  }

  /** SIGKILL for a command and everything that its steps started. */
  async kill(command: RunningCommand): Promise<Finished> {
    command.signal("SIGKILL");
    this.killSteps();
    return command.finished;
  }

  /** A folder below with what steps run, for a plan that isn't at the top. */
  furnish(folder: string): void {
    this.write(`${folder}/act`, act(this.directory));
  }

  /** SIGKILL for what steps started: they lead groups of their own, and survive their worker. */
  killSteps(): void {
    const ended = new Set(this.ledger().flatMap((line) => (line.what === "end" ? [line.pid] : [])));
    for (const { pid } of this.ledger()) if (!ended.has(pid) && isAct(pid)) signalGroup(pid, "SIGKILL");
  }

  /** Where the store is: the Redis that commands are given, or the embedded one, held open from now on. */
  async storeUrl(): Promise<string> {
    if (this.env.WAYMARK_REDIS_URL !== undefined) return this.env.WAYMARK_REDIS_URL;
    this.embedded ??= await startEmbedded({ dataDir: this.dataDir });
    return this.embedded.url;
  }

  async redis(): Promise<Redis> {
    if (this.connection === null) {
      const url = await this.storeUrl();
      const options = { protocol: 2, enableReadyCheck: false, maxRetriesPerRequest: 1 } as const;
      this.connection = url.startsWith("unix://")
        ? new Redis(decodeURIComponent(url.slice("unix://".length)), options)
        : new Redis(url, options);
      this.connection.on("error", () => {});
    }
    return this.connection;
  }

  /** Every key with its DUMP. */
  async dump(): Promise<Map<string, string>> {
    const redis = await this.redis();
    const dump = new Map<string, string>();
    for (const key of (await redis.keys("*")).sort()) {
      dump.set(key, (await redis.dumpBuffer(key))?.toString("base64") ?? "");
    }
    return dump;
  }

  /** What is wrong with the plans of this store, each a sentence. Nothing may be under way. */
  async violations(): Promise<string[]> {
    const store = await openStore({
      url: await this.storeUrl(),
      prefix: this.env.WAYMARK_PREFIX,
      shards: Number(this.env.WAYMARK_SHARDS ?? 1),
    });
    try {
      const violations: string[] = [];
      for (const { meta } of await store.list({ limit: 1_000 })) {
        for (const violation of await checkInvariants(store.shardOf(meta.planId), meta.planId))
          violations.push(`${meta.planId}: ${violation}`);
      }
      return violations;
    } finally {
      await store.close();
    }
  }

  /** SIGKILL for everything: commands, what their steps started, and the embedded server. */
  async killEverything(): Promise<void> {
    await this.leaveStore();
    for (const command of this.running) command.signal("SIGKILL");
    this.killSteps();
    await Promise.all([...this.running].map((command) => command.finished));
    this.running.clear();
    const pid = this.serverPid();
    if (pid === null) return;
    process.kill(pid, "SIGKILL");
    await until(`process ${pid} to be gone`, () => commandLine(pid) === "");
  }

  /** The process of the embedded server, or null where none runs. */
  serverPid(): number | null {
    const pid = this.serverRecord()?.process.pid;
    return pid !== undefined && /(redis|valkey)-server/.test(commandLine(pid)) ? pid : null;
  }

  private serverRecord(): { process: { pid: number }; socketPath: string } | null {
    const path = join(this.dataDir, "redis/server.json");
    return existsSync(path) ? JSON.parse(readFileSync(path, "utf8")) : null;
  }

  /** Ends commands and steps; the store stays. */
  async endCommands(): Promise<void> {
    for (const command of this.running) command.signal("SIGKILL");
    this.killSteps();
    await Promise.all([...this.running].map((command) => command.finished));
    this.running.clear();
  }

  /** Ends everything and removes it. */
  async close(): Promise<void> {
    await this.endCommands();
    await this.leaveStore();
    if (this.serverPid() !== null) await this.killEverything();
    // A server that was killed leaves its socket.
    rmSync(this.serverRecord()?.socketPath ?? this.dataDir, { recursive: true, force: true });
    rmSync(this.directory, { recursive: true, force: true, maxRetries: 5 });
  }

  private async leaveStore(): Promise<void> {
    this.connection?.disconnect();
    this.connection = null;
    await this.embedded?.release();
    this.embedded = null;
  }
}

export class RunningCommand {
  readonly finished: Promise<Finished>;
  private out = "";
  private err = "";

  constructor(
    readonly child: ChildProcess,
    readonly args: readonly string[],
  ) {
    const startedMs = performance.now();
    child.stdout!.setEncoding("utf8").on("data", (text: string) => {
      this.out += text;
    });
    child.stderr!.setEncoding("utf8").on("data", (text: string) => {
      this.err += text;
    });
    this.finished = this.untilClosed(startedMs);
    // It is looked at when somebody waits for it.
    this.finished.catch(() => {});
  }

  get pid(): number {
    return this.child.pid!;
  }

  /** What it has said so far. */
  get said(): string {
    return this.out + this.err;
  }

  get ended(): boolean {
    return this.child.exitCode !== null || this.child.signalCode !== null;
  }

  /** To the process and what it started without giving it a group of its own. */
  signal(signal: NodeJS.Signals): void {
    if (!this.ended) signalGroup(this.pid, signal);
  }

  async untilSaid(text: string | RegExp): Promise<void> {
    const found = () => (typeof text === "string" ? this.said.includes(text) : text.test(this.said));
    await until(
      `plan ${this.args.join(" ")} to say ${text}`,
      () => {
        if (!found() && this.ended)
          throw new Error(`plan ${this.args.join(" ")} ended without saying ${text}:\n${this.said}`);
        return found();
      },
      20_000,
    );
  }

  private async untilClosed(startedMs: number): Promise<Finished> {
    const deadline = setTimeout(() => this.signal("SIGKILL"), COMMAND_DEADLINE_MS);
    const [code, signal] = (await once(this.child, "close")) as [number | null, NodeJS.Signals | null];
    clearTimeout(deadline);
    return { code, signal, stdout: this.out, stderr: this.err, tookMs: performance.now() - startedMs };
  }
}

/** Nothing of the settings that the tests themselves run under. */
function baseEnv(): Record<string, string> {
  const env: Record<string, string> = {};
  for (const name of ["PATH", "HOME", "LANG", "TMPDIR"]) {
    const value = process.env[name];
    if (value !== undefined) env[name] = value;
  }
  return env;
}

/** Whether a process is one of a workplace's steps: a pid may have been given to a stranger. */
function isAct(pid: number): boolean {
  return commandLine(pid).includes(ACT_RUN);
}

function commandLine(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ").trim();
  } catch {
    return "";
  }
}

function signalGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}
