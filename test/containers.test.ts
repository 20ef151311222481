/** The image and the fleet of docker-compose.yml, as far as their files tell. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { parse } from "yaml";
import { parseCommandLine } from "../src/cli/program.js";
import { parseDurationMs } from "../src/core/duration.js";

const ROOT = join(import.meta.dirname, "..");

interface Service {
  readonly command: string | readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  readonly ports?: readonly string[];
  readonly volumes?: readonly string[];
  readonly stop_grace_period?: string;
  readonly deploy?: { readonly replicas: number };
}

const { services } = parse(read("docker-compose.yml"), { merge: true }) as { services: Record<string, Service> };
const instructions = read("Dockerfile")
  .replace(/\\\n\s*/g, " ")
  .split("\n")
  .flatMap((line) => {
    const [, instruction, value] = /^([A-Z]+) (.*)$/.exec(line) ?? [];
    return instruction === undefined ? [] : [[instruction, value!] as const];
  });

function read(name: string): string {
  return readFileSync(join(ROOT, name), "utf8");
}

function valuesOf(name: string): string[] {
  return instructions.filter(([instruction]) => instruction === name).map(([, value]) => value);
}

test("the image has nothing of its build but its result, and runs as nobody in particular", () => {
  expect(valuesOf("FROM")).toEqual([expect.stringMatching(/ AS build$/), expect.not.stringContaining(" AS ")]);
  const lastStage = instructions.slice(instructions.findLastIndex(([instruction]) => instruction === "FROM"));
  expect(lastStage).toContainEqual(["USER", "node"]);
  for (const [, value] of lastStage.filter(([instruction]) => instruction === "COPY")) {
    expect(value).toMatch(/^--from=build /);
  }
});

test("an init is process 1, and Node gets its signals: no shell stands in between", () => {
  const [entrypoint] = valuesOf("ENTRYPOINT").map((value) => JSON.parse(value) as string[]);

  expect(entrypoint).toEqual(["/sbin/tini", "--", "node", "/app/dist/src/cli/bin.js"]);
});

test("what is copied into the build is there, and is sent to it", () => {
  const sent = read(".dockerignore")
    .split("\n")
    .filter((line) => line.startsWith("!"));
  const copied = valuesOf("COPY").filter((value) => !value.startsWith("--from"));

  for (const source of copied.flatMap((value) => value.split(" ").slice(0, -1))) {
    expect(existsSync(join(ROOT, source)), source).toBe(true);
    expect(sent, source).toContain(`!${source}`);
  }
});

const commands: [string, string[]][] = [
  ["the image", JSON.parse(valuesOf("CMD")[0]!) as string[]],
  ...Object.entries(services).flatMap(([name, { command }]): [string, string[]][] =>
    typeof command === "string" ? [] : [[name, [...command]]],
  ),
];

test.each(commands)("the command of %s is one that there is", (_, command) => {
  expect(parseCommandLine(command, "0")).toMatchObject({ kind: "run", invocation: { name: command[0] } });
});

test("Redis appends every write, evicts nothing, keeps its data and listens on loopback only", () => {
  const { command, ports, volumes } = services.redis!;

  expect(command).toContain("--appendonly yes");
  expect(command).toContain("--maxmemory-policy noeviction");
  expect(volumes).toEqual([expect.stringMatching(/:\/data$/)]);
  expect(ports).toEqual(["127.0.0.1:6379:6379"]);
});

test("the manifest in docs/operating.md gives a worker more time than its grace, and runs a command that there is", () => {
  const [, manifest] = /```yaml\n(apiVersion[\s\S]*?)```/.exec(read("docs/operating.md"))!;
  const { spec } = parse(manifest!).spec.template as {
    spec: { terminationGracePeriodSeconds: number; containers: { args: string[] }[] };
  };
  const { args } = spec.containers[0]!;

  expect(parseCommandLine(args, "0")).toMatchObject({ kind: "run", invocation: { name: "worker" } });
  const graceMs = parseDurationMs(args[args.indexOf("--grace") + 1])!;
  expect(spec.terminationGracePeriodSeconds * 1_000).toBeGreaterThan(graceMs);
});

test("three workers drain before they are killed", () => {
  const { deploy, environment, stop_grace_period } = services.worker!;

  expect(deploy?.replicas).toBe(3);
  expect(parseDurationMs(stop_grace_period)).toBeGreaterThan(parseDurationMs(environment!.WAYMARK_GRACE)!);
  expect(environment!.WAYMARK_REDIS_URL).toBe("redis://redis:6379");
});

test("a scheduler looks at the Redis that the workers serve", () => {
  const { command, environment } = services.scheduler!;

  expect(command).toEqual(["scheduler"]);
  expect(environment).toEqual(services.worker!.environment);
});
