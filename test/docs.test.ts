/** The documentation says what the code does: codes, commands, documents, links. */
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { describe, expect, test } from "vitest";
import { parseCommandLine } from "../src/cli/program.js";
import { parseDocument } from "../src/core/document.js";
import { EXIT_CODES } from "../src/core/errors.js";
import { PLAN_STATES } from "../src/core/plan.js";
import { builtinHandlers } from "../src/handlers/index.js";

const PAGES = ["README.md", "CHANGELOG.md", ...pagesIn("docs"), ...pagesIn("examples")];

test("the pages are all looked at", () => {
  expect(PAGES.length).toBeGreaterThan(15);
});

test("docs/errors.md lists every code with its exit status, and no other", () => {
  const listed = [...read("docs/errors.md").matchAll(/^\| `([A-Z_]+)`[^|]*\| (\d+) \|/gm)].map(([, code, exit]) => [
    code,
    Number(exit),
  ]);

  expect(new Map(listed as [string, number][])).toEqual(new Map(Object.entries(EXIT_CODES)));
  expect(listed).toHaveLength(Object.keys(EXIT_CODES).length);
});

test("every code that a page names exists, with the exit status that it gives", () => {
  const wrong = PAGES.flatMap((page) =>
    [...read(page).matchAll(/`([A-Z]+_[A-Z_]+)`[^|\n]*\|(?: (\d) \|)?/g)]
      .filter(
        ([, code]) =>
          !/^(WAYMARK|REDIS|STEP_ATTEMPT|STEP_FENCE|STEP_ID|PLAN_ID|IDEMPOTENCY|EVAL)/.test(code!) ||
          code! in EXIT_CODES,
      )
      .filter(
        ([, code, exit]) =>
          !(code! in EXIT_CODES) ||
          (exit !== undefined && EXIT_CODES[code as keyof typeof EXIT_CODES] !== Number(exit)),
      )
      .map(([, code, exit]) => `${page}: ${code} ${exit ?? ""}`),
  );
  expect(wrong).toEqual([]);
});

test("docs/plan-lifecycle.md has every state, in the order in which they are decided", () => {
  const listed = [...read("docs/plan-lifecycle.md").matchAll(/^\| `([a-z]+)` \|/gm)].map(([, state]) => state);
  expect(listed).toEqual([...PLAN_STATES]);
});

test("docs/documents.md has every built-in handler", () => {
  const described = [...read("docs/documents.md").matchAll(/^\*\*`([a-z]+)`\*\*/gm)].map(([, handler]) => handler);
  expect(described.sort()).toEqual([...builtinHandlers().keys()].sort());
});

test("docs/testing-plans.md shows a plan and tests as they are in examples/orders, where they run", () => {
  const files = readdirSync("examples/orders").map((name) => read(join("examples/orders", name)));
  const blocks = blocksOf(read("docs/testing-plans.md"), "ts");

  expect(blocks.length).toBeGreaterThan(3);
  expect(blocks.filter((block) => !files.some((text) => text.includes(block)))).toEqual([]);
});

describe.each(PAGES)("%s", (page) => {
  test("has links that lead somewhere", () => {
    const broken = linksOf(read(page)).filter((link) => !leadsSomewhere(page, link));
    expect(broken).toEqual([]);
  });

  test("names commands that exist, with options that exist", () => {
    expect(commandsOf(read(page)).flatMap(commandFault)).toEqual([]);
  });

  test("has plan documents that are valid", () => {
    const documents = blocksOf(read(page), "yaml").filter((text) => /^plan:/m.test(text));
    for (const text of documents) expect(() => parseDocument(text, page, builtinHandlers())).not.toThrow();
  });
});

describe("a page that is wrong is caught", () => {
  test.each([
    ["plan retry web-42", "retry"],
    ["plan resume web-42 --dryrun", "--dryrun"],
    ["npx waymark repair web-42", "repair"],
  ])("%s", (command, complaint) => {
    expect(commandsOf(`\`\`\`sh\n${command}\n\`\`\``).flatMap(commandFault).join()).toContain(complaint);
  });

  test("a link to nowhere, and one to a heading that isn't there", () => {
    expect(
      linksOf("[a](docs/nowhere.md) [b](README.md#nothing) [c](https://example.org)").map((link) =>
        leadsSomewhere("README.md", link),
      ),
    ).toEqual([false, false, true]);
  });
});

function pagesIn(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((path) => path.endsWith(".md"))
    .map((path) => join(folder, path));
}

function read(page: string): string {
  return readFileSync(page, "utf8");
}

function linksOf(text: string): string[] {
  const prose = text.replace(/^```[\s\S]*?^```/gm, "").replace(/`[^`\n]*`/g, "");
  return [...prose.matchAll(/\]\(([^)\s]+)\)/g)].map(([, link]) => link!);
}

function leadsSomewhere(page: string, link: string): boolean {
  if (/^https?:/.test(link)) return true;
  const [path, anchor] = link.split("#") as [string, string | undefined];
  const target = path === "" ? page : normalize(join(dirname(page), path));
  if (!existsSync(target)) return false;
  return anchor === undefined || (statSync(target).isFile() && headingsOf(read(target)).includes(anchor));
}

/** As GitHub makes anchors of headings. */
function headingsOf(text: string): string[] {
  return [...text.matchAll(/^#+ (.+)$/gm)].map(([, heading]) =>
    heading!
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, "")
      .replaceAll(" ", "-"),
  );
}

/** Command lines of code blocks, whole; those of running text as far as they are written out. */
function commandsOf(text: string): string[] {
  const typed = [...blocksOf(text, "sh"), ...blocksOf(text, "text").flatMap((block) => block.match(/^\$ .+$/gm) ?? [])]
    .flatMap((block) => block.split("\n"))
    .map((line) => line.replace(/^\$ /, "").replace(/\s+(#|←).*$/, ""));
  const prose = text.replace(/^```[\s\S]*?^```/gm, "");
  const inline = [...prose.matchAll(/`([^`\n]+)`/g)].map(([, code]) => code!).filter((code) => !/…|=A-Z/.test(code));
  return [...typed, ...inline]
    .map((command) => command.replace(/^(WAYMARK_\w+=\S+ )+/, "").replace(/^(npx )?(waymark|plan) /, "plan "))
    .filter((command) => /^plan [a-z-]/.test(command));
}

function commandFault(command: string): string[] {
  // `plan resume` in a sentence speaks of the command, not of one call: only its name is looked at.
  const words = [...command.slice("plan ".length).matchAll(/'([^']*)'|"([^"]*)"|(\S+)/g)].map(
    ([, a, b, c]) => a ?? b ?? c ?? "",
  );
  try {
    parseCommandLine(words.length === 1 ? [words[0]!, "--help"] : words, "0");
    return [];
  } catch (error) {
    return [`${command}: ${(error as Error).message}`];
  }
}

function blocksOf(text: string, language: string): string[] {
  return [...text.matchAll(new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\``, "gm"))].map(([, block]) => block!);
}
