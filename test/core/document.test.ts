// biome-ignore-all lint/suspicious/noTemplateCurlyInString: documents hold expressions
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { DEFAULT_RETRY, DEFAULT_STEP_TIMEOUT_MS, DOCUMENT_QUEUE, STEP_LIMIT } from "../../src/core/definition.js";
import { DOCUMENT_LIMIT_BYTES, LocatedDocument, NESTING_LIMIT, segmentsOf } from "../../src/core/document/located.js";
import { parseDocument } from "../../src/core/document.js";
import { type Fault, InvalidPlanError } from "../../src/core/errors.js";
import { formatPath } from "../../src/core/expression.js";
import type { StepHandler } from "../../src/core/handler.js";

function aHandler(name: string, check: StepHandler["check"] = () => []): [string, StepHandler] {
  return [name, { name, check, run: async () => ({ kind: "completed", output: null }) }];
}

const HANDLERS = new Map([
  aHandler("shell", ({ run }) => (run === "" ? [{ path: "run", message: "run must be a command" }] : [])),
  aHandler("http", (input) => (Object.hasOwn(input, "url") ? [] : [{ path: "", message: "url is missing" }])),
  aHandler("approve"),
  aHandler("noop"),
  aHandler("picky", () => [
    { path: "list[1].deep", message: "deep is wrong" },
    { path: 'map["odd key"]', message: "odd is wrong" },
    { path: "map.absent.x", message: "absent is wrong" },
  ]),
]);

function read(text: string) {
  return parseDocument(text, "plan.yaml", HANDLERS);
}

function faultsOf(text: string): readonly Fault[] {
  try {
    read(text);
  } catch (error) {
    expect(error).toBeInstanceOf(InvalidPlanError);
    return (error as InvalidPlanError).faults;
  }
  return [];
}

/** `line:column path message`, as a reader of an editor's list sees them. */
function listOf(text: string): string[] {
  return faultsOf(text).map(({ line, column, path, message }) => `${line}:${column} ${path} | ${message}`);
}

const RELEASE = `plan: release                 # name
version: 3
phases: [strategize, execute, apply]
input: { tag: { type: string, pattern: "^v" }, dry: { type: boolean, default: false } }
defaults: { retry: { attempts: 5, backoff: fixed, delay: 2s, max: 1m }, timeout: 10m }
steps:
  - { id: assess, phase: strategize, run: "node assess.mjs" }
  - id: build
    phase: execute
    env: { TAG: "\${{ input.tag }}", FOUND: "\${{ steps.assess.output.count }}", N: 1.50, ON: true }
    run: npm run build
    effect: idempotent
    retry: { attempts: 1 }
    pass-env: [CI]
  - { id: test, needs: [build], run: npm test, timeout: 500, queue: slow, rev: 2 }
  - { id: sign-off, phase: apply, uses: approve, with: { message: "Publish \${{ input.tag }}?" } }
  - id: publish
    phase: apply
    effect: irreversible
    uses: http
    with: { method: POST, url: "https://example.org", headers: { authorization: "Bearer \${{ secrets.NPM }}" }, json: { tag: "\${{ input.tag }}" } }
`;

