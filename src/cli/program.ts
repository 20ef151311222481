/**
 * The grammar of the command line. Every command's own file is imported when that command runs, so that none pays
 * for the libraries of another.
 */
import { Command, CommanderError, Option } from "commander";
import { UsageError } from "../core/errors.js";
import { planCommand } from "../core/plan-command.js";
import type { CommandContext } from "./context.js";
import type { OutputFormat } from "./render/terminal.js";
import { suggestCommand, suggestOption } from "./suggest.js";

/** Options of every command. */
export interface GlobalOptions {
  readonly output?: string;
  readonly redisUrl?: string;
  readonly prefix?: string;
  readonly dataDir?: string;
  readonly sandboxStore?: string;
  readonly payloadLimit?: string;
  readonly actor?: string;
  readonly debug?: boolean;
}

/** A parsed command line, ready to run. */
export interface Invocation {
  readonly name: string;
  readonly args: readonly string[];
  readonly options: Readonly<Record<string, unknown>>;
  readonly globals: GlobalOptions;
  readonly format: OutputFormat;
  readonly load: () => Promise<CommandRun>;
}

/** What a command does; its result is the exit code. */
// biome-ignore lint/suspicious/noExplicitAny: each command declares the arguments and options that its grammar gives it
export type CommandRun = (context: CommandContext, args: any, options: any) => Promise<number>;

export type Parsed =
  | { readonly kind: "run"; readonly invocation: Invocation }
  /** Help or version: whole lines for stdout, nothing to do. */
  | { readonly kind: "text"; readonly text: string };

interface CommandSpec {
  readonly name: string;
  readonly args: string;
  readonly does: string;
  /** Formats besides the one for people; the first of `json`, `jsonl`, `ids`, `table` that apply. */
  readonly formats: readonly OutputFormat[];
  readonly options: readonly Option[];
  readonly examples: readonly string[];
  readonly notes?: string;
  readonly load: () => Promise<CommandRun>;
}

const JSON_ONLY: readonly OutputFormat[] = ["json"];
const JSON_OR_LINES: readonly OutputFormat[] = ["json", "jsonl"];

const INPUT_NOTE = `Input is a JSON object, @file (@- for stdin), or pairs: --input tag=v1.2.0 --input dry=true`;

