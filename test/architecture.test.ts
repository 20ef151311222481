/** What may import what. docs/architecture.md says why; a failure here names the import that broke it. */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { describe, expect, test } from "vitest";

/** What each part of the project may import besides itself. A part that isn't here has no place yet. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  "src/core": [],
  "src/version.ts": [],
  "src/config.ts": ["src/core"],
  "src/machine": ["src/core"],
  "src/define": ["src/core"],
  "src/handlers": ["src/core"],
  "src/embedded": ["src/core", "src/machine"],
  "src/store": ["src/core", "src/machine"],
  "src/queue": ["src/core"],
  "src/sandbox": ["src/core", "src/machine"],
  "src/worker": ["src/core", "src/machine", "src/define", "src/handlers", "src/store", "src/queue", "src/sandbox"],
  "src/scheduler": ["src/core", "src/machine", "src/store", "src/queue", "src/client"],
  "src/observe": ["src/core", "src/version.ts", "src/store", "src/worker"],
  "src/client": [
    "src/core",
    "src/machine",
    "src/define",
    "src/handlers",
    "src/store",
    "src/sandbox",
    "src/worker",
    "src/observe",
  ],
  "src/testing": ["src/core", "src/define", "src/handlers", "src/sandbox", "src/worker", "src/client"],
  "src/index.ts": ["src/core", "src/define", "src/client", "src/worker", "src/observe", "src/version.ts"],
  "src/cli": [
    "src/core",
    "src/config.ts",
    "src/version.ts",
    "src/define",
    "src/handlers",
    "src/embedded",
    "src/store",
    "src/sandbox",
    "src/worker",
    "src/observe",
    "src/scheduler",
    "src/client",
  ],
  workers: ["src/cli", "src/client", "src/worker", "src/scheduler"],
};

/** Node's modules that compute and neither read nor write anything outside the process. */
const PURE_NODE_MODULES = ["node:crypto"];

/** Where the words of a library may be used. */
const LIBRARY_PLACES: Readonly<Record<string, readonly string[]>> = {
  bullmq: ["src/queue"],
  ioredis: ["src/store", "src/queue", "src/worker", "src/client"],
  commander: ["src/cli"],
  listr2: ["src/cli"],
  "cli-table3": ["src/cli"],
  picocolors: ["src/cli"],
  "@aws-sdk/client-s3": ["src/sandbox"],
};

/** Files that may use the global `process`. */
const PROCESS_PLACES = [
  "src/cli/bin.ts",
  "src/cli/process-io.ts",
  "src/config.ts",
  "src/machine/process-identity.ts",
  "workers/",
];

/** What may be taken from node:process, and where. */
const PROCESS_IMPORTS: Readonly<Record<string, readonly string[]>> = {
  "src/embedded/": ["pid", "kill", "getuid"],
  "src/handlers/index.ts": ["env"],
  "src/sandbox/git-command.ts": ["env"],
  "src/handlers/process-group.ts": ["kill"],
  "src/worker/group-guard.ts": ["env"],
  "src/worker/keeper-thread.ts": ["kill", "pid"],
  "src/worker/keeper.ts": ["exit"],
  "src/cli/make-worker.ts": ["pid"],
  "src/client/create-worker.ts": ["pid"],
};

interface SourceFile {
  readonly path: string;
  readonly text: string;
}

const sources = [...sourcesIn("src"), ...sourcesIn("workers")];

describe("the project as it is", () => {
  test("imports point one way", () => {
    expect(sources.flatMap(wrongDirections)).toEqual([]);
  });

  test("what may be imported leads back to nobody", () => {
    const reachable = (part: string, seen = new Set<string>()): Set<string> => {
      for (const next of MAY_IMPORT[part] ?? []) if (!seen.has(next)) reachable(next, seen.add(next));
      return seen;
    };
    expect(Object.keys(MAY_IMPORT).filter((part) => reachable(part).has(part))).toEqual([]);
  });

  test("core has no input, no output, no clock and no chance but for ids", () => {
    expect(sources.flatMap(impurities)).toEqual([]);
  });

  test("the words of a library stay where they belong", () => {
    expect(sources.flatMap(misplacedLibraries)).toEqual([]);
  });

  test("the process is touched only at the edges", () => {
    expect(sources.flatMap(processUses)).toEqual([]);
  });

  test("a Lua script includes the store's own parts and the queue's, nothing else", () => {
    expect([...luaIn("src/store"), ...luaIn("src/queue")].flatMap(wrongIncludes)).toEqual([]);
  });

  test("the sources are all looked at", () => {
    expect(sources.length).toBeGreaterThan(80);
    expect(sources.flatMap(importsOf).length).toBeGreaterThan(300);
  });
});