describe("a plan document", () => {
  test("says whether a scheduler may resume it, and is the same definition as before where it says nothing", () => {
    const steps = "steps: [{ uses: noop }]";
    expect(read(`plan: p\nresume: auto\n${steps}`).definition.resume).toBe("auto");
    expect(read(`plan: p\n${steps}`).definition).not.toHaveProperty("resume");
    expect(() => read(`plan: p\nresume: always\n${steps}`)).toThrow(/auto/);
  });

  test("declares its sandbox, which commands write unless they say otherwise", () => {
    const { definition } = read(
      "plan: p\nsandbox: { from: ./project, exclude: [dist], ignore: [node_modules/], prepare: { run: npm ci } }\nsteps:\n- { id: a, run: a }\n- { id: b, run: b, sandbox: read }\n- { id: c, run: c, sandbox: none }\n- { id: d, uses: noop }\n- { id: e, uses: noop, sandbox: read }",
    );

    expect(definition.sandbox).toEqual({
      from: "./project",
      exclude: ["dist"],
      ignore: ["node_modules/"],
      include: [],
      prepare: { run: "npm ci" },
      provider: "directory",
    });
    expect(definition.steps.map((step) => step.sandbox)).toEqual(["write", "read", "none", "none", "read"]);
    expect(read("plan: p\nsandbox: {}\nsteps: [{ run: a }]").definition.sandbox).toMatchObject({ from: null });
    expect(read("plan: p\nsteps: [{ run: a }]").definition.sandbox).toBeNull();
  });

  test("becomes a definition with everything that it says", () => {
    const { definition, roots } = read(RELEASE);

    expect(definition).toMatchObject({
      name: "release",
      version: 3,
      source: "document",
      phases: ["strategize", "execute", "apply"],
      failFast: false,
      inputSchema: {
        type: "object",
        required: ["tag"],
        properties: { tag: { pattern: "^v" }, dry: { default: false } },
      },
    });
    const retry = { attempts: 5, backoff: "fixed", delayMs: 2_000, maxMs: 60_000 };
    const shared = { passEnv: [], queue: DOCUMENT_QUEUE, sandbox: "none", retry, timeoutMs: 600_000, rev: null };
    const plain = { ...shared, env: {}, effect: "idempotent" };
    const [assess, build, tests, signOff, publish] = definition.steps;
    expect(assess).toEqual({
      ...plain,
      id: "assess",
      phase: "strategize",
      needs: [],
      uses: "shell",
      with: { run: "node assess.mjs" },
    });
    expect(build).toEqual({
      ...plain,
      id: "build",
      phase: "execute",
      needs: ["assess"],
      uses: "shell",
      with: { run: "npm run build" },
      env: { TAG: "${{ input.tag }}", FOUND: "${{ steps.assess.output.count }}", N: "1.50", ON: "true" },
      retry: { ...retry, attempts: 1 },
      passEnv: ["CI"],
    });
    expect(tests).toMatchObject({ needs: ["build"], phase: "execute", timeoutMs: 500, queue: "slow", rev: "2" });
    expect(signOff).toMatchObject({ needs: ["test"], uses: "approve", with: { message: "Publish ${{ input.tag }}?" } });
    expect(publish).toMatchObject({
      effect: "irreversible",
      needs: ["sign-off"],
      with: { json: { tag: "${{ input.tag }}" } },
    });
    expect(roots).toEqual(["assess"]);
  });

  test("may be as small as a name and a command", () => {
    const { definition } = read("plan: hello\nsteps: [{ run: echo hi }, { run: echo ho }]");

    expect(definition).toMatchObject({ name: "hello", version: 1, phases: ["execute"], inputSchema: null });
    expect(definition.steps.map(({ id, needs, phase }) => ({ id, needs, phase }))).toEqual([
      { id: "step-1", needs: [], phase: "execute" },
      { id: "step-2", needs: ["step-1"], phase: "execute" },
    ]);
    expect(definition.steps[0]).toMatchObject({ retry: DEFAULT_RETRY, timeoutMs: DEFAULT_STEP_TIMEOUT_MS });
  });

  test("is the same in YAML, in JSON, and indented with tabs", () => {
    const yaml = read("plan: p\nqueue: q\nfailFast: true\nsteps:\n  - run: a\n  - { uses: noop, needs: [] }\n");
    const json = { plan: "p", queue: "q", failFast: true, steps: [{ run: "a" }, { uses: "noop", needs: [] }] };

    expect(read(JSON.stringify(json)).digest).toBe(yaml.digest);
    expect(read(JSON.stringify(json, null, "\t")).digest).toBe(yaml.digest);
    expect(yaml.definition).toMatchObject({ failFast: true, steps: [{ queue: "q" }, { queue: "q" }] });
  });

  test("has the conventional phases as soon as a step names one of them", () => {
    const { definition } = read(
      "plan: p\nsteps: [{ run: a }, { run: b, phase: apply }, { run: c }, { run: d, needs: [] }]",
    );

    expect(definition.phases).toEqual(["strategize", "execute", "apply"]);
    expect(definition.steps.map((step) => step.phase)).toEqual(["execute", "apply", "apply", "execute"]);
  });

  test("puts steps without a phase where what they need allows it, however they are listed", () => {
    const { definition } = read(
      "plan: p\nphases: [one, two]\nsteps:\n- { id: a, run: x, needs: [b] }\n- { id: b, run: x, needs: [c] }\n- { id: c, run: x, phase: two, needs: [] }\n- { id: d, run: x, needs: [] }",
    );

    expect(definition.steps.map((step) => step.phase)).toEqual(["two", "two", "two", "one"]);
  });

  test("may name steps, inputs and variables as Object names its own properties", () => {
    const text = `plan: constructor
input: { constructor: true, toString: { default: 1 } }
steps:
  - { id: constructor, run: "true", env: { hasOwnProperty: "\${{ input.toString }}", __proto__: x } }
  - { id: toString, uses: noop, with: { valueOf: "\${{ steps.constructor.output.x }}", __proto__: { a: "\${{ input.constructor }}" } } }
`;

    const { steps } = read(text);

    expect([...steps.keys()]).toEqual(["constructor", "toString"]);
    expect(Object.entries(steps.get("constructor")!.env)).toEqual([
      ["hasOwnProperty", "${{ input.toString }}"],
      ["__proto__", "x"],
    ]);
    expect(Object.keys(steps.get("toString")!.with)).toEqual(["valueOf", "__proto__"]);
    expect(listOf("plan: p\nsteps: [{ run: a, needs: [constructor] }]")).toEqual([
      '2:27 steps[0].needs[0] | there is no step "constructor"',
    ]);
  });

  test("may share values by anchors", () => {
    const { definition } = read(
      "plan: p\ndefaults: { retry: &r { attempts: 2 } }\nsteps:\n- { run: a, retry: *r, env: &e { A: x } }\n- { uses: noop, env: *e, with: { list: &l [1, [2]], again: *l } }\n",
    );

    expect(definition.steps[0]!.retry.attempts).toBe(2);
    expect(definition.steps[1]).toMatchObject({ env: { A: "x" }, with: { list: [1, [2]], again: [1, [2]] } });
  });

  test("keeps values of `with` as they are, empty ones as null", () => {
    const { definition } = read(
      "plan: p\nsteps:\n- uses: noop\n  with:\n    a:\n    b: [1.5, ~, true, '1', -0x1F]\n    2: two\n    c: {}\n",
    );

    expect(definition.steps[0]!.with).toEqual({ a: null, b: [1.5, null, true, "1", "-0x1F"], 2: "two", c: {} });
  });

  test("takes a first delay beyond the default maximum as the maximum", () => {
    const { definition } = read("plan: p\nsteps: [{ run: a, retry: { delay: 5m } }]");

    expect(definition.steps[0]!.retry).toMatchObject({ delayMs: 300_000, maxMs: 300_000 });
  });

  test("may use expressions wherever they are allowed", () => {
    const text = `plan: p
steps:
  - { id: a.b, run: 'echo "$\${{ kept }}" $X', env: { X: "\${{ secrets.X }}" }, needs: [] }
  - { id: mid, uses: noop, with: { x: "\${{ plan.id }} \${{ input.anything[0] }}" } }
  - { id: end, uses: http, with: { url: "\${{ steps['a.b'].output }}", auth: ["\${{ secrets.X }}"], in: "\${{ input }}" } }
`;

    expect(listOf(text)).toEqual([]);
  });
});