const COMMANDS: readonly CommandSpec[] = [
  {
    name: "run",
    args: "<file|name> [pairs...]",
    does: "Submit a plan and execute it here, to the end, with live progress",
    formats: JSON_ONLY,
    options: [inputOption(), idOption()],
    examples: ["plan run release.yaml --input tag=v1.2.0", "plan run release.yaml --id release-42 -o json"],
    notes: INPUT_NOTE,
    load: async () => (await import("./commands/run.js")).run,
  },
  {
    name: "submit",
    args: "<file|name> [pairs...]",
    does: "Enqueue a plan for a fleet of workers",
    formats: JSON_ONLY,
    options: [inputOption(), idOption(), waitOption()],
    examples: ['plan submit release.yaml --input \'{"tag":"v1.2.0"}\' --id release-42', "plan submit nightly --wait"],
    notes: `${INPUT_NOTE}\nWith --id a repeated submit is the same plan; other content is PLAN_EXISTS.`,
    load: async () => (await import("./commands/submit.js")).submit,
  },
  {
    name: "validate",
    args: "<file>",
    does: "Show every fault of a plan document, with line and column",
    formats: JSON_ONLY,
    options: [],
    examples: ["plan validate release.yaml", "plan validate release.yaml -o json"],
    load: async () => (await import("./commands/validate.js")).validate,
  },
  {
    name: "resume",
    args: "[ids...]",
    does: "Continue plans from where they stopped; --dry-run shows what that would do",
    formats: JSON_OR_LINES,
    options: [
      new Option("--dry-run", "show what resume would do, and write nothing"),
      new Option("--from-step <step>", "run this step and everything that needs it again"),
      new Option("--from-checkpoint <id>", "keep the step of this checkpoint, and run what needs it again"),
      new Option("--from-decision <id>", "take this decision anew, and run what needs it again"),
      new Option("--choose <choice>", "with --from-decision: what it is set to, instead of being asked again"),
      new Option(
        "--on-drift <policy>",
        "where the definition changed: refuse, keep what is recorded, or rerun from the first changed step",
      ),
      repeatable(
        "--ack <step=done|redo>",
        "say whether an irreversible step happened; =done:@output.json gives its output",
      ),
      new Option("--expect <token>", "only if nothing that matters changed since that dry-run"),
      new Option("--request-id <id>", "a repeated request gets the first one's answer"),
      new Option("--reason <text>", "why, for the history"),
      new Option("--workdir <path>", "the document's folder on this machine"),
      new Option("--here", "execute here, on a given Redis too").conflicts("detach"),
      repeatable(
        "--plans <file>",
        "with --here: the module of a plan in code, or a document whose shell steps to trust",
      ),
      new Option("--allow-shell", "with --here: run shell steps of a definition that comes from Redis"),
      new Option("--detach", "only enqueue"),
      waitOption(),
      new Option("--all", "every plan in the states of --state"),
      new Option("--state <states>", "with --all: interrupted, failed, paused (default: interrupted,failed)"),
      new Option("--name <name>", "with --all: plans of this name; * stands for anything"),
      new Option("--since <duration>", "with --all: submitted within this time, such as 24h"),
      new Option("--yes", "with --all: don't ask"),
    ],
    examples: [
      "plan resume web-42 --dry-run",
      "plan resume web-42 --expect wmk1.4f… --request-id deploy-1234",
      "plan resume web-42 --from-step build --reason 'wrong branch'",
      "plan list --state interrupted -o ids | plan resume -",
      "plan resume --all --since 24h --dry-run",
    ],
    load: async () => (await import("./commands/resume.js")).resume,
  },
  {
    name: "fork",
    args: "<id>",
    does: "Create a plan that starts from what another one has done, in whatever state that is",
    formats: JSON_ONLY,
    options: [
      new Option("--from-step <step>", "run this step and everything that needs it anew"),
      new Option("--from-checkpoint <id>", "keep the step of this checkpoint, and run what needs it anew"),
      new Option("--from-decision <id>", "take this decision anew, and run what needs it anew"),
      new Option("--choose <choice>", "with --from-decision: what it is set to, instead of being asked again"),
      new Option("--id <id>", "id of the new plan (default: made from name and time)"),
      repeatable("--input <value>", "a new input, the whole of it: JSON, @file or k=v"),
      new Option("--plans <file>", "with --input: the module of a plan in code, whose schema checks it"),
      new Option("--dry-run", "show what it would keep and run, and write nothing"),
    ],
    examples: [
      "plan fork web-42 --dry-run",
      "plan fork web-42 --from-step build --id web-43",
      "plan fork web-42 --from-decision dec_01J… --choose rewrite",
      "plan fork web-42 --from-step publish --input tag=v1.2.1",
    ],
    notes:
      "Without a point it keeps everything that is done. With --id a repeated fork is the same plan; other content is PLAN_EXISTS.\nA new input is that of the steps that run; steps that are kept keep what they made of the old one.",
    load: async () => (await import("./commands/fork.js")).fork,
  },
  {
    name: "list",
    args: "",
    does: "List plans, newest first",
    formats: ["table", "json", "jsonl", "ids"],
    options: [
      new Option("--state <states>", "only these states, such as failed,interrupted"),
      new Option("--name <name>", "only plans of this name; * stands for anything"),
      new Option("--since <duration>", "only plans submitted within this time, such as 24h"),
      new Option("--limit <n>", "at most so many").default("50"),
    ],
    examples: ["plan list", "plan list --state failed,interrupted --since 24h", "plan list --name 'release*' -o ids"],
    load: async () => (await import("./commands/list.js")).list,
  },
  {
    name: "get",
    args: "<id>",
    does: "Show a plan: its state, why it is so, and its steps",
    formats: JSON_ONLY,
    options: [],
    examples: ["plan get web-42", "plan get @latest -o json"],
    load: async () => (await import("./commands/get.js")).get,
  },
  {
    name: "history",
    args: "[id]",
    does: "Show what happened, oldest first",
    formats: JSON_OR_LINES,
    options: [
      new Option("--all", "events of all plans; with --follow only those that happen from now on"),
      new Option("--follow", "go on with each new event until the plan is completed or cancelled"),
    ],
    examples: [
      "plan history web-42",
      "plan history web-42 --follow -o jsonl",
      "plan history --all -o jsonl",
      "plan history --all --follow",
    ],
    load: async () => (await import("./commands/history.js")).history,
  },
  {
    name: "logs",
    args: "<id> [step]",
    does: "Show stdout, stderr and log of attempts, the last 64 KiB of each",
    formats: JSON_OR_LINES,
    options: [
      new Option("--attempt <n>", "only this attempt"),
      new Option("--failed", "only attempts that failed"),
      new Option("--follow", "go on until the plan stops"),
    ],
    examples: ["plan logs web-42", "plan logs web-42 build --attempt 2", "plan logs @latest --failed"],
    load: async () => (await import("./commands/logs.js")).logs,
  },
  {
    name: "checkpoints",
    args: "<id>",
    does: "List the points that the plan passed",
    formats: JSON_OR_LINES,
    options: [],
    examples: ["plan checkpoints web-42"],
    load: async () => (await import("./commands/checkpoints.js")).checkpoints,
  },
  {
    name: "decisions",
    args: "<id>",
    does: "Show the tree of recorded decisions",
    formats: JSON_OR_LINES,
    options: [],
    examples: ["plan decisions web-42"],
    load: async () => (await import("./commands/decisions.js")).decisions,
  },
  {
    name: "watch",
    args: "<id>",
    does: "Follow a plan live until it stops",
    formats: JSON_OR_LINES,
    options: [new Option("--exit-status", "exit 1 unless the plan completed")],
    examples: ["plan watch web-42", "plan watch @latest --exit-status"],
    load: async () => (await import("./commands/watch.js")).watch,
  },
  {
    name: "pause",
    args: "<id>",
    does: "Stop a plan until it is resumed; active steps get an abort signal",
    formats: JSON_ONLY,
    options: [new Option("--after-step", "let active steps finish first"), new Option("--reason <text>", "why")],
    examples: ["plan pause web-42", "plan pause web-42 --after-step --reason 'release freeze'"],
    load: async () => (await import("./commands/pause.js")).pause,
  },
  {
    name: "cancel",
    args: "<id>",
    does: "End a plan for good",
    formats: JSON_ONLY,
    options: [new Option("--reason <text>", "why")],
    examples: ["plan cancel web-42 --reason 'superseded by web-43'"],
    load: async () => (await import("./commands/cancel.js")).cancel,
  },
  {
    name: "signal",
    args: "<id> <step>",
    does: "Send the data that a step waits for; what comes early is kept",
    formats: JSON_ONLY,
    options: [
      new Option("--data <json>", "the data, @file, or @- for stdin (default: null)"),
      new Option("--signal-id <id>", "makes a repeated signal the same signal"),
    ],
    examples: [
      "plan signal web-42 ci --data '{\"ok\":true}'",
      "plan signal web-42 ci --signal-id build-881 --data @ci.json",
    ],
    load: async () => (await import("./commands/signal.js")).signal,
  },
  {
    name: "approve",
    args: "<id> <step>",
    does: "Approve what a step asks, or reject it",
    formats: JSON_ONLY,
    options: [
      new Option("--reject", "say no; this cancels the plan unless the step goes on"),
      new Option("--rationale <text>", "why, recorded with the decision"),
    ],
    examples: ["plan approve web-42 sign-off", "plan approve web-42 sign-off --reject --rationale 'tests are red'"],
    load: async () => (await import("./commands/approve.js")).approve,
  },
  {
    name: "decide",
    args: "<id> <step> [choice]",
    does: "Answer what a step asks with one of its options; without a choice, say what they are",
    formats: JSON_ONLY,
    options: [new Option("--rationale <text>", "why, recorded with the decision")],
    examples: ["plan decide web-42 how", "plan decide web-42 how patch --rationale 'two findings only'"],
    load: async () => (await import("./commands/decide.js")).decide,
  },
  {
    name: "worker",
    args: "",
    does: "Run a worker that executes plans of a fleet, until SIGTERM drains it",
    formats: [],
    options: [
      new Option(
        "--plans <globs...>",
        "TypeScript or JavaScript plans to serve, and documents whose shell steps to trust",
      ),
      new Option("--queues <names...>", "queues to serve (default: those of --plans, and documents)"),
      new Option("--concurrency <n>", "steps at once"),
      new Option("--grace <duration>", "how long active steps may go on after SIGTERM (default: 25s)"),
      new Option(
        "--on-drain <what>",
        "of steps that can't end in time: others take them, or their plans wait for a resume",
      )
        .choices(["requeue", "interrupt"])
        .default("requeue"),
      new Option("--allow-shell", "run shell steps of every definition in this store"),
      new Option("--health-port <n>", "answer GET /livez, /readyz and /metrics (OpenMetrics) on this port; 0 for any"),
      new Option("--health-host <address>", "where it listens (default: 127.0.0.1)"),
      new Option("--health-name <names...>", "names it may be asked under, besides addresses and localhost"),
    ],
    examples: [
      "plan worker --plans 'plans/*.ts' --concurrency 20",
      "plan worker --queues documents --allow-shell",
      "plan worker --queues documents --grace 2m --on-drain interrupt",
      "plan worker --health-port 9464 --health-host 0.0.0.0",
    ],
    notes:
      "SIGTERM, SIGINT and SIGHUP drain: nothing new is taken, and active steps may end within the grace. A second signal hands them back at once. A module of --plans may export `services` (an object, or a function that makes one) and `handlers` (an array).",
    load: async () => (await import("./commands/worker.js")).worker,
  },
  {
    name: "scheduler",
    args: "",
    does: "Submit recurring plans and resume interrupted ones, until SIGTERM stops it; any number may run",
    formats: [],
    options: [],
    examples: ["plan scheduler", "plan scheduler --actor night-shift"],
    notes:
      "It submits what `plan schedule` made due. It resumes what a live worker can take, at most ten times without a completed step in between. It leaves alone what is paused, waits, has failed, needs an acknowledgement, or says `resume: manual`.",
    load: async () => (await import("./commands/scheduler.js")).scheduler,
  },
  {
    name: "schedule",
    args: "<name> [file|plan] [pairs...]",
    does: "Submit a plan again and again, by cron or in steady intervals, where a scheduler runs",
    formats: JSON_ONLY,
    options: [
      new Option("--cron <pattern>", "minute, hour, day, month, weekday; or seconds before them").conflicts("every"),
      new Option("--tz <zone>", "with --cron: the time zone, such as Europe/Berlin (default: UTC)"),
      new Option(
        "--every <duration>",
        "whole seconds, such as 10m; counted from midnight UTC where that divides a day",
      ),
      inputOption(),
      new Option("--missed <policy>", "due times that no scheduler was there for: one plan for all of them, or none")
        .choices(["once", "skip"])
        .default("once"),
      new Option("--remove", "end it; plans that it has submitted stay").conflicts(["cron", "every", "tz", "input"]),
    ],
    examples: [
      "plan schedule nightly release.yaml --cron '0 3 * * *' --tz Europe/Berlin",
      "plan schedule poll poll.yaml --every 10m --input source=web --missed skip",
      "plan schedule nightly --remove",
    ],
    notes: `${INPUT_NOTE}\nDefinition and input are kept as they are now; a name that is there already is replaced. Each due time is one plan, NAME-20261128T030000Z, whatever schedulers run. Later than a minute is missed.`,
    load: async () => (await import("./commands/schedule.js")).schedule,
  },
  {
    name: "schedules",
    args: "",
    does: "List recurring plans: when each is due next, and what it submitted last",
    formats: ["table", "json", "jsonl"],
    options: [],
    examples: ["plan schedules", "plan schedules -o json"],
    load: async () => (await import("./commands/schedules.js")).schedules,
  },
  {
    name: "workers",
    args: "",
    does: "Show who is alive, draining, doing what",
    formats: ["table", "json", "jsonl"],
    options: [],
    examples: ["plan workers", "plan workers -o json"],
    load: async () => (await import("./commands/workers.js")).workers,
  },
  {
    name: "verify",
    args: "[id]",
    does: "Check a plan's invariants against its history; exit 1 and the violations if any",
    formats: JSON_OR_LINES,
    options: [
      new Option("--all", "every plan, without the content of files unless --files asks for it"),
      new Option("--files", "read every snapshot and compare it with its digest (default for one plan)"),
      new Option("--no-files", "don't"),
    ],
    examples: ["plan verify web-42", "plan verify --all -o jsonl", "plan verify --all --files"],
    notes: "It only reads. A plan may run meanwhile: everything of it is read in one moment.",
    load: async () => (await import("./commands/verify.js")).verify,
  },
  {
    name: "prune",
    args: "",
    does: "Remove plans that are over for long, and definitions and snapshots of files that no plan names",
    formats: JSON_ONLY,
    options: [
      new Option("--older-than <duration>", "how long a plan must be completed or cancelled").default("30d"),
      new Option("--no-files", "leave snapshots alone"),
      new Option("--dry-run", "show what would be removed, and write nothing"),
    ],
    examples: ["plan prune --dry-run", "plan prune --older-than 12h -o json"],
    notes:
      "A plan that isn't over is never removed, and a definition or a snapshot younger than 25 hours isn't either.\nWhere plans of several stores keep their snapshots in one place, use --no-files: one store doesn't know what the others name.",
    load: async () => (await import("./commands/prune.js")).prune,
  },
  {
    name: "doctor",
    args: "",
    does: "Check the store: version, eviction policy, persistence, clock, scripts, latency, leftovers",
    formats: JSON_ONLY,
    options: [],
    examples: ["plan doctor", "plan doctor --redis-url redis://10.0.0.5:6379 -o json"],
    load: async () => (await import("./commands/doctor.js")).doctor,
  },
];

