/** What one scenario knows: its workplace, the plan it talks about, and what the last command said. */
import {
  After,
  Before,
  BeforeAll,
  type ITestCaseHookParameter,
  Status,
  setDefaultTimeout,
  setWorldConstructor,
  World,
} from "@cucumber/cucumber";
import { cliPath, type Finished, type RunningCommand, Workplace } from "../../test/support/cli.js";
import { type PrivateRedis, startPrivateRedis } from "../../test/support/private-redis.js";

/** The id of the plan that scenarios call "the plan", and write as `{plan}` in commands. */
export const PLAN_ID = "orders-1";

export class PlanWorld extends World {
  place!: Workplace;
  /** Whether the Redis of this scenario was taken away. */
  isStoreGone = false;
  /** The document of the plan, from the workplace. */
  planFile = "plan.yaml";
  redis: PrivateRedis | null = null;
  /** The command that goes on while the scenario does other things. */
  background: RunningCommand | null = null;
  /** A second one, of somebody else. */
  other: RunningCommand | null = null;
  /** The fleet's workers, by the order in which they were started. */
  readonly workers: RunningCommand[] = [];
  /** What the last command said. */
  last!: Finished;
  /** What each said of those that were started at once. */
  crowd: readonly Finished[] = [];
  /** Words to put into commands: `{token}`. */
  readonly words = new Map<string, string>([["plan", PLAN_ID]]);
  /** What a request was answered. */
  answer = "";
  /** Every file of a sandbox as it was before the last dry-run. */
  filesBefore: ReadonlyMap<string, string> | null = null;
  /** Every key as it was before the last dry-run. */
  before: ReadonlyMap<string, string> | null = null;

  async useRedis(): Promise<void> {
    this.redis = await startPrivateRedis();
    this.place.env.WAYMARK_REDIS_URL = this.redis.url;
  }

  /** The words of a command as they are written in a scenario: ` plan resume {plan} --reason 'wrong branch'`. */
  args(command: string): string[] {
    const [program, ...words] = command.match(/'[^']*'|\S+/g) ?? [];
    if (program !== "plan") throw new Error(`${command} is no plan command`);
    return words.map((word) =>
      word.replace(/^'(.*)'$/, "$1").replace(/\{(\w+)\}/g, (_, name: string) => {
        const value = this.words.get(name);
        if (value === undefined) throw new Error(`Nothing in this scenario is called {${name}}`);
        return value;
      }),
    );
  }

  start(command: string): RunningCommand {
    this.background = this.place.start(this.args(command));
    return this.background;
  }

  get running(): RunningCommand {
    if (this.background === null) throw new Error("Nothing runs in this scenario");
    return this.background;
  }

  async plan<T = Record<string, unknown>>(): Promise<T> {
    return this.place.json<T>("get", PLAN_ID);
  }
}

setWorldConstructor(PlanWorld);
setDefaultTimeout(60_000);

BeforeAll(() => {
  cliPath();
});

Before(function (this: PlanWorld) {
  this.place = new Workplace();
});

After(async function (this: PlanWorld, { result }: ITestCaseHookParameter) {
  try {
    if (result?.status === Status.FAILED) this.log(describe(this));
    await this.place.endCommands();
    const violations = this.isStoreGone ? [] : await this.place.violations();
    if (violations.length > 0) throw new Error(`The store breaks its invariants: ${violations.join("; ")}`);
  } finally {
    await this.place.close();
    await this.redis?.stop();
  }
});

function describe({ last, background, place }: PlanWorld): string {
  const parts = [
    `ledger: ${place
      .ledger()
      .map((line) => `${line.step}#${line.attempt} ${line.what}`)
      .join(", ")}`,
  ];
  if (last) parts.push(`exit ${last.code} ${last.signal ?? ""}\nstdout:\n${last.stdout}\nstderr:\n${last.stderr}`);
  if (background) parts.push(`in the background: plan ${background.args.join(" ")}\n${background.said}`);
  return parts.join("\n");
}