/** Each document, and the whole list of its faults. */
const MALFORMED: readonly [string, string, readonly string[]][] = [
  ["is empty", "", ["1:1  | the document is empty"]],
  ["has only comments", "# nothing\n", ["1:1  | the document is empty"]],
  ["is a list", "- plan: p", ["1:1  | the document must be a mapping, not a list"]],
  ["is a text", "hello", ['1:1  | the document must be a mapping, not "hello"']],
  [
    "says nothing",
    "{}",
    ["1:1  | a plan needs a name: plan is missing", "1:1  | a plan needs at least one step: steps is missing"],
  ],
  ["isn't YAML", 'plan: "p\nsteps: []\n', ['3:1  | missing closing "quote']],
  ["is indented with tabs", "plan: p\nsteps:\n\t- run: a\n", ["3:1  | tabs are not allowed as indentation"]],
  [
    "holds several plans",
    "plan: p\nsteps: [{ run: a }]\n---\nplan: q\n",
    ["3:1  | a file holds one plan; a second YAML document starts here"],
  ],
  [
    "repeats a key",
    "plan: p\nsteps:\n  - run: a\n    env:\n      A: 1\n      A: 2\nplan: q\n",
    [
      '6:7 steps[0].env.A | the key "A" stands here a second time; the first is in line 5',
      '7:1 plan | the key "plan" stands here a second time; the first is in line 1',
    ],
  ],
  ["has a list as a key", "plan: p\n? [a]\n: b\n", ["2:3  | a key must be a plain name"]],
  ["has an unknown tag", "plan: !name p\nsteps: [{ run: a }]", ["1:7  | unresolved tag: !name"]],
  [
    "holds what JSON can't",
    "plan: p\nsteps: [{ uses: noop, with: { a: .nan, b: [.inf] } }]",
    ["2:34 steps[0].with.a | .nan is not a JSON value", "2:44 steps[0].with.b[0] | .inf is not a JSON value"],
  ],
  [
    "holds dates of an older YAML",
    "%YAML 1.1\n---\nplan: p\nsteps: [{ uses: noop, with: { a: 2020-01-01 } }]",
    ["4:34 steps[0].with.a | 2020-01-01 is not a JSON value"],
  ],
  ["names an alias that isn't there", "plan: *name\n", ["1:7 plan | *name names nothing that is complete above it"]],
  ["names an alias inside itself", "plan: &a [*a]\n", ["1:11 plan[0] | *a names nothing that is complete above it"]],
  [
    "has wrong types",
    `plan: 1
version: "2"
phases: execute
input: [tag]
defaults: 10m
queue: [q]
failFast: yes
steps:
  - id: 7
    phase: [x]
    needs: build
    run: [echo]
    env: A=1
    pass-env: HOME
    effect: true
    retry: 3
    timeout: soon
    queue:
    rev: [1]
  - echo hi
  - { uses: noop, with: text, env: { A: [1], B: } }
`,
    [
      "1:7 plan | plan must be a string, not the number 1",
      '2:10 version | version must be a whole number of at least 1, not "2"',
      '3:9 phases | phases must be a list of phases, not "execute"',
      "4:8 input | input must be a mapping, not a list",
      '5:11 defaults | defaults must be a mapping, not "10m"',
      "6:8 queue | queue must be a string, not a list",
      '7:11 failFast | failFast must be true or false, not "yes"',
      "9:9 steps[0].id | steps[0].id must be a string, not the number 7",
      "10:12 steps[0].phase | steps[0].phase must be a string, not a list",
      '11:12 steps[0].needs | steps[0].needs must be a list of step ids, not "build"',
      "12:10 steps[0].run | steps[0].run must be a string, not a list",
      '13:10 steps[0].env | steps[0].env must be a mapping, not "A=1"',
      '14:15 steps[0].pass-env | steps[0].pass-env must be a list of names of variables, not "HOME"',
      "15:13 steps[0].effect | steps[0].effect must be idempotent or irreversible, not the boolean true",
      "16:12 steps[0].retry | steps[0].retry must be a mapping, not the number 3",
      '17:14 steps[0].timeout | steps[0].timeout must be a duration such as 500 (milliseconds), "30s" or "10m", not "soon"',
      "18:11 steps[0].queue | steps[0].queue must be a string, not nothing",
      "19:10 steps[0].rev | steps[0].rev must be a string, not a list",
      '20:5 steps[1] | steps[1] must be a mapping, not "echo hi"',
      '21:25 steps[2].with | steps[2].with must be a mapping, not "text"',
      "21:41 steps[2].env.A | steps[2].env.A must be a string, not a list",
      "21:49 steps[2].env.B | steps[2].env.B must be a string, not nothing",
    ],
  ],
  [
    "has steps that are no list",
    "plan: p\nsteps: { run: a }",
    ["2:8 steps | steps must be a list of steps, not a mapping"],
  ],
  ["has no step", "plan: p\nsteps: []", ["2:8 steps | a plan needs at least one step"]],
  [
    "has unknown keys",
    "plan: p\nfailfast: true\nstep: []\nsteps:\n- { run: a, passEnv: [A], need: [], retry: { atempts: 2 }, zebra: 1 }\ndefaults: { time-out: 1m, cats: 2 }",
    [
      '2:1 failfast | a plan has no key "failfast"; did you mean "failFast"?',
      '3:1 step | a plan has no key "step"; did you mean "steps"?',
      '5:13 steps[0].passEnv | steps[0] has no key "passEnv"; did you mean "pass-env"?',
      '5:27 steps[0].need | steps[0] has no key "need"; did you mean "needs"?',
      '5:46 steps[0].retry.atempts | steps[0].retry has no key "atempts"; did you mean "attempts"?',
      '5:60 steps[0].zebra | steps[0] has no key "zebra"',
      '6:13 defaults.time-out | defaults has no key "time-out"; did you mean "timeout"?',
      '6:27 defaults.cats | defaults has no key "cats"',
    ],
  ],
  [
    "uses what isn't built yet",
    "plan: p\npriority: 0\nenv: {}\nsteps:\n- { run: a, key: input.x, priority: 2097152, prepare: {} }",
    [
      "2:11 priority | priority must be a whole number of at least 1, not the number 0",
      "3:1 env | env is not supported by this version",
      "5:13 steps[0].key | key is for the items of a map, and there is none",
      "5:37 steps[0].priority | steps[0].priority is 2097152; the limit is 2097151",
      "5:46 steps[0].prepare | prepare is not supported by this version",
    ],
  ],
  [
    "has limits that are none",
    `plan: p
rate: {}
steps:
- { id: a, run: x, concurrency: 3, rate: often }
- { id: b, run: x, concurrency: {}, rate: { key: a b, max: 0, per: soon, burst: 2 } }
- { id: c, run: x, concurrency: { key: [], limit: 1.5, max: 3 }, rate: { key: k, max: 100001, per: 0s } }
- { id: d, uses: approve, concurrency: { key: k, limit: 1 }, rate: { key: k, max: 1, per: 25d } }
- { id: e, run: x, map: input.list, concurrency: [2] }`,
    [
      '2:1 rate | a plan has no key "rate"',
      "4:33 steps[0].concurrency | steps[0].concurrency must be a mapping, not the number 3",
      '4:42 steps[0].rate | steps[0].rate must be a mapping, not "often"',
      "5:20 steps[1].concurrency | steps[1].concurrency has no key",
      "5:20 steps[1].concurrency | steps[1].concurrency has no limit",
      '5:50 steps[1].rate.key | steps[1].rate.key is "a b"; an id starts with a letter or digit and goes on with up to 127 letters, digits, dots, underscores or hyphens',
      "5:60 steps[1].rate.max | steps[1].rate.max must be a whole number of at least 1, not the number 0",
      '5:68 steps[1].rate.per | steps[1].rate.per must be a duration such as 500 (milliseconds), "30s" or "10m", not "soon"',
      '5:74 steps[1].rate.burst | steps[1].rate has no key "burst"',
      "6:40 steps[2].concurrency.key | steps[2].concurrency.key must be a string, not a list",
      "6:51 steps[2].concurrency.limit | steps[2].concurrency.limit must be a whole number of at least 1, not the number 1.5",
      '6:56 steps[2].concurrency.max | steps[2].concurrency has no key "max"',
      "6:87 steps[2].rate.max | steps[2].rate.max is 100001; the limit is 100000",
      "6:100 steps[2].rate.per | steps[2].rate.per must be longer than 0",
      "7:40 steps[3].concurrency | approve only waits: it needs no concurrency",
      "7:68 steps[3].rate | approve only waits: it needs no rate",
      "7:91 steps[3].rate.per | steps[3].rate.per is 2160000000 ms; the limit is 2147483647 ms, 24 days",
      "8:50 steps[4].concurrency | steps[4].concurrency must be a mapping, not a list",
    ],
  ],
  [
    "has conditions that can't be asked",
    `plan: p
input: { tag: { type: string } }
steps:
- { id: a, run: x, when: 3 }
- { id: b, run: x, when: "input.tag == v1" }
- { id: c, run: x, when: { value: input.tag } }
- { id: d, run: x, when: { value: input.tag, in: [1], notIn: [2] } }
- { id: e, run: x, when: { value: input.tag, on: [1], in: one } }
- { id: f, run: x, when: { value: [], in: ["\${{ input.tag }}", { deep: "\${{ plan.id }}" }] } }
- { id: g, run: x, when: secrets.NPM }
- { id: h, run: x, needs: [a], when: steps.b.output.x }
- { id: i, run: x, when: input.tags }
- { id: j, run: x, when: [] }`,
    [
      "4:26 steps[0].when | steps[0].when must be a path such as steps.scan.output.found, or { value, in } or { value, notIn }, not the number 3",
      '5:26 steps[1].when | "==" can\'t stand in an expression, which is a plain path such as input.tag or steps.build.output.files[0]',
      "6:26 steps[2].when | steps[2].when must be a path such as steps.scan.output.found, or { value, in } or { value, notIn }, not a mapping",
      "7:26 steps[3].when | steps[3].when must be a path such as steps.scan.output.found, or { value, in } or { value, notIn }, not a mapping",
      '8:46 steps[4].when.on | steps[4].when has no key "on"; did you mean "in"?',
      '8:59 steps[4].when.in | steps[4].when.in must be a list of values, not "one"',
      "9:35 steps[5].when.value | steps[5].when.value must be a path such as steps.scan.output.found, not a list",
      "9:44 steps[5].when.in[0] | the values of a condition are taken as they are: no expressions",
      "9:72 steps[5].when.in[1].deep | the values of a condition are taken as they are: no expressions",
      "10:26 steps[6].when | secrets.NPM can't stand here: secrets are for env and for http",
      '11:38 steps[7].when | step "h" doesn\'t wait for "b": add "b" to its needs',
      '12:26 steps[8].when | the input has no "tags"; did you mean "tag"?',
      "13:26 steps[9].when | steps[9].when must be a mapping, not a list",
    ],
  ],
  [
    "has maps that can't be made",
    `plan: p
input: { list: { type: array } }
steps:
- { id: a, run: x, map: [1, 2] }
- { id: b, run: x, map: input.lists, key: "item.", concurrency: 0 }
- { id: c, uses: approve, map: input.list, key: input.x, concurrency: 2, with: { message: "\${{ item.name }}" } }
- { id: d, run: x, map: item.list, env: { A: "\${{ errors.e }}" } }
- { id: e, run: x, needs: [], map: input.list, onFailure: continue }
- { id: f, uses: noop, needs: [e], with: { a: "\${{ item.x }}", b: "\${{ errors.e }}" } }`,
    [
      "4:25 steps[0].map | steps[0].map must be a path such as steps.scan.output.found, not a list",
      '5:25 steps[1].map | the input has no "lists"; did you mean "list"?',
      '5:43 steps[1].key | "." can\'t stand in an expression, which is a plain path such as input.tag or steps.build.output.files[0]',
      "5:65 steps[1].concurrency | steps[1].concurrency must be a whole number of at least 1, not the number 0",
      "6:71 steps[2].concurrency | approve only waits: its items need no concurrency",
      "7:25 steps[3].map | item.list can't stand here: only what the items of a map do has one",
      '7:47 steps[3].env.A | "e" is a map: its items fail one by one, and are null in its output',
      '7:47 steps[3].env.A | step "d" doesn\'t wait for "e": add "e" to its needs',
      "9:48 steps[5].with.a | item.x can't stand here: only what the items of a map do has one",
      '9:68 steps[5].with.b | "e" is a map: its items fail one by one, and are null in its output',
    ],
  ],
  [
    "asks for errors that nobody could see",
    `plan: p
steps:
- { id: a, run: x }
- { id: b, run: x, onFailure: continue }
- { id: c, uses: noop, onFailure: ignore, env: { A: "\${{ errors.a.code }}", B: "\${{ errors.b.stack }}", C: "\${{ errors.d }}" } }`,
    [
      '5:35 steps[2].onFailure | steps[2].onFailure must be stop or continue, not "ignore"',
      '5:54 steps[2].env.A | nothing runs after "a" has failed: give it onFailure: continue',
      "5:81 steps[2].env.B | errors needs a step's id, and has code and message: errors.build.code",
      '5:109 steps[2].env.C | there is no step "d"; did you mean "a"?',
    ],
  ],
  [
    "declares a sandbox that can't be",
    "plan: p\nsandbox:\n  from: /etc\n  exclude: dist\n  ignore: ['', 3]\n  form: x\n  prepare: { runs: a }\n  provider: a b\nsteps: [{ run: a }]",
    [
      '3:9 sandbox.from | sandbox.from must be relative to the document\'s folder, not "/etc"',
      '4:12 sandbox.exclude | sandbox.exclude must be a list of patterns as in a .gitignore, not "dist"',
      "5:12 sandbox.ignore[0] | sandbox.ignore[0] is empty",
      "5:16 sandbox.ignore[1] | sandbox.ignore[1] must be a string, not the number 3",
      '6:3 sandbox.form | sandbox has no key "form"; did you mean "from"?',
      "7:12 sandbox.prepare | sandbox.prepare needs a command: run is missing",
      '7:14 sandbox.prepare.runs | sandbox.prepare has no key "runs"; did you mean "run"?',
      `8:13 sandbox.provider | sandbox.provider is "a b"; an id ${ID_RULE()}`,
    ],
  ],
  [
    "would put a value into its sandbox",
    "plan: p\nsandbox: { from: '${{ input.dir }}', prepare: { run: 'npm ci ${{ input.how }}' } }\nsteps: [{ run: a }]",
    [
      "2:18 sandbox.from | sandbox takes no expressions: it holds for every run of the plan",
      "2:54 sandbox.prepare.run | sandbox takes no expressions: it holds for every run of the plan",
    ],
  ],
  [
    "uses a sandbox that it doesn't have, or can't use",
    "plan: p\nsteps:\n- { run: a, sandbox: read }\n- { run: b, sandbox: none }\n- { run: c, sandbox: all }",
    [
      "3:22 steps[0].sandbox | steps[0].sandbox is read, and the plan has no sandbox",
      '5:22 steps[2].sandbox | steps[2].sandbox must be none or read or write, not "all"',
    ],
  ],
  [
    "waits with the sandbox in its hands",
    "plan: p\nsandbox: {}\nsteps:\n- { uses: sleep, with: { for: 1s }, sandbox: write }",
    [
      '4:11 steps[0].uses | there is no handler "sleep"',
      "4:46 steps[0].sandbox | steps[0].sandbox is write, but sleep only waits",
    ],
  ],
  [
    "has ids that can't be ids",
    "plan: 'a:b'\nqueue: ''\nphases: [__proto__, a b]\nsteps:\n- { id: ../x, run: a, needs: [-x], queue: q/ }",
    [
      `1:7 plan | plan is "a:b"; an id ${ID_RULE()}`,
      `2:8 queue | queue is ""; an id ${ID_RULE()}`,
      `3:10 phases[0] | phases[0] is "__proto__"; an id ${ID_RULE()}`,
      `3:21 phases[1] | phases[1] is "a b"; an id ${ID_RULE()}`,
      `5:9 steps[0].id | steps[0].id is "../x"; an id ${ID_RULE()}`,
      `5:31 steps[0].needs[0] | steps[0].needs[0] is "-x"; an id ${ID_RULE()}`,
      `5:43 steps[0].queue | steps[0].queue is "q/"; an id ${ID_RULE()}`,
    ],
  ],
  [
    "takes a step id twice",
    "plan: p\nsteps:\n- { id: a, run: x }\n- { id: step-3, run: x }\n- run: x\n- { id: a, run: x }",
    [
      '5:3 steps[2] | the step id "step-3" is taken; the first is in line 4',
      '6:9 steps[3].id | the step id "a" is taken; the first is in line 3',
    ],
  ],
  [
    "needs what isn't there, itself, or the same twice",
    "plan: p\nsteps:\n- { id: build, run: x }\n- { id: test, run: x, needs: [biuld, test, build, build, zoo] }",
    [
      '4:31 steps[1].needs[0] | there is no step "biuld"; did you mean "build"?',
      '4:38 steps[1].needs[1] | step "test" needs itself',
      '4:51 steps[1].needs[3] | steps[1].needs names "build" twice',
      '4:58 steps[1].needs[4] | there is no step "zoo"',
    ],
  ],
  [
    "goes in circles",
    "plan: p\nsteps:\n- { id: a, run: x, needs: [] }\n- { id: b, run: x, needs: [a, d] }\n- { id: c, run: x }\n- { id: d, run: x }\n- { id: e, run: x, needs: [f] }\n- { id: f, run: x, needs: [e] }",
    [
      "4:31 steps[1].needs[1] | steps need each other in a circle: b → d → c → b",
      "7:28 steps[4].needs[0] | steps need each other in a circle: e → f → e",
    ],
  ],
  [
    "has phases that don't fit",
    "plan: p\nphases: [one, two, one]\nsteps:\n- { id: a, phase: two, run: x }\n- { id: b, phase: one, run: x }\n- { id: c, phase: one, run: x, needs: [b, a] }\n- { id: d, phase: on, run: x, needs: [] }",
    [
      '2:20 phases[2] | phases names "one" twice',
      '5:19 steps[1].phase | step "b" of phase one needs step "a" of the later phase two',
      '6:43 steps[2].needs[1] | step "c" of phase one needs step "a" of the later phase two',
      '7:19 steps[3].phase | there is no phase "on": the plan\'s phases are one, two; did you mean "one"?',
    ],
  ],
  [
    "lists no phase",
    "plan: p\nphases: []\nsteps: [{ run: x, phase: deploy }]",
    [
      "2:9 phases | phases is empty; leave it out for the one phase execute",
      '3:26 steps[0].phase | there is no phase "deploy": the plan\'s phases are execute',
    ],
  ],
  [
    "says unclearly what a step does",
    "plan: p\nsteps:\n- { id: a }\n- { run: x, uses: noop, with: {} }\n- { uses: htpp }\n- { uses: constructor }\n- { run: '' }\n- { uses: http }",
    [
      "3:3 steps[0] | steps[0] needs run or uses",
      "4:13 steps[1].uses | steps[1] has both run and uses; run is short for uses: shell, with: { run }",
      "4:25 steps[1].with | steps[1] has both run and with; run is short for uses: shell, with: { run }",
      '5:11 steps[2].uses | there is no handler "htpp"; did you mean "http"?',
      '6:11 steps[3].uses | there is no handler "constructor"',
      "7:10 steps[4].run | shell: run must be a command",
      "8:11 steps[5].uses | http: url is missing",
    ],
  ],
  [
    "has arguments that its handler refuses",
    "plan: p\nsteps:\n- uses: picky\n  with:\n    list: [1, { deep: 2 }]\n    map:\n      odd key: 3\n",
    [
      "5:23 steps[0].with.list[1].deep | picky: deep is wrong",
      "7:7 steps[0].with.map | picky: absent is wrong",
      '7:16 steps[0].with.map["odd key"] | picky: odd is wrong',
    ],
  ],
  [
    "has settings that make no sense",
    "plan: p\nversion: 0\nsteps:\n- { run: x, effect: irreversable, timeout: 0, retry: { attempts: 0, backoff: linear, delay: 2m, max: 1m } }\n- { run: x, timeout: 30d, env: { 1A: x, A=B: y }, pass-env: ['A B', 3, REDIS_URL] }",
    [
      "2:10 version | version must be a whole number of at least 1, not the number 0",
      '4:21 steps[0].effect | steps[0].effect must be idempotent or irreversible, not "irreversable"; did you mean "irreversible"?',
      "4:44 steps[0].timeout | steps[0].timeout must be longer than 0",
      "4:66 steps[0].retry.attempts | steps[0].retry.attempts must be a whole number of at least 1, not the number 0",
      '4:78 steps[0].retry.backoff | steps[0].retry.backoff must be exponential or fixed, not "linear"',
      "4:102 steps[0].retry.max | steps[0].retry.max is 60000 ms, less than the first delay of 120000 ms",
      "5:22 steps[1].timeout | steps[1].timeout is 2592000000 ms; the limit is 2147483647 ms, 24 days",
      '5:34 steps[1].env.1A | "1A" can\'t be a variable: letters, digits and underscores, no digit first',
      '5:41 steps[1].env["A=B"] | "A=B" can\'t be a variable: letters, digits and underscores, no digit first',
      '5:62 steps[1].pass-env[0] | "A B" can\'t be a variable: letters, digits and underscores, no digit first',
      "5:69 steps[1].pass-env[1] | steps[1].pass-env[1] must be a string, not the number 3",
      "5:72 steps[1].pass-env[2] | REDIS_URL can't be passed: settings of Waymark and Redis are never passed to a command",
    ],
  ],
  [
    "has an input schema that isn't one",
    "plan: p\ninput:\n  tag: { type: strng }\n  n: { minimun: 1 }\n  m: { type: object, properties: { x: { enum: [] } } }\nsteps: [{ run: x }]",
    [
      "3:16 input.tag.type | tag.type must be one of string, number, integer, boolean, object, array, null, or a list of them",
      '4:17 input.n.minimun | n.minimun is not a keyword of a schema; did you mean "minimum"?',
      "5:47 input.m.properties.x.enum | m.properties.x.enum must be a list of at least one value",
    ],
  ],
  [
    "has expressions that lead nowhere",
    `plan: p
input: { tag: { type: string } }
steps:
  - { id: a, uses: noop, needs: [], with: { me: "\${{ steps.a.output }}" } }
  - { id: b, uses: noop, needs: [], with: { x: "0123 \${{ input.tga }} \${{ input[0] }}", y: ["\${{ steps.a.output }}", "\${{ steps.bb.output }}"] } }
  - id: c
    uses: noop
    with:
      text: |
        first \${{ input.tag }} $\${{ kept }}
        then \${{ 1 + 1 }}
      "\${{ input.tag }}": key
      secret: "\${{ secrets.S }}"
    env: { X: "\${{ steps.d.output }}" }
  - { id: d, run: 'rm "\${{ input.tag }}"', env: { S: "\${{ secrets }}" } }
  - { id: e, uses: shell, with: { run: "\${{ plan.id }}", other: "\${{ plan.id }}" } }
`,
    [
      '4:50 steps[0].with.me | step "a" can\'t use its own output',
      '5:54 steps[1].with.x | the input has no "tga"; did you mean "tag"?',
      '5:71 steps[1].with.x | the input has no "0"',
      '5:94 steps[1].with.y[0] | step "b" doesn\'t wait for "a": add "a" to its needs',
      '5:119 steps[1].with.y[1] | there is no step "bb"; did you mean "b"?',
      '11:14 steps[2].with.text | "+" can\'t stand in an expression, which is a plain path such as input.tag or steps.build.output.files[0]',
      '12:7 steps[2].with["${{ input.tag }}"] | expressions are for values, not for keys',
      "13:16 steps[2].with.secret | secrets.S can't stand here: secrets are for env and for http",
      '14:16 steps[2].env.X | step "c" doesn\'t wait for "d": add "d" to its needs',
      "15:24 steps[3].run | input.tag can't stand in shell text, where a value could become a command: pass it by env",
      "15:55 steps[3].env.S | secrets needs one name, such as secrets.NPM_TOKEN",
      "16:41 steps[4].with.run | plan.id can't stand in shell text, where a value could become a command: pass it by env",
    ],
  ],
  [
    "hides an expression behind an escape",
    'plan: p\nsteps: [{ uses: noop, with: { a: "x \\x24{{ nope }}" } }]',
    ['2:34 steps[0].with.a | expressions start with input, steps, errors, item, plan or secrets, not "nope"'],
  ],
];