/** Parses one command line. @throws UsageError with what was probably meant */
export function parseCommandLine(argv: readonly string[], version: string): Parsed {
  let text = "";
  let invocation: Invocation | undefined;
  const program = buildProgram(version, (written) => {
    text += written;
  });
  for (const spec of COMMANDS) {
    addCommand(program, spec, (found) => {
      invocation = found;
    });
  }
  if (argv.length === 0) return { kind: "text", text: program.helpInformation() };
  if (argv[0] === "help" && argv.length <= 2) return { kind: "text", text: helpOf(program, argv[1]) };
  try {
    program.parse([...argv], { from: "user" });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    // Commander shows the help of the program where it doesn't know the command.
    const word = program.args.find((arg) => !arg.startsWith("-"));
    if (error.code === "commander.helpDisplayed" && word !== undefined && !COMMANDS.some(({ name }) => name === word)) {
      throw unknownCommand(word, program, argv);
    }
    if (error.exitCode === 0) return { kind: "text", text };
    // Options, and no command that they are for.
    if (error.code === "commander.help") return { kind: "text", text: program.helpInformation() };
    throw usageError(error, program, argv);
  }
  return { kind: "run", invocation: invocation! };
}

/** The format that the command line asks for, also where the rest of it can't be parsed. */
export function requestedFormat(argv: readonly string[]): OutputFormat {
  for (const [i, word] of argv.entries()) {
    if (word === "--") break;
    const value =
      word === "-o" || word === "--output" ? argv[i + 1] : (/^(?:-o=?|--output=)(.+)$/.exec(word)?.[1] ?? null);
    if (value === "json" || value === "jsonl") return value;
  }
  return "human";
}