describe("a broken rule is named", () => {
  test.each([
    [
      "src/core/plan.ts",
      'import { Keys } from "../store/keys.js";',
      "src/core/plan.ts imports ../store/keys.js: src/core may not import src/store",
    ],
    ["src/queue/step-queue.ts", 'import type { Keys } from "../store/keys.js";', "src/queue may not import src/store"],
    ["src/worker/beat.ts", 'const { main } = await import("../cli/main.js");', "src/worker may not import src/cli"],
    ["src/store/keys.ts", 'export * from "../client/client.js";', "src/store may not import src/client"],
    ["src/novelty/thing.ts", "export const a = 1;", "src/novelty has no place in MAY_IMPORT"],
  ])("%s with %s", (path, text, complaint) => {
    expect(wrongDirections({ path, text }).join()).toContain(complaint);
  });

  test.each([
    ['import { readFile } from "node:fs/promises";', "node:fs/promises"],
    ["const now = Date.now();", "Date.now"],
    ["const at = new Date();", "new Date()"],
    ["const chance = Math.random();", "Math.random"],
    ["setTimeout(() => {}, 1);", "setTimeout"],
  ])("core with %s", (text, complaint) => {
    expect(impurities({ path: "src/core/plan.ts", text }).join()).toContain(complaint);
  });

  test("a process that is used in the middle", () => {
    expect(processUses({ path: "src/worker/slots.ts", text: "process.exit(1);" })).toEqual([
      "src/worker/slots.ts uses process.exit",
    ]);
    expect(processUses({ path: "src/worker/slots.ts", text: 'import { env } from "node:process";' })).toEqual([
      "src/worker/slots.ts takes env from node:process",
    ]);
  });

  test("a library in the wrong place", () => {
    expect(misplacedLibraries({ path: "src/client/client.ts", text: 'import { Queue } from "bullmq";' })).toEqual([
      "src/client/client.ts imports bullmq, which belongs to src/queue",
    ]);
  });
});

test("the details of errors have keys in camelCase, as everything of the library; the command line renames them", () => {
  const details = sources.flatMap((file) => [...code(file).matchAll(/\bdetails(?:: | = )\{([^{}]*)/g)]);

  expect(details.length).toBeGreaterThan(20);
  expect(details.map(([, keys]) => keys!).filter((keys) => /\b\w+_\w+:/.test(keys))).toEqual([]);
});

function wrongDirections(file: SourceFile): string[] {
  const part = partOf(file.path);
  const allowed = MAY_IMPORT[part];
  if (allowed === undefined) return [`${file.path}: ${part} has no place in MAY_IMPORT`];
  return importsOf(file)
    .filter((target) => target.startsWith("."))
    .flatMap((target) => {
      const other = partOf(normalize(join(dirname(file.path), target)).replace(/\.js$/, ".ts"));
      if (other === part || allowed.includes(other)) return [];
      return [`${file.path} imports ${target}: ${part} may not import ${other}`];
    });
}

function impurities(file: SourceFile): string[] {
  if (partOf(file.path) !== "src/core") return [];
  const modules = importsOf(file).filter((target) => target.startsWith("node:") && !PURE_NODE_MODULES.includes(target));
  const uses =
    code(file).match(/\b(Date\.now|new Date\(\)|Math\.random|performance\.now|setTimeout|setInterval)(?=\W|$)/g) ?? [];
  return [...modules, ...uses].map((what) => `${file.path} uses ${what}`);
}

function misplacedLibraries(file: SourceFile): string[] {
  return importsOf(file).flatMap((target) => {
    const places = LIBRARY_PLACES[target];
    if (places === undefined || places.includes(partOf(file.path))) return [];
    return [`${file.path} imports ${target}, which belongs to ${places.join(", ")}`];
  });
}

function processUses(file: SourceFile): string[] {
  const text = code(file);
  const allowedGlobal = PROCESS_PLACES.some((place) => file.path.startsWith(place));
  const globals = allowedGlobal
    ? []
    : [...text.matchAll(/(?<![\w.#-])process\.(\w+)/g)].map(([use]) => `${file.path} uses ${use}`);
  const allowed = Object.entries(PROCESS_IMPORTS).find(([place]) => file.path.startsWith(place))?.[1] ?? [];
  const taken = [...text.matchAll(/import (.+?) from "node:process"/g)].flatMap(([, names]) =>
    names!.replace(/[{}]/g, "").split(","),
  );
  return [
    ...globals,
    ...taken
      .map((name) => name.trim())
      .filter((name) => !allowed.includes(name))
      .map((name) => `${file.path} takes ${name} from node:process`),
  ];
}

function wrongIncludes(file: SourceFile): string[] {
  const includes = [...file.text.matchAll(/^--#include (.+)$/gm)].map(([, target]) => target!.trim());
  const own = partOf(file.path);
  return includes
    .filter((target) => ![own, "src/queue"].includes(partOf(normalize(join(dirname(file.path), target)))))
    .map((target) => `${file.path} includes ${target}`);
}

/** `src/core` for what is in that folder, `src/config.ts` for a file of src itself, `workers`. */
function partOf(path: string): string {
  const [first, second] = path.split("/");
  return first === "src" ? `src/${second}` : first!;
}

/** Every module that a file names, in `import`, `export … from` and `import()`. */
function importsOf(file: SourceFile): string[] {
  const found = code(file).matchAll(/(?:\bfrom|\bimport)\s*\(?\s*"([^"\n]+)"/g);
  return [...found].map(([, target]) => target!);
}

/** Without comments and without the text of templates: those may speak of anything. */
function code(file: SourceFile): string {
  return file.text
    .replace(/\/\*[\s\S]*?\*\//g, "")
    .replace(/(^|\s)\/\/.*$/gm, "")
    .replace(/`(?:\\.|\$\{[^}]*\}|[^`\\])*`/g, (template) => (template.match(/\$\{[^}]*\}/g) ?? []).join(" "));
}

function sourcesIn(folder: string): SourceFile[] {
  return filesIn(folder, ".ts");
}

function luaIn(folder: string): SourceFile[] {
  return filesIn(folder, ".lua");
}

function filesIn(folder: string, extension: string): SourceFile[] {
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((path) => path.endsWith(extension))
    .map((path) => join(folder, path))
    .map((path) => ({ path, text: readFileSync(path, "utf8") }));
}