function ID_RULE(): string {
  return "starts with a letter or digit and goes on with up to 127 letters, digits, dots, underscores or hyphens";
}

describe("a malformed document is refused with every fault in its place:", () => {
  test.each(MALFORMED)("one that %s", (_, text, faults) => {
    expect(listOf(text)).toEqual(faults);
  });

  test("a file with Windows line ends has the same lines and columns", () => {
    for (const [, text, faults] of MALFORMED) expect(listOf(text.replaceAll("\n", "\r\n"))).toEqual(faults);
  });

  test("the error names the source and counts the faults", () => {
    expect(() => read("{}")).toThrow(/^plan\.yaml has 2 faults: plan\.yaml:1:1 a plan needs a name/);
  });

  test("a long circle is named by its beginning", () => {
    const steps = Array.from({ length: 50 }, (_, i) => `- { id: s${i}, run: x, needs: [s${(i + 1) % 50}] }`);

    const [fault] = listOf(`plan: p\nsteps:\n${steps.join("\n")}`);

    expect(fault).toMatch(/s0 → s1 → s2 → s3 → s4 → s5 → s6 → s7 → s8 → … 41 more → s0$/);
  });

  test("long values are shown by their beginning", () => {
    expect(listOf(`plan: p\nsteps: ${"x".repeat(100)}`)).toEqual([
      `2:8 steps | steps must be a list of steps, not "${"x".repeat(60)}…"`,
    ]);
    expect(listOf(`!${"x".repeat(300)} {}`)[0]!.length).toBeLessThan(250);
  });

  test("any text at all is read or refused, never anything else", () => {
    const pieces = fc.constantFrom(
      ..."plan: p|steps:|- run: x|- |\n|\n  |{|}|[|]|, |: |needs: [a]|id: a|&a |*a|${{ input.x }}|'|\"|uses: noop|with:|# |---\n|? |!!str |~|1|<<: |env:".split(
        "|",
      ),
    );
    fc.assert(
      fc.property(fc.array(pieces, { maxLength: 25 }), (parts) => {
        for (const { line, column } of faultsOf(parts.join(""))) {
          expect(line).toBeGreaterThanOrEqual(1);
          expect(column).toBeGreaterThanOrEqual(1);
        }
      }),
      { numRuns: 1_000 },
    );
  });
});