/** Whether `--debug` is among the words. */
export function wantsDebug(argv: readonly string[]): boolean {
  return argv.includes("--debug");
}

function buildProgram(version: string, write: (text: string) => void): Command {
  const program = new Command("plan")
    .description("Durable plans on BullMQ and Redis: kill any worker at any moment, see what resume will do, resume.")
    .version(version, "-V, --version", "print the version")
    .helpOption("-h, --help", "show help")
    .helpCommand(false)
    .usage("<command> [options]")
    .option(
      "--redis-url <url>",
      "the store: redis://, rediss://, redis-sentinel://, unix://, with commas a cluster (default: an embedded one)",
    )
    .option("--prefix <prefix>", "prefix of all keys (default: waymark)")
    .option("--data-dir <path>", "where the embedded store lives (default: .waymark)")
    .option(
      "--sandbox-store <place>",
      "where files of sandboxes are kept: a directory or s3://… (default: the data directory)",
    )
    .option(
      "--payload-limit <size>",
      "what an input, an output, a cursor, a decision or a signal may weigh, such as 1MiB (default: 256KiB)",
    )
    .option("--actor <name>", "who does this, for the history (default: user@host)")
    .option("--debug", "print stack traces")
    .addOption(new Option("-o, --output <format>", "format of the result").hideHelp())
    .exitOverride()
    .configureOutput({ writeOut: write, writeErr: () => {} })
    .configureHelp({
      helpWidth: 100,
      subcommandTerm: (command) =>
        [
          command.name(),
          ...command.registeredArguments.map((argument) =>
            argument.required ? `<${argument.name()}>` : `[${argument.name()}]`,
          ),
        ].join(" "),
    })
    .showSuggestionAfterError(false);
  program.addHelpText(
    "after",
    "\nExamples:\n  $ plan run release.yaml --input tag=v1.2.0\n  $ plan get @latest\n  $ plan resume web-42 --dry-run\n\n" +
      "`plan <command> --help` shows the options and examples of a command.",
  );
  return program;
}

function addCommand(program: Command, spec: CommandSpec, found: (invocation: Invocation) => void): void {
  const command = program
    .command([spec.name, spec.args].join(" ").trim())
    .description(spec.does)
    .helpOption("-h, --help", "show help")
    .configureHelp({ showGlobalOptions: true, helpWidth: 100 })
    .allowExcessArguments(false);
  for (const option of spec.options) command.addOption(option);
  if (spec.formats.length > 0) {
    command.addOption(new Option("-o, --output <format>", `format of the result: ${spec.formats.join(", ")}`));
  }
  const examples = spec.examples.map((example) => `  $ ${example}`).join("\n");
  command.addHelpText("after", `${spec.notes ? `\n${spec.notes}\n` : ""}\nExamples:\n${examples}`);
  command.action((...params: unknown[]) => {
    const globals = command.optsWithGlobals<GlobalOptions>();
    const args = params.slice(0, -2).flat() as (string | undefined)[];
    found({
      name: spec.name,
      args: args.filter((arg) => arg !== undefined),
      options: command.opts(),
      globals: { ...program.opts<GlobalOptions>() },
      format: checkedFormat(spec, globals.output),
      load: spec.load,
    });
  });
}

function checkedFormat(spec: CommandSpec, wanted: string | undefined): OutputFormat {
  if (wanted === undefined) return spec.formats.includes("table") ? "table" : "human";
  const format = spec.formats.find((known) => known === wanted);
  if (format !== undefined) return format;
  const known = spec.formats.length === 0 ? "it has one format only" : `its formats are ${spec.formats.join(", ")}`;
  throw new UsageError(`plan ${spec.name} can't print "${wanted}"; ${known}`, {
    details: { option: "--output", value: wanted, allowed: spec.formats },
    try: `plan ${spec.name} --help`,
  });
}