describe("references to outputs", () => {
  test("are allowed exactly to the steps that are needed, directly or not, in random graphs", () => {
    const graphs = fc.integer({ min: 1, max: 60 }).chain((size) =>
      fc.record({
        size: fc.constant(size),
        edges: fc.array(fc.tuple(fc.nat(size - 1), fc.nat(size - 1)), { maxLength: 90 }),
        references: fc.array(fc.tuple(fc.nat(size - 1), fc.nat(size - 1)), { maxLength: 90 }),
        shuffled: fc.shuffledSubarray([...Array(size).keys()], { minLength: size }),
      }),
    );
    fc.assert(
      fc.property(graphs, ({ size, edges, references, shuffled }) => {
        const needs = Array.from({ length: size }, (_, i) =>
          edges.filter(([a, b]) => a === i && b < i).map(([, b]) => b),
        );
        const above = needs.map((): Set<number> => new Set());
        needs.forEach((of, i) => {
          for (const need of of) for (const id of [need, ...above[need]!]) above[i]!.add(id);
        });
        const used = Array.from({ length: size }, (_, i) => [
          ...new Set(references.filter(([a]) => a === i).map(([, b]) => b)),
        ]);
        const steps = shuffled.map((i) => ({
          id: `s${i}`,
          uses: "noop",
          needs: [...new Set(needs[i])].map((need) => `s${need}`),
          with: Object.fromEntries(used[i]!.map((to) => [`s${to}`, `\${{ steps.s${to}.output }}`])),
        }));

        const faults = faultsOf(JSON.stringify({ plan: "p", steps }));

        const expected = shuffled.flatMap((i, place) =>
          used[i]!.filter((to) => !above[i]!.has(to)).map((to) => `steps[${place}].with.s${to}`),
        );
        expect(faults.map((fault) => fault.path).sort()).toEqual(expected.sort());
      }),
    );
  });

  test("of steps on a circle are not judged before the circle is gone", () => {
    const text =
      "plan: p\nsteps:\n- { id: a, uses: noop, needs: [b], with: { x: '${{ steps.c.output }}' } }\n- { id: b, uses: noop }\n- { id: c, uses: noop, needs: [] }";

    expect(listOf(text)).toEqual(["3:32 steps[0].needs[0] | steps need each other in a circle: a → b → a"]);
  });
});