function helpOf(program: Command, name: string | undefined): string {
  if (name === undefined) return program.helpInformation();
  const command = program.commands.find((candidate) => candidate.name() === name);
  if (command === undefined) throw unknownCommand(name, program, ["help", name]);
  let text = "";
  command.configureOutput({
    writeOut: (written) => {
      text += written;
    },
  });
  command.outputHelp();
  return text;
}

function usageError(error: CommanderError, program: Command, argv: readonly string[]): UsageError {
  const [word = ""] = (/'([^']*)'/.exec(error.message)?.[1] ?? "").split("=", 1);
  const command = program.commands.find((candidate) => argv.includes(candidate.name()));
  switch (error.code) {
    case "commander.unknownCommand":
      return unknownCommand(word, program, argv);
    case "commander.unknownOption":
      return unknownOption(word, program, command, argv);
    default: {
      const message = error.message.replace(/^error: /, "").replace(/\.$/, "");
      return new UsageError(`${message.charAt(0).toUpperCase()}${message.slice(1)}`, {
        try: command ? `plan ${command.name()} --help` : "plan --help",
      });
    }
  }
}

function unknownCommand(word: string, program: Command, argv: readonly string[]): UsageError {
  const names = program.commands.map((command) => command.name());
  const meant = suggestCommand(word, names);
  const rest = argv.slice(argv.indexOf(word) + 1);
  return new UsageError(
    `There is no command "${word}"${meant === null ? `; the commands are ${names.join(", ")}` : `; did you mean ${meant}?`}`,
    {
      details: { command: word, suggestion: meant },
      try: meant === null ? "plan --help" : planCommand(meant, ...rest),
    },
  );
}

function unknownOption(
  flag: string,
  program: Command,
  command: Command | undefined,
  argv: readonly string[],
): UsageError {
  const where = command ? `plan ${command.name()}` : "plan";
  const options = [...(command?.options ?? []), ...program.options].map((option) => option.long!);
  const meant = flag.startsWith("--") ? suggestOption(flag, [...options, "--help"]) : null;
  const retyped = argv.map((w) =>
    w === flag ? meant! : w.startsWith(`${flag}=`) ? `${meant}${w.slice(flag.length)}` : w,
  );
  return new UsageError(`${where} has no option ${flag}${meant === null ? "" : `; did you mean ${meant}?`}`, {
    details: { option: flag, suggestion: meant },
    try: meant === null ? `${where} --help` : planCommand(...retyped),
  });
}

function inputOption(): Option {
  return repeatable("--input <value>", "input of the plan: JSON, @file or k=v");
}

function idOption(): Option {
  return new Option("--id <id>", "id of the plan (default: made from name and time)");
}

function waitOption(): Option {
  return new Option("--wait", "wait until the plan stops; exit 1 unless it completed");
}

function repeatable(flags: string, description: string): Option {
  return new Option(flags, description).argParser((value: string, before: readonly string[] | undefined) => [
    ...(before ?? []),
    value,
  ]);
}