describe("a document that is too much is refused, not suffered:", () => {
  test("one of more than 5 MiB", () => {
    expect(listOf(`plan: ${"é".repeat(DOCUMENT_LIMIT_BYTES / 2)}`)).toEqual([
      `1:1  | the document has ${DOCUMENT_LIMIT_BYTES + 6} bytes; the limit is ${DOCUMENT_LIMIT_BYTES}`,
    ]);
    expect(listOf("x".repeat(DOCUMENT_LIMIT_BYTES + 1))[0]).toContain(`has ${DOCUMENT_LIMIT_BYTES + 1} bytes`);
  });

  test("one that is nested without end", () => {
    const refused = [expect.stringMatching(/ \| values are nested more than 100 deep$/)];

    for (const opening of ["[", "{a: ", "- ", "? "]) expect(listOf(opening.repeat(1_000_000))).toEqual(refused);
    const nested = (depth: number) =>
      `plan: p\nsteps: [{ uses: noop, with: { a: ${"[".repeat(depth)}${"]".repeat(depth)} } }]`;
    expect(listOf(nested(NESTING_LIMIT - 4))).toEqual([]);
    expect(listOf(nested(NESTING_LIMIT + 1))).toEqual(refused);
  });

  test("one whose aliases nest without end", () => {
    const chain = Array.from({ length: 200 }, (_, i) => (i === 0 ? "a0: &a0 [x]" : `a${i}: &a${i} [*a${i - 1}]`));

    expect(listOf(chain.join("\n"))).toEqual(["100:12 a99[0] | values are nested more than 100 deep"]);
  });

  test("one whose aliases multiply", () => {
    const lines = Array.from({ length: 12 }, (_, i) => `a${i + 1}: &a${i + 1} [${Array(9).fill(`*a${i}`).join(", ")}]`);

    const [fault] = listOf(`a0: &a0 [x, x, x, x]\n${lines.join("\n")}`);

    expect(fault).toMatch(/aliases make the document grow by more than 1000000 values$/);
  });

  test("one of more than 100,000 steps", () => {
    expect(listOf(`plan: p\nsteps:\n${"- run: x\n".repeat(STEP_LIMIT + 1)}`)).toEqual([
      "3:1 steps | the plan has 100001 steps; the limit is 100000",
    ]);
  }, 120_000);

  test("the time for steps that look up and down the whole plan grows with their number, not with its square", () => {
    const step = (i: number) =>
      `- { id: s${i}, uses: noop, with: { a: "\${{ steps.s0.output }}", b: "\${{ steps.s${i >> 1}.output }}" } }`;
    const text = (steps: number) =>
      `plan: p\nsteps:\n- { id: s0, run: x }\n${Array.from({ length: steps - 1 }, (_, i) => step(i + 1)).join("\n")}`;

    expect(read(text(10_000)).steps.size).toBe(10_000);
    expect(growth((steps) => read(text(steps)))).toBeLessThan(12);
  }, 120_000);

  test("wrong names are all reported, in a time that grows with their number", () => {
    const step = (i: number) => `- { id: s${i}, run: x, needs: [t${i}], effect: irreversable }`;
    const text = (steps: number) => `plan: p\nsteps:\n${Array.from({ length: steps }, (_, i) => step(i)).join("\n")}`;

    expect(faultsOf(text(10_000))).toHaveLength(20_000);
    expect(growth((steps) => faultsOf(text(steps)))).toBeLessThan(12);
  }, 120_000);
});

/** How many times longer it takes for five times as many steps: 5 where it is linear, 25 where it is quadratic. */
function growth(action: (steps: number) => unknown): number {
  return quickestMs(() => action(5_000)) / quickestMs(() => action(1_000));
}

/** The best of a few runs: other work on the machine slows some of them, a slow algorithm all. */
function quickestMs(action: () => unknown): number {
  let best = Infinity;
  for (let run = 0; run < 3; run++) {
    const start = performance.now();
    action();
    best = Math.min(best, performance.now() - start);
  }
  return best;
}

test("a path is cut into the segments it was made of", () => {
  const segments = fc.array(fc.oneof(fc.string({ unit: "binary", minLength: 1 }), fc.nat()), { minLength: 1 });
  fc.assert(
    fc.property(segments, (path) => {
      expect(segmentsOf(formatPath("", path))).toEqual(path);
    }),
  );
});

test("a place inside a text is found even where the text is folded", () => {
  const document = new LocatedDocument("a: >\n  one ${{ x }}\n  two ${{ y }}\n", "x.yaml");
  const value = document.fields(document.root)!.get("a")!;

  expect(document.position(document.within(value, "${{", 1).offset)).toEqual({ line: 3, column: 7 });
  expect(document.within(value, "${{", 2)).toMatchObject({ offset: value.offset });
});

test("conditions and what a failure does become part of the step, paths in one form", () => {
  const { definition, steps } = read(`plan: p
steps:
- { id: a, uses: noop, onFailure: continue }
- { id: b, uses: noop, when: '\${{ steps["a"].output.found }}', onFailure: stop }
- { id: c, uses: noop, when: { value: errors.a.code, notIn: [EXIT_1, null] } }
- { id: d, uses: noop }`);

  const shape = definition.steps.map(({ id, when, onFailure }) => ({ id, when, onFailure }));
  expect(shape).toEqual([
    { id: "a", onFailure: "continue" },
    { id: "b", when: { value: "steps.a.output.found" } },
    { id: "c", when: { value: "errors.a.code", notIn: ["EXIT_1", null] } },
    { id: "d" },
  ]);
  const plain = read("plan: p\nsteps: [{ id: a, uses: noop, onFailure: stop }]");
  expect(plain.digest).toBe(read("plan: p\nsteps: [{ id: a, uses: noop }]").digest);
  const conditional = read("plan: p\nsteps: [{ id: a, uses: noop, when: plan.version }]");
  expect(conditional.steps.get("a")!.digest).not.toBe(plain.steps.get("a")!.digest);
  expect(steps.get("a")!.digest).toBe(plain.steps.get("a")!.digest);
});

test("a step's priority is its own, or the plan's", () => {
  const { definition } = read(`plan: p
priority: 7
steps:
- { id: a, uses: noop }
- { id: b, uses: noop, priority: 1 }`);

  expect(definition.steps.map((step) => step.priority)).toEqual([7, 1]);
  expect(read("plan: p\nsteps: [{ id: a, uses: noop }]").definition.steps[0]).not.toHaveProperty("priority");
});

test("a step's limits are its own, and those of a map its items'", () => {
  const { definition, steps, digest } = read(`plan: p
steps:
- { id: a, uses: noop, concurrency: { key: api, limit: 3 }, rate: { key: api.v2, max: 10, per: 1m } }
- { id: b, uses: noop, map: input.list, concurrency: { key: api, limit: 3 } }
- { id: c, uses: noop, map: input.list, concurrency: 2, rate: { key: api, max: 1, per: 500 } }`);

  expect(
    definition.steps.map(({ concurrency, rate, map }) => ({ concurrency, rate, turns: map?.concurrency })),
  ).toEqual([
    { concurrency: { key: "api", limit: 3 }, rate: { key: "api.v2", max: 10, perMs: 60_000 }, turns: undefined },
    { concurrency: { key: "api", limit: 3 }, rate: undefined, turns: null },
    { concurrency: undefined, rate: { key: "api", max: 1, perMs: 500 }, turns: 2 },
  ]);
  for (const id of ["b#", "b", "c#", "c"]) {
    expect(steps.get(id)).not.toHaveProperty("concurrency");
    expect(steps.get(id)).not.toHaveProperty("rate");
  }
  const other = read("plan: p\nsteps: [{ id: a, uses: noop, concurrency: { key: api, limit: 4 } }]");
  const plain = read("plan: p\nsteps: [{ id: a, uses: noop }]");
  expect(other.digest).not.toBe(plain.digest);
  expect(other.steps.get("a")!.digest, "it changes nothing of what the step does").toBe(plain.steps.get("a")!.digest);
  expect(digest).not.toBe(other.digest);
});

test("a map says where its list and the keys of its items are, paths in one form", () => {
  const mapOf = (fields: string) => {
    const { definition } = read(`plan: p\nsteps: [{ id: a, uses: noop }, { id: b, uses: noop, ${fields} }]`);
    return definition.steps[1]!.map;
  };

  expect(mapOf("map: steps.a.output")).toEqual({ over: "steps.a.output", key: null, concurrency: null });
  expect(mapOf("map: '${{ steps.a.output.list[0] }}', key: name, concurrency: 3")).toEqual({
    over: "steps.a.output.list[0]",
    key: "item.name",
    concurrency: 3,
  });
  expect(mapOf("map: input, key: item.a.b")).toMatchObject({ key: "item.a.b" });
  expect(mapOf("map: input, key: item")).toMatchObject({ key: "item" });
  expect(mapOf("map: input, key: items")).toMatchObject({ key: "item.items" });
  const digests = ["map: input", "map: input, key: a", "rev: 1"].map(
    (fields) => read(`plan: p\nsteps: [{ id: b, uses: noop, ${fields} }]`).steps.get("b")!.digest,
  );
  expect(new Set(digests).size).toBe(3);
});
